"""From received datagrams to packets for the host's stack: decrypt in place, translate back, merge."""

import struct
from collections.abc import Mapping
from itertools import chain
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag

from wiresock_py.crypto.constants import (
    REJECT_AFTER_MESSAGES,
    TAG_SIZE,
    TRANSPORT_HEADER_SIZE,
    TRANSPORT_MIN_SIZE,
    TYPE_COOKIE_REPLY,
    TYPE_INITIATION,
    TYPE_TRANSPORT,
)
from wiresock_py.crypto.session import Session
from wiresock_py.datapath import vectorized
from wiresock_py.datapath.batch import Opened
from wiresock_py.datapath.drops import PacketDrop
from wiresock_py.datapath.flows import ACK_FLAG, FIN_FLAG, RST_FLAG, SYN_FLAG, SYN_OUT, TCP, Flow, FlowTable
from wiresock_py.datapath.headers import ECHO_REPLIES, parse, plain
from wiresock_py.datapath.merge import ACK, FLAGS, PUSH, TcpRun
from wiresock_py.datapath.rewrite import rewrite
from wiresock_py.datapath.tcp import clamp_mss, mss_limit
from wiresock_py.filters.base import MAX_PACKET

if TYPE_CHECKING:
    from wiresock_py.datapath.merge_numpy import Chains

# So many segments left, what follows what is found for all of them at once.
_WORTH_CHAINS = 2 * vectorized.FEW

_STATE_FLAGS = SYN_FLAG | FIN_FLAG | RST_FLAG

_TRANSPORT = struct.Struct("<QQ")  # type and receiver index together, counter
_NONCE = struct.Struct("<4xQ")

# A whole TCP header and the 12 bytes after it, read at once: version to type of service, total length, fragment field,
# TTL and protocol, the wire key, sequence, acknowledgment, offset with flags and window, checksum with urgent pointer,
# and what is the timestamp option if the header is 32 bytes long. The IPv6 one alike. The tag behind the packet makes
# it safe to read beyond a short one's end.
_IPV4 = struct.Struct(">HH2xHH2x12sIIII12s")
_IPV6 = struct.Struct(">IHH36sIIII12s")
_IPV4_MIN = _IPV4.size - TAG_SIZE
_IPV6_MIN = _IPV6.size - TAG_SIZE


def open_datagrams(
    buffer: bytearray | memoryview,
    segment_size: int,
    sessions: Mapping[int, Session],
    flows: FlowTable,
    now: float,
    out: Opened,
) -> None:
    """Open the datagrams in *buffer*, each of *segment_size* bytes but the last, and append what they hold to *out*.

    A *segment_size* of 0 means a single datagram. *sessions* maps receiver indices to sessions; one that is too old at
    *now* is as good as unknown. *buffer* is written to (plain text takes the place of cipher text), and
    ``out.packets`` points into it: it is the caller's again after handing those on. Whatever the datagrams hold,
    nothing is raised.

    No lock is needed, if each session's datagrams are opened by one thread: others may seal on the sessions, erase
    them and change the table meanwhile.
    """
    view = memoryview(buffer)
    total = len(view)
    step = segment_size or total or 1
    inbound = _Inbound(view, step, flows, now, out)
    drops = out.drops
    nonce, unpack_from = _NONCE.pack, _TRANSPORT.unpack_from
    session: Session | None = None
    current = -1  # what the datagrams of *session* begin with
    plains: list[int] = []  # where those of them that were authentic and new lie, without their message headers
    for start, end in zip(range(0, total, step), chain(range(step, total, step), [total]), strict=False):
        if end - start < TRANSPORT_MIN_SIZE:
            drops[PacketDrop.DATAGRAM_SHORT] += 1
            continue
        begin, counter = unpack_from(view, start)
        if begin != current:
            found = _receiver(begin, view[start:end], sessions, now, out)
            if found is None:
                continue
            inbound.deliver(session, plains)
            session, current, plains = found, begin, []
            decrypt_into, accept = found.opener.decrypt_into, found.replay.accept
        if counter >= REJECT_AFTER_MESSAGES:
            drops[PacketDrop.COUNTER_LIMIT] += 1
            continue
        plain = start + TRANSPORT_HEADER_SIZE
        try:
            decrypt_into(nonce(counter), view[plain:end], None, view[plain : end - TAG_SIZE])
        except InvalidTag:
            drops[PacketDrop.FORGED] += 1
            continue
        if accept(counter):
            plains.append(plain)
        else:
            drops[PacketDrop.REPLAYED] += 1
    inbound.deliver(session, plains)
    inbound.finish()


