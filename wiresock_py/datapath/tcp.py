"""TCP options and resets."""

import struct

from wiresock_py.datapath.checksum import adjust, finish, pseudo_sum, word_sum
from wiresock_py.datapath.drops import PacketDrop
from wiresock_py.datapath.flows import ACK_FLAG, FIN_FLAG, RST_FLAG, SYN_FLAG, TCP, Flow
from wiresock_py.datapath.headers import IPV4_HEADER, IPV6_HEADER, TCP_HEADER, parse
from wiresock_py.datapath.ip import build
from wiresock_py.filters.base import Buffer
from wiresock_py.flow import FiveTuple

_END_OF_OPTIONS, _NO_OPERATION, _MAXIMUM_SEGMENT_SIZE = 0, 1, 2

_CHECKSUM = struct.Struct(">H")
_HEADER = struct.Struct(">HHIIBBHHH")


def clamp_mss(packet: bytearray | memoryview, transport: int, limit: int) -> int:
    """Lower the MSS option of the SYN whose TCP header starts at *transport* to *limit*; returns what it was.

    0 if there is none (none is inserted). The caller has checked that the TCP header lies within *packet* and that the
    packet has SYN. The checksum is adjusted, so a wrong one stays wrong.
    """
    position = transport + TCP_HEADER
    end = transport + (packet[transport + 12] >> 4) * 4
    while position + 1 < end:
        kind = packet[position]
        if kind == _END_OF_OPTIONS:
            break
        if kind == _NO_OPERATION:
            position += 1
            continue
        size = packet[position + 1]
        if size < 2 or position + size > end:
            break
        if kind == _MAXIMUM_SEGMENT_SIZE and size == 4:
            mss = (packet[position + 2] << 8) | packet[position + 3]
            if mss > limit:
                packet[position + 2 : position + 4] = limit.to_bytes(2, "big")
                delta = limit - mss if (position - transport) % 2 == 0 else (limit - mss) * 256
                (checksum,) = _CHECKSUM.unpack_from(packet, transport + 16)
                _CHECKSUM.pack_into(packet, transport + 16, adjust(checksum, delta))
            return mss
        position += size
    return 0


def mss_limit(mtu: int, *, ipv6: bool) -> int:
    """The largest segment that fits *mtu* with headers free of options (RFC 6691)."""
    return mtu - TCP_HEADER - (IPV6_HEADER if ipv6 else IPV4_HEADER)


def tcp_reset(packet: Buffer) -> bytes | None:
    """The RST with which the far end would refuse *packet*, a TCP packet of the host's stack (RFC 9293, 3.10.7.1).

    None where no reset may be sent: not TCP, a later fragment, a reset itself.
    """
    header = parse(packet)
    if isinstance(header, PacketDrop) or header.protocol != TCP or header.is_later_fragment:
        return None
    _, _, sequence, acknowledgment, offset, flags, *_ = _HEADER.unpack_from(packet, header.transport)
    if flags & RST_FLAG:
        return None
    there_and_back = header.five_tuple()
    if flags & ACK_FLAG:
        return _segment(there_and_back, acknowledgment, 0, RST_FLAG, to_stack=True)
    consumed = header.length - header.transport - (offset >> 4) * 4
    consumed += bool(flags & SYN_FLAG) + bool(flags & FIN_FLAG)
    return _segment(there_and_back, 0, sequence + consumed, RST_FLAG | ACK_FLAG, to_stack=True)


def abort(flow: Flow) -> tuple[bytes, bytes] | None:
    """Resets that end *flow* at both ends at once: (to the host's stack, into the tunnel).

    None if it is not TCP or no packet of it was seen going out. Each carries exactly the next sequence number its
    receiver expects of the other end, as far as packets seen tell, which RFC 5961 demands.
    """
    if flow.key.protocol != TCP or flow.sequence < 0:
        return None
    return (
        _segment(flow.key, flow.acknowledged, flow.sequence, RST_FLAG | ACK_FLAG, to_stack=True),
        _segment(flow.inner, flow.sequence, flow.acknowledged, RST_FLAG | ACK_FLAG, to_stack=False),
    )


def provoke(key: FiveTuple) -> tuple[bytes, bytes]:
    """Two packets for the host's stack that make it tell where the TCP connection *key* stands.

    What lies outside the window is answered with an acknowledgment that carries both sequence numbers (RFC 9293,
    3.10.7.4), and ``tcp_reset`` of that ends the connection. No window reaches from one of these two to the other.
    """
    first, second = (_segment(key, sequence, 0, ACK_FLAG, to_stack=True) for sequence in (0, 1 << 31))
    return first, second


def _segment(flow: FiveTuple, sequence: int, acknowledgment: int, flags: int, *, to_stack: bool) -> bytes:
    near, far = (flow.local, flow.local_port), (flow.remote, flow.remote_port)
    source, destination = (far, near) if to_stack else (near, far)
    numbers = sequence & 0xFFFFFFFF, acknowledgment & 0xFFFFFFFF
    segment = bytearray(_HEADER.pack(source[1], destination[1], *numbers, TCP_HEADER // 4 << 4, flags, 0, 0, 0))
    total = pseudo_sum(source[0], destination[0], TCP, TCP_HEADER) + word_sum(segment)
    _CHECKSUM.pack_into(segment, 16, finish(total))
    return build(source[0], destination[0], TCP, segment)
