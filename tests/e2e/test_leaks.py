"""Leaks: what is on the access link while the client starts, stops, or is killed.

Two applications probe 200 times a second, with every kind of exchange, over new and open flows, from before the client
starts: chrome, which belongs in the tunnel, and firefox, which does not. A host of the internet keeps an inbound
session with a third. Client-side port ranges tell on the capture whose frame is whose, wherever it was sent. Each case
first shows chrome's probes on the same capture with the client off: a capture that sees nothing proves nothing.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from wiresock_py.lab import (
    CLIENT,
    CLIENT_OTHER,
    ECHO_PORT,
    INNER_CLIENT,
    INTERNET,
    ROUTER,
    SERVER,
    App,
    Capture,
    Client,
    Frame,
    Lab,
    ProbeResult,
    Server,
)

pytestmark = [pytest.mark.lab, pytest.mark.root, pytest.mark.timeout(150)]

BEFORE = 1.0
AFTER = 10.0
SSH_PORT = 22
OWN = {host.of(family) for host in (CLIENT, CLIENT_OTHER) for family in (4, 6)}
KINDS = {f"{kind}-{family}" for kind in ("tcp-new", "tcp-open", "udp-new", "udp-open", "icmp") for family in (4, 6)} | {
    f"dns-{transport}-{family}" for transport in ("udp", "tcp") for family in (4, 6)
}


@dataclass
class Scene:
    """The running probes and who makes them."""

    lab: Lab
    capture: Capture
    ports: dict[str, range]
    apps: dict[str, App]

    def sent_in_the_open(self, name: str, since: float, until: float = float("inf")) -> list[Frame]:
        """The frames that application *name*'s flows put on the access link outside the tunnel."""
        frames = self.capture.of_ports(self.ports[name], OWN, since=since, until=until)
        return [frame for frame in frames if frame.source in OWN]

    def finish(self) -> dict[str, list[ProbeResult]]:
        """End probes and capture; each application's probes."""
        probes = {name: app.stop_probes() for name, app in self.apps.items()}
        self.capture.stop()
        assert self.capture.lost == 0
        return probes


@pytest.fixture
def scene(lab: Lab, app: Callable[[str], App]) -> Iterator[Scene]:
    """Everything probing, one second ago, and no client yet; chrome's probes have been seen on the capture."""
    sshd = app("sshd")
    sshd.listen(port=SSH_PORT)
    visitor = lab.app("visitor", namespace=lab.internet)
    names = ("chrome", "firefox")
    made = Scene(lab, lab.capture(), {name: lab.probe_ports() for name in names}, {name: app(name) for name in names})
    for name, each in made.apps.items():
        each.start_probes(made.ports[name], targets=INTERNET, resolvers=ROUTER, port=ECHO_PORT, rate=200)
    made.apps["visitor"] = visitor
    visitor.start_probes(lab.probe_ports(), targets=CLIENT, port=SSH_PORT, rate=20, protocols=["tcp-open", "tcp-new"])
    time.sleep(BEFORE)
    seen = Counter(frame.protocol for frame in made.sent_in_the_open("chrome", 0.0))
    assert all(seen[protocol] > 10 for protocol in (1, 6, 17, 58)), seen
    yield made
    visitor.stop()
    made.capture.stop()


@pytest.fixture
def config(server: Server) -> str:
    """The article's rules."""
    return server.client_config(
        server.add_peer(), allowed_apps="chrome", disallowed_ips="192.168.1.0/24, 2001:db8:1::/64"
    )


def kinds_of(probes: list[ProbeResult], since: float, until: float = float("inf")) -> dict[str, float]:
    """The part of each kind's probes, sent in a span of time, that was answered."""
    sent: Counter[str] = Counter()
    answered: Counter[str] = Counter()
    for probe in probes:
        if since <= probe["sent"] < until:
            sent[probe["kind"]] += 1
            answered[probe["kind"]] += bool(probe["answered"])
    return {kind: answered[kind] / sent[kind] for kind in sent}


def longest_silence(probes: list[ProbeResult], kind: str, since: float) -> float:
    """The longest time without an answer among the probes of a kind."""
    times = sorted(probe["answered"] for probe in probes if probe["kind"] == kind and probe["answered"] > since)
    return max((later - earlier for earlier, later in zip([since, *times], times, strict=False)), default=float("inf"))


