"""Our own client in the lab: ``wiresock-py run FILE`` in the client's namespace, watched from outside."""

import json
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from wiresock_py.lab.namespaces import LabError, Namespace, Process

UP = "the rules are in place"
CONNECTED = "handshake with"
"""What ``run`` says once it captures, and once a server has answered."""
START_TIMEOUT = 20.0
STOP_TIMEOUT = 15.0


class Client:
    """A running client. It is two processes: the supervisor, which is the one started, and the worker."""

    def __init__(
        self,
        namespace: Namespace,
        files: Sequence[Path],
        options: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
    ) -> None:
        self.namespace = namespace
        self.control = log.with_suffix(".sock")  # of its own: the file system is shared with other namespaces
        """Its control socket."""
        command = [str(executable()), "run", "--control-socket", str(self.control), *options, *map(str, files)]
        given = {"STATE_DIRECTORY": str(log.parent / "state"), **environment}  # nothing is left in /var/lib
        variables = [f"{name}={value}" for name, value in given.items()]
        self._process = Process(namespace.command("env", *variables, *command), log=log)

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.running

    def log(self) -> str:
        """What it said so far."""
        return self._process.log()

    def wait_until_up(self, timeout: float = START_TIMEOUT) -> None:
        """Wait for the line that says so. Raises LabError with the log's end."""
        self.wait_for_log(UP, timeout)

    def wait_until_connected(self, timeout: float = 10.0) -> None:
        """Wait until a server has answered."""
        self.wait_for_log(CONNECTED, timeout)

    def wait_for_log(self, text: str, timeout: float = 10.0, *, times: int = 1) -> None:
        """Wait until the log has *text* that many times."""
        self._process.wait_for(lambda: self.log().count(text) >= times, f"saying {text!r}", timeout)

    def worker(self) -> int:
        """The worker's process id: the supervisor's only child."""
        children = psutil.Process(self.pid).children()
        if len(children) != 1:
            raise LabError(f"the supervisor has {len(children)} children, not one worker")
        return children[0].pid

    def kill_worker(self) -> int:
        """kill -9 the worker; the id it had."""
        pid = self.worker()
        psutil.Process(pid).kill()
        return pid

    def kill_all(self) -> None:
        """kill -9 the supervisor, then the worker, with nothing done in between."""
        processes = [psutil.Process(self.pid), *psutil.Process(self.pid).children(recursive=True)]
        for process in processes:
            process.suspend()  # so that neither acts on the other's end
        for process in processes:
            process.kill()
        self._process.stop()
        psutil.wait_procs(processes, timeout=STOP_TIMEOUT)

    def wait(self, timeout: float = STOP_TIMEOUT) -> int:
        """Wait until it ends by itself; its exit code. Raises subprocess.TimeoutExpired."""
        return self._process.popen.wait(timeout)

    def stop(self, number: int = signal.SIGINT) -> int:
        """End it as Ctrl+C (or another signal) does; its exit code. May be repeated."""
        return self._process.stop(number, STOP_TIMEOUT)

    def status(self) -> dict[str, Any]:
        """What ``wiresock-py status --json`` says of it."""
        text = self.namespace.run(str(executable()), "status", "--json", "--control-socket", str(self.control))
        result: dict[str, Any] = json.loads(text)
        return result

    def reload(self) -> str:
        """``wiresock-py reload``; what it said. Raises LabError with its mistakes if it was refused."""
        return self.namespace.run(str(executable()), "reload", "--control-socket", str(self.control)).strip()

    def reset(self) -> str:
        """``wiresock-py reset`` in its namespace; what it said."""
        return self.namespace.run(str(executable()), "reset", "--control-socket", str(self.control))


def executable() -> Path:
    """The ``wiresock-py`` that belongs to this interpreter."""
    path = Path(sys.executable).with_name("wiresock-py")
    if not path.exists():
        raise LabError(f"there is no {path}", "install the project into this environment: pip install -e .")
    return path
