"""From captured packets to sealed datagrams: translate, cut, pad, encrypt in place.

A TCP super-packet never exists in its cut form anywhere but in the output buffer: each segment's headers are written
there by one ``pack_into``, its payload is copied behind them, and the whole encrypted where it lies. A segment's
checksum is the sum of its payload plus a base summed once a super-packet.
"""

import struct
from collections.abc import Sequence
from functools import cache

from wiresock_py.crypto.constants import PADDING_MULTIPLE, REJECT_AFTER_MESSAGES, TAG_SIZE, TRANSPORT_HEADER_SIZE
from wiresock_py.crypto.session import Session
from wiresock_py.datapath.batch import DatagramBuffer
from wiresock_py.datapath.checksum import word_sum, word_sums
from wiresock_py.datapath.drops import PacketDrop
from wiresock_py.datapath.flows import ACK_FLAG, FIN_FLAG, RST_FLAG, SYN_FLAG, TCP, Flow, FlowTable
from wiresock_py.datapath.headers import EXTENSIONS, parse
from wiresock_py.datapath.rewrite import ADDRESSES_ONLY, complete, rewrite
from wiresock_py.datapath.tcp import clamp_mss, mss_limit
from wiresock_py.filters.base import Buffer, PacketBatch, PacketFlag

OVERHEAD = TRANSPORT_HEADER_SIZE + TAG_SIZE

# Linux' TCP_MIN_SND_MSS: a peer that announces less only wants to see us send headers.
MIN_SEGMENT = 48

_PARTIAL = int(PacketFlag.CHECKSUM_PARTIAL)

_PUSH_FLAG, _URGENT_FLAG, _CONGESTION_WINDOW_REDUCED_FLAG = 0x08, 0x20, 0x80
# Segmentation keeps these on the last segment, respectively on the first; the rest is copied to all.
_LAST_ONLY = FIN_FLAG | _PUSH_FLAG
_FIRST_ONLY = _CONGESTION_WINDOW_REDUCED_FLAG
_UNCUTTABLE = SYN_FLAG | RST_FLAG | _URGENT_FLAG

_ZEROS = bytes(PADDING_MULTIPLE)
_NONCE_PREFIX = bytes(4)

_IPV4 = struct.Struct(">2xH2xHxB")  # total length, fragment field, protocol
_IPV6 = struct.Struct(">4xHB")  # payload length, protocol
_FIELD = struct.Struct(">H")
_SEQUENCE = struct.Struct(">I")
_SEQUENCE_TO_FLAGS = struct.Struct(">IIBB")
_MESSAGE_HEADER = struct.Struct("<8sQ")


def seal(
    batch: PacketBatch,
    indices: Sequence[int],
    flow: Sequence[Flow | None],
    flows: FlowTable,
    session: Session,
    mtu: int,
    now: float,
    out: DatagramBuffer,
) -> list[int]:
    """Append the packets *indices* of *batch*, sealed, to *out*, and return the indices of those that are too large.

    *indices* and *flow* come from ``classify`` of this very batch (one entry of ``Classified.tunnel``, and
    ``Classified.flow``), or ``parse`` accepted the packets and the caller found their flows. TCP larger than *mtu*, or
    than the peer's MSS, is cut; anything else larger than *mtu* is not sealed but returned: it needs a too-big answer
    or fragmentation. Once the session's counter is used up the rest is listed in ``out.exhausted``.
    ``session.counter`` moves; the session is not to be used elsewhere meanwhile.
    """
    return _Sealing(batch, flows, session, PADDING_MULTIPLE, mtu, now, out).run(indices, flow)


def translate_batch(
    batch: PacketBatch, indices: Sequence[int], flow: Sequence[Flow | None], flows: FlowTable, mtu: int, now: float
) -> tuple[list[bytes], list[int]]:
    """The same packets in plain text, cut and translated, for staging without a session; and the oversized indices."""
    staging = _Staging()
    oversized = _Sealing(batch, flows, staging, 1, mtu, now, DatagramBuffer(0)).run(indices, flow)
    return staging.packets, oversized


class _Staging:
    """Stands in for a session where there is none yet: keeps the plain packets that would have been encrypted."""

    header = bytes(8)

    def __init__(self) -> None:
        self.sealer = self
        self.counter = 0
        self.packets: list[bytes] = []

    def encrypt_into(self, _nonce: Buffer, data: Buffer, _associated: None, _out: Buffer) -> None:
        self.packets.append(bytes(data))