def assert_others_went_on(probes: dict[str, list[ProbeResult]], since: float, until: float = float("inf")) -> None:
    """Firefox was served all the time, and the inbound sessions lost nothing."""
    served = kinds_of(probes["firefox"], since, until)
    assert served.keys() == KINDS
    # a datagram may be lost with a worker; whoever repeats what was lost, as TCP does, must have noticed nothing
    assert {kind: part for kind, part in served.items() if part < (1.0 if kind.startswith("tcp") else 0.9)} == {}
    for kind in ("tcp-open-4", "tcp-open-6"):
        assert longest_silence(probes["visitor"], kind, since) < 2.0
        assert longest_silence(probes["firefox"], kind, since) < 2.0
    inbound = kinds_of(probes["visitor"], since, until)
    assert {kind: part for kind, part in inbound.items() if part < 1.0} == {}


def assert_nothing_inner(capture: Capture) -> None:
    """No address of the inside was ever on the link in the clear."""
    inner = {INNER_CLIENT.of(4), INNER_CLIENT.of(6)}
    assert [frame for frame in capture.frames if frame.source in inner or frame.target in inner] == []


def test_complaint_7_nothing_leaks_at_the_start(scene: Scene, client: Callable[..., Client], config: str) -> None:
    client(config)
    up = time.monotonic()
    time.sleep(AFTER)
    probes = scene.finish()
    assert scene.sent_in_the_open("chrome", up) == []
    assert_nothing_inner(scene.capture)
    assert_others_went_on(probes, up - BEFORE)
    through = kinds_of(probes["chrome"], up + 2)
    new = {kind: part for kind, part in through.items() if "new" in kind or "dns" in kind or "icmp" in kind}
    assert {kind: part for kind, part in new.items() if part < 0.95} == {}
    # flows of the time before have a server that knows them by another address: they end, rather than go on outside
    assert through["tcp-open-4"] == through["tcp-open-6"] == 0


def test_stop(scene: Scene, client: Callable[..., Client], config: str) -> None:
    running = client(config)
    up = time.monotonic()
    time.sleep(2)
    through = scene.lab.app("chrome")
    through.open_session(name="open", address=INTERNET.of(4), port=ECHO_PORT)
    assert through.exchange(name="open", text="hello") == "hello"
    assert through.http(url=INTERNET.url(4)) == SERVER.of(4)
    asked = time.monotonic()
    assert running.stop() == 0
    stopped = time.monotonic()
    time.sleep(AFTER)
    probes = scene.finish()
    # until the client begins to go away; from then on chrome is like any other
    assert scene.sent_in_the_open("chrome", up, asked) == []
    assert stopped - asked < 5
    assert_nothing_inner(scene.capture)
    assert_others_went_on(probes, up)
    after = kinds_of(probes["chrome"], stopped + 1)
    assert {kind: part for kind, part in after.items() if "open" not in kind and part < 1.0} == {}
    # the session of the tunnel was told so, and not carried on in the open
    with pytest.raises(Exception, match=r"Reset|Broken|closed"):
        through.exchange(name="open", text="again", timeout=2)
    through.stop()


def test_complaint_8_kill_9_of_the_worker_leaks_nothing_and_cuts_no_other_app_off(
    scene: Scene, client: Callable[..., Client], config: str
) -> None:
    running = client(config)
    running.wait_until_connected()
    up = time.monotonic()
    time.sleep(2)
    old = running.kill_worker()
    killed = time.monotonic()
    time.sleep(AFTER)
    probes = scene.finish()
    assert running.running
    assert running.worker() != old
    assert scene.sent_in_the_open("chrome", up) == []
    assert_nothing_inner(scene.capture)
    assert_others_went_on(probes, up)
    healed = kinds_of(probes["chrome"], killed + 5)
    new = {kind: part for kind, part in healed.items() if "open" not in kind}
    assert {kind: part for kind, part in new.items() if part < 0.95} == {}


def test_kill_9_of_both_and_reset(scene: Scene, client: Callable[..., Client], config: str) -> None:
    running = client(config)
    running.wait_until_connected()
    up = time.monotonic()
    time.sleep(2)
    running.kill_all()
    killed = time.monotonic()
    time.sleep(AFTER)
    reset = time.monotonic()
    running.reset()
    done = time.monotonic()  # a busy machine takes its time to start a program
    time.sleep(3)
    probes = scene.finish()
    assert scene.sent_in_the_open("chrome", up, reset) == []
    assert_nothing_inner(scene.capture)
    blocked = kinds_of(probes["chrome"], killed + 0.5, reset - 3)
    assert set(blocked.values()) == {0.0}
    for name in ("chrome", "firefox"):
        healed = kinds_of(probes[name], done + 0.5)
        assert {kind: part for kind, part in healed.items() if "open" not in kind and part < 1.0} == {}
    rules = scene.lab.client.run("iptables-save") + scene.lab.client.run("ip6tables-save")
    assert "NFQUEUE" not in rules
