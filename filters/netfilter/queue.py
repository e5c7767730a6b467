"""One NFQUEUE: the kernel's packet queue over a netlink socket (linux/netfilter/nfnetlink_queue.h).

The kernel sends each queued packet as one netlink message of attributes and holds the packet until a verdict names its
id. ``fill`` reads messages straight into the batch's buffer; ``decide`` answers a whole batch in one send.

A *batch verdict* covers every outstanding id up to the one it names. Ids rise by one a packet, so a run of equal
verdicts takes one message, as long as no older packet that wants another verdict is still outstanding.
"""

import errno
import os
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

assert sys.platform == "linux"

from wiresock_py.errors import BackendError
from wiresock_py.filters.base import PacketBatch, PacketFlag, Verdict
from wiresock_py.netlink import ACKNOWLEDGE, ERROR, HEADER, REQUEST, attribute, error_code, message, messages

NETLINK_NETFILTER = 12
SOL_NETLINK = 270
NETLINK_NO_ENOBUFS = 5
SO_RCVBUFFORCE = 33

# Message types of the queue subsystem (3 << 8) and the attributes we use.
PACKET, VERDICT, CONFIG, VERDICT_BATCH = 0x300, 0x301, 0x302, 0x303
NFQA_PACKET_HDR, NFQA_VERDICT_HDR, NFQA_MARK, NFQA_IFINDEX_OUTDEV = 1, 2, 3, 6
NFQA_PAYLOAD, NFQA_CAP_LEN, NFQA_SKB_INFO = 10, 13, 14
NFQA_CFG_CMD, NFQA_CFG_PARAMS, NFQA_CFG_QUEUE_MAXLEN, NFQA_CFG_MASK, NFQA_CFG_FLAGS = 1, 2, 3, 4, 5
CFG_CMD_BIND, CFG_CMD_PF_BIND = 1, 3
COPY_PACKET = 2
CFG_F_FAIL_OPEN, CFG_F_GSO = 1, 4
# The kernel copies at most 65,535 bytes with the attribute's header; what is longer comes with NFQA_CAP_LEN.
COPY_RANGE = 65_531
NF_DROP, NF_ACCEPT = 0, 1
# Where the hook stands in NFQA_PACKET_HDR, its header included, and the one that forwarded packets come from.
HOOK_AT, NF_INET_FORWARD = 10, 2
# Flags of NFQA_SKB_INFO, as they read before the byte order is turned, and what they mean to us.
CHECKSUM_NOT_READY = socket.htonl(1)
IS_GSO = socket.htonl(2)
INFO_MASK = CHECKSUM_NOT_READY | IS_GSO
_INFO_FLAGS = {
    0: 0,
    CHECKSUM_NOT_READY: int(PacketFlag.CHECKSUM_PARTIAL),
    IS_GSO: int(PacketFlag.SUPER_PACKET),
    INFO_MASK: int(PacketFlag.CHECKSUM_PARTIAL | PacketFlag.SUPER_PACKET),
}

# Packets the kernel holds for us before it drops more.
QUEUE_LENGTH = 4096
# Copies waiting in the socket; the kernel counts its own overhead too, about twice this.
RECEIVE_BUFFER = 16 * 1024 * 1024
# The largest message: headers, a dozen small attributes, and the payload; and slack for reading whole words.
LARGEST_MESSAGE = 66_048

# (socket, data, start, stop, limit, five columns of the batch) -> (end, overruns, refused, truncated)
Fill = Callable[
    [int, memoryview, int, int, int, list[int], list[int], list[int], list[int], list[int]], tuple[int, int, int, int]
]

# Plain integers: arithmetic on enumeration members takes longer than all the rest of a packet's way through here.
BYPASS = int(Verdict.BYPASS)
DROP = int(Verdict.DROP)
TRUNCATED = int(PacketFlag.TRUNCATED)
FORWARDED = int(PacketFlag.FORWARDED)

_ATTRIBUTE = struct.Struct("=HHI").unpack_from
# The attributes as they come for nearly every packet: its header (with the hook), the adapter, then SKB_INFO or the
# payload. Types and lengths of the first two are compared as one word each.
_USUAL = struct.Struct("=II2xBxIIHHI").unpack_from
_USUAL_SIZE = 20 + 12 + 8 + 8 + 8
_PACKET_HDR_WORD = int.from_bytes(struct.pack("=HH", 11, NFQA_PACKET_HDR), sys.byteorder)
_OUTDEV_WORD = int.from_bytes(struct.pack("=HH", 8, NFQA_IFINDEX_OUTDEV), sys.byteorder)
_KIND = struct.Struct("=H").unpack_from
_ID_BITS = 32
ID_MASK = (1 << _ID_BITS) - 1


