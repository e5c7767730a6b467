"""The safe floor: every request of the driver as a method, with Python's values in and out.

    with NdisApi() as api:
        for adapter in api.adapters():
            print(adapter.name, adapter.mac.hex(":"), adapter.mtu)
        with api.capture(adapter) as packets:
            for packet in packets:
                packet.send()

Modes, events and static filters belong to the driver, not to the handle: two programs that drive one adapter overwrite
each other's. Whether the driver forgets them when a handle closes is not documented, so ``restore`` is there for what
a killed run left behind, and everything here that sets a mode takes it back.
"""

import ctypes
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from wiresock_py.errors import BackendError
from wiresock_py.filters.base import Buffer
from wiresock_py.filters.ndisapi.adapters import (
    Adapter,
    AdapterMode,
    Direction,
    RasLink,
    read_adapters,
    read_ras_links,
)
from wiresock_py.filters.ndisapi.capture import Capture
from wiresock_py.filters.ndisapi.device import NO_EVENT, Device, DeviceError, EventHandle, open_device, refuse_32_bit
from wiresock_py.filters.ndisapi.packet import Packet
from wiresock_py.filters.ndisapi.packets import CAPACITY, PacketBlock, Request, is_sound
from wiresock_py.filters.ndisapi.raw import constants
from wiresock_py.filters.ndisapi.raw.ioctl import Ioctl
from wiresock_py.filters.ndisapi.raw.structures import (
    ADAPTER_EVENT,
    ADAPTER_MODE,
    ETH_REQUEST,
    INITIALIZE_FAST_IO_PARAMS,
    INTERMEDIATE_BUFFER,
    PACKET_OID_DATA,
    RAS_LINKS,
    STATIC_FILTER,
    STATIC_FILTER_TABLE,
    STATIC_FILTER_WITH_POSITION,
    TCP_AdapterList,
)
from wiresock_py.filters.ndisapi.static_filters import FilterStatistics, StaticFilter, pack, packed, unpack
from wiresock_py.filters.ndisapi.version import check_request, check_version

_OID_HEADER = struct.Struct("<QII")
_TABLE_HEADER = STATIC_FILTER_TABLE.m_StaticFilters.offset
_FILTER = ctypes.sizeof(STATIC_FILTER)
# STATIC_FILTER from m_LastReset to m_BytesOut
_COUNTERS = struct.Struct(f"<20xIQQQQ{_FILTER - 56}x")
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


