"""The real device, with a kernel32 that speaks to the emulated driver."""

import ctypes
import sys
import threading
from typing import Any

import pytest

from wiresock_py.errors import BackendError
from wiresock_py.filters.ndisapi import AdapterMode, DeviceError, Ioctl, NdisApi
from wiresock_py.filters.ndisapi.emulator import EmulatedDevice, Emulator
from wiresock_py.filters.ndisapi.windows import (
    INFINITE,
    INVALID_HANDLE_VALUE,
    OVERLAPPED,
    WAIT_FAILED,
    WAIT_TIMEOUT,
    WindowsDevice,
    load_kernel32,
)

DEVICE = 0x44
PENDING = 997


class Kernel32:
    """As windows.Kernel32, and strict: handles it did not give are refused, OVERLAPPEDs must not be shared."""

    def __init__(self, emulator: Emulator) -> None:
        self.device: EmulatedDevice = emulator.open()
        self.error = 0
        self.opened: list[tuple[Any, ...]] = []
        self.closed: list[int] = []
        self.pending: set[int] = set()
        """Control codes that pend."""
        self.refuse_open = 0
        self.waits: list[int] = []
        self.overlapped: dict[int, set[int]] = {}
        self._ended: DeviceError | int = 0

    def last_error(self) -> int:
        return self.error

    def CreateFileW(self, *arguments: Any) -> int:
        self.opened.append(arguments)
        self.error = self.refuse_open
        return INVALID_HANDLE_VALUE if self.refuse_open else DEVICE

    def DeviceIoControl(
        self, device: int, code: int, request: int, size: int, answer: int, room: int, returned: Any, overlapped: Any
    ) -> int:
        if device != DEVICE:
            return self._fail(6)
        used = self.overlapped.setdefault(threading.get_ident(), set())
        used.add(ctypes.addressof(overlapped._obj))
        assert overlapped._obj.hEvent % 4 == 0 != overlapped._obj.hEvent
        try:
            count = self.device.control(code, request, size, answer, room)
        except DeviceError as error:
            self._ended = error
            return self._fail(PENDING if code in self.pending else error.code)
        self._ended = count
        if code in self.pending:
            return self._fail(PENDING)
        returned._obj.value = count
        return 1

    def GetOverlappedResult(self, device: int, overlapped: Any, returned: Any, wait: int) -> int:
        assert wait
        if isinstance(self._ended, DeviceError):
            return self._fail(self._ended.code)
        returned._obj.value = self._ended
        return 1

    def CreateEventW(self, _security: None, manual: int, initial: int, _name: None) -> int:
        assert manual
        assert not initial
        return self.device.create_event()

    def SetEvent(self, event: int) -> int:
        return self._try(self.device.set_event, event)

    def ResetEvent(self, event: int) -> int:
        return self._try(self.device.reset_event, event)

    def WaitForMultipleObjects(self, count: int, handles: Any, wait_all: int, milliseconds: int) -> int:
        assert not wait_all
        self.waits.append(milliseconds)
        try:
            found = self.device.wait(list(handles._obj[:count]), 0)
        except DeviceError as error:
            self._fail(error.code)
            return WAIT_FAILED
        return WAIT_TIMEOUT if found < 0 else found

    def CloseHandle(self, handle: int) -> int:
        self.closed.append(handle)
        return 1 if handle == DEVICE else self._try(self.device.close_event, handle)

    def _try(self, method: Any, event: int) -> int:
        try:
            method(event)
        except DeviceError as error:
            return self._fail(error.code)
        return 1

    def _fail(self, error: int) -> int:
        self.error = error
        return 0


@pytest.fixture
def kernel32(emulator: Emulator) -> Kernel32:
    emulator.add_adapter()
    return Kernel32(emulator)


def test_the_device_is_opened_overlapped_and_without_rights_it_does_not_need(kernel32: Kernel32) -> None:
    WindowsDevice(kernel32, "NDISRD")
    assert kernel32.opened == [("\\\\.\\NDISRD", 0, 3, None, 3, 0x4000_0000, 0)]


