"""The driver double from the test's side: its private control codes, as the drivers' common face.

The driver must be loaded, and it has one state for the whole system: one test at a time.
"""

import ctypes
import itertools
import struct
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from tests.support.drivers import POOL_SIZE, Driver
from wiresock_py.filters.base import Buffer
from wiresock_py.filters.ndisapi import Ioctl, Version
from wiresock_py.filters.ndisapi.device import (
    ERROR_GEN_FAILURE,
    ERROR_INVALID_HANDLE,
    ERROR_INVALID_PARAMETER,
    Device,
    DeviceError,
    open_device,
)
from wiresock_py.filters.ndisapi.raw.constants import (
    MAX_ETHER_FRAME,
    PACKET_FLAG_ON_RECEIVE,
    PACKET_FLAG_ON_SEND,
    WINNT_REG_PARAM,
)
from wiresock_py.filters.ndisapi.raw.ioctl import control_code
from wiresock_py.filters.ndisapi.windows import CONNECTIONS

# driver/control.c has the requests behind these.
(
    RESET,
    ADD_ADAPTER,
    REMOVE_ADAPTER,
    REATTACH_ADAPTER,
    FRAMES,
    TAKE,
    FAIL,
    STATE,
    SET_ONWARD_EVENT,
    DIAL,
    SET_LINKS,
    CACHES,
    QUEUE_UNSOUND,
) = (control_code(0x90 + number) for number in range(13))

NETWORK, STACK = PACKET_FLAG_ON_SEND, PACKET_FLAG_ON_RECEIVE
"""Where frames come out: those sent leave the host, those received reach its stack."""
LOOPED_BACK = 0
_OPTIONS = struct.Struct("<5I")
_NEW_ADAPTER = struct.Struct("<Q6sHI256s")
_ARRIVAL = struct.Struct("<QII")
_ITEM = struct.Struct("<HH")
_STATE = struct.Struct("<40I")
TAKEN = 1 << 16
"""Bytes of frames to ask for at once."""


class Control:
    """The double's control channel, on a handle of its own, which the driver does not count as a client's."""

    def __init__(self) -> None:
        self._device = open_device()

    def close(self) -> None:
        self._device.close()

    def request(self, code: int, request: Buffer = b"", answer_size: int = 0) -> bytes:
        given = (ctypes.c_uint8 * (len(request) or 1)).from_buffer_copy(request or b"\0")
        answer = (ctypes.c_uint8 * (answer_size or 1))()
        size = self._device.control(
            code, ctypes.addressof(given), len(request), ctypes.addressof(answer) if answer_size else 0, answer_size
        )
        return bytes(answer)[:size]

    def reset(
        self,
        version: Version = Version(3, 6, 1),  # noqa: B008 - a tuple
        pool_size: int = POOL_SIZE,
        *,
        empty_read: int | None = ERROR_GEN_FAILURE,
        stale_handle: int = ERROR_INVALID_PARAMETER,
        resets_on_close: bool = False,
    ) -> None:
        """A new system; the arguments are the emulator's."""
        self.request(RESET, _OPTIONS.pack(version.word, pool_size, empty_read or 0, stale_handle, resets_on_close))

    def add(self, name: str, mac: bytes, mtu: int = 1500, medium: int = 0, handle: int = 0) -> int:
        """Plug an adapter in; its handle."""
        wanted = _NEW_ADAPTER.pack(handle, mac, mtu, medium, name.encode("ascii"))
        return int.from_bytes(self.request(ADD_ADAPTER, wanted, 8), "little")

    def frames(self, handle: int, direction: int, frames: list[bytes], vlan: int = 0) -> None:
        """Frames come by an adapter, in one request. With *direction* LOOPED_BACK NDIS loops them back."""
        for frame in frames:
            if len(frame) > MAX_ETHER_FRAME:
                raise ValueError(f"NDIS shows this driver no frame of {len(frame)} bytes")
        items = b"".join(_ITEM.pack(len(frame), 0) + frame for frame in frames)
        self.request(FRAMES, _ARRIVAL.pack(handle, direction, vlan) + items)

    def take(self, handle: int, directions: int) -> list[tuple[int, bytes]]:
        """(direction, frame) of what has come out, as much as fits ``TAKEN``."""
        answer = self.request(TAKE, struct.pack("<QI", handle, directions), TAKEN)
        found, at = [], 0
        while at < len(answer):
            length, direction = _ITEM.unpack_from(answer, at)
            at += _ITEM.size + length
            found.append((direction, answer[at - length : at]))
        return found

    def set_onward_event(self, event: int) -> None:
        """Set *event* when a frame comes out of any adapter."""
        self.request(SET_ONWARD_EVENT, event.to_bytes(8, "little"))