class _Sealing:
    """One call of ``seal``: where packets come from and go to. Packets are padded to a *multiple* of bytes."""

    __slots__ = ("batch", "flows", "mtu", "multiple", "now", "out", "session")

    def __init__(
        self,
        batch: PacketBatch,
        flows: FlowTable,
        session: Session | _Staging,
        multiple: int,
        mtu: int,
        now: float,
        out: DatagramBuffer,
    ) -> None:
        self.batch = batch
        self.flows = flows
        self.session = session
        self.multiple = multiple
        self.mtu = mtu
        self.now = now
        self.out = out

    def run(self, indices: Sequence[int], flows: Sequence[Flow | None]) -> list[int]:
        """Seal the packets *indices*; returns those that are too large."""
        data, offsets = self.batch.data, self.batch.offset
        oversized = []
        for i in indices:
            flow = flows[i]
            if flow is None:
                continue
            flow.last_out = self.now
            start = offsets[i]
            first = data[start]
            odd = True
            if first == 0x45:
                size, fragment, protocol = _IPV4.unpack_from(data, start)
                transport, end = start + 20, start + size
                odd = bool(fragment & 0x3FFF)
            elif first >= 0x60:
                size, protocol = _IPV6.unpack_from(data, start)
                transport, end = start + 40, start + 40 + size
                odd = protocol in EXTENSIONS
            if odd:
                header = parse(data[start : start + self.batch.length[i]])
                if isinstance(header, PacketDrop):
                    self.out.drops[header] += 1
                    continue
                protocol = ADDRESSES_ONLY if header.is_later_fragment else header.protocol
                transport, end = start + header.transport, start + header.length
            if protocol == TCP:
                fits = self._seal_tcp(i, start, transport, end, flow, is_plain=not odd)
            elif fits := end - start <= self.mtu:
                self._seal_whole(i, start, transport, end, protocol, flow)
            if not fits:
                oversized.append(i)
        return oversized

    def _seal_tcp(self, i: int, start: int, transport: int, end: int, flow: Flow, *, is_plain: bool) -> bool:
        """Seal a TCP packet, cut if need be; False if it would have to be and cannot."""
        data = self.batch.data
        sequence, acknowledged, offset, flags = _SEQUENCE_TO_FLAGS.unpack_from(data, transport + 4)
        payload = transport + (offset >> 4) * 4
        flow.sequence = sequence + end - payload
        flow.acknowledged = acknowledged
        if flags & (SYN_FLAG | FIN_FLAG | RST_FLAG):
            track_outbound(self.flows, flow, flags, sequence, self.mtu)
        limit = self.mtu - (payload - start)
        if flow.mss:  # the MSS does not count options, a segment does (RFC 6691)
            limit = min(limit, max(flow.mss - (payload - transport - 20), MIN_SEGMENT))
        if end - payload <= limit:
            self._seal_whole(i, start, transport, end, TCP, flow, is_syn=bool(flags & SYN_FLAG))
        elif not is_plain or flags & _UNCUTTABLE or limit < MIN_SEGMENT:
            return False
        elif not self.batch.flags[i] & _PARTIAL and not _is_sound(data, start, transport, end):
            self.out.drops[PacketDrop.BAD_CHECKSUM] += 1
        elif self.session.counter + -(-(end - payload) // limit) > REJECT_AFTER_MESSAGES:
            self.out.exhausted.append(i)
        else:
            self._seal_cut(start, transport, payload, end, flow, limit)
        return True

    def _seal_whole(
        self, i: int, start: int, transport: int, end: int, protocol: int, flow: Flow, *, is_syn: bool = False
    ) -> None:
        """Translate and seal one packet that fits."""
        session, out, multiple = self.session, self.out, self.multiple
        counter = session.counter
        if counter >= REJECT_AFTER_MESSAGES:
            out.exhausted.append(i)
            return
        size = end - start
        padded = min(-(-size // multiple) * multiple, self.mtu)
        out.reserve(padded + OVERHEAD)
        view = out.view
        at = out.end
        body = at + TRANSPORT_HEADER_SIZE
        view[body : body + size] = self.batch.data[start:end]
        transport += body - start
        rewrite(view, body, transport, protocol, flow.out_wire, flow.out_address_delta, flow.out_delta)
        if self.batch.flags[i] & _PARTIAL:
            complete(view, transport, body + size, protocol, flow.out_addresses_sum)
        if is_syn:
            clamp_mss(view, transport, mss_limit(self.mtu, ipv6=view[body] >= 0x60))
        if padded > size:
            view[body + size : body + padded] = _ZEROS[: padded - size]
        _MESSAGE_HEADER.pack_into(view, at, session.header, counter)
        session.sealer.encrypt_into(
            _NONCE_PREFIX + counter.to_bytes(8, "little"),
            view[body : body + padded],
            None,
            view[body : body + padded + TAG_SIZE],
        )
        session.counter = counter + 1
        out.enter(1, padded + OVERHEAD)
        flow.packets_out += 1
        flow.bytes_out += size

    def _seal_cut(self, start: int, transport: int, payload: int, end: int, flow: Flow, limit: int) -> None:
        """Translate and seal a TCP packet in segments of *limit* bytes of payload each but the last."""
        data, session, out, multiple, mtu = self.batch.data, self.session, self.out, self.multiple, self.mtu
        header = payload - start
        count = -(-(end - payload) // limit)
        ipv6 = transport - start == 40
        pack_into = _segment_headers(header, ipv6=ipv6).pack_into

        # What all segments share, and its sums.
        head = bytes(data[start:payload])
        tcp = transport - start
        wire = flow.out_wire
        first, (identification,), middle = head[: 4 if ipv6 else 2], _FIELD.unpack_from(head, 4), head[6:10]
        (sequence,) = _SEQUENCE.unpack_from(head, tcp + 4)
        acknowledgment, window, rest = head[tcp + 8 : tcp + 12], head[tcp + 14 : tcp + 16], head[tcp + 18 :]
        offset, flags = head[tcp + 12], head[tcp + 13]
        ip_sum = word_sum(first + middle + wire[:8])
        tcp_sum = word_sum(wire + acknowledgment + bytes((offset, 0)) + window + rest) + TCP + header - tcp
        last_flags, flags = flags & _LAST_ONLY, flags & ~_LAST_ONLY

        size = limit
        length = header + size
        padded = full = min(-(-length // multiple) * multiple, mtu)
        padding = _ZEROS[: padded - length]
        out.reserve(count * (padded + OVERHEAD))
        view, at = out.view, out.end
        counter, session_header, encrypt_into = session.counter, session.header, session.sealer.encrypt_into
        sums = iter(word_sums(data[payload:end], limit))
        for place in range(payload, end, limit):
            if place + limit >= end:
                flags |= last_flags
                size = end - place
                length = header + size
                padded = min(-(-length // multiple) * multiple, mtu)
                padding = _ZEROS[: padded - length]
            piece = data[place : place + size]
            checksum = -(tcp_sum + size + sequence + flags + next(sums)) % 65535
            number = counter.to_bytes(8, "little")
            if ipv6:
                pack_into(
                    view, at, session_header, number, first, length - 40, middle[:2], wire,
                    sequence, acknowledgment, offset, flags, window, checksum, rest,
                )  # fmt: skip
            else:
                pack_into(
                    view, at, session_header, number, first, length, identification, middle,
                    -(ip_sum + length + identification) % 65535, wire,
                    sequence, acknowledgment, offset, flags, window, checksum, rest,
                )  # fmt: skip
                identification = (identification + 1) & 0xFFFF
            at += TRANSPORT_HEADER_SIZE
            view[at + header : at + length] = piece
            if padding:
                view[at + length : at + padded] = padding
            encrypt_into(_NONCE_PREFIX + number, view[at : at + padded], None, view[at : at + padded + TAG_SIZE])
            at += padded + TAG_SIZE
            counter += 1
            sequence = (sequence + size) & 0xFFFFFFFF
            flags &= ~_FIRST_ONLY
        session.counter = counter
        out.enter(count - 1, full + OVERHEAD)
        out.enter(1, padded + OVERHEAD)
        flow.packets_out += count
        flow.bytes_out += end - payload + count * header


def track_outbound(flows: FlowTable, flow: Flow, flags: int, sequence: int, mtu: int) -> None:
    """Note what an outbound SYN, FIN or RST, whose payload ``flow.sequence`` counts already, says of *flow*."""
    flow.sequence += bool(flags & SYN_FLAG) + bool(flags & FIN_FLAG)
    if flags & SYN_FLAG and not flags & ACK_FLAG:
        flow.begins(sequence)
        flow.mtu = mtu
    flows.track(flow, flags, outbound=True)


def _is_sound(data: memoryview, start: int, transport: int, end: int) -> bool:
    """Whether the TCP checksum is right: cut segments get new ones, and a wrong one must not be repaired by that."""
    addresses = data[start + 12 : transport] if transport - start == 20 else data[start + 8 : transport]
    return (word_sum(addresses) + TCP + end - transport + word_sum(data[transport:end])) % 65535 == 0


@cache
def _segment_headers(header: int, *, ipv6: bool) -> struct.Struct:
    """The layout of a datagram up to the TCP payload in it; the IP and TCP headers together are *header* bytes."""
    if ipv6:
        return struct.Struct(f">8s8s 4sH2s36sI4sBB2sH{header - 58}s")
    return struct.Struct(f">8s8s 2sHH4sH12sI4sBB2sH{header - 38}s")