def _receiver(
    begin: int, datagram: memoryview, sessions: Mapping[int, Session], now: float, out: Opened
) -> Session | None:
    """The session that is to open *datagram*, whose first eight bytes are *begin*; None: it was put aside or dropped.

    A session that is too old opens nothing: the tick that forgets it may be late, above all after a sleep.
    """
    kind, receiver = begin & 0xFFFFFFFF, begin >> 32
    if kind == TYPE_TRANSPORT:
        session = sessions.get(receiver)
        if session is not None and not session.expired(now):
            return session
        out.drops[PacketDrop.UNKNOWN_SESSION] += 1
    elif TYPE_INITIATION <= kind <= TYPE_COOKIE_REPLY:
        out.control.append(bytes(datagram))
    else:
        out.drops[PacketDrop.DATAGRAM_TYPE] += 1
    return None


class _Inbound:
    """Decrypted packets on their way to the stack, with the TCP runs that are being merged."""

    __slots__ = ("flows", "now", "out", "runs", "step", "tcp4", "tcp6", "view")

    def __init__(self, view: memoryview, step: int, flows: FlowTable, now: float, out: Opened) -> None:
        self.view = view
        self.step = step
        self.flows = flows
        self.tcp4 = flows.inbound4[TCP]
        self.tcp6 = flows.inbound6[TCP]
        self.now = now
        self.out = out
        self.runs: dict[bytes, TcpRun] = {}

    def deliver(self, session: Session | None, starts: list[int]) -> None:
        """Deliver the plain texts at *starts*, all out of one session's datagrams."""
        if session is None or not starts:
            return
        packets = len(starts)
        largest, end = self.step - TRANSPORT_MIN_SIZE, len(self.view) - TAG_SIZE
        last = min(largest, end - starts[-1])
        if not last:  # a keepalive, after others if all are as small
            starts = starts[:-1] if largest else []
        self.out.received.append((session, packets, packets * self.step - (largest - last), len(starts)))
        chains: Chains | None = None
        number = 0
        while number < len(starts):
            start = starts[number]
            run = self._take(session, start, min(largest, end - start))
            number += 1
            if run is not None and vectorized.AVAILABLE and len(starts) - number >= _WORTH_CHAINS:
                if run.takes(run.size) < vectorized.FEW:
                    continue
                if chains is None:
                    from wiresock_py.datapath import merge_numpy  # only once it is needed, see cut.py

                    chains = merge_numpy.Chains(self.view, self.step, starts, run)
                number += chains.extend(run, number)

    def _take(self, session: Session, start: int, size: int) -> TcpRun | None:
        """Deliver the plain text at *start*: most often a TCP segment that continues a run, which is returned."""
        view = self.view
        first = view[start]
        if first == 0x45 and size >= _IPV4_MIN:
            kind, total, fragment, hops, key, sequence, acknowledgment, word, checksum, options = _IPV4.unpack_from(
                view, start
            )
            protocol, transport, flows = hops & 0xFF, 20, self.tcp4
        elif first >> 4 == 6 and size >= _IPV6_MIN:
            kind, total, hops, key, sequence, acknowledgment, word, checksum, options = _IPV6.unpack_from(view, start)
            protocol, transport, flows, fragment = hops >> 8, 40, self.tcp6, 0
            total += 40
        else:
            self._take_single(session, start, size)
            return None
        header = transport + (word >> 28) * 4
        if (
            protocol != TCP
            or word & (FLAGS ^ PUSH) != ACK
            or fragment & 0x3FFF
            or not transport + 20 <= header < total <= size
        ):
            self._take_single(session, start, size)
            return None
        if header != transport + 32:
            options = b"" if header == transport + 20 else bytes(view[start + transport + 20 : start + header])
        signature = kind, hops, fragment, acknowledgment, word | PUSH, options
        peer = session.peer
        payload = total - header
        if (run := self.runs.get(key)) is not None:
            if (
                sequence == run.expected
                and payload <= run.room
                and signature == run.signature
                and run.flow.peer is peer
            ):
                run.pieces.append(view[start + header : start + total])
                run.add(1, payload, sequence + word + checksum, word)
                return run
            self._close(key)
        flow = flows.get(key)
        if flow is None or flow.peer is not peer:
            self._take_single(session, start, size)
            return None
        run = TcpRun(flow, key, signature, view[start : start + total], transport, header, sequence, self.out.largest)
        self.runs[key] = run
        self.out.packets.append(run.pieces)
        return run

    def finish(self) -> None:
        """End all runs."""
        for key in list(self.runs):
            self._close(key)

    def _close(self, key: bytes) -> None:
        run = self.runs.pop(key)
        run.finish()
        run.flow.last_in = self.now

    def _take_single(self, session: Session, start: int, size: int) -> None:
        """Deliver a packet that is not part of a run, or leave it to the slow path."""
        view, out = self.view, self.out
        found = plain(view, start, size, ECHO_REPLIES)
        if found is None:
            self._leave(session, start, size)
            return
        protocol, transport, end, key = found
        by_key = (self.flows.inbound4 if view[start] < 0x50 else self.flows.inbound6)[protocol]
        flow = by_key.get(key)
        if flow is None:
            self._leave(session, start, end - start)
            return
        if flow.peer is not session.peer:
            out.drops[PacketDrop.FOREIGN_SOURCE] += 1
            return
        if protocol == TCP:
            if key in self.runs:
                self._close(key)
            flags = view[transport + 13]
            if flags & _STATE_FLAGS:
                if not may_arrive(flow, flags):
                    out.drops[PacketDrop.UNEXPECTED_SYN] += 1
                    return
                track_inbound(self.flows, flow, view, transport, flags)
        flow.last_in = self.now
        flow.packets_in += 1
        flow.bytes_in += end - start
        rewrite(view, start, transport, protocol, flow.in_wire, flow.in_address_delta, flow.in_delta)
        out.packets.append([view[start:end]])

    def _leave(self, session: Session, start: int, size: int) -> None:
        header = parse(self.view[start : start + size])
        if isinstance(header, PacketDrop):
            self.out.drops[header] += 1
        else:
            self.out.slow.append((session, bytes(self.view[start : start + header.length])))


def may_arrive(flow: Flow, flags: int) -> bool:
    """Whether a TCP packet with *flags* may come in on *flow*: a far end may connect only while we connect to it.

    A SYN at any other time could reach a listener that took over the port of a closed connection.
    """
    return flags & (SYN_FLAG | ACK_FLAG) != SYN_FLAG or flow.state == SYN_OUT


def track_inbound(flows: FlowTable, flow: Flow, packet: bytearray | memoryview, transport: int, flags: int) -> None:
    """Note what an inbound SYN, FIN or RST says of *flow*; a SYN's MSS is learned, and lowered to fit the tunnel."""
    if flags & SYN_FLAG:
        limit = mss_limit(flow.mtu, ipv6=flow.key.is_ipv6) if flow.mtu else MAX_PACKET
        flow.mss = clamp_mss(packet, transport, limit)
    flows.track(flow, flags, outbound=False)
