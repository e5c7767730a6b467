"""WinDivert's handles, with a WinDivert.dll in Python."""

import ctypes
import sys
from collections import deque
from typing import Any

import pytest

from tests.backends.packets import Datagram, build
from wiresock_py.errors import BackendError
from wiresock_py.filters.windivert.address import BATCH_MAX, SIZE, Address
from wiresock_py.filters.windivert.handle import End, Flag
from wiresock_py.filters.windivert.windows import (
    ERROR_IO_PENDING,
    ERROR_NO_DATA,
    INVALID_HANDLE_VALUE,
    QUEUE,
    WAIT_TIMEOUT,
    Overlapped,
    WinDivertDriver,
    WinDivertHandle,
    load_calls,
)

HANDLE, EVENT = 0x40, 0x80
ONE = build(Datagram("192.0.2.1", 1, "192.0.2.2", 2, b"one"))
TWO = build(Datagram("2001:db8::1", 1, "2001:db8::2", 2, b"two"))


class WinDivert:
    """As windows.WinDivertCalls: packets wait in batches, a receive without one pends."""

    def __init__(self) -> None:
        self.waiting: deque[list[bytes]] = deque()
        self.sent: list[tuple[bytes, list[Address]]] = []
        self.opened: list[tuple[bytes, int, int, int]] = []
        self.parameters: dict[int, int] = {}
        self.refuse = 0
        self.receives = 0
        self.stopped = False
        self.closed: list[int] = []
        self._pending: tuple[Any, Any, Any, Any, Overlapped] | None = None
        self._error = 0

    def last_error(self) -> int:
        return self._error

    def WinDivertOpen(self, text: bytes, layer: int, priority: int, flags: int) -> int | None:
        self.opened.append((text, layer, priority, flags))
        self._error = self.refuse
        return INVALID_HANDLE_VALUE if self.refuse else HANDLE

    def WinDivertSetParam(self, handle: int, name: int, value: int) -> int:
        self.parameters[name] = value
        return 1

    def WinDivertRecvEx(
        self, handle: int, packets: Any, size: int, length: Any, flags: int, addresses: Any, room: Any, overlapped: Any
    ) -> int:
        assert (handle, flags, size, overlapped._obj.event) == (HANDLE, 0, len(packets), EVENT)
        assert room._obj.value == BATCH_MAX * SIZE  # bytes
        assert self._pending is None, "two receives at once"
        self.receives += 1
        self._pending = packets, length, addresses, room, overlapped._obj
        if self.waiting:
            return self._fill()
        self._error = ERROR_NO_DATA if self.stopped else ERROR_IO_PENDING
        if self.stopped:
            self._pending = None
        return 0

    def WaitForSingleObject(self, handle: int, milliseconds: int) -> int:
        assert handle == EVENT
        return 0 if self.waiting or self.stopped else WAIT_TIMEOUT

    def GetOverlappedResult(self, handle: int, overlapped: Any, length: Any, wait: int) -> int:
        assert self._pending is not None
        assert overlapped._obj is self._pending[4]
        if self.waiting:
            return self._fill()
        self._pending, self._error = None, ERROR_NO_DATA
        return 0

    def _fill(self) -> int:
        assert self._pending is not None
        packets, length, addresses, room, _overlapped = self._pending
        self._pending = None
        batch = self.waiting.popleft()
        content = b"".join(batch)
        ctypes.memmove(packets, content, len(content))
        for i in range(len(batch)):
            addresses[i].interface = 5 + i
        length._obj.value, room._obj.value = len(content), len(batch) * SIZE
        return 1

    def WinDivertSendEx(
        self, handle: int, packets: int, size: int, length: Any, flags: int, addresses: int, bytes_: int, _: None
    ) -> int:
        self._error = self.refuse
        entries = [Address.from_buffer_copy(ctypes.string_at(addresses + at, SIZE)) for at in range(0, bytes_, SIZE)]
        if not self.refuse:
            self.sent.append((ctypes.string_at(packets, size), entries))
        return not self.refuse

    def WinDivertShutdown(self, handle: int, how: int) -> int:
        assert how == 1
        self.stopped = True
        return 1

    def WinDivertClose(self, handle: int) -> int:
        self.closed.append(handle)
        return 1

    def CreateEventW(self, _security: None, manual: int, initial: int, _name: None) -> int:
        assert (manual, initial) == (True, False)
        return EVENT

    def CloseHandle(self, handle: int) -> int:
        self.closed.append(handle)
        return 1


@pytest.fixture
def calls() -> WinDivert:
    return WinDivert()


