import ctypes
import logging
import sys

import pytest

from tests.support.windows import FakeServices
from wiresock_py.flow import App
from wiresock_py.owners.services import Services, ServiceStatus, load_service_calls

SVCHOST = r"C:\Windows\System32\svchost.exe"


def svchost(pid: int, started: float = 10.0) -> App:
    return App(pid, started, SVCHOST)


def test_an_entry_is_as_long_as_windows_has_it() -> None:
    assert (ctypes.sizeof(ServiceStatus), ServiceStatus.pid.offset) == (56, 44)  # winsvc.h, for x64


@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_every_service_of_a_process_is_named(at_once: int) -> None:
    calls = FakeServices(("Dnscache", 7), ("BFE", 8), ("stopped", 0), ("mpssvc", 8), at_once=at_once)
    services = Services(calls, clock=lambda: 100.0)
    assert services.of(svchost(7)) == ("Dnscache",)
    assert services.of(svchost(8)) == ("BFE", "mpssvc")
    assert services.of(svchost(9)) == ()
    assert (calls.enumerations, calls.open) == (1, 0)


def test_a_process_younger_than_the_last_enumeration_is_asked_about_anew() -> None:
    calls = FakeServices(("Dnscache", 7))
    now = [100.0]
    services = Services(calls, clock=lambda: now[0])
    services.of(svchost(7))
    calls.services.append(("WinDefend", 9))
    assert services.of(svchost(9, started=50)) == ()  # one that was there could have been asked about
    now[0] = 201
    assert services.of(svchost(9, started=200)) == ("WinDefend",)
    assert calls.enumerations == 2


def test_without_access_there_are_no_services_and_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    calls = FakeServices(("Dnscache", 7))
    calls.denied = True
    services = Services(calls, clock=lambda: 100.0)
    with caplog.at_level(logging.WARNING):
        assert services.of(svchost(7)) == services.of(svchost(8)) == ()
    assert len(caplog.records) == 1


@pytest.mark.skipif(sys.platform != "win32", reason="for other systems: asks Windows")
def test_windows_names_services_that_run() -> None:
    assert Services(load_service_calls())._read()