def parse_packet(data: memoryview, start: int, end: int) -> tuple[int, int, int, int, int] | None:
    """(token, flags, adapter, offset, length) of the message ``data[start:end]``; None if it names no packet.

    The token is the packet's id with its mark above, which a BYPASS verdict has to give back with one bit more.
    """
    if end - start >= _USUAL_SIZE:  # all of this host's without a mark look like this; one look, not one an attribute
        first, identifier, hook, second, adapter, size, kind, value = _USUAL(data, start + 20)
        if first == _PACKET_HDR_WORD and second == _OUTDEV_WORD and hook != NF_INET_FORWARD:
            at = start + 40
            info = 0
            if kind == NFQA_SKB_INFO:
                info = value & INFO_MASK
                at += 8
                size, kind, _value = _ATTRIBUTE(data, at)
            if kind == NFQA_PAYLOAD and at + size == end:
                return socket.ntohl(identifier), _INFO_FLAGS[info], socket.ntohl(adapter), at + 4, size - 4
    return _parse_any(data, start, end)


def _parse_any(data: memoryview, start: int, end: int) -> tuple[int, int, int, int, int] | None:
    """As ``parse_packet``, whatever the attributes and their order."""
    identifier = -1
    mark = adapter = info = offset = length = 0
    flags = forwarded = 0
    at = start + 20  # nlmsghdr and nfgenmsg
    while at + 8 <= end:
        size, kind, value = _ATTRIBUTE(data, at)
        if size < 4:
            break
        if kind == NFQA_PAYLOAD:
            offset, length = at + 4, size - 4
        elif kind == NFQA_PACKET_HDR:
            identifier = socket.ntohl(value)
            if size > HOOK_AT and at + HOOK_AT < end and data[at + HOOK_AT] == NF_INET_FORWARD:
                forwarded = FORWARDED
        elif kind == NFQA_IFINDEX_OUTDEV:
            adapter = socket.ntohl(value)
        elif kind == NFQA_SKB_INFO:
            info = value
        elif kind == NFQA_MARK:
            mark = socket.ntohl(value)
        elif kind == NFQA_CAP_LEN:
            flags = TRUNCATED
        at += (size + 3) & ~3
    if identifier < 0:
        return None
    if not length or offset + length > end:
        return identifier, TRUNCATED, adapter, start, 0
    flags |= forwarded
    return identifier | mark << _ID_BITS, flags | _INFO_FLAGS[info & INFO_MASK], adapter, offset, length


def _verdict_prefix(kind: int, number: int, verdict: int, *, marked: bool) -> bytes:
    """A verdict message up to the packet id, which is its last field but for the mark."""
    length = HEADER.size + 4 + 12 + (8 if marked else 0)
    generic = struct.pack("!BBH", socket.AF_UNSPEC, 0, number)
    return (
        HEADER.pack(length, kind, REQUEST, 0, 0)
        + generic
        + struct.pack("=HH", 12, NFQA_VERDICT_HDR)
        + (verdict.to_bytes(4, "big"))
    )