class NdisApi:
    """An open handle to the driver; also a context manager. Methods may be called from any thread.

    Every method raises DeviceError, a BackendError with the Win32 error as ``code``, if the driver refuses.
    """

    def __init__(self, device: Device | None = None, *, name: str = constants.NDISRD_NAME_U) -> None:
        """Opens the driver called *name*, or works on *device*, which then belongs to this object.

        Raises BackendError, with the remedy, if the driver is missing, too old, not ours to open, or this Python is a
        32-bit one.
        """
        refuse_32_bit()
        self._device = open_device(name) if device is None else device
        try:
            self.version = check_version(_U32.unpack(self.request(Ioctl.GET_VERSION, bytes(4), 4))[0])
        except BaseException:
            self._device.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the handle; may be repeated. Captures still open are closed first by their own ``with``."""
        self._device.close()

    def request(self, code: int, request: Buffer = b"", answer_size: int = 0) -> bytes:
        """Any request by its code, also one of a custom build: the bytes of its answer."""
        given = (ctypes.c_uint8 * len(request)).from_buffer_copy(request)
        answer = (ctypes.c_uint8 * answer_size)()
        size = self._device.control(
            code,
            ctypes.addressof(given) if request else 0,
            len(request),
            ctypes.addressof(answer) if answer_size else 0,
            answer_size,
        )
        return bytes(answer)[:size]

    # Adapters.

    def adapters(self) -> list[Adapter]:
        """The adapters the driver is bound to: 32 at most. Those of an earlier call may be stale."""
        listed = TCP_AdapterList()
        self._exchange(Ioctl.GET_TCPIP_INTERFACES, listed)
        return read_adapters(listed)

    def find(self, name: str) -> Adapter:
        """The adapter with this internal name, {GUID} or Windows name, in any case. Raises BackendError for none."""
        wanted = name.upper()
        names = []
        for adapter in self.adapters():
            friendly = self.friendly_name(adapter)
            if wanted in (adapter.name.upper(), adapter.guid, friendly.upper()):
                return adapter
            names.append(friendly or adapter.name)
        raise BackendError(f"there is no adapter {name!r}", f"use one of: {', '.join(names) or 'none is bound'}")

    def friendly_name(self, adapter: Adapter) -> str:
        """The name Windows shows for it ("Ethernet", "Wi-Fi"); empty if it has none."""
        return self._device.friendly_name(adapter.guid)

    def mode(self, adapter: Adapter) -> AdapterMode:
        mode = ADAPTER_MODE(hAdapterHandle=adapter.handle)
        self._exchange(Ioctl.GET_ADAPTER_MODE, mode)
        return AdapterMode(mode.dwFlags)

    def set_mode(self, adapter: Adapter, mode: AdapterMode) -> None:
        """Register a packet event before switching a mode on; NONE does not empty the queue."""
        self._send(Ioctl.SET_ADAPTER_MODE, ADAPTER_MODE(hAdapterHandle=adapter.handle, dwFlags=int(mode)))

    def flush(self, adapter: Adapter) -> None:
        """Throw away what is queued."""
        self.request(Ioctl.FLUSH_ADAPTER_QUEUE, _U64.pack(adapter.handle))

    def queue_size(self, adapter: Adapter) -> int:
        """Packets queued now."""
        return int(_U32.unpack(self.request(Ioctl.ADAPTER_QUEUE_SIZE, _U64.pack(adapter.handle), 4))[0])

    def pool_size(self) -> int:
        """Packets that all adapters' queues together can hold."""
        return int(_U32.unpack(self._new_request(Ioctl.QUERY_IB_POOL_SIZE, bytes(4), 4))[0])

    def release(self, adapter: Adapter) -> None:
        """Mode NONE, no event, an empty queue: the adapter as if we had never been there."""
        self.set_mode(adapter, AdapterMode.NONE)
        self.set_packet_event(adapter, NO_EVENT)
        self.flush(adapter)

    def restore(self) -> list[str]:
        """Undo whatever any program left in the driver: modes, events, queues, static filters; a line for each."""
        undone = []
        count = self.filter_count()
        for adapter in self.adapters():
            if mode := self.mode(adapter):
                undone.append(f"switched adapter {adapter.name} from mode {mode:#x} to 0")
            self.release(adapter)
        self.reset_filters()  # last: a mode without filters captures everything
        if count := count - self.filter_count():  # a driver that counts its default action still has that one
            undone.insert(0, f"removed {count} static filters")
        return undone

    # Events.

    def create_event(self) -> EventHandle:
        """An event, not set, that stays set until it is reset. Close it, after the driver was told to forget it."""
        return self._device.create_event()

    @contextmanager
    def event(self) -> Iterator[EventHandle]:
        """An event that is closed at the end of the block."""
        event = self.create_event()
        try:
            yield event
        finally:
            self.close_event(event)

    def set_event(self, event: EventHandle) -> None:
        self._device.set_event(event)

    def reset_event(self, event: EventHandle) -> None:
        """Before the queue is read, not after: what comes in between would not wake anybody."""
        self._device.reset_event(event)

    def close_event(self, event: EventHandle) -> None:
        self._device.close_event(event)

    def wait(self, events: Sequence[EventHandle], timeout: float | None = None) -> int:
        """The index of the first of *events* that is set; -1 if none is within *timeout* seconds (None: for ever)."""
        return self._device.wait(events, timeout)

    def set_packet_event(self, adapter: Adapter, event: EventHandle) -> None:
        """Set *event* whenever packets are queued; one event may serve many adapters. NO_EVENT takes it back."""
        self._send(Ioctl.SET_EVENT, ADAPTER_EVENT(hAdapterHandle=adapter.handle, hEvent=event))

    def set_list_change_event(self, event: EventHandle) -> None:
        """Set *event* when adapters come, go or change: handles, modes and events may then be stale."""
        self.request(Ioctl.SET_ADAPTER_EVENT, _U64.pack(event))

    def set_wan_event(self, event: EventHandle) -> None:
        """Set *event* when a dial-up link comes or goes."""
        self.request(Ioctl.SET_WAN_EVENT, _U64.pack(event))

    def set_hardware_filter_event(self, adapter: Adapter, event: EventHandle) -> None:
        """Set *event* when somebody changes the adapter's hardware packet filter."""
        self._send(Ioctl.SET_ADAPTER_HWFILTER_EVENT, ADAPTER_EVENT(hAdapterHandle=adapter.handle, hEvent=event))

    # Single packets.

    def capture(
        self, *adapters: Adapter, mode: AdapterMode = AdapterMode.TUNNEL, capacity: int = CAPACITY
    ) -> "Capture":
        """The packets of *adapters*, to be iterated over in a ``with`` block that restores the adapters at its end."""
        return Capture(self, adapters, mode, capacity)

    def new_packet(self, adapter: Adapter, frame: Buffer, direction: Direction = Direction.SEND) -> Packet:
        """A packet with a copy of *frame*: a whole Ethernet frame, addresses and checksums right."""
        packet = Packet(self, INTERMEDIATE_BUFFER(m_hAdapter=adapter.handle, m_dwDeviceFlags=int(direction)))
        packet.frame = frame
        return packet

    def read_packet(self, adapter: Adapter) -> Packet | None:
        """The oldest packet queued; None if there is none. Raises BackendError for a frame larger than any can be."""
        buffer = INTERMEDIATE_BUFFER()
        request = _eth_request(adapter.handle, buffer)
        place = Request(ctypes.addressof(request), ctypes.sizeof(request))
        if not self._read(Ioctl.READ_PACKET, place, adapter) or not buffer.m_Length:
            return None
        if not is_sound(buffer.m_Length):
            raise BackendError(f"the driver gave a frame of {buffer.m_Length} bytes", "use the driver's standard build")
        buffer.m_hAdapter = adapter.handle  # only unsorted reads fill it
        return Packet(self, buffer)

    def send_to_adapter(self, packet: Packet) -> None:
        """Onto the network, by the packet's adapter. It is not captured again."""
        self._send(Ioctl.SEND_PACKET_TO_ADAPTER, _eth_request(packet.adapter, packet.raw))

    def send_to_stack(self, packet: Packet) -> None:
        """To this host's stack, as if it had arrived by the packet's adapter. It is not captured again."""
        self._send(Ioctl.SEND_PACKET_TO_MSTCP, _eth_request(packet.adapter, packet.raw))

    # Batches.

    def read_packets(self, adapter: Adapter, block: PacketBlock) -> int:
        """Fill *block* with the oldest packets queued; returns how many there were, 0 for an empty queue.

        What the driver says of lengths is not checked: see ``PacketBlock.length`` and ``packets.is_sound``.
        """
        block.count = 0
        return block.was_read() if self._read(Ioctl.READ_PACKETS, block.read_request(adapter.handle), adapter) else 0

    def send_packets_to_adapter(
        self, adapter: Adapter, block: PacketBlock, indices: Sequence[int] | None = None
    ) -> None:
        """Send the packets of *block*, or those at *indices* in that order, onto the network."""
        self._send_batch(Ioctl.SEND_PACKETS_TO_ADAPTER, adapter, block, indices)

    def send_packets_to_stack(self, adapter: Adapter, block: PacketBlock, indices: Sequence[int] | None = None) -> None:
        """Hand the packets of *block*, or those at *indices* in that order, to the stack."""
        self._send_batch(Ioctl.SEND_PACKETS_TO_MSTCP, adapter, block, indices)

    # Unsorted batches: each packet carries its adapter's handle.

    def read_unsorted(self, block: PacketBlock) -> int:
        """Fill *block* with packets of all adapters, whoever set their mode; returns how many there were."""
        block.count = 0
        if self._read(Ioctl.READ_PACKETS_UNSORTED, block.unsorted_read_request(), None):
            block.count = min(block.unsorted_done(), block.capacity)
        return block.count

    def send_unsorted_to_adapters(self, block: PacketBlock, indices: Sequence[int] | None = None) -> int:
        """Send each packet by its own adapter; returns how many the driver took. The rest is lost."""
        return self._send_unsorted(Ioctl.SEND_PACKET_TO_ADAPTER_UNSORTED, block, indices)

    def send_unsorted_to_stack(self, block: PacketBlock, indices: Sequence[int] | None = None) -> int:
        """Hand each packet to the stack as of its own adapter; returns how many the driver took. The rest is lost."""
        return self._send_unsorted(Ioctl.SEND_PACKET_TO_MSTCP_UNSORTED, block, indices)

    # Static filters.

    def filters(self, *, reset_statistics: bool = False) -> list[StaticFilter]:
        """The table with its counters, which with *reset_statistics* start again in the same step.

        Raises BackendError for a filter, made by another program, that has no form here.
        """
        table = self._table(reset_statistics=reset_statistics)
        found = []
        for i in range(0, len(table), _FILTER):
            try:
                found.append(unpack(STATIC_FILTER.from_buffer_copy(table, i)))
            except ValueError as error:
                number = i // _FILTER
                raise BackendError(
                    f"static filter {number}: {error}", "another program made it; reset_filters()"
                ) from error
        return found

    def filter_statistics(self, *, reset: bool = False) -> list[FilterStatistics]:
        """Only the counters, in the order of the table: cheaper than ``filters``, and no filter is refused."""
        return [
            FilterStatistics(packets_in, bytes_in, packets_out, bytes_out, since)
            for since, packets_in, bytes_in, packets_out, bytes_out in _COUNTERS.iter_unpack(
                self._table(reset_statistics=reset)
            )
        ]

    def set_filters(self, filters: Sequence[StaticFilter]) -> None:
        """Replace the whole table in one step; counters start at 0."""
        table = _U32.pack(len(filters)) + bytes(4) + b"".join(map(packed, filters))
        self.request(Ioctl.SET_PACKET_FILTERS, table)

    def reset_filters(self) -> None:
        """Remove all filters."""
        self.request(Ioctl.RESET_PACKET_FILTERS)

    def filter_count(self) -> int:
        return int(_U32.unpack(self.request(Ioctl.GET_PACKET_FILTERS_TABLESIZE, b"", 4))[0])

    def add_filter_first(self, rule: StaticFilter) -> None:
        self._new_request(Ioctl.ADD_PACKET_FILTER_FRONT, bytes(pack(rule)))

    def add_filter_last(self, rule: StaticFilter) -> None:
        self._new_request(Ioctl.ADD_PACKET_FILTER_BACK, bytes(pack(rule)))

    def insert_filter(self, position: int, rule: StaticFilter) -> None:
        """Before the filter now at *position*, from 0. Positions shift when another program changes the table."""
        self._new_request(
            Ioctl.INSERT_FILTER_BY_INDEX,
            bytes(STATIC_FILTER_WITH_POSITION(m_Position=position, m_StaticFilter=pack(rule))),
        )

    def remove_filter(self, position: int) -> None:
        self._new_request(Ioctl.REMOVE_FILTER_BY_INDEX, _U32.pack(position))

    def set_filter_cache(self, on: bool) -> None:
        """Whether the driver remembers each flow's verdict."""
        self._new_request(Ioctl.SET_FILTER_CACHE_STATE, _U32.pack(on))

    def set_fragment_cache(self, on: bool) -> None:
        """Whether later fragments, which have no ports, follow the first one's verdict."""
        self._new_request(Ioctl.SET_FRAGMENT_CACHE_STATE, _U32.pack(on))

    # The adapter's own driver, dial-up links.

    def query_oid(self, adapter: Adapter, oid: int, length: int) -> bytes:
        """What the network card's driver answers to an NDIS query; *length* is the room for it. May take its time."""
        return self._oid(Ioctl.NDIS_GET_REQUEST, adapter, oid, bytes(length))

    def set_oid(self, adapter: Adapter, oid: int, value: bytes) -> None:
        self._oid(Ioctl.NDIS_SET_REQUEST, adapter, oid, value)

    def hardware_filter(self, adapter: Adapter) -> int:
        """NDIS_PACKET_TYPE_* flags: which frames the card takes in."""
        return int(_U32.unpack(self.query_oid(adapter, constants.OID_GEN_CURRENT_PACKET_FILTER, 4))[0])

    def set_hardware_filter(self, adapter: Adapter, flags: int) -> None:
        self.set_oid(adapter, constants.OID_GEN_CURRENT_PACKET_FILTER, _U32.pack(flags))

    def ras_links(self, adapter: Adapter) -> list[RasLink]:
        """The live links of a dial-up (NDISWAN) adapter."""
        links = RAS_LINKS()
        handle = ctypes.c_uint64(adapter.handle)
        self._device.control(
            Ioctl.GET_RAS_LINKS, ctypes.addressof(handle), 8, ctypes.addressof(links), ctypes.sizeof(links)
        )
        return read_ras_links(links)

    # Settings in the registry, for administrators. None: not set, the driver's own default counts.

    @property
    def mtu_decrement(self) -> int | None:
        """Bytes taken off every adapter's MTU, as the stack sees it. Counts from the adapter's next binding."""
        return self._device.parameter(constants.REG_VALUE_MTU_DECREMENT)

    @mtu_decrement.setter
    def mtu_decrement(self, value: int) -> None:
        self._device.set_parameter(constants.REG_VALUE_MTU_DECREMENT, value)

    @property
    def startup_mode(self) -> AdapterMode | None:
        """The mode every adapter begins with, before any program runs. Counts from the next start of Windows."""
        value = self._device.parameter(constants.REG_VALUE_STARTUP_MODE)
        return None if value is None else AdapterMode(value)

    @startup_mode.setter
    def startup_mode(self, mode: AdapterMode) -> None:
        self._device.set_parameter(constants.REG_VALUE_STARTUP_MODE, int(mode))

    @property
    def pool_units(self) -> int | None:
        """The pool's size in units of 2048 packets, 1 to 10. Counts from the driver's next start."""
        return self._device.parameter(constants.REG_VALUE_POOL_SIZE)

    @pool_units.setter
    def pool_units(self, units: int) -> None:
        if not 1 <= units <= constants.POOL_MAX_EFFECTIVE_UNITS:
            raise ValueError(f"the pool has 1 to {constants.POOL_MAX_EFFECTIVE_UNITS} units, not {units}")
        self._device.set_parameter(constants.REG_VALUE_POOL_SIZE, units)

    # Fast I/O.

    def initialize_fast_io(self, section: ctypes.Array[ctypes.c_uint8]) -> None:
        """Give the driver memory (FAST_IO_SECTION) that it fills with packets instead of queueing them.

        It must outlive this handle: there is no way to take it back. Reading it needs atomic operations, which Python
        does not have: this is for a compiled reader.
        """
        self._fast_io(Ioctl.INITIALIZE_FAST_IO, section)

    def add_fast_io_section(self, section: ctypes.Array[ctypes.c_uint8]) -> None:
        """A further section after the first; 16 at most."""
        self._fast_io(Ioctl.ADD_SECOND_FAST_IO_SECTION, section)

    def _send(self, code: Ioctl, request: ctypes.Structure) -> None:
        self._device.control(code, ctypes.addressof(request), ctypes.sizeof(request), 0, 0)

    def _exchange(self, code: Ioctl, both: ctypes.Structure) -> None:
        """A request that the driver answers in place."""
        address, size = ctypes.addressof(both), ctypes.sizeof(both)
        self._device.control(code, address, size, address, size)

    def _new_request(self, code: Ioctl, request: bytes = b"", answer_size: int = 0) -> bytes:
        """A request that older drivers do not know."""
        check_request(code, self.version)
        return self.request(code, request, answer_size)

    def _read(self, code: Ioctl, request: Request, adapter: Adapter | None) -> bool:
        """Whether a read succeeded. The driver fails it for an empty queue as for a stale handle, so ask once more."""
        try:
            self._device.control(code, request.address, request.size, request.address, request.size)
        except DeviceError:
            if adapter is None:
                self.request(Ioctl.GET_VERSION, bytes(4), 4)  # raises if the whole device is gone
            else:
                self.queue_size(adapter)  # raises if the adapter is
            return False
        return True

    def _send_batch(self, code: Ioctl, adapter: Adapter, block: PacketBlock, indices: Sequence[int] | None) -> None:
        if len(block) if indices is None else len(indices):
            request = block.send_request(adapter.handle, indices)
            self._device.control(code, request.address, request.size, 0, 0)

    def _send_unsorted(self, code: Ioctl, block: PacketBlock, indices: Sequence[int] | None) -> int:
        if not (len(block) if indices is None else len(indices)):
            return 0
        request = block.unsorted_send_request(indices)
        self._device.control(code, request.address, request.size, request.address, request.size)
        return block.unsorted_done()

    def _table(self, *, reset_statistics: bool) -> bytes:
        """The driver's static filters, one after the other."""
        code = Ioctl.GET_PACKET_FILTERS_RESET_STATS if reset_statistics else Ioctl.GET_PACKET_FILTERS
        # one more than there are, because another program may just be adding one
        answer = self.request(code, b"", _TABLE_HEADER + (self.filter_count() + 1) * _FILTER)
        if len(answer) < _TABLE_HEADER:
            return b""
        count = min(_U32.unpack_from(answer)[0], (len(answer) - _TABLE_HEADER) // _FILTER)
        return answer[_TABLE_HEADER : _TABLE_HEADER + count * _FILTER]

    def _oid(self, code: Ioctl, adapter: Adapter, oid: int, value: bytes) -> bytes:
        header = _OID_HEADER.pack(adapter.handle, oid, len(value))
        # PACKET_OID_DATA is declared with one byte of data and never shorter
        size = max(len(header) + len(value), ctypes.sizeof(PACKET_OID_DATA))
        answer = self.request(code, (header + value).ljust(size, b"\0"), size)
        if len(answer) < _OID_HEADER.size:
            return b""
        length = min(_OID_HEADER.unpack_from(answer)[2], len(value))
        return answer[_OID_HEADER.size : _OID_HEADER.size + length]

    def _fast_io(self, code: Ioctl, section: ctypes.Array[ctypes.c_uint8]) -> None:
        check_request(code, self.version)
        size = ctypes.sizeof(section)
        self._send(code, INITIALIZE_FAST_IO_PARAMS(header_ptr=ctypes.addressof(section), data_size=size))


def _eth_request(handle: int, buffer: INTERMEDIATE_BUFFER) -> ETH_REQUEST:
    """The request does not keep *buffer* alive: the caller does."""
    request = ETH_REQUEST(hAdapterHandle=handle)
    request.EthPacket.Buffer = ctypes.addressof(buffer)
    return request
