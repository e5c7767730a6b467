"""The emulated driver: the state of the whole system, every request, and what a test may do to it."""

import ctypes
import struct
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping

from wiresock_py.filters.ndisapi.device import (
    ERROR_GEN_FAILURE,
    ERROR_INSUFFICIENT_BUFFER,
    ERROR_INVALID_FUNCTION,
    ERROR_INVALID_HANDLE,
    ERROR_INVALID_PARAMETER,
    ERROR_NOT_SUPPORTED,
    DeviceError,
)
from wiresock_py.filters.ndisapi.emulator.adapter import EmulatedAdapter
from wiresock_py.filters.ndisapi.emulator.device import EmulatedDevice
from wiresock_py.filters.ndisapi.emulator.events import Events
from wiresock_py.filters.ndisapi.emulator.filter_table import FilterTable
from wiresock_py.filters.ndisapi.emulator.memory import (
    Call,
    RefusedError,
    pointed_to,
    pointers,
    read_buffer,
    write_buffer,
)
from wiresock_py.filters.ndisapi.emulator.traffic import Traffic
from wiresock_py.filters.ndisapi.raw import constants as c
from wiresock_py.filters.ndisapi.raw.ioctl import Ioctl
from wiresock_py.filters.ndisapi.raw.structures import (
    ADAPTER_EVENT,
    ADAPTER_MODE,
    ETH_M_REQUEST,
    ETH_REQUEST,
    FAST_IO_SECTION,
    INITIALIZE_FAST_IO_PARAMS,
    RAS_LINKS,
    STATIC_FILTER,
    STATIC_FILTER_WITH_POSITION,
    UNSORTED_READ_SEND_REQUEST,
    TCP_AdapterList,
)
from wiresock_py.filters.ndisapi.version import Version

SEND, RECEIVE = c.PACKET_FLAG_ON_SEND, c.PACKET_FLAG_ON_RECEIVE
NEWEST = Version(3, 6, 1)
_BATCH = struct.Struct("<QII")  # ETH_M_REQUEST before its pointers
_OID = struct.Struct("<QII")
_FIRST_FILTER = 8
_FILTER = ctypes.sizeof(STATIC_FILTER)


