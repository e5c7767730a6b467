"""Running as a Windows service: from boot on, before anybody logs on, for every account's programs (pywin32).

The service manager starts this module with the options of ``run``. The service is the supervisor, which starts workers
as it always does; what they tell goes to a log file, as a service has no terminal.
"""

import dataclasses
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wiresock_py.config.store import stored
from wiresock_py.errors import ControlError
from wiresock_py.service.options import RunOptions
from wiresock_py.service.stamps import default_folder
from wiresock_py.service.supervisor import STOP_TIMEOUT, Supervisor
from wiresock_py.service.talk import set_up_logging

log = logging.getLogger(__name__)

NAME = "wiresock-py"
DISPLAY_NAME = "wiresock-py (WireGuard client)"
DESCRIPTION = "Tunnels chosen applications and networks through WireGuard."
LOG_LIMIT = 4 * 1024 * 1024
"""Bytes of the log after which the next start begins a new one; one earlier one is kept."""
RESTART_AFTER_MS = 5000
# winerror.h
ERROR_ACCESS_DENIED, ERROR_SERVICE_ALREADY_RUNNING = 5, 1056
ERROR_SERVICE_DOES_NOT_EXIST, ERROR_SERVICE_NOT_ACTIVE, ERROR_SERVICE_EXISTS = 1060, 1062, 1073
ERROR_SERVICE_SPECIFIC_ERROR = 1066

_MEANINGS = {
    ERROR_ACCESS_DENIED: ("access is denied", "run this command as administrator"),
    ERROR_SERVICE_ALREADY_RUNNING: ("it is running already", "wiresock-py status"),
    ERROR_SERVICE_DOES_NOT_EXIST: ("it is not installed", "wiresock-py service install FILE"),
    ERROR_SERVICE_NOT_ACTIVE: ("it is not running", "wiresock-py service start"),
    ERROR_SERVICE_EXISTS: ("it is installed already", "wiresock-py service uninstall, then install it again"),
}


def log_file() -> Path:
    """Where the service tells what it does."""
    return default_folder() / "service.log"


def install(options: RunOptions, api: Any = None) -> None:
    """Have Windows start the client at every boot. Raises ControlError."""
    api = api or load_api()
    files = tuple(file if stored(Path(file)) != Path(file) else str(Path(file).absolute()) for file in options.files)
    options = dataclasses.replace(options, files=files)
    with _Manager(api, api.SC_MANAGER_CREATE_SERVICE) as manager:
        service = _call(
            api,
            "install",
            lambda: api.CreateService(
                manager,
                NAME,
                DISPLAY_NAME,
                api.SERVICE_ALL_ACCESS,
                api.SERVICE_WIN32_OWN_PROCESS,
                api.SERVICE_AUTO_START,
                api.SERVICE_ERROR_NORMAL,
                command_line(options),
                None,
                False,
                ["Tcpip"],
                None,
                None,
            ),
        )
        try:
            # a supervisor that dies leaves the plan as the kill switch says; a new one takes it over
            restart = (api.SC_ACTION_RESTART, RESTART_AFTER_MS)
            actions = {"ResetPeriod": 86_400, "RebootMsg": "", "Command": "", "Actions": [restart] * 3}
            for level, value in (
                (api.SERVICE_CONFIG_DESCRIPTION, DESCRIPTION),
                (api.SERVICE_CONFIG_FAILURE_ACTIONS, actions),
                # also where it says itself that it failed: at boot the network may come late
                (api.SERVICE_CONFIG_FAILURE_ACTIONS_FLAG, True),
            ):
                try:
                    api.ChangeServiceConfig2(service, level, value)
                except api.error as error:
                    log.warning("Windows does not take the service's setting %d: %s", level, error.strerror)
        finally:
            api.CloseServiceHandle(service)


def uninstall(api: Any = None) -> None:
    """Stop the service if it runs, and have Windows forget it. Raises ControlError."""
    api = api or load_api()
    with _Manager(api) as manager, _Service(api, manager, "uninstall") as service:
        try:
            api.ControlService(service, api.SERVICE_CONTROL_STOP)
            _wait(api, service)
        except api.error as error:
            if error.winerror != ERROR_SERVICE_NOT_ACTIVE:
                raise _refusal("uninstall", error) from None
        _call(api, "uninstall", lambda: api.DeleteService(service))


def start(api: Any = None) -> None:
    """Start the installed service. Raises ControlError."""
    api = api or load_api()
    with _Manager(api) as manager, _Service(api, manager, "start") as service:
        _call(api, "start", lambda: api.StartService(service, None))


