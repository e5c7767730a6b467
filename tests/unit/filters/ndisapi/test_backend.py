"""The backend's beginning and end, on a driver that may hold what others left."""

import atexit
import threading
from collections.abc import Callable

import pytest

from tests.support.captures import (
    ADAPTERS,
    NEIGHBOUR,
    PLAN,
    datagram,
    modes,
    payloads,
    take,
)
from tests.support.drivers import Driver
from tests.support.ethernet import EthernetHost
from wiresock_py.errors import BackendError
from wiresock_py.filters import CapturePlan
from wiresock_py.filters.ndisapi import (
    Action,
    AdapterMode,
    DeviceError,
    Ioctl,
    NdisApi,
    StaticFilter,
)
from wiresock_py.filters.ndisapi.backend import NdisApiBackend
from wiresock_py.filters.ndisapi.emulator import Emulator


def test_what_a_crashed_run_left_is_cleared_at_the_start(
    backend: NdisApiBackend, host: EthernetHost, driver: Driver
) -> None:
    with NdisApi(driver.open()) as crashed:
        for adapter in crashed.adapters():
            crashed.set_mode(adapter, AdapterMode.TUNNEL)
        crashed.set_filters([StaticFilter(Action.REDIRECT)] * 3)
        host.networks["eth0"].plugged.stack_sends(bytes(12) + b"\x08\x00" + datagram(b"stale"))
    backend.open(PLAN)
    assert modes(driver) == [AdapterMode.SENT_TUNNEL, 0]
    assert backend.receive(0.0) is None
    host.stack_sends(datagram(b"fresh"))
    assert take(backend) == [b"fresh"]


def test_reset_says_what_it_undid(backend: NdisApiBackend, host: EthernetHost, driver: Driver) -> None:
    backend.open(PLAN)
    backend.close(keep_blocking=True)
    lines = NdisApiBackend.reset(driver.open)
    assert len(lines) == 2
    assert "static filters" in lines[0]
    assert "to 0" in lines[1]
    assert NdisApiBackend.reset(driver.open) == []
    host.stack_sends(datagram(b"open"))
    assert payloads(host.network_received()) == [b"open"]


@pytest.mark.parametrize(
    "code", [Ioctl.GET_TCPIP_INTERFACES, Ioctl.SET_PACKET_FILTERS, Ioctl.SET_EVENT, Ioctl.SET_ADAPTER_MODE]
)
def test_a_start_that_fails_leaves_everything_as_it_was(
    backend: NdisApiBackend, host: EthernetHost, driver: Driver, code: Ioctl
) -> None:
    driver.fail(code, 31)
    with pytest.raises(DeviceError, match=code.name):
        backend.open(PLAN)
    assert modes(driver) == [0, 0]
    with NdisApi(driver.open()) as api:
        assert api.filter_count() == 0
    backend.open(PLAN)
    host.stack_sends(datagram(b"again"))
    assert take(backend) == [b"again"]


def test_an_adapter_that_the_driver_does_not_have_is_an_error_that_names_those_it_has(
    backend: NdisApiBackend, driver: Driver
) -> None:
    with pytest.raises(BackendError, match="has no adapter 'Wi-Fi'") as caught:
        backend.open(CapturePlan(PLAN.capture, adapters=("side0", "Wi-Fi")))
    assert "use one of: eth0, side0" in caught.value.remedy
    assert modes(driver) == [0, 0]


def test_an_adapter_may_be_named_as_windows_or_as_the_driver_names_it(
    backend: NdisApiBackend, host: EthernetHost, driver: Driver
) -> None:
    plugged = host.networks["side0"].plugged
    for name in ("SIDE0", plugged.name.lower(), plugged.name.rpartition("\\")[2]):
        backend.open(CapturePlan(PLAN.capture, adapters=(name,)))
        assert modes(driver) == [0, AdapterMode.SENT_TUNNEL]
        backend.close()
        assert modes(driver) == [0, 0]


def test_an_adapter_that_stays_captured_is_an_error_and_blocks_the_plan(
    backend: NdisApiBackend, host: EthernetHost, driver: Driver
) -> None:
    backend.open(PLAN)
    driver.fail(Ioctl.SET_ADAPTER_MODE, 31)
    with pytest.raises(DeviceError, match="SET_ADAPTER_MODE failed"):
        backend.close()
    host.stack_sends(datagram(b"secret"))
    host.stack_sends(datagram(b"open", to=NEIGHBOUR))
    assert payloads(host.network_received()) == [b"open"]
    NdisApiBackend.reset(driver.open)


def test_no_event_and_no_thread_is_left_behind(backend: NdisApiBackend, host: EthernetHost, emulator: Emulator) -> None:
    before = threading.active_count()
    for keep_blocking in (True, False):
        backend.open(PLAN)
        assert threading.active_count() == before + 2
        backend.close(keep_blocking=keep_blocking)
        assert threading.active_count() == before
        assert len(emulator.events) == 0
        host.changed()


def test_an_exit_that_forgets_to_close_gives_the_adapters_back(
    backend: NdisApiBackend, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered: list[Callable[[], None]] = []
    monkeypatch.setattr(atexit, "register", registered.append)
    monkeypatch.setattr(atexit, "unregister", registered.remove)
    backend.open(PLAN)
    (at_exit,) = registered
    at_exit()
    assert registered == []
    assert modes(driver) == [0, 0]


@pytest.mark.parametrize("forgets", [False, True])
def test_a_run_that_is_killed_leaves_what_the_driver_makes_of_it_and_the_next_one_serves(forgets: bool) -> None:
    """Whether the driver forgets modes and filters with a process is not known."""
    emulator = Emulator(resets_on_close=forgets)
    host = EthernetHost(emulator, ADAPTERS, default=("eth0",))
    killed_device = emulator.open()
    killed = NdisApiBackend(host, lambda: killed_device)
    killed.open(PLAN)
    host.stack_sends(datagram(b"queued"))
    killed_device.close()
    host.stack_sends(datagram(b"meanwhile"))
    assert payloads(host.network_received()) == ([b"meanwhile"] if forgets else [])
    backend = NdisApiBackend(host, emulator.open)
    backend.attach(PLAN)
    host.stack_sends(datagram(b"served"))
    assert take(backend) == [b"served"]
    backend.close()
    with pytest.raises(DeviceError):
        killed.close()
    with NdisApi(emulator.open()) as api:
        assert api.restore() == []


def test_a_guard_keeps_the_plan_blocked_where_the_driver_forgets_with_its_last_handle() -> None:
    emulator = Emulator(resets_on_close=True)
    host = EthernetHost(emulator, ADAPTERS, default=("eth0",))
    killed_device = emulator.open()
    killed = NdisApiBackend(host, lambda: killed_device)
    with NdisApiBackend.guard(emulator.open):
        killed.open(PLAN)
        killed_device.close()
        with pytest.raises(DeviceError):
            killed.close()
        host.stack_sends(datagram(b"secret"))
        host.stack_sends(datagram(b"open", to=NEIGHBOUR))
        assert payloads(host.network_received()) == [b"open"]
    host.stack_sends(datagram(b"free"))
    assert payloads(host.network_received()) == [b"free"]
