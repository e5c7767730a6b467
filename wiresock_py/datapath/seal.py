"""From captured packets to sealed datagrams: translate, cut, pad, encrypt in place."""

import struct
from collections.abc import Sequence

from wiresock_py.crypto.constants import PADDING_MULTIPLE, REJECT_AFTER_MESSAGES, TAG_SIZE, TRANSPORT_HEADER_SIZE
from wiresock_py.crypto.session import Session
from wiresock_py.datapath.batch import DatagramBuffer
from wiresock_py.datapath.checksum import word_sum
from wiresock_py.datapath.cut import Cut
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

_URGENT_FLAG = 0x20
_UNCUTTABLE = SYN_FLAG | RST_FLAG | _URGENT_FLAG

_ZEROS = bytes(PADDING_MULTIPLE)

_IPV4 = struct.Struct(">2xH2xHxB")  # total length, fragment field, protocol
_IPV6 = struct.Struct(">4xHB")  # payload length, protocol
_SEQUENCE_TO_FLAGS = struct.Struct(">IIBB")
_MESSAGE_HEADER = struct.Struct("<8sQ")
_NONCE = struct.Struct("<4xQ")


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
    or fragmentation. What the session has no counters left for is dropped.
    ``session.counter`` moves; the session is not to be used elsewhere meanwhile, so the caller holds the lock around
    it. Until ``out.encrypt()``, for which no lock is needed, the batch has to stay as it is.
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
            self.out.drops[PacketDrop.COUNTER_EXHAUSTED] += 1
        else:
            self._seal_cut(start, transport, payload, end, flow, limit)
        return True

    def _seal_whole(
        self, i: int, start: int, transport: int, end: int, protocol: int, flow: Flow, *, is_syn: bool = False
    ) -> None:
        """Translate and seal one packet that fits."""
        session, out = self.session, self.out
        counter = session.counter
        if counter >= REJECT_AFTER_MESSAGES:
            out.drops[PacketDrop.COUNTER_EXHAUSTED] += 1
            return
        size = end - start
        out.reserve(size + self.multiple + OVERHEAD)
        view = out.view
        body = out.end + TRANSPORT_HEADER_SIZE
        view[body : body + size] = self.batch.data[start:end]
        transport += body - start
        rewrite(view, body, transport, protocol, flow.out_wire, flow.out_address_delta, flow.out_delta)
        if self.batch.flags[i] & _PARTIAL:
            complete(view, transport, body + size, protocol, flow.out_addresses_sum)
        if is_syn:
            clamp_mss(view, transport, mss_limit(self.mtu, ipv6=view[body] >= 0x60))
        _MESSAGE_HEADER.pack_into(view, out.end, session.header, counter)
        self._encrypt(body, size)
        flow.packets_out += 1
        flow.bytes_out += size

    def _seal_cut(self, start: int, transport: int, payload: int, end: int, flow: Flow, limit: int) -> None:
        """Translate and seal a TCP packet in segments of *limit* bytes of payload each but the last."""
        session, out = self.session, self.out
        cut = Cut(self.batch.data[start:end], transport - start, payload - start, limit, flow.out_wire)
        length = cut.header + limit
        padded = self._padded(length)
        stride = padded + OVERHEAD
        out.reserve(cut.count * stride)
        view, at, counter = out.view, out.end, session.counter
        cut.write(view, at, stride, session.header, counter)
        encrypt_into, nonce = session.sealer.encrypt_into, _NONCE.pack
        at += TRANSPORT_HEADER_SIZE
        last = session.counter = counter + cut.count - 1
        for number in range(counter, last):
            if padded > length:
                view[at + length : at + padded] = _ZEROS[: padded - length]
            encrypt_into(nonce(number), view[at : at + padded], None, view[at : at + padded + TAG_SIZE])
            at += stride
        out.enter(cut.count - 1, stride)
        self._encrypt(at, cut.header + cut.rest)
        flow.packets_out += cut.count
        flow.bytes_out += end - payload + cut.count * cut.header

    def _encrypt(self, body: int, size: int) -> None:
        """Pad and encrypt the packet of *size* bytes at *body*, behind a message header, and count it."""
        session, view = self.session, self.out.view
        counter = session.counter
        padded = self._padded(size)
        if padded > size:
            view[body + size : body + padded] = _ZEROS[: padded - size]
        session.sealer.encrypt_into(
            _NONCE.pack(counter), view[body : body + padded], None, view[body : body + padded + TAG_SIZE]
        )
        session.counter = counter + 1
        self.out.enter(1, padded + OVERHEAD)

    def _padded(self, size: int) -> int:
        """The size of a packet of *size* bytes with its padding, which the MTU may cut short."""
        return min(-(-size // self.multiple) * self.multiple, self.mtu)


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