class Emulator:
    """A system with the driver. ``open`` gives what ``CreateFile`` gives; the rest is the test's.

    Every method may be called from any thread.
    """

    def __init__(
        self,
        version: Version = NEWEST,
        pool_size: int = c.POOL_PACKETS_PER_UNIT,
        *,
        empty_read: int | None = ERROR_GEN_FAILURE,
        stale_handle: int = ERROR_INVALID_PARAMETER,
        resets_on_close: bool = False,
        lists_default: bool = False,
    ) -> None:
        """What the driver's documentation does not say.

        *empty_read*: the error of a read that finds nothing; None: it succeeds with no packets. *stale_handle*: the
        error of a request for an adapter that is gone. *resets_on_close*: whether the driver forgets modes, events
        and filters when its last handle closes. *lists_default*: whether the filters, read back, end with the
        default action.
        """
        self.version = version
        self._lock = threading.RLock()
        self.parameters: dict[str, int] = {}
        """The driver's key in the registry."""
        self.unsent = 0
        """Packets of batches that could not be sent."""
        self.issued: Counter[int] = Counter()
        """How often each control code was used."""
        self.events = Events()
        self.filters = FilterTable(lists_default=lists_default)
        self.traffic = Traffic(self._lock, self.events, self.filters, pool_size)
        self.fast_io: list[tuple[int, int]] = []
        """(address, size) of each section; packets are queued all the same."""
        self._empty_read, self._stale_handle = empty_read, stale_handle
        self._resets_on_close = resets_on_close
        self._handles = 0xFFFF_A000_0000_0000  # like the kernel addresses that the real ones are
        self._open_handles = 0
        self._list_event = self._wan_event = 0
        self._failures: dict[int, deque[int]] = {}
        self._requests = self._table()

    # The test's side.

    def open(self) -> "EmulatedDevice":
        """A new handle to the driver."""
        with self._lock:
            self._open_handles += 1
        return EmulatedDevice(self)

    def add_adapter(
        self,
        friendly_name: str = "Ethernet",
        name: str = "",
        *,
        mac: bytes = b"",
        mtu: int = 1500,
        medium: int = 0,
        handle: int = 0,
    ) -> EmulatedAdapter:
        """Plug an adapter in. *handle* for one that an earlier adapter had; otherwise it gets a new one."""
        with self._lock:
            handle = handle or self._new_handle()
            number = handle >> 4 & 0xFFFF
            name = name or f"\\DEVICE\\{{{number:08X}-0000-4000-8000-000000000000}}"
            mac = mac or b"\x02\0\0\0" + number.to_bytes(2, "big")
            adapter = EmulatedAdapter(self.traffic, handle, name, friendly_name, mac, mtu, medium)
            self._attach(adapter)
            return adapter

    def remove_adapter(self, adapter: EmulatedAdapter) -> None:
        """Unplug it: its handle is stale, its queue gone."""
        with self._lock:
            self._detach(adapter)
            self.events.signal(self._list_event)

    def reattach_adapter(self, adapter: EmulatedAdapter) -> None:
        """Reset, resume: the same adapter under a new handle, without mode and event."""
        with self._lock:
            self._detach(adapter)
            adapter.handle = self._new_handle()
            self._attach(adapter)

    def dial(self) -> None:
        """A dial-up link came or went."""
        self.events.signal(self._wan_event)

    def fail(self, code: int, error: int, times: int = 1) -> None:
        """The next *times* requests of this code fail with this Win32 error."""
        with self._lock:
            self._failures.setdefault(code, deque()).extend([error] * times)

    # The client's side.

    def control(self, code: int, call: Call) -> int:
        """One request; returns the number of bytes answered. Raises DeviceError."""
        with self._lock:
            self.issued[code] += 1
            try:
                if failures := self._failures.get(code):
                    raise RefusedError(failures.popleft())
                if code not in self._requests or self.version < Ioctl(code).since:
                    raise RefusedError(ERROR_INVALID_FUNCTION)
                return self._requests[code](call) or 0
            except RefusedError as refused:
                raise DeviceError(code, refused.code) from None

    def close(self) -> None:
        """A handle was closed."""
        with self._lock:
            self._open_handles -= 1
            if self._resets_on_close and not self._open_handles:
                self.filters.replace(())
                self._list_event = self._wan_event = 0
                for adapter in self.traffic.adapters.values():
                    self._flush(adapter)
                    adapter.detach()

    def friendly_name(self, guid: str) -> str:
        with self._lock:
            found = (
                adapter for adapter in self.traffic.adapters.values() if adapter.name.upper().endswith(guid.upper())
            )
            return next((adapter.friendly_name for adapter in found), "")

    def _table(self) -> Mapping[int, Callable[[Call], int | None]]:
        # GET_ADP_FILTERS_LIST is missing: nobody outside knows what it answers
        return {
            Ioctl.GET_VERSION: lambda call: call.give(self.version.word.to_bytes(4, "little")),
            Ioctl.GET_TCPIP_INTERFACES: self._interfaces,
            Ioctl.SEND_PACKET_TO_ADAPTER: lambda call: self._send_one(call, SEND),
            Ioctl.SEND_PACKET_TO_MSTCP: lambda call: self._send_one(call, RECEIVE),
            Ioctl.READ_PACKET: self._read_one,
            Ioctl.SET_ADAPTER_MODE: self._set_mode,
            Ioctl.FLUSH_ADAPTER_QUEUE: lambda call: self._flush(self._adapter(call.u64())),
            Ioctl.SET_EVENT: self._set_event,
            Ioctl.NDIS_SET_REQUEST: self._set_oid,
            Ioctl.NDIS_GET_REQUEST: self._get_oid,
            Ioctl.SET_WAN_EVENT: self._set_wan_event,
            Ioctl.SET_ADAPTER_EVENT: self._set_list_event,
            Ioctl.ADAPTER_QUEUE_SIZE: lambda call: call.give(
                len(self._adapter(call.u64()).entries).to_bytes(4, "little")
            ),
            Ioctl.GET_ADAPTER_MODE: self._get_mode,
            Ioctl.SET_PACKET_FILTERS: self._set_filters,
            Ioctl.RESET_PACKET_FILTERS: lambda _call: self.filters.replace(()),
            Ioctl.GET_PACKET_FILTERS_TABLESIZE: lambda call: call.give(len(self.filters).to_bytes(4, "little")),
            Ioctl.GET_PACKET_FILTERS: lambda call: call.give(self.filters.table()),
            Ioctl.GET_PACKET_FILTERS_RESET_STATS: self._get_filters_and_reset,
            Ioctl.GET_RAS_LINKS: self._ras_links,
            Ioctl.SEND_PACKETS_TO_ADAPTER: lambda call: self._send_batch(call, SEND),
            Ioctl.SEND_PACKETS_TO_MSTCP: lambda call: self._send_batch(call, RECEIVE),
            Ioctl.READ_PACKETS: self._read_batch,
            Ioctl.SET_ADAPTER_HWFILTER_EVENT: self._set_hardware_filter_event,
            Ioctl.INITIALIZE_FAST_IO: lambda call: self._fast_io(call, first=True),
            Ioctl.READ_PACKETS_UNSORTED: self._read_unsorted,
            Ioctl.SEND_PACKET_TO_ADAPTER_UNSORTED: lambda call: self._send_unsorted(call, SEND),
            Ioctl.SEND_PACKET_TO_MSTCP_UNSORTED: lambda call: self._send_unsorted(call, RECEIVE),
            Ioctl.ADD_SECOND_FAST_IO_SECTION: lambda call: self._fast_io(call, first=False),
            Ioctl.QUERY_IB_POOL_SIZE: lambda call: call.give(self.traffic.pool_size.to_bytes(4, "little")),
            Ioctl.ADD_PACKET_FILTER_FRONT: lambda call: self.filters.insert(0, call.structure(STATIC_FILTER)),
            Ioctl.ADD_PACKET_FILTER_BACK: lambda call: self.filters.insert(
                len(self.filters.filters), call.structure(STATIC_FILTER)
            ),
            Ioctl.REMOVE_FILTER_BY_INDEX: self._remove_filter,
            Ioctl.INSERT_FILTER_BY_INDEX: self._insert_filter,
            Ioctl.SET_FILTER_CACHE_STATE: lambda call: setattr(self.filters, "filter_cache", bool(call.u32())),
            Ioctl.SET_FRAGMENT_CACHE_STATE: lambda call: setattr(self.filters, "fragment_cache", bool(call.u32())),
        }

    # Adapters.

    def _new_handle(self) -> int:
        self._handles += 0x10
        return self._handles

    def _attach(self, adapter: EmulatedAdapter) -> None:
        if adapter.handle in self.traffic.adapters:
            raise ValueError(f"the handle {adapter.handle:#x} is in use")
        self.traffic.adapters[adapter.handle] = adapter
        adapter.mode = self.parameters.get(c.REG_VALUE_STARTUP_MODE, 0)
        self.events.signal(self._list_event)

    def _detach(self, adapter: EmulatedAdapter) -> None:
        del self.traffic.adapters[adapter.handle]
        self._flush(adapter)
        adapter.detach()

    def _adapter(self, handle: int) -> EmulatedAdapter:
        if handle not in self.traffic.adapters:
            raise RefusedError(self._stale_handle)
        return self.traffic.adapters[handle]

    def _interfaces(self, call: Call) -> int:
        listed = TCP_AdapterList()
        for i, adapter in enumerate(list(self.traffic.adapters.values())[: c.ADAPTER_LIST_SIZE]):
            name = adapter.name.encode("ascii")[: c.ADAPTER_NAME_SIZE - 1]
            listed.m_szAdapterNameList[i][: len(name)] = name
            listed.m_nAdapterHandle[i] = adapter.handle
            listed.m_nAdapterMediumList[i] = adapter.medium
            listed.m_czCurrentAddress[i][:] = adapter.mac
            listed.m_usMTU[i] = adapter.mtu - self.parameters.get(c.REG_VALUE_MTU_DECREMENT, 0)
            listed.m_nAdapterCount = i + 1
        return call.give(listed)

    def _set_mode(self, call: Call) -> None:
        mode = call.structure(ADAPTER_MODE)
        self._adapter(mode.hAdapterHandle).mode = mode.dwFlags

    def _get_mode(self, call: Call) -> int:
        mode = call.structure(ADAPTER_MODE)
        mode.dwFlags = self._adapter(mode.hAdapterHandle).mode
        return call.give(mode)

    def _flush(self, adapter: EmulatedAdapter) -> None:
        self.traffic.queued -= len(adapter.entries)
        adapter.entries.clear()

    def _ras_links(self, call: Call) -> int:
        links = RAS_LINKS()
        for i, link in enumerate(self._adapter(call.u64()).ras_links[: c.RAS_LINKS_MAX]):
            links.RasLinks[i] = link
            links.nNumberOfLinks = i + 1
        return call.give(links)

    def _get_oid(self, call: Call) -> int:
        handle, oid, length = _OID.unpack(call.tail(0, _OID.size))
        value = self._adapter(handle).oids.get(oid)
        if value is None:
            raise RefusedError(ERROR_NOT_SUPPORTED)
        if len(value) > length:
            raise RefusedError(ERROR_INSUFFICIENT_BUFFER)
        return call.give(_OID.pack(handle, oid, len(value)) + value)

    def _set_oid(self, call: Call) -> int:
        handle, oid, length = _OID.unpack(call.tail(0, _OID.size))
        adapter = self._adapter(handle)
        value = call.tail(_OID.size, length)
        changed = adapter.oids.get(oid) != value
        adapter.oids[oid] = value
        if oid == c.OID_GEN_CURRENT_PACKET_FILTER and changed:
            self.events.signal(adapter.hardware_filter_event)
        return call.give(_OID.pack(handle, oid, length))

    # Events.

    def _set_event(self, call: Call) -> None:
        wanted = call.structure(ADAPTER_EVENT)
        self._adapter(wanted.hAdapterHandle).event = self._event(wanted.hEvent)

    def _set_hardware_filter_event(self, call: Call) -> None:
        wanted = call.structure(ADAPTER_EVENT)
        self._adapter(wanted.hAdapterHandle).hardware_filter_event = self._event(wanted.hEvent)

    def _set_list_event(self, call: Call) -> None:
        self._list_event = self._event(call.u64())

    def _set_wan_event(self, call: Call) -> None:
        self._wan_event = self._event(call.u64())

    def _event(self, handle: int) -> int:
        if handle and handle not in self.events:
            raise RefusedError(ERROR_INVALID_HANDLE)
        return handle

    # Packets. Buffers are in the client's memory, which is ours too.

    def _read_one(self, call: Call) -> int:
        request = call.structure(ETH_REQUEST)
        adapter = self._adapter(request.hAdapterHandle)
        if not adapter.entries:
            self._nothing()
            return 0
        self._next(adapter, request.EthPacket.Buffer, 0)
        return call.give(request) if call.answer_size else 0

    def _read_batch(self, call: Call) -> int:
        handle, number, _success = _BATCH.unpack(call.tail(0, _BATCH.size))
        adapter = self._adapter(handle)
        if call.answer_size < _BATCH.size:
            raise RefusedError(ERROR_INSUFFICIENT_BUFFER)
        count = min(number, len(adapter.entries))
        for address in pointers(call.tail(_BATCH.size, 8 * number))[:count]:
            self._next(adapter, address, 0)
        call.give(_BATCH.pack(handle, number, count))
        if not count:
            self._nothing()
        return call.request_size

    def _read_unsorted(self, call: Call) -> int:
        request = call.structure(UNSORTED_READ_SEND_REQUEST)
        addresses = iter(pointed_to(request))
        count = 0
        for adapter in self.traffic.adapters.values():
            while adapter.entries and (address := next(addresses, 0)):
                self._next(adapter, address, adapter.handle)
                count += 1
        request.packets_num = count
        size = call.give(request)
        if not count:
            self._nothing()
        return size

    def _next(self, adapter: EmulatedAdapter, address: int, handle: int) -> None:
        if not address:
            raise RefusedError(ERROR_INVALID_PARAMETER)
        write_buffer(address, handle, adapter.entries.popleft())
        self.traffic.queued -= 1

    def _nothing(self) -> None:
        if self._empty_read is not None:
            raise RefusedError(self._empty_read)

    def _send_one(self, call: Call, direction: int) -> None:
        request = call.structure(ETH_REQUEST)
        adapter = self._adapter(request.hAdapterHandle)
        adapter.onward(read_buffer(request.EthPacket.Buffer)[1], direction)

    def _send_batch(self, call: Call, direction: int) -> None:
        handle, number, _success = _BATCH.unpack(call.tail(0, _BATCH.size))
        adapter = self._adapter(handle)
        for address in pointers(call.tail(ETH_M_REQUEST.EthPacket.offset, 8 * number)):
            try:
                adapter.onward(read_buffer(address)[1], direction)
            except RefusedError:
                self.unsent += 1

    def _send_unsorted(self, call: Call, direction: int) -> int:
        request = call.structure(UNSORTED_READ_SEND_REQUEST)
        sent = 0
        for address in pointed_to(request):
            try:
                handle, content = read_buffer(address)
                self._adapter(handle).onward(content, direction)
                sent += 1
            except RefusedError:
                self.unsent += 1
        request.packets_num = sent
        return call.give(request)

    def _fast_io(self, call: Call, *, first: bool) -> None:
        section = call.structure(INITIALIZE_FAST_IO_PARAMS)
        room = section.header_ptr and section.data_size >= ctypes.sizeof(FAST_IO_SECTION)
        if not room or first == bool(self.fast_io) or len(self.fast_io) >= c.FAST_IO_MAX_SECTIONS:
            raise RefusedError(ERROR_INVALID_PARAMETER)
        self.fast_io.append((section.header_ptr, section.data_size))

    # Static filters.

    def _set_filters(self, call: Call) -> None:
        count = call.u32()
        table = call.tail(_FIRST_FILTER, count * _FILTER)
        self.filters.replace(STATIC_FILTER.from_buffer_copy(table, i * _FILTER) for i in range(count))

    def _get_filters_and_reset(self, call: Call) -> int:
        size = call.give(self.filters.table())
        self.filters.reset_statistics()
        return size

    def _remove_filter(self, call: Call) -> None:
        position = call.u32()
        if position >= len(self.filters.filters):
            raise RefusedError(ERROR_INVALID_PARAMETER)
        self.filters.remove(position)

    def _insert_filter(self, call: Call) -> None:
        wanted = call.structure(STATIC_FILTER_WITH_POSITION)
        if wanted.m_Position > len(self.filters.filters):
            raise RefusedError(ERROR_INVALID_PARAMETER)
        self.filters.insert(wanted.m_Position, wanted.m_StaticFilter)
