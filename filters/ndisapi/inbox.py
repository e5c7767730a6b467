"""Captured packets: read in batches over all adapters, shown where they lie, and sent on as their verdicts say.

A batch is one request each way. Where it is of the ordinary kind, plain IP frames of one adapter to a known router, its
columns are made by a handful of operations on all of it, or by compiled code; anything else is looked at one by one.
"""

import struct
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from time import monotonic

from wiresock_py.filters.base import PacketBatch, Verdict
from wiresock_py.filters.ndisapi.adapters import Direction
from wiresock_py.filters.ndisapi.api import NdisApi
from wiresock_py.filters.ndisapi.attachments import ETHERNET_HEADER, Attachment
from wiresock_py.filters.ndisapi.checksums import Checksums
from wiresock_py.filters.ndisapi.device import DeviceError, EventHandle
from wiresock_py.filters.ndisapi.next_hops import NextHops
from wiresock_py.filters.ndisapi.outbox import ETHERTYPES, IPV4_HEADER
from wiresock_py.filters.ndisapi.packets import FRAME, STRIDE, PacketBlock
from wiresock_py.filters.ndisapi.raw.constants import MAX_ETHER_FRAME
from wiresock_py.filters.ndisapi.reassembly import IPV6_FRAGMENT, Reassembly
from wiresock_py.filters.plan import PORTED
from wiresock_py.flow import FiveTuple

DROP, BYPASS = int(Verdict.DROP), int(Verdict.BYPASS)
SEND = int(Direction.SEND)
IPV4, IPV6 = ETHERTYPES[4], ETHERTYPES[6]
IP = frozenset((IPV4, IPV6))
# 802.1Q and 802.1ad: a tag of four bytes, then another type.
TAGS = frozenset((b"\x81\x00", b"\x88\xa8"))
MAX_TAGS = 2
# Reads in a row that may bring nothing for us before ``receive`` ends, so that a flood of it does not keep its caller.
PATIENCE = 16
SMALLEST = ETHERNET_HEADER + IPV4_HEADER
# Room for datagrams that came in fragments, beside a batch.
WHOLE_ROOM = 512 * 1024
# Of each INTERMEDIATE_BUFFER: m_hAdapter, m_dwDeviceFlags, m_Length, m_8021q; of its frame: destination, type,
# and, in the IP header, the fragment field of IPv4 or the next header of IPv6.
_HEADS = struct.Struct(f"<Q8xII4xI20x6s6x2s6x2s{STRIDE - FRAME - ETHERNET_HEADER - 8}x")
_PORTS = struct.Struct(">HH")
# (frames as the driver has them, bytes from one to the next, MACs of routers) -> lengths of their packets, see below
Plain = Callable[[memoryview, int, frozenset[bytes]], list[int] | None]