@pytest.mark.parametrize(("error", "message"), [(2, "is not running"), (5, "is denied"), (31, "error 31")])
def test_a_device_that_does_not_open_says_why(kernel32: Kernel32, error: int, message: str) -> None:
    kernel32.refuse_open = error
    with pytest.raises(BackendError, match=message):
        WindowsDevice(kernel32, "NDISRD")


@pytest.mark.parametrize("pending", [False, True])
def test_the_bindings_work_through_it(kernel32: Kernel32, pending: bool) -> None:
    kernel32.pending = set(Ioctl) if pending else set()
    with NdisApi(WindowsDevice(kernel32, "NDISRD")) as api:
        (adapter,) = api.adapters()
        api.set_mode(adapter, AdapterMode.TUNNEL)
        assert api.mode(adapter) == AdapterMode.TUNNEL
        assert api.read_packet(adapter) is None
        with pytest.raises(DeviceError, match="NDIS_GET_REQUEST failed: error 50"):
            api.query_oid(adapter, 1, 4)


def test_every_thread_has_an_overlapped_of_its_own(kernel32: Kernel32) -> None:
    device = WindowsDevice(kernel32, "NDISRD")
    api = NdisApi(device)
    thread = threading.Thread(target=api.adapters)
    thread.start()
    thread.join()
    api.adapters()
    first, second = kernel32.overlapped.values()
    assert len(first) == len(second) == 1
    assert first != second


def test_closing_leaves_nothing_open(kernel32: Kernel32, emulator: Emulator) -> None:
    with NdisApi(WindowsDevice(kernel32, "NDISRD")) as api:
        api.adapters()
    api.close()
    assert kernel32.closed.count(DEVICE) == 1
    assert len(emulator.events) == 0
    with pytest.raises(DeviceError):
        api.adapters()


def test_waiting_counts_in_milliseconds_and_never_less_than_asked(kernel32: Kernel32) -> None:
    device = WindowsDevice(kernel32, "NDISRD")
    one, two = device.create_event(), device.create_event()
    for timeout in (None, 0, 0.0001, 1.5, 1e9):
        assert device.wait([one, two], timeout) == -1
    assert kernel32.waits == [INFINITE, 0, 1, 1500, INFINITE - 1]
    device.set_event(two)
    assert device.wait([one, two], 0) == 1
    device.reset_event(two)
    assert device.wait([one, two], 0) == -1


def test_windows_takes_64_events_and_no_more(kernel32: Kernel32) -> None:
    device = WindowsDevice(kernel32, "NDISRD")
    with pytest.raises(ValueError, match="at most 64 events at once, not 65"):
        device.wait([device.create_event()] * 65, 0)


def test_a_closed_event_is_an_error_of_each_call(kernel32: Kernel32) -> None:
    device = WindowsDevice(kernel32, "NDISRD")
    event = device.create_event()
    device.close_event(event)
    with pytest.raises(DeviceError, match="SetEvent failed: error 6"):
        device.set_event(event)
    with pytest.raises(DeviceError, match="ResetEvent failed: error 6"):
        device.reset_event(event)
    with pytest.raises(DeviceError, match="CloseHandle failed: error 6"):
        device.close_event(event)
    with pytest.raises(DeviceError, match="WaitForMultipleObjects failed: error 6"):
        device.wait([event], 0)


def test_overlapped_is_as_long_as_windows_has_it() -> None:
    assert ctypes.sizeof(OVERLAPPED) == 32
    assert OVERLAPPED.hEvent.offset == 24


@pytest.mark.skipif(sys.platform == "win32", reason="for other systems: says what other systems lack")
def test_other_systems_have_neither_kernel32_nor_registry(kernel32: Kernel32) -> None:
    with pytest.raises(BackendError, match="kernel32 is a part of Windows"):
        load_kernel32()
    device = WindowsDevice(kernel32, "NDISRD")
    with pytest.raises(BackendError, match="the registry is a part of Windows"):
        device.parameter("PoolSize")
    with pytest.raises(BackendError, match="the registry is a part of Windows"):
        device.set_parameter("PoolSize", 1)
    with pytest.raises(BackendError, match="the registry is a part of Windows"):
        device.friendly_name("{GUID}")
