"""Datagrams that the host's stack sent in fragments, put together again: only whole ones have ports to decide by.

The stack sends the fragments of a datagram one after the other, so most are complete within one batch. What stays
incomplete, overlaps or contradicts itself (RFC 5722) is dropped whole.
"""

import struct
from dataclasses import dataclass, field

from wiresock_py.filters.base import MAX_PACKET

MAX_DATAGRAMS = 16
"""In the making at a time; the oldest goes."""
PATIENCE = 2.0
"""Seconds for a datagram to be complete."""
IPV6_FRAGMENT = 44
_IPV6_HEADER, _FRAGMENT_HEADER = 40, 8
_MORE4, _OFFSET4 = 0x2000, 0x1FFF
_FIELD = struct.Struct(">H")


@dataclass(slots=True)
class Datagram:
    """One in the making."""

    since: float
    header: bytes = b""
    """The first fragment's IP header, as the whole packet's will be but for length and checksum."""
    size: int = -1
    """Bytes of payload of the whole; -1 until the last fragment told."""
    pieces: dict[int, bytes] = field(default_factory=dict)
    """Payloads by their offsets."""
    frames: list[bytes] = field(default_factory=list)
    """What was captured, in order."""

    def is_complete(self) -> bool:
        return bool(self.header) and sum(map(len, self.pieces.values())) == self.size

    def whole(self) -> bytes | None:
        """The packet; None if its pieces do not lie side by side, or are too many."""
        at = 0
        for offset in sorted(self.pieces):
            if offset != at:
                return None
            at += len(self.pieces[offset])
        packet = bytearray(self.header)
        packet += b"".join(self.pieces[offset] for offset in sorted(self.pieces))
        if len(packet) > MAX_PACKET:
            return None
        if packet[0] >> 4 == 6:
            _FIELD.pack_into(packet, 4, len(packet) - _IPV6_HEADER)
        else:
            _FIELD.pack_into(packet, 2, len(packet))
            size = len(self.header)
            _FIELD.pack_into(packet, 10, -int.from_bytes(packet[:size], "big") % 65535)
        return bytes(packet)


class Reassembly:
    """Belongs to one thread."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, Datagram] = {}
        self.lost = 0
        """Fragments of datagrams that did not become whole."""

    def add(self, packet: memoryview, frame: bytes, now: float) -> tuple[bytes, list[bytes]] | None:
        """Take in a fragment and the *frame* it came in; the whole packet and all its frames if this was the last.

        A *packet* that is no fragment after all, or is cut off, is lost.
        """
        for key in [key for key, datagram in self._waiting.items() if now - datagram.since > PATIENCE]:
            self._forget(key)
        found = _dissect(packet)
        if found is None:
            self.lost += 1
            return None
        key, offset, more, header, payload = found
        datagram = self._waiting.get(key)
        if datagram is None:
            if len(self._waiting) >= MAX_DATAGRAMS:
                self._forget(next(iter(self._waiting)))
            datagram = self._waiting[key] = Datagram(now)
        end = offset + len(payload)
        datagram.frames.append(frame)
        if offset in datagram.pieces or (not more and datagram.size >= 0) or end > MAX_PACKET:
            self._forget(key)
            return None
        datagram.pieces[offset] = payload
        if not offset:
            datagram.header = header
        if not more:
            datagram.size = end
        if not datagram.is_complete():
            return None
        whole = datagram.whole()
        if whole is None:
            self._forget(key)
            return None
        del self._waiting[key]
        return whole, datagram.frames

    def _forget(self, key: bytes) -> None:
        self.lost += len(self._waiting.pop(key).frames)


def _dissect(packet: memoryview) -> tuple[bytes, int, bool, bytes, bytes] | None:
    """(what all fragments share, offset, whether more follow, header for the whole, payload); None if it is no
    sound fragment."""
    if packet[0] >> 4 == 4:
        (total,), (word,) = _FIELD.unpack_from(packet, 2), _FIELD.unpack_from(packet, 6)
        start, offset, more = (packet[0] & 15) * 4, (word & _OFFSET4) * 8, bool(word & _MORE4)
        header = bytes(packet[:6]) + bytes(2) + bytes(packet[8:10]) + bytes(2) + bytes(packet[12:start])
        key = bytes(packet[4:6]) + bytes(packet[9:10]) + bytes(packet[12:20])
    elif packet[0] >> 4 == 6 and len(packet) >= _IPV6_HEADER + _FRAGMENT_HEADER and packet[6] == IPV6_FRAGMENT:
        (length,), (word,) = _FIELD.unpack_from(packet, 4), _FIELD.unpack_from(packet, 42)
        total, start = _IPV6_HEADER + length, _IPV6_HEADER + _FRAGMENT_HEADER
        offset, more = word & ~7, bool(word & 1)
        header = bytes(packet[:6]) + bytes(packet[40:41]) + bytes(packet[7:40])
        key = bytes(packet[44:48]) + bytes(packet[8:40])
    else:
        return None
    payload = bytes(packet[start:total])
    # every fragment but the last is a multiple of eight bytes long
    if not 20 <= start < total <= len(packet) or (more and len(payload) % 8) or not (more or offset):
        return None
    return key, offset, more, header, payload