class Inbox:
    """The driver's queue, from our side. ``receive`` and ``finish`` belong to one thread."""

    def __init__(
        self, api: NdisApi, next_hops: NextHops, capacity: int, stopped: EventHandle, *, compiled: bool = False
    ) -> None:
        """*stopped* ends a wait. Makes an event of its own, ``queued``, which ``close`` closes.

        *compiled*: whether there is the compiled ``plain_lengths``.
        """
        self._plain_lengths: Plain = plain_lengths
        if compiled:
            from wiresock_py import _native  # only here is it known to be there

            self._plain_lengths = _native.plain_lengths
        self._api = api
        self._next_hops = next_hops
        self._checksums = Checksums()
        self._reassembly = Reassembly()
        self._block = PacketBlock(capacity, WHOLE_ROOM)
        self._whole: list[list[bytes]] = []
        """The frames of each datagram that was put together; their tokens lie above the block's."""
        self._whole_end = 0
        self._resent = PacketBlock(capacity)
        self._batch = PacketBatch(self._block.data)
        self._offsets = [self._block.frame_offset(i) + ETHERNET_HEADER for i in range(capacity)]
        self._stopped = stopped
        self.queued = api.create_event()
        self.adapters: Mapping[int, Attachment] = {}
        """Whose packets are ours, by handle; replaced, never changed."""
        self.counters = Counter(
            captured=0, passed=0, bypassed=0, dropped=0, truncated=0, malformed=0, not_ip=0, foreign=0, not_passed=0
        )
        self.read = 0
        """Packets taken from the driver, fragments one by one."""

    @property
    def fragments_lost(self) -> int:
        """Of datagrams that did not become whole."""
        return self._reassembly.lost

    def close(self) -> None:
        """After the driver was told to forget the event."""
        self._api.close_event(self.queued)

    def receive(self, timeout: float) -> PacketBatch | None:
        """The next batch, waiting up to *timeout* seconds."""
        if batch := self._next():
            return batch
        for seconds in (0.0, timeout):
            if self._api.wait((self._stopped, self.queued), seconds) == 0:
                return None
            self._api.reset_event(self.queued)  # before reading: what comes now sets it again
            if batch := self._next():
                return batch
        return None

    def finish(self, batch: PacketBatch) -> list[FiveTuple]:
        """Carry out the verdicts; returns the flows that need not be shown any more."""
        tokens, verdicts = batch.token, batch.verdict
        if not tokens:
            return []
        dropped = verdicts.count(DROP)
        bypassed = verdicts.count(BYPASS)
        counters = self.counters
        counters["dropped"] += dropped
        counters["bypassed"] += bypassed
        counters["passed"] += len(verdicts) - dropped - bypassed
        flows = []
        if dropped < len(verdicts):
            going = [token for token, verdict in zip(tokens, verdicts, strict=True) if verdict != DROP]
            if self._whole:
                self._send_again([frame for token in going for frame in self._frames(token)])
                going = [token for token in going if token < self._block.capacity]
            if going:
                self._pass_on(going)
            if bypassed:
                flows = [_flow(batch, i) for i, verdict in enumerate(verdicts) if verdict == BYPASS]
        tokens.clear()  # decided: nothing is sent twice
        return [flow for flow in flows if flow is not None]

    def _next(self) -> PacketBatch | None:
        """The next batch of the queue that has packets for us in it."""
        batch = self._batch
        batch.clear()
        for _ in range(PATIENCE):
            count = self._api.read_unsorted(self._block)
            if not count:
                return None
            self.read += count
            self._sort(count)
            if batch.offset:
                self.counters["captured"] += len(batch)
                self._checksums.inspect(batch)
                return batch
        return None

    def _sort(self, count: int) -> None:
        """Fill the batch from the block."""
        self._whole.clear()
        self._whole_end = self._block.capacity * STRIDE
        frames = self._block.data[: count * STRIDE]
        attachment = self.adapters.get(self._block.adapter(0))
        lengths = None if attachment is None else self._plain_lengths(frames, STRIDE, self._next_hops.routers)
        if attachment is not None and lengths is not None:
            batch = self._batch
            batch.offset += self._offsets[:count]
            batch.length += lengths
            batch.flags += [0] * count
            batch.adapter += [attachment.index] * count
            batch.token += range(count)
            batch.verdict += [DROP] * count
        else:
            handles, directions, sizes, tags, *_ = zip(*_HEADS.iter_unpack(frames), strict=True)
            self._sort_singly(handles, directions, sizes, tags)

    def _sort_singly(
        self, handles: Sequence[int], directions: Sequence[int], lengths: Sequence[int], tags: Sequence[int]
    ) -> None:
        others: list[int] = []
        arrived: list[int] = []
        for i, (handle, direction, length, tag) in enumerate(zip(handles, directions, lengths, tags, strict=True)):
            attachment = self.adapters.get(handle)
            if length > MAX_ETHER_FRAME:
                self.counters["truncated"] += 1  # a jumbo build's frame: the driver itself could not take it back
            elif length < ETHERNET_HEADER:
                self.counters["malformed"] += 1
            elif direction != SEND:
                arrived.append(i)
            elif attachment is None:
                self.counters["foreign"] += 1
                others.append(i)
            elif not self._take(i, attachment, length, tag):
                self.counters["not_ip"] += 1
                others.append(i)
        if others:
            self._pass_on(others)
        if arrived:  # captured in another program's name, but ours to give back now that we have them
            self.counters["foreign"] += len(arrived)
            self._pass_on(arrived, self._api.send_unsorted_to_stack)

    def _take(self, i: int, attachment: Attachment, length: int, tag: int) -> bool:
        """Show a frame's packet; False if there is none in it."""
        batch = self._batch
        frame = self._block.frame_offset(i)
        link = _link_length(batch.data[frame : frame + length])
        if not link or length < link + IPV4_HEADER:
            return False
        packet = frame + link
        version = batch.data[packet] >> 4
        destination = batch.data[packet + 16 : packet + 20] if version == 4 else batch.data[packet + 24 : packet + 40]
        self._next_hops.learn(attachment, bytes(batch.data[frame:packet]), bytes(destination), tag)
        if _is_fragment(IPV4 if version == 4 else IPV6, bytes(batch.data[packet + 6 : packet + 8])):
            self._put_together(i, attachment, batch.data[packet : frame + length])
        else:
            self._show(packet, length - link, attachment, i)
        return True

    def _show(self, offset: int, length: int, attachment: Attachment, token: int) -> None:
        batch = self._batch
        batch.offset.append(offset)
        batch.length.append(length)
        batch.flags.append(0)
        batch.adapter.append(attachment.index)
        batch.token.append(token)
        batch.verdict.append(DROP)

    def _put_together(self, i: int, attachment: Attachment, packet: memoryview) -> None:
        """Show a datagram that came in fragments once it is whole."""
        found = self._reassembly.add(packet, self._block.copy(i), monotonic())
        if found is None:
            return
        whole, frames = found
        start, end = self._whole_end, self._whole_end + len(whole)
        if end > len(self._block.data):
            self._reassembly.lost += len(frames)
            return
        self._block.data[start:end] = whole
        self._whole_end = end
        self._show(start, len(whole), attachment, self._block.capacity + len(self._whole))
        self._whole.append(frames)

    def _frames(self, token: int) -> list[bytes]:
        """Those of a datagram that was put together; none for other packets."""
        number = token - self._block.capacity
        return self._whole[number] if number >= 0 else []

    def _send_again(self, frames: Sequence[bytes]) -> None:
        """Fragments on their way, as they were."""
        block = self._resent
        for at in range(0, len(frames), block.capacity):
            block.clear()
            for frame in frames[at : at + block.capacity]:
                block.append_copy(frame)
            try:
                taken = self._api.send_unsorted_to_adapters(block)
            except DeviceError:
                taken = 0
            self.counters["not_passed"] += len(block) - taken

    def _pass_on(self, indices: Sequence[int], send: Callable[[PacketBlock, Sequence[int]], int] | None = None) -> None:
        """On their way, to the network unless *send* says otherwise."""
        try:
            taken = (send or self._api.send_unsorted_to_adapters)(self._block, indices)
        except DeviceError:  # the adapter has gone, or the driver has no memory
            taken = 0
        self.counters["not_passed"] += len(indices) - taken


