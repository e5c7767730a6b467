"""Everything around a worker, without a supervisor and on the memory backend."""

import queue
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
from scapy.layers.inet import UDP

from tests.support.worlds import (
    CHROME,
    EVERYTHING,
    FIREFOX,
    Owners,
    Wire,
    config_text,
    outgoing,
)
from wiresock_py.filters import CapturePlan
from wiresock_py.filters.memory import MemoryBackend
from wiresock_py.service import worker
from wiresock_py.service.options import RunOptions
from wiresock_py.service.worker import Worker

Found = TypeVar("Found")
RULES = f"{EVERYTHING}\nAllowedApps = chrome"


class RecordingBackend(MemoryBackend):
    """Remembers the plans it was opened with."""

    def __init__(self) -> None:
        super().__init__()
        self.plans: list[CapturePlan] = []

    def open(self, plan: CapturePlan) -> None:
        self.plans.append(plan)
        super().open(plan)


class Desk:
    """Everything around a worker: its file, its supervisor's end, its backend, and what it closed."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.file = folder / "wg0.conf"
        self.file.touch(mode=0o600)
        self.write(config_text(RULES))
        # below pytest's own folder the path would be longer than a UNIX socket's may be
        self._folder = tempfile.TemporaryDirectory()
        self.control = Path(self._folder.name) / "control.sock"
        self.inbox: worker.Inbox = queue.SimpleQueue()
        self.told: queue.SimpleQueue[tuple[str, dict[str, Any]]] = queue.SimpleQueue()
        self.backend = RecordingBackend()
        self.owners = Owners()
        self.owners.own(CHROME, socket.IPPROTO_UDP, 5000)
        self.owners.own(FIREFOX, socket.IPPROTO_UDP, 6000)
        self.resources = ExitStack()
        self.resources.callback(self._folder.cleanup)
        patch.setattr(worker, "create", lambda _name, _host, **_: self.backend)
        patch.setattr(worker, "SocketOwners", lambda: self.owners)
        patch.setattr(worker, "default_adapters", lambda: (SimpleNamespace(adapter="eth0"),))
        patch.setattr(worker, "adapter_mtu", lambda _name: 1500)
        patch.setattr(worker, "has_route", lambda _family: True)
        patch.setattr(worker, "_tell", lambda kind, **fields: self.told.put((kind, fields)))
        patch.setattr("wiresock_py.engine.links.UdpSocket", Wire)
        patch.setattr(worker, "open_connections", tuple)
        self.state = folder / "state"
        patch.setenv("STATE_DIRECTORY", str(self.state))

    def write(self, text: str) -> None:
        self.file.write_text(text)

    def make(self, **options: Any) -> Worker:
        given = RunOptions((str(self.file),), "memory", control_socket=str(self.control), **options)
        return Worker(given, self.inbox, self.resources)

    def say(self, kind: str, **fields: Any) -> None:
        self.inbox.put({"kind": kind, **fields})

    def run(self, made: Worker) -> "Running":
        return Running(self, made)


class Running:
    """A worker at work in a thread of its own."""

    def __init__(self, desk: Desk, made: Worker) -> None:
        self._desk = desk
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(made,))
        self._thread.start()
        desk.say("open")
        assert desk.told.get(timeout=10)[0] == "waiting"

    def _run(self, made: Worker) -> None:
        try:
            made.run()
        except BaseException as error:
            self.error = error

    def serving(self) -> "Running":
        assert self._desk.told.get(timeout=10) == ("serving", {})
        return self

    def end(self, kind: str = "stop", seconds: float = 5.0) -> None:
        self._desk.say(kind)
        self.ended(seconds)

    def ended(self, seconds: float = 5.0) -> None:
        self._thread.join(seconds)
        assert not self._thread.is_alive()


def passes(backend: MemoryBackend, port: int) -> bool:
    """Whether a datagram from *port* leaves outside the tunnel."""
    backend.stack_sends(outgoing(UDP(sport=port, dport=7)))
    return bool(backend.network_received(0.3))


def eventually(look: Callable[[], list[Found]]) -> list[Found]:
    """What *look* finds once it finds anything, within five seconds."""
    until = time.monotonic() + 5
    while not (found := look()):
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.01)
    return found