class VerdictWriter:
    """Turns the verdicts of a batch into as few messages as keep packets in order. Holds no state between batches."""

    def __init__(self, number: int, bypass_mark: int) -> None:
        self._bypass_mark = bypass_mark
        self._drop_upto = _verdict_prefix(VERDICT_BATCH, number, NF_DROP, marked=False)
        self._accept = _verdict_prefix(VERDICT, number, NF_ACCEPT, marked=False)
        self._accept_upto = _verdict_prefix(VERDICT_BATCH, number, NF_ACCEPT, marked=False)
        self._bypass = _verdict_prefix(VERDICT, number, NF_ACCEPT, marked=True)
        self._bypass_upto = _verdict_prefix(VERDICT_BATCH, number, NF_ACCEPT, marked=True)
        self._mark_header = struct.pack("=HH", 8, NFQA_MARK)

    def write(self, tokens: Sequence[int], verdicts: Sequence[int]) -> bytes:
        """The messages that settle all of *tokens*, which are in the order of arrival and not empty.

        Packets that pass leave in the order they came. Dropped ones wait for the next batch verdict that covers them:
        a single accepted packet in between is named alone, a longer run is worth settling the drops before it.
        """
        last = (tokens[-1] & ID_MASK).to_bytes(4, "big")
        if verdicts.count(DROP) == len(verdicts):
            return self._drop_upto + last
        out = bytearray()
        dropped = -1  # the last dropped id that no message covers yet
        at, count = 0, len(tokens)
        while at < count:
            verdict = verdicts[at]
            run = at
            if verdict == DROP:
                while at < count and verdicts[at] == DROP:
                    at += 1
                dropped = tokens[at - 1] & ID_MASK
                continue
            mark = tokens[at] >> _ID_BITS
            while at < count and verdicts[at] == verdict and tokens[at] >> _ID_BITS == mark:
                at += 1
            single = at - run == 1
            if dropped >= 0 and not single:
                out += self._drop_upto + dropped.to_bytes(4, "big")
                dropped = -1
            out += self._passing(verdict, tokens[at - 1] & ID_MASK, mark, single=single)
        if dropped >= 0:
            out += self._drop_upto + dropped.to_bytes(4, "big")
        return bytes(out)

    def _passing(self, verdict: int, identifier: int, mark: int, *, single: bool) -> bytes:
        number = identifier.to_bytes(4, "big")
        if verdict != BYPASS:
            return (self._accept if single else self._accept_upto) + number
        prefix = self._bypass if single else self._bypass_upto
        return prefix + number + self._mark_header + (mark | self._bypass_mark).to_bytes(4, "big")