def stop(api: Any = None) -> None:
    """Stop the service, and wait until it has undone its rules. Raises ControlError."""
    api = api or load_api()
    with _Manager(api) as manager, _Service(api, manager, "stop") as service:
        _call(api, "stop", lambda: api.ControlService(service, api.SERVICE_CONTROL_STOP))
        if not _wait(api, service):
            raise ControlError("the service does not stop", f"its log says why: {log_file()}")


def command_line(options: RunOptions) -> str:
    """What the service manager starts; the options travel as JSON, and hold no key."""
    arguments = [sys.executable, "-P", "-m", "wiresock_py.service.windows_service"]
    return subprocess.list2cmdline([*arguments, json.dumps(dataclasses.asdict(options))])


def parse_options(text: str) -> RunOptions:
    """The options that ``command_line`` wrote."""
    found = json.loads(text)
    return RunOptions(**{**found, "files": tuple(found["files"])})


def load_api() -> Any:
    """pywin32's win32service. Raises ControlError if it is not installed, or this is no Windows."""
    if sys.platform != "win32":
        raise ControlError("Windows services are on Windows only", "systemd takes a unit, as the user guide has it")
    try:
        import win32service
    except ImportError:
        raise ControlError("the package pywin32 is not installed", "pip install 'wiresock-py[service]'") from None
    return win32service


class _Manager:
    def __init__(self, api: Any, access: int = 0) -> None:
        self._api = api
        self._access = access

    def __enter__(self) -> Any:
        access = self._access or self._api.SC_MANAGER_CONNECT
        self._handle = _call(self._api, "reach", lambda: self._api.OpenSCManager(None, None, access))
        return self._handle

    def __exit__(self, *_: object) -> None:
        self._api.CloseServiceHandle(self._handle)


class _Service:
    def __init__(self, api: Any, manager: Any, verb: str) -> None:
        self._api, self._manager, self._verb = api, manager, verb

    def __enter__(self) -> Any:
        api = self._api
        self._handle = _call(api, self._verb, lambda: api.OpenService(self._manager, NAME, api.SERVICE_ALL_ACCESS))
        return self._handle

    def __exit__(self, *_: object) -> None:
        self._api.CloseServiceHandle(self._handle)


def _call(api: Any, verb: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except api.error as error:
        raise _refusal(verb, error) from None


def _refusal(verb: str, error: Any) -> ControlError:
    meaning, remedy = _MEANINGS.get(error.winerror, (f"error {error.winerror}: {error.strerror}", ""))
    return ControlError(f"Windows does not {verb} the service: {meaning}", remedy)


def _wait(api: Any, service: Any, sleep: Callable[[float], None] = time.sleep) -> bool:
    """Until the service has stopped; whether it has within the time a worker is given, and some more."""
    for _ in range(int(STOP_TIMEOUT * 10) + 20):
        if api.QueryServiceStatus(service)[1] == api.SERVICE_STOPPED:
            return True
        sleep(0.1)
    return False


def _log_to_file() -> None:
    """Have standard error, the workers' too, end up in the log file."""
    file = log_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists() and file.stat().st_size > LOG_LIMIT:
        file.replace(file.with_suffix(".old"))
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)


def main() -> int:
    """The service itself, started by the service manager."""
    if sys.platform != "win32":
        return 1
    import servicemanager
    import win32service
    import win32serviceutil

    options = parse_options(sys.argv[1])
    _log_to_file()
    set_up_logging(options.log_level)

    class Service(win32serviceutil.ServiceFramework):  # type: ignore[misc] # pywin32 has no types
        _svc_name_ = NAME
        _svc_display_name_ = DISPLAY_NAME

        def __init__(self, arguments: list[str]) -> None:
            super().__init__(arguments)
            self._supervisor = Supervisor(options)

        def SvcStop(self) -> None:
            hint = int((STOP_TIMEOUT + 2) * 1000)
            self.ReportServiceStatus(win32service.SERVICE_STOP_PENDING, waitHint=hint)
            self._supervisor.stop()

        SvcShutdown = SvcStop

        def SvcDoRun(self) -> None:
            try:
                exit_code = self._supervisor.run()
            except BaseException:
                log.exception("the service failed")
                exit_code = 1
            if exit_code:
                stopped = win32service.SERVICE_STOPPED
                specific = ERROR_SERVICE_SPECIFIC_ERROR
                self.ReportServiceStatus(stopped, win32ExitCode=specific, svcExitCode=exit_code)

    servicemanager.Initialize(NAME, None)
    servicemanager.PrepareToHostSingle(Service)
    servicemanager.StartServiceCtrlDispatcher()
    return 0


if __name__ == "__main__":
    sys.exit(main())
