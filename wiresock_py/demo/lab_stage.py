"""The stage in the lab: real programs and a real WireGuard server in network namespaces, the client as users run it."""

import itertools
import json
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from ipaddress import ip_interface
from types import TracebackType
from typing import Self

import psutil

from wiresock_py.config import Config, Endpoint, format_config
from wiresock_py.crypto import PresharedKey, PrivateKey, PublicKey
from wiresock_py.demo.examples import fitted
from wiresock_py.demo.story import Answer, Pinged, Seen, Step
from wiresock_py.lab import (
    INTERNET,
    ROUTER,
    SERVER,
    App,
    Client,
    Frame,
    Host,
    Lab,
    LabError,
    Peer,
    Server,
    unavailable_reason,
)
from wiresock_py.lab.programs.services import content_sha256

APPS = ("chrome", "firefox")
PROGRAMS = {"wireguard-go": "wireguard-go", "iperf3": "iperf3", "ping": "iputils-ping"}
"""What the demo starts beside what the lab itself needs, with Debian's package of each."""
CONNECT_TIMEOUT = 15.0
TRANSFER_TIMEOUT = 30.0
PINGS = 3
STREAMS = 4
LOAD_SECONDS = 3
DNS_PORT = 53


class LabStage:
    """Needs root; touches nothing of this machine's own network."""

    description = (
        "In the lab: four network namespaces with a client host, an isp, wireguard-go as the server, and an internet "
        "host. This machine's own network stays as it is."
    )

    @staticmethod
    def unavailable_reason() -> str | None:
        """Why the demo cannot be played here and what to do about it, in one line; None if it can."""
        reason = unavailable_reason()
        missing = [program for program in PROGRAMS if shutil.which(program) is None]
        if reason is None and missing:
            reason = f"the demo in the lab needs {', '.join(missing)}; apt-get install {' '.join(PROGRAMS.values())}"
        return reason

    def __init__(self) -> None:
        self._parts = ExitStack()
        self._lab: Lab
        self._server: Server
        self._apps: dict[str, App] = {}
        self._peer: Peer
        self._peers = itertools.count(2)
        self._client: Client | None = None
        self._heard = 0
        self._rules_before: list[str] = []
        self._processes_before: set[int] = set()
        self._processes: list[psutil.Process] = []

    def __enter__(self) -> Self:
        with ExitStack() as parts:
            self._lab = parts.enter_context(Lab())
            self._server = self._lab.start_server("debian")
            self._apps = {name: self._lab.app(name) for name in APPS}
            self._parts = parts.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._processes = [psutil.Process(pid) for space in self._lab.namespaces for pid in space.pids()]
        except psutil.NoSuchProcess:
            pass  # it ended while we looked, which is what it is to do
        finally:
            self._client = None
            self._parts.close()

    def start(self, config: Config) -> Seen:
        (peer,) = config.peers
        known = self._server.add_peer(preshared=peer.preshared_key is not None, number=next(self._peers))
        config = fitted(
            config,
            private_key=PrivateKey.from_base64(known.keys.private),
            addresses=map(ip_interface, known.addresses),
            public_key=PublicKey.from_base64(self._server.keys.public),
            preshared_key=PresharedKey.from_base64(known.preshared_key) if known.preshared_key else None,
            endpoint=Endpoint(str(SERVER.v4), self._server.port),
        )
        self._peer = known
        self._rules_before = self._rules()
        self._processes_before = set(self._lab.client.pids())
        self._heard = 0
        self._client = self._lab.start_client(format_config(config, secrets=True), wait=False)
        self._client.wait_until_connected(CONNECT_TIMEOUT)
        (state,) = self._client.status()["tunnels"][0]["peers"]
        milliseconds = (state["handshake_rtt"] or 0) * 1000
        return Seen(f"handshake with {state['endpoint']} done in {milliseconds:.0f} ms", ok=True)

    def call(self, app: str, host: Host, family: int) -> Answer:
        with self._capture() as frames:
            address = self._apps[app].http(url=host.url(family))
        return Answer(address, _between(frames, host.of(family)))

    def ask(self, app: str) -> Answer:
        with self._capture() as frames:
            resolvers = self._apps[app].dns(name="resolver.lab")
        queries = [frame for frame in frames if DNS_PORT in (frame.source_port, frame.target_port)]
        return Answer(" ".join(resolvers), _between(queries, ROUTER.of(4)))

    def transfer(self, app: str, size: int) -> Seen:
        before = self._server.state(self._peer).sent
        url = INTERNET.url(4, f"/bytes/{size}")
        done = self._apps[app].submit("download", url=url, timeout=10.0).result(TRANSFER_TIMEOUT)
        through = self._server.state(self._peer).sent - before
        whole = (done["size"], done["sha256"]) == (size, content_sha256(size))
        text = (
            f"downloaded in {done['seconds']:.1f} s ({size * 8 / done['seconds'] / 1e6:.0f} Mbit/s), "
            f"{'whole' if whole else 'changed'}, SHA-256 {done['sha256'][:12]}; the server sent {_megabytes(through)}"
        )
        return Seen(text, whole and through > size)

    def ping(self, family: int) -> Pinged:
        with self._capture() as frames:
            said = self._lab.client.run("ping", "-c", str(PINGS), "-i", "0.2", "-W", "2", INTERNET.of(family))
        answered = said.count("bytes from")
        return Pinged(PINGS, answered, _between(frames, INTERNET.of(family)))

    def loads(self) -> Sequence[Step]:
        return [
            (f"iperf3, {STREAMS} streams, up", lambda: self._iperf()),
            (f"iperf3, {STREAMS} streams, down", lambda: self._iperf("-R")),
        ]

    def interrupt(self) -> Seen:
        assert self._client is not None
        rules = len(self._rules()) - len(self._rules_before)
        started = time.monotonic()
        code = self._client.stop(signal.SIGINT)
        seconds = time.monotonic() - started
        left = [f"exit code {code}"] if code else []
        if self._rules() != self._rules_before:
            left.append("iptables-save differs")
        left += [f"process {pid}" for pid in set(self._lab.client.pids()) - self._processes_before]
        text = f"ended in {seconds:.1f} s; "
        if left:
            return Seen(text + ", ".join(left), ok=False)
        return Seen(f"{text}iptables-save as before (it had {rules} rules), no process left", rules > 0)

    def said(self) -> list[str]:
        if self._client is None:
            return []
        lines = self._client.log().replace(f"{self._lab.folder}/", "").splitlines()
        heard, self._heard = self._heard, len(lines)
        return lines[heard:]

    def remains(self) -> Seen:
        left = [space.name for space in self._lab.namespaces if space.path.exists()]
        left += [f"process {process.pid}" for process in self._processes if process.is_running()]
        left += [str(self._lab.folder)] if self._lab.folder.exists() else []
        return Seen(", ".join(left) or "no namespace, no process, no file", not left)

    @contextmanager
    def _capture(self) -> Iterator[list[Frame]]:
        """What is on the isp's side of the access link meanwhile."""
        frames: list[Frame] = []
        with self._lab.capture() as capture:
            yield frames
        if capture.lost:
            raise LabError(f"the capture lost {capture.lost} frames")
        frames += capture.frames

    def _rules(self) -> list[str]:
        """What stands in the firewall of the client's namespace."""
        commands = ("iptables-save", "ip6tables-save")
        return [line for command in commands for line in standing(self._lab.client.run(command))]

    def _iperf(self, *options: str) -> Seen:
        before = self._server.state(self._peer)
        command = ("iperf3", "-c", str(INTERNET.v4), "-P", str(STREAMS), "-t", str(LOAD_SECONDS), "-J", *options)
        report = json.loads(self._lab.client.run(*command, timeout=LOAD_SECONDS + 15))
        if "error" in report:
            raise LabError(f"iperf3: {report['error']}")
        after = self._server.state(self._peer)
        through = after.sent - before.sent + after.received - before.received
        total = report["end"]["sum_received"]
        text = f"{total['bits_per_second'] / 1e6:.0f} Mbit/s for {LOAD_SECONDS} s; {_megabytes(through)} by the server"
        return Seen(text, through > total["bytes"] > 0)


def standing(saved: str) -> list[str]:
    """The rules, chains and policies in what ``iptables-save`` printed; tables that are merely there do not count."""
    lines = (line.partition(" [")[0] if line.startswith(":") else line for line in saved.splitlines())
    return [line for line in lines if line.startswith("-A") or (line.startswith(":") and not line.endswith(" ACCEPT"))]


def _between(frames: Sequence[Frame], address: str) -> int:
    """Frames from and to *address*. The other family's may still see the end of the step before."""
    return sum(address in (frame.source, frame.target) for frame in frames)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB"
