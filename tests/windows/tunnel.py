"""End to end: ``wiresock-py run`` as a Windows process, real servers, and the double in the cable between.

The host is the lab's client, whose programs here are Windows': chrome.exe and firefox.exe, copies of the interpreter
that do what they are told. Everything is seen from outside: by the server, by the web server that says whom it sees,
by the wire beyond the driver.
"""

import itertools
import json
import os
import queue
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from tests.windows.cable import Cable, WindowsLab
from tests.windows.environment import ROOT, Environment
from tests.windows.wine import Wine
from wiresock_py.lab import CLIENT, ECHO_PORT, INTERNET, LAN_HOST, SERVER, Capture, LabError, Server

PROGRAMS = ROOT / "tests" / "windows" / "programs"
START_TIMEOUT = 60.0
STOP_TIMEOUT = 20.0
ANSWER_TIMEOUT = 60.0
SIZE = 2_000_000
CTRL_C = b"\x03"
MODE = "from wiresock_py.filters.ndisapi import NdisApi; api = NdisApi(); print(*map(api.mode, api.adapters()))"


class Program:
    """A Windows program at work; what it says is kept, line by line."""

    def __init__(self, running: "subprocess.Popen[bytes]", terminal: int | None = None) -> None:
        self._running = running
        self._terminal = terminal
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.said: list[str] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._running.stdout is not None
        for line in self._running.stdout:
            text = line.decode(errors="replace").rstrip()
            self.said.append(text)
            self._lines.put(text)

    def hear(self, pattern: str, timeout: float) -> str:
        """The next line with *pattern* in it. Raises LabError with all that was said."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                said = "\n".join(self.said)
                raise LabError(f"no line with {pattern!r} within {timeout:g} s, but:\n{said}") from None
            if re.search(pattern, line):
                return line

    def ask(self, verb: str, *arguments: Any) -> Any:
        """What app.py answers; LabError if it failed."""
        assert self._running.stdin is not None
        self._running.stdin.write(json.dumps([verb, str(CLIENT.v4), *arguments]).encode() + b"\n")
        self._running.stdin.flush()
        outcome, answer = json.loads(self.hear(r"^\[", ANSWER_TIMEOUT))
        if outcome != "ok":
            raise LabError(f"{verb} {arguments}: {answer}")
        return answer

    def end(self, timeout: float = STOP_TIMEOUT) -> int:
        """End its standard input, or press Ctrl+C on its terminal; its exit code."""
        if self._terminal is not None:
            os.write(self._terminal, CTRL_C)
        else:
            assert self._running.stdin is not None
            self._running.stdin.close()
        try:
            return self._running.wait(timeout)
        except subprocess.TimeoutExpired:
            self._running.kill()
            raise LabError(f"a program did not end within {timeout:g} s: {self.said[-20:]}") from None
        finally:
            if self._terminal is not None:
                os.close(self._terminal)
                self._terminal = None


class Host:
    """The lab's client as a Windows machine with the driver."""

    def __init__(self, lab: WindowsLab, windows: Wine, environment: Environment) -> None:
        self.lab = lab
        self._windows = windows
        self._python = environment.python
        self._owners = lab.folder / "owners"
        self._owners.write_text("")
        self.datapath = "python"

    def run_python(self, *arguments: str) -> str:
        return self._windows.run(self._python, *arguments, cwd=ROOT).strip()

    def start_wire(self, port: int) -> None:
        self._windows.start(self._python, "-m", "tests.windows.programs.wire", "eth0", str(port), cwd=ROOT)

    def start_client(self, config: str) -> Program:
        """``wiresock-py run``, capturing and connected, with the data path of the check."""
        path = self.lab.folder / "wg0.conf"
        path.write_text(config)
        variables = {
            "PYTHONPATH": f"Z:{PROGRAMS / 'injected'};Z:{ROOT}",
            "WIRESOCK_TEST_OWNERS": f"Z:{self._owners}",
        }
        command = (self._python, "-m", "wiresock_py", "run", "--datapath", self.datapath, f"Z:{path}")
        client = Program(*self._windows.start_on_terminal(*command, cwd=ROOT, environment=variables))
        client.hear(f"{self.datapath} data path", START_TIMEOUT)
        client.hear("the rules are in place", START_TIMEOUT)
        print("  " + client.hear("handshake with .* done", START_TIMEOUT).partition("INFO")[2].strip())
        return client

    @contextmanager
    def app(self, name: str) -> Iterator[Program]:
        """A program whose executable has that name."""
        folder = self._windows.drive / "apps" / name
        if not folder.exists():
            folder.mkdir(parents=True)
            shutil.copyfile(self._python, folder / f"{name}.exe")
            for library in self._python.parent.glob("*.dll"):
                (folder / library.name).symlink_to(library)
        command = (f"C:\\apps\\{name}\\{name}.exe", f"Z:{PROGRAMS / 'app.py'}", f"Z:{self._owners}")
        app = Program(self._windows.start(*command, environment={"PYTHONHOME": f"Z:{self._python.parent}"}))
        yield app
        app.end()