def plain_lengths(frames: memoryview, _stride: int, routers: frozenset[bytes]) -> list[int] | None:
    """How long the IP packets of a block are, if all of it is of the ordinary kind; None if not."""
    handles, directions, lengths, tags, to, kinds, fields = zip(*_HEADS.iter_unpack(frames), strict=True)
    if (
        handles.count(handles[0]) == len(handles)
        and directions.count(SEND) == len(handles)
        and IP.issuperset(kinds)
        and routers.issuperset(to)
        and min(lengths) >= SMALLEST
        and max(lengths) <= MAX_ETHER_FRAME
        and not any(tags)
        and not any(_is_fragment(kind, field) for kind, field in set(zip(kinds, fields, strict=True)))
    ):
        return [length - ETHERNET_HEADER for length in lengths]
    return None


def _is_fragment(kind: bytes, field: bytes) -> bool:
    """By the bytes 6 and 7 of its IP header."""
    return bool(field[0] & 0x3F or field[1]) if kind == IPV4 else field[0] == IPV6_FRAGMENT


def _link_length(frame: memoryview) -> int:
    """Bytes before the IP header; 0 if the frame holds no IP packet."""
    at = ETHERNET_HEADER - 2
    for _ in range(MAX_TAGS + 1):
        kind = bytes(frame[at : at + 2])
        if kind in IP:
            return at + 2
        if kind not in TAGS:
            return 0
        at += 4
    return 0


def _flow(batch: PacketBatch, i: int) -> FiveTuple | None:
    """The flow of a TCP or UDP packet with plain headers; None for any other."""
    start = batch.offset[i]
    packet = batch.data[start : start + batch.length[i]]
    if packet[0] >> 4 == 4:
        transport, protocol = (packet[0] & 15) * 4, packet[9]
        local, remote = bytes(packet[12:16]), bytes(packet[16:20])
        if int.from_bytes(packet[6:8], "big") & 0x3FFF:
            return None
    elif packet[0] >> 4 == 6 and len(packet) >= 40:
        transport, protocol = 40, packet[6]
        local, remote = bytes(packet[8:24]), bytes(packet[24:40])
    else:
        return None
    if protocol not in PORTED or len(packet) < transport + 4:
        return None
    source, destination = _PORTS.unpack_from(packet, transport)
    return FiveTuple(protocol, local, source, remote, destination)
