import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from wiresock_py.errors import ControlError
from wiresock_py.service import windows_service
from wiresock_py.service.options import RunOptions
from wiresock_py.service.windows_service import command_line, install, load_api, parse_options, start, stop, uninstall

OPTIONS = RunOptions(files=("wg 0.conf", 'a"b.conf'), backend="windivert", kill_switch="all", connect_timeout=0.0)


class Refused(Exception):  # noqa: N818 - as pywin32's error
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.winerror, self.strerror = code, "in Windows' words"


class Api:
    """The service manager, as win32service has it."""

    error = Refused
    SC_MANAGER_CONNECT, SC_MANAGER_CREATE_SERVICE, SERVICE_ALL_ACCESS = 1, 2, 0xF01FF
    SERVICE_WIN32_OWN_PROCESS, SERVICE_AUTO_START, SERVICE_ERROR_NORMAL = 0x10, 2, 1
    SERVICE_CONFIG_DESCRIPTION, SERVICE_CONFIG_FAILURE_ACTIONS, SERVICE_CONFIG_FAILURE_ACTIONS_FLAG = 1, 2, 4
    SC_ACTION_RESTART, SERVICE_CONTROL_STOP, SERVICE_STOPPED, SERVICE_RUNNING = 1, 1, 1, 4

    def __init__(self) -> None:
        self.installed: tuple[Any, ...] | None = None
        self.running = self.denied = self.stuck = False
        self.configured: dict[int, Any] = {}
        self.open = 0

    def OpenSCManager(self, machine: None, database: None, access: int) -> str:
        if self.denied:
            raise Refused(5)
        self.open += 1
        return "manager"

    def CreateService(self, *arguments: Any) -> str:
        if self.installed:
            raise Refused(1073)
        self.installed = arguments
        self.open += 1
        return "service"

    def ChangeServiceConfig2(self, service: str, level: int, value: Any) -> None:
        self.configured[level] = value

    def OpenService(self, manager: str, name: str, access: int) -> str:
        if not self.installed:
            raise Refused(1060)
        self.open += 1
        return "service"

    def StartService(self, service: str, arguments: None) -> None:
        if self.running:
            raise Refused(1056)
        self.running = True

    def ControlService(self, service: str, control: int) -> None:
        if not self.running:
            raise Refused(1062)
        self.running = self.stuck

    def QueryServiceStatus(self, service: str) -> tuple[int, int]:
        return 0x10, self.SERVICE_RUNNING if self.running else self.SERVICE_STOPPED

    def DeleteService(self, service: str) -> None:
        self.installed = None

    def CloseServiceHandle(self, handle: str) -> None:
        self.open -= 1


@pytest.fixture
def api() -> Api:
    return Api()


def test_options_come_out_of_the_command_line_as_they_went_in() -> None:
    line = command_line(OPTIONS)
    assert line.startswith((sys.executable, f'"{sys.executable}"'))
    if sys.platform != "win32":  # there a path's backslashes mean something to shlex
        assert parse_options(shlex.split(line)[-1]) == OPTIONS


def test_complaint_12_it_starts_at_boot_again_and_again_and_with_absolute_paths(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[RunOptions] = []

    def line(options: RunOptions) -> str:
        seen.append(options)
        return "line"

    monkeypatch.setattr(windows_service, "command_line", line)
    monkeypatch.setattr(windows_service, "stored", lambda path: Path("kept") if path.name == "wg0" else path)
    install(RunOptions(files=("wg0", "b.conf")), api)
    assert seen[0].files == ("wg0", str(Path("b.conf").absolute()))
    assert api.installed is not None
    assert (api.installed[1], api.installed[5], api.installed[7]) == ("wiresock-py", api.SERVICE_AUTO_START, "line")
    assert api.configured[api.SERVICE_CONFIG_FAILURE_ACTIONS]["Actions"] == [(api.SC_ACTION_RESTART, 5000)] * 3
    assert api.configured[api.SERVICE_CONFIG_FAILURE_ACTIONS_FLAG] is True
    assert api.open == 0


def test_its_life(api: Api) -> None:
    install(OPTIONS, api)
    start(api)
    stop(api)
    start(api)
    uninstall(api)
    assert not api.running
    assert api.installed is None
    install(OPTIONS, api)
    uninstall(api)
    assert api.open == 0


def test_what_windows_refuses_is_told_with_the_remedy(api: Api) -> None:
    with pytest.raises(ControlError, match="does not start the service: it is not installed"):
        start(api)
    install(OPTIONS, api)
    with pytest.raises(ControlError, match="does not install the service: it is installed already"):
        install(OPTIONS, api)
    with pytest.raises(ControlError, match="does not stop the service: it is not running"):
        stop(api)
    start(api)
    with pytest.raises(ControlError, match="it is running already"):
        start(api)
    api.denied = True
    with pytest.raises(ControlError, match="access is denied") as caught:
        stop(api)
    assert caught.value.remedy == "run this command as administrator"


def test_a_service_that_does_not_stop_is_told(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows_service, "STOP_TIMEOUT", -2.0)
    install(OPTIONS, api)
    start(api)
    api.stuck = True
    with pytest.raises(ControlError, match="does not stop") as caught:
        stop(api)
    assert "service.log" in caught.value.remedy


@pytest.mark.skipif(sys.platform == "win32", reason="for other systems: says what they lack")
def test_other_systems_have_no_such_services() -> None:
    with pytest.raises(ControlError, match="on Windows only"):
        load_api()