Check = Callable[[Host, Server, Capture], None]


def everything_goes_through_the_tunnel(host: Host, server: Server, wire: Capture) -> None:
    """Handshake, ping, UDP, a transfer; a network that is left out goes direct; a clean end."""
    peer = server.add_peer()
    client = host.start_client(server.client_config(peer, disallowed_ips="192.168.1.0/24"))
    pinged = host.lab.client.run("ping", "-c", "3", "-i", "0.2", str(INTERNET.v4))
    assert " 0% packet loss" in pinged, pinged
    with host.app("chrome") as chrome:
        assert chrome.ask("udp", str(INTERNET.v4), ECHO_PORT, "hello") == "hello"
        assert chrome.ask("http", str(INTERNET.v4)) == str(SERVER.v4), "seen from the server's address"
        assert chrome.ask("http", str(LAN_HOST.v4)) == str(CLIENT.v4), "seen from our own"
        started = time.monotonic()
        sent, received = chrome.ask("transfer", str(INTERNET.v4), ECHO_PORT, SIZE)
        assert sent == received
        print(f"  {SIZE} bytes there and back in {time.monotonic() - started:.1f} s, SHA-256 {sent[:12]}")
    state = server.state(peer)
    assert state.handshake
    assert state.received > SIZE
    outside = [frame for frame in wire.frames if str(INTERNET.v4) in (frame.source, frame.target)]
    assert not outside, "nothing for the internet left beside the tunnel"
    code = client.end()
    assert code == 0, f"exit code {code}: {client.said[-5:]}"
    assert host.run_python("-c", MODE) == "0", "the adapter's mode"


def chosen_programs_go_through_the_tunnel(host: Host, server: Server, wire: Capture) -> None:
    """By the Windows process that owns the socket."""
    client = host.start_client(server.client_config(server.add_peer(number=3), allowed_apps="chrome"))
    with host.app("chrome") as chrome, host.app("firefox") as firefox:
        seen = chrome.ask("http", str(INTERNET.v4)), firefox.ask("http", str(INTERNET.v4))
        assert seen == (str(SERVER.v4), str(CLIENT.v4)), f"{seen}: {client.said[-9:]}"
        assert chrome.ask("udp", str(INTERNET.v4), ECHO_PORT, "hello") == "hello"
        assert firefox.ask("udp", str(INTERNET.v4), ECHO_PORT, "hello") == "hello"
    assert client.end() == 0
    for line in client.said:
        if "owners:" in line or "first" in line:
            print("  " + line.rpartition("INFO")[2].strip())
    assert host.run_python("-c", MODE) == "0"


CHECKS: tuple[Check, ...] = (everything_goes_through_the_tunnel, chosen_programs_go_through_the_tunnel)


def run(environment: Environment) -> int:
    """How many checks failed."""
    failed = 0
    with ExitStack() as resources:
        lab = resources.enter_context(WindowsLab())
        server = lab.start_server()
        windows = resources.enter_context(Wine(lab.client.command()))
        windows.install_driver(environment.driver)
        cable = Cable(lab)
        resources.callback(cable.close)
        host = Host(lab, windows, environment)
        host.start_wire(cable.port)
        cable.start()
        for datapath, check in itertools.product(environment.datapaths, CHECKS):
            host.datapath = datapath
            started = time.monotonic()
            try:
                with lab.capture() as wire:
                    check(host, server, wire)
                outcome = "passed"
            except (AssertionError, LabError) as error:
                failed += 1
                outcome = f"FAILED: {error}"
            seconds = time.monotonic() - started
            name = check.__name__.replace("_", " ")
            print(f"tunnel, {datapath} data path: {name}: {outcome}, {seconds:.0f} s", flush=True)
    return failed
