"""A handle to the emulated driver."""

from collections.abc import Sequence
from typing import Protocol

from wiresock_py.filters.ndisapi.device import ERROR_INVALID_HANDLE, DeviceError, EventHandle
from wiresock_py.filters.ndisapi.emulator.events import Events
from wiresock_py.filters.ndisapi.emulator.memory import Call


class Driver(Protocol):
    """What a handle needs of the driver: Emulator."""

    events: Events
    parameters: dict[str, int]

    def control(self, code: int, call: Call) -> int: ...

    def friendly_name(self, guid: str) -> str: ...

    def close(self) -> None: ...


class EmulatedDevice:
    """A handle to the emulated driver: ``device.Device``."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._closed = False

    def control(self, code: int, request: int, request_size: int, answer: int, answer_size: int) -> int:
        if self._closed:
            raise DeviceError(code, ERROR_INVALID_HANDLE)
        return self._driver.control(code, Call(request, request_size, answer, answer_size))

    def create_event(self) -> EventHandle:
        return self._driver.events.create()

    def set_event(self, event: EventHandle) -> None:
        self._driver.events.set(event)

    def reset_event(self, event: EventHandle) -> None:
        self._driver.events.reset(event)

    def close_event(self, event: EventHandle) -> None:
        self._driver.events.close(event)

    def wait(self, events: Sequence[EventHandle], timeout: float | None) -> int:
        return self._driver.events.wait(events, timeout)

    def parameter(self, name: str) -> int | None:
        return self._driver.parameters.get(name)

    def set_parameter(self, name: str, value: int) -> None:
        self._driver.parameters[name] = value

    def friendly_name(self, guid: str) -> str:
        return self._driver.friendly_name(guid)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._driver.close()