class Buffers:
    def __init__(self) -> None:
        self.packets = (ctypes.c_char * 4096)()
        self.addresses = (Address * BATCH_MAX)()

    def receive(self, handle: WinDivertHandle) -> tuple[int, int] | End:
        return handle.receive(self.packets, self.addresses, 0.01)


def test_it_is_opened_on_the_network_layer_with_the_longest_queue(calls: WinDivert) -> None:
    WinDivertDriver(calls).open("outbound")
    assert calls.opened == [(b"outbound", 0, 2, 0)]
    assert calls.parameters == QUEUE


def test_what_only_sends_has_no_queue(calls: WinDivert) -> None:
    WinDivertDriver(calls).open("false", Flag.SEND_ONLY)
    assert calls.opened == [(b"false", 0, 1, 8)]
    assert calls.parameters == {}


@pytest.mark.parametrize(
    ("error", "message"), [(5, "access is denied"), (577, "signature"), (1275, "blocks the driver"), (31, "error 31")]
)
def test_a_driver_that_does_not_open_says_why(calls: WinDivert, error: int, message: str) -> None:
    calls.refuse = error
    with pytest.raises(BackendError, match=message) as caught:
        WinDivertDriver(calls).open("outbound")
    assert caught.value.remedy


def test_packets_come_in_batches_with_their_addresses(calls: WinDivert) -> None:
    calls.waiting.append([ONE, TWO])
    handle, buffers = WinDivertDriver(calls).open("outbound"), Buffers()
    assert buffers.receive(handle) == (len(ONE) + len(TWO), 2)
    assert buffers.packets.raw[: len(ONE) + len(TWO)] == ONE + TWO
    assert [buffers.addresses[i].interface for i in range(2)] == [5, 6]


def test_a_receive_that_timed_out_is_waited_for_again_and_not_repeated(calls: WinDivert) -> None:
    handle, buffers = WinDivertDriver(calls).open("outbound"), Buffers()
    assert buffers.receive(handle) is End.TIMEOUT
    assert buffers.receive(handle) is End.TIMEOUT
    calls.waiting.append([ONE])
    assert buffers.receive(handle) == (len(ONE), 1)
    assert calls.receives == 1


def test_a_stopped_handle_gives_what_waits_and_then_ends(calls: WinDivert) -> None:
    handle, buffers = WinDivertDriver(calls).open("outbound"), Buffers()
    calls.waiting.append([ONE])
    handle.stop()
    assert buffers.receive(handle) == (len(ONE), 1)
    assert buffers.receive(handle) is End.EMPTY


def test_a_receive_that_pends_ends_when_the_handle_is_stopped(calls: WinDivert) -> None:
    handle, buffers = WinDivertDriver(calls).open("outbound"), Buffers()
    assert buffers.receive(handle) is End.TIMEOUT
    handle.stop()
    assert buffers.receive(handle) is End.EMPTY


def test_an_error_of_the_driver_is_an_error(calls: WinDivert) -> None:
    handle = WinDivertDriver(calls).open("outbound")
    with pytest.raises(BackendError, match="error 1234"):
        handle._ended(1234)


def test_packets_are_sent_with_their_addresses_in_one_call(calls: WinDivert) -> None:
    handle = WinDivertDriver(calls).open("false", Flag.SEND_ONLY)
    memory, entries = ctypes.create_string_buffer(ONE + TWO), (Address * 2)(Address(interface=1), Address(interface=2))
    handle.send(ctypes.addressof(memory), len(ONE + TWO), ctypes.addressof(entries), 2)
    ((content, addresses),) = calls.sent
    assert content == ONE + TWO
    assert [entry.interface for entry in addresses] == [1, 2]
    calls.refuse = 87
    with pytest.raises(OSError, match="error 87"):
        handle.send(ctypes.addressof(memory), len(ONE), ctypes.addressof(entries), 1)


def test_closing_leaves_nothing_open(calls: WinDivert) -> None:
    handle = WinDivertDriver(calls).open("outbound")
    Buffers().receive(handle)
    handle.close()
    assert calls.closed == [HANDLE, EVENT]
    assert handle.statistics() == {}


@pytest.mark.skipif(sys.platform == "win32", reason="for other systems: says what they lack")
def test_other_systems_have_no_windivert_dll() -> None:
    with pytest.raises(BackendError, match=r"WinDivert\.dll is for Windows"):
        load_calls()


def test_overlapped_is_as_long_as_windows_has_it() -> None:
    assert (ctypes.sizeof(Overlapped), Overlapped.event.offset) == (32, 24)
