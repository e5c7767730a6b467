"""Whether the checksums of captured packets can be believed: a stack whose adapter computes them leaves them undone.

The driver's documentation is silent about it, and its author's programs send captured packets on as they are, so
complete checksums are the rule here; but that is not trusted. The first packets of an adapter are verified, later one
of each batch; once a checksum is found undone, every packet of that adapter is verified.
"""

import struct
from collections.abc import Iterable

from wiresock_py.filters.base import PacketBatch, PacketFlag

# Packets of an adapter that are all verified before one of each batch is enough.
FIRST = 64
TCP, UDP, ICMPV6 = 6, 17, 58
_PLACE = {TCP: 16, UDP: 6, ICMPV6: 2}
_PARTIAL = int(PacketFlag.CHECKSUM_PARTIAL)
_FIELD = struct.Struct(">H")
_IPV4 = struct.Struct(">BxH2xHxB")  # version and header length, total length, fragment field, protocol
_IPV6 = struct.Struct(">4xHB")  # payload length, next header


class Checksums:
    """Watches over the adapters' packets. Belongs to the thread that reads them."""

    def __init__(self) -> None:
        self._verified: dict[int, int] = {}
        self._undone: set[int] = set()
        """Interface indices of adapters that have left a checksum undone."""
        self._turn = 0

    def inspect(self, batch: PacketBatch) -> None:
        """Flag what is found undone, and make it partial in the way of the flag: the pseudo-header's sum alone."""
        count = len(batch)
        self._turn += 1
        single = self._turn % count
        for index in set(batch.adapter):
            seen = self._verified.get(index, 0)
            if index in self._undone or seen < FIRST:
                self._verified[index] = seen + count
                self._verify(batch, range(count), index)
            elif batch.adapter[single] == index:
                self._verify(batch, (single,), index)

    def _verify(self, batch: PacketBatch, positions: Iterable[int], index: int) -> None:
        for i in positions:
            if batch.adapter[i] != index:
                continue
            start = batch.offset[i]
            packet = batch.data[start : start + batch.length[i]]
            header_done = _finish_header(packet)
            if not _is_done(packet):
                batch.flags[i] |= _PARTIAL
                self._undone.add(index)
            elif not header_done:
                self._undone.add(index)


def _finish_header(packet: memoryview) -> bool:
    """Whether an IPv4 header's checksum was right; it is now."""
    if packet[0] >> 4 != 4:
        return True
    end = (packet[0] & 15) * 4
    if not 20 <= end <= len(packet) or not _sum(packet[:end]):
        return True
    packet[10:12] = bytes(2)
    _FIELD.pack_into(packet, 10, -_sum(packet[:end]) % 65535)
    return False


def _is_done(packet: memoryview) -> bool:
    """Whether the transport checksum covers the packet. If not, it holds the pseudo-header's sum afterwards.

    True for what has none, or whose checksum covers more than is here.
    """
    found = _transport(packet)
    if found is None:
        return True
    protocol, start, end, addresses = found
    place = start + _PLACE[protocol]
    (field,) = _FIELD.unpack_from(packet, place)
    if protocol == UDP and not field and packet[0] >> 4 == 4:
        return True  # the sender computed none
    pseudo = (_sum(addresses) + protocol + end - start) % 65535
    if (pseudo + _sum(packet[start:end])) % 65535 == 0:
        return True
    _FIELD.pack_into(packet, place, pseudo)
    return False


def _transport(packet: memoryview) -> tuple[int, int, int, memoryview] | None:
    """(protocol, start, end, addresses) of a whole transport segment whose checksum we know; None for others."""
    if packet[0] >> 4 == 4:
        first, end, fragment, protocol = _IPV4.unpack_from(packet)
        start, addresses = (first & 15) * 4, packet[12:20]
        if fragment & 0x3FFF or protocol == ICMPV6:
            return None
    elif len(packet) >= 40:
        end, protocol = _IPV6.unpack_from(packet)
        start, end, addresses = 40, end + 40, packet[8:40]
    else:
        return None
    if protocol not in _PLACE or not start + _PLACE[protocol] + 2 <= end <= len(packet):
        return None
    return protocol, start, end, addresses


def _sum(data: memoryview) -> int:
    """The ones-complement sum of the words of *data* (RFC 1071), modulo 65,535."""
    return (int.from_bytes(data, "big") << 8 * (len(data) & 1)) % 65535