class DoubleAdapter:
    """One adapter of the double: ``tests.support.drivers.Plugged``."""

    def __init__(self, control: Control, handle: int, name: str, friendly_name: str, mac: bytes) -> None:
        self._control = control
        self.handle = handle
        self.name = name
        self.friendly_name = friendly_name
        self.mac = mac
        self.mtu = 1500
        self.medium = 0

    def stack_sends(self, frame: Buffer, vlan: int = 0) -> None:
        self._passes(PACKET_FLAG_ON_SEND, frame, vlan)

    def network_sends(self, frame: Buffer, vlan: int = 0) -> None:
        self._passes(PACKET_FLAG_ON_RECEIVE, frame, vlan)

    def loops_back(self, frame: Buffer) -> None:
        """NDIS loops a frame back that the host sent on this adapter."""
        self._passes(LOOPED_BACK, frame)

    def _passes(self, direction: int, frame: Buffer, vlan: int = 0) -> None:
        with _for_one_that_is_there():
            self._control.frames(self.handle, direction, [bytes(frame)], vlan)

    def network_received(self) -> list[bytes]:
        return self._take(NETWORK)

    def stack_received(self) -> list[bytes]:
        return self._take(STACK)

    def _take(self, direction: int) -> list[bytes]:
        found: list[bytes] = []
        with _for_one_that_is_there():
            while some := self._control.take(self.handle, direction):
                found += [frame for _direction, frame in some]
        return found


@contextmanager
def _for_one_that_is_there() -> Iterator[None]:
    """Nothing passes an adapter that has just gone."""
    try:
        yield
    except DeviceError as error:
        if error.code != ERROR_INVALID_HANDLE:
            raise


class Double:
    """A system with the double loaded: ``tests.support.drivers.Driver``."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self._numbers = itertools.count(1)

    @property
    def issued(self) -> Mapping[int, int]:
        counted = _STATE.unpack(self.control.request(STATE, answer_size=_STATE.size))[3:]
        return Counter(dict(zip(Ioctl, counted, strict=True)))

    def open(self) -> Device:
        return open_device()

    def add_adapter(
        self, friendly_name: str = "Ethernet", *, mac: bytes = b"", mtu: int = 1500, medium: int = 0
    ) -> DoubleAdapter:
        number = next(self._numbers)
        guid = f"{{{number:08X}-0000-4000-8000-000000000000}}"
        name = f"\\DEVICE\\{guid}"
        mac = mac or b"\x02\0\0\0" + number.to_bytes(2, "big")
        _set_friendly_name(guid, friendly_name)
        adapter = DoubleAdapter(self.control, self.control.add(name, mac, mtu, medium), name, friendly_name, mac)
        adapter.mtu, adapter.medium = mtu, medium
        return adapter

    def remove_adapter(self, adapter: DoubleAdapter) -> None:
        self.control.request(REMOVE_ADAPTER, adapter.handle.to_bytes(8, "little"))

    def reattach_adapter(self, adapter: DoubleAdapter) -> None:
        handle = adapter.handle.to_bytes(8, "little")
        adapter.handle = int.from_bytes(self.control.request(REATTACH_ADAPTER, handle, 8), "little")

    def fail(self, code: int, error: int, times: int = 1) -> None:
        self.control.request(FAIL, struct.pack("<III", code, error, times))


@contextmanager
def doubled(empty_read: int | None) -> Iterator[Driver]:
    control = Control()
    try:
        _forget_parameters()
        control.reset(empty_read=empty_read)
        yield Double(control)
        control.reset()
    finally:
        control.close()


def _set_friendly_name(guid: str, name: str) -> None:
    if sys.platform == "win32":
        import winreg

        with winreg.CreateKey(winreg.HKEY_LOCAL_MACHINE, f"{CONNECTIONS}\\{guid}\\Connection") as key:
            winreg.SetValueEx(key, "Name", 0, winreg.REG_SZ, name)


def _forget_parameters() -> None:
    """What a test wrote for the driver, as one that is newly installed has none of it."""
    if sys.platform == "win32":
        import winreg

        with suppress(FileNotFoundError):
            winreg.DeleteKey(winreg.HKEY_LOCAL_MACHINE, WINNT_REG_PARAM)