class Queue:
    """A bound NFQUEUE. ``fill`` and ``decide`` belong to one thread at a time.

    With *gso* TCP super-packets arrive whole and without their checksum; without it the kernel cuts every packet to
    what goes on the wire and completes it, which UDP_SEGMENT datagrams need to keep their boundaries.
    """

    def __init__(self, number: int, bypass_mark: int, *, gso: bool, compiled: bool = False) -> None:
        """*compiled*: whether there is the compiled ``fill``, which reads many packets in one call."""
        self.number = number
        self.overruns = 0
        self.refused = 0
        self.truncated = 0
        self._gso = gso
        self._writer = VerdictWriter(number, bypass_mark)
        self._socket: socket.socket | None = None
        self._fill: Fill | None = None
        if compiled:
            from wiresock_py import _native  # only here is it known to be there

            self._fill = _native.fill

    def open(self) -> None:
        """Bind the queue; packets may arrive from here on. Raises BackendError, also while another process holds it."""
        opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        try:
            opened.bind((0, 0))
            opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
            # Without this one overrun makes the kernel drop everything until the socket is drained.
            opened.setsockopt(SOL_NETLINK, NETLINK_NO_ENOBUFS, 1)
            self._configure(opened)
            opened.setblocking(False)
        except OSError as error:
            opened.close()
            raise BackendError(*_explain(self.number, error)) from error
        self._socket = opened

    def _configure(self, opened: socket.socket) -> None:
        flags = CFG_F_GSO if self._gso else 0
        body = (
            struct.pack("!BBH", socket.AF_UNSPEC, 0, self.number)
            + attribute(NFQA_CFG_CMD, struct.pack("!BBH", CFG_CMD_BIND, 0, 0))
            + attribute(NFQA_CFG_PARAMS, struct.pack("!IB", COPY_RANGE, COPY_PACKET))
            + attribute(NFQA_CFG_QUEUE_MAXLEN, QUEUE_LENGTH.to_bytes(4, "big"))
            + attribute(NFQA_CFG_FLAGS, flags.to_bytes(4, "big"))
            + attribute(NFQA_CFG_MASK, (CFG_F_GSO | CFG_F_FAIL_OPEN).to_bytes(4, "big"))
        )
        opened.settimeout(2)
        opened.send(message(CONFIG, REQUEST | ACKNOWLEDGE, 1, body))
        while True:  # where rules already stand, packets can come before the acknowledgement
            datagram = opened.recv(LARGEST_MESSAGE)
            for kind, sequence, answer in messages(datagram):
                if kind == ERROR and sequence == 1:
                    code = error_code(answer)
                    if code == errno.EPERM:  # the rights were proved by SO_RCVBUFFORCE: it belongs to another socket
                        code = errno.EBUSY
                    if code:
                        raise OSError(code, os.strerror(code))
                    return
                if kind == PACKET and (packet := parse_packet(memoryview(datagram), 0, len(datagram))):
                    opened.send(self._writer.write([packet[0]], [DROP]))

    def close(self) -> None:
        """Let go of the queue: the kernel drops what waits in it, and what comes after, unless a rule says bypass."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def fileno(self) -> int:
        return self._socket.fileno() if self._socket is not None else -1

    def fill(self, batch: PacketBatch, start: int, stop: int, limit: int) -> int:
        """Append up to *limit* waiting packets to *batch*, their bytes from ``batch.data[start]`` on, below *stop*.

        Returns where the next byte may go. Never waits.
        """
        if self._socket is None:
            return start
        if self._fill is not None:
            start, overruns, refused, truncated = self._fill(
                self._socket.fileno(), batch.data, start, stop, limit,
                batch.offset, batch.length, batch.flags, batch.adapter, batch.token,
            )  # fmt: skip
            self.overruns += overruns
            self.refused += refused
            self.truncated += truncated
            return start
        receive = self._socket.recv_into
        data = batch.data
        room = stop - LARGEST_MESSAGE
        add_offset, add_length, add_flags = batch.offset.append, batch.length.append, batch.flags.append
        add_adapter, add_token = batch.adapter.append, batch.token.append
        while limit and start <= room:
            try:
                end = start + receive(data[start:stop])
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self.overruns += 1
                continue
            if _KIND(data, start + 4)[0] != PACKET:
                self.refused += 1  # the answer to a verdict for a packet that is gone
                continue
            packet = parse_packet(data, start, end)
            if packet is None:
                self.refused += 1
                continue
            token, flags, adapter, offset, length = packet
            if flags & TRUNCATED:
                self.truncated += 1
            add_token(token)
            add_flags(flags)
            add_adapter(adapter)
            add_offset(offset)
            add_length(length)
            start = (end + 7) & ~7
            limit -= 1
        return start

    def decide(self, tokens: Sequence[int], verdicts: Sequence[int]) -> None:
        """Carry out the verdicts of all packets of the last batch that came from this queue, in order of arrival."""
        if self._socket is not None and tokens:
            self._socket.send(self._writer.write(tokens, verdicts))

    def statistics(self) -> dict[str, int]:
        """What the kernel lost of this queue: ``queue_full`` it held too many, ``reader_slow`` the socket was full."""
        full = slow = 0
        try:
            table = Path("/proc/thread-self/net/netfilter/nfnetlink_queue").read_text(encoding="ascii")
        except OSError:  # no queue has ever been bound on this machine
            table = ""
        for line in table.splitlines():
            fields = line.split()
            if int(fields[0]) == self.number:
                full, slow = int(fields[5]), int(fields[6])
        return {
            "queue_full": full,
            "reader_slow": slow,
            "overruns": self.overruns,
            "refused": self.refused,
            "truncated": self.truncated,
        }


def supported() -> bool:
    """Whether this kernel has NFQUEUE: it knows the obsolete request PF_BIND, which does nothing."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER) as probe:
        probe.bind((0, 0))
        probe.settimeout(2)
        body = struct.pack("!BBH", socket.AF_INET, 0, 0)
        body += attribute(NFQA_CFG_CMD, struct.pack("!BBH", CFG_CMD_PF_BIND, 0, socket.AF_INET))
        probe.send(message(CONFIG, REQUEST | ACKNOWLEDGE, 1, body))
        for kind, _sequence, answer in messages(probe.recv(LARGEST_MESSAGE)):
            return kind == ERROR and error_code(answer) == 0
    return False


def _explain(number: int, error: OSError) -> tuple[str, str]:
    """Message and remedy."""
    if error.errno == errno.EBUSY:
        return f"NFQUEUE {number} is held by another process", "stop the other client, or what else serves that queue"
    if error.errno in (errno.EPERM, errno.EACCES):
        return f"no right to bind NFQUEUE {number}: {error.strerror}", "run as root"
    return (
        f"this kernel does not give NFQUEUE {number}: {error.strerror}",
        "load nfnetlink_queue, or use a kernel with CONFIG_NETFILTER_NETLINK_QUEUE",
    )
