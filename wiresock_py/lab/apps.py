"""Applications of the lab: processes whose executable bears the name that rules match.

The program is a copy of the running Python interpreter under the wanted name, laid out as a virtual environment
(``pyvenv.cfg`` beside ``bin/``), which is how any interpreter finds its library from a strange place. What it does
inside is programs/agent.py.
"""

import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypedDict

from wiresock_py.lab.namespaces import LabError, Namespace, Process
from wiresock_py.lab.topology import Host

PROGRAMS = Path(__file__).parent / "programs"
START_TIMEOUT = 10.0


def install(name: str, folder: Path) -> Path:
    """An interpreter named *name* below *folder*; its path. The same call again gives the same file."""
    program = folder / name / "bin" / name
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(os.path.realpath(sys.executable), program)
        home = Path(sys.base_prefix) / "bin"
        (folder / name / "pyvenv.cfg").write_text(f"home = {home}\ninclude-system-site-packages = false\n")
    return program


def script(interpreter: Path | str, name: str, *arguments: str) -> list[str]:
    """The command line that runs one of the lab's programs: no site-packages, nothing from the environment."""
    return [str(interpreter), "-E", "-s", "-S", "-B", str(PROGRAMS / name), *arguments]


class ProbeResult(TypedDict):
    """What became of one probe; times on the monotonic clock of the machine, *answered* 0 for never."""

    kind: str
    sent: float
    answered: float
    error: str


class App:
    """A running application. ``app.http(url=…)`` and the other verbs of programs/agent.py block for the answer;
    :meth:`submit` does not. A verb that fails inside raises LabError with what the application said.
    """

    def __init__(self, name: str, namespace: Namespace, program: Path, log: Path) -> None:
        self.name = name
        self.program = program
        self._process = Process(
            namespace.command(*script(program, "agent.py")),
            log=log,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._waiting: dict[int, Future[Any]] = {0: Future()}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        started = self._waiting[0]
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            executable = started.result(START_TIMEOUT)
        except (TimeoutError, LabError):
            self.stop()
            raise LabError(f"the application {name} does not start: {self._process.log()[-500:]}") from None
        if executable != str(program):
            self.stop()
            raise LabError(f"the application {name} runs as {executable}, not as {program}")

    def __repr__(self) -> str:
        return f"App({self.name}, pid {self.pid})"

    @property
    def pid(self) -> int:
        return self._process.pid

    def submit(self, verb: str, **arguments: object) -> "Future[Any]":
        """Start a verb and return at once."""
        future: Future[Any] = Future()
        number = next(self._numbers)
        request = json.dumps({"id": number, "verb": verb, "arguments": arguments}) + "\n"
        pipe = self._process.popen.stdin
        assert pipe is not None
        with self._lock:
            self._waiting[number] = future
            try:
                pipe.write(request.encode())
                pipe.flush()
            except OSError:
                raise LabError(f"the application {self.name} is gone") from None
        return future

    def call(self, verb: str, **arguments: object) -> Any:
        """Run a verb to its end; its result. Verbs keep their own, shorter, time limits."""
        return self.submit(verb, **arguments).result(120)

    def __getattr__(self, verb: str) -> Any:
        if verb.startswith("_"):
            raise AttributeError(verb)
        return lambda **arguments: self.call(verb, **arguments)

    def start_probes(
        self,
        ports: range,
        *,
        targets: Host,
        port: int,
        resolvers: Host | None = None,
        rate: float = 200.0,
        protocols: Sequence[str] = (),
    ) -> None:
        """Probe *targets* from client-side *ports* until :meth:`stop_probes`; programs/probes.py names the protocols.

        Without *protocols*, all of them; DNS needs *resolvers*.
        """
        options: dict[str, object] = {"protocols": list(protocols)} if protocols else {}
        self.call(
            "start_probes",
            name="probes",
            targets={"4": targets.of(4), "6": targets.of(6)},
            resolvers={"4": resolvers.of(4), "6": resolvers.of(6)} if resolvers else {},
            port=port,
            ports=[ports.start, ports.stop],
            rate=rate,
            **options,
        )

    def stop_probes(self) -> list[ProbeResult]:
        """End the probes; what became of each, in the order they were sent."""
        results: list[ProbeResult] = self.call("stop_probes", name="probes")
        return results

    def stop(self) -> None:
        """End the process. May be repeated."""
        self._process.stop()

    def _read(self) -> None:
        pipe = self._process.popen.stdout
        assert pipe is not None
        for line in pipe:
            reply = json.loads(line)
            with self._lock:
                future = self._waiting.pop(reply["id"])
            if "error" in reply:
                future.set_exception(LabError(f"{self.name}: {reply['error']}"))
            else:
                future.set_result(reply["result"])
        with self._lock:
            for future in self._waiting.values():
                future.set_exception(LabError(f"the application {self.name} is gone"))
            self._waiting.clear()
