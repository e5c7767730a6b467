"""Netfilter's rules while they stand: crashes, takeovers, other programs that change rules, and changing routes."""

import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest

assert sys.platform == "linux"

from tests.backends.traffic import left, take
from tests.backends.worlds import PATIENCE, NetfilterWorld
from wiresock_py.errors import BackendError
from wiresock_py.filters import CapturePlan, Verdict
from wiresock_py.filters.netfilter import NetfilterBackend
from wiresock_py.filters.netfilter.iptables import Content, Standing
from wiresock_py.filters.netfilter.rules import JUMPS, Surroundings

pytestmark = pytest.mark.root

INSIDE, INSIDE6, OUTSIDE = "203.0.113.1", "2001:db8::1", "198.51.100.1"
PLAN = CapturePlan((ip_network("203.0.113.0/24"), ip_network("2001:db8::/32")))
UDP_SEGMENT = 103
PASS, DROP, BYPASS = Verdict.PASS, Verdict.DROP, Verdict.BYPASS


def eventually(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


SERVE = """
import sys
from ipaddress import ip_network
from wiresock_py.filters import CapturePlan
from wiresock_py.filters.netfilter import NetfilterBackend
backend = NetfilterBackend()
plan = CapturePlan((ip_network("203.0.113.0/24"), ip_network("2001:db8::/32")), fail_open=%s)
backend.open(plan)
print("open", flush=True)
sys.stdin.read()
backend.close(keep_blocking=True)
"""


@contextmanager
def another_process(*, fail_open: bool = False) -> Iterator[subprocess.Popen[str]]:
    """One that has opened the backend in this namespace; leaves the rules when its input ends, or is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE % fail_open], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


# What a process leaves behind, and who takes over.


@pytest.mark.parametrize("address", [INSIDE, INSIDE6])
def test_what_a_killed_process_leaves_is_closed_until_reset(world: NetfilterWorld, address: str) -> None:
    with another_process() as process:
        process.kill()
        process.wait()
        world.send(b"secret", address)
        world.send(b"open", OUTSIDE)
        assert left(world) == [b"open"]
        removed = NetfilterBackend.reset()
        assert "IPv4 mangle rule -A OUTPUT -j WIRESOCK" in removed
        assert "IPv6 mangle chain WIRESOCK-QUEUE" in removed
        world.send(b"free", address)
        assert left(world) == [b"free"]
        assert NetfilterBackend.reset() == []


def test_what_a_killed_process_leaves_passes_if_the_plan_fails_open(world: NetfilterWorld) -> None:
    with another_process(fail_open=True) as process:
        process.kill()
        process.wait()
        world.send(b"open", INSIDE)
        assert left(world) == [b"open"]


def test_open_and_attach_take_over_from_a_killed_process(world: NetfilterWorld) -> None:
    for take_over in (world.backend.attach, world.backend.open):
        with another_process() as process:
            process.kill()
            process.wait()
            take_over(PLAN)
            world.send(b"secret", INSIDE)
            take(world, 1)
            world.backend.close()


def test_attaching_changes_no_rule(world: NetfilterWorld) -> None:
    def rules() -> str:
        lines = (world.host.run("iptables-save") + world.host.run("ip6tables-save")).splitlines()
        return "\n".join(line for line in lines if line.startswith("-A"))

    with another_process() as process:
        process.kill()
        process.wait()
        before = rules()
        world.backend.attach(CapturePlan((ip_network("0.0.0.0/0"),)))
        assert rules() == before


def test_a_living_holder_of_the_queues_is_an_error_that_changes_nothing(world: NetfilterWorld) -> None:
    with another_process():
        before = world.host.run("iptables-save", "-t", "mangle").splitlines()[1:-1]
        with pytest.raises(BackendError, match="NFQUEUE 51820 is held by another process"):
            world.backend.open(CapturePlan((ip_network("0.0.0.0/0"),)))
        assert world.host.run("iptables-save", "-t", "mangle").splitlines()[1:-1] == before


def test_open_waits_for_a_holder_that_is_letting_go(world: NetfilterWorld) -> None:
    with another_process() as process:
        opened = threading.Thread(target=world.backend.open, args=(PLAN,))
        opened.start()
        assert process.stdin is not None
        process.stdin.close()
        opened.join()
        process.wait()
        world.send(b"secret", INSIDE)
        take(world, 1)


def test_no_packet_of_the_plan_passes_while_rules_and_servers_change(world: NetfilterWorld) -> None:
    world.backend.open(PLAN)
    stopped = threading.Event()
    sent = [0]

    def probe() -> None:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as app,
            socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as app6,
        ):
            for opened in (app, app6):
                opened.setblocking(False)
            while not stopped.wait(0.0002):
                for opened, address in ((app, INSIDE), (app6, INSIDE6)):
                    try:
                        opened.sendto(b"secret", (address, 7))
                        sent[0] += 1
                    except BlockingIOError:  # the queue holds as much as the socket may send
                        pass

    prober = threading.Thread(target=probe)
    prober.start()
    try:
        for _ in range(3):
            world.backend.update(CapturePlan(PLAN.capture, dns=True))
            world.backend.close(keep_blocking=True)
            world.backend.attach(PLAN)
            world.backend.close(keep_blocking=True)
            world.backend.open(PLAN)
    finally:
        stopped.set()
        prober.join()
    assert sent[0] > 100
    assert left(world) == []
    world.backend.close()
    world.send(b"secret", INSIDE)
    assert left(world) == [b"secret"], "the same probe is seen without the rules"


def test_close_leaves_no_rule_no_mark_and_no_listener(world: NetfilterWorld) -> None:
    world.backend.open(PLAN)
    world.send(b"one", INSIDE)
    take(world, 1, BYPASS)
    world.backend.close()
    assert "WIRESOCK" not in world.host.run("iptables-save") + world.host.run("ip6tables-save")
    assert "mark=536870912" not in world.host.run("conntrack", "-L")
    assert Path("/proc/thread-self/net/netfilter/nfnetlink_queue").read_text() == ""
    assert "netfilter-watch" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.parametrize("broken", ["iptables-restore", "ip6tables-restore"])
def test_an_open_that_fails_changes_nothing(
    world: NetfilterWorld, broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / broken
    fake.write_text("#!/bin/sh\necho 'no such extension' >&2\nexit 2\n")
    fake.chmod(0o755)
    path = monkeypatch
    path.setenv("PATH", f"{tmp_path}:/usr/sbin:/usr/bin:/sbin:/bin")
    with pytest.raises(BackendError, match=f"{broken} refused our rules: no such extension"):
        world.backend.open(PLAN)
    path.undo()
    assert "WIRESOCK" not in world.host.run("iptables-save") + world.host.run("ip6tables-save")
    world.send(b"open", INSIDE)
    assert left(world) == [b"open"]
    world.backend.open(PLAN)


# Other programs and changing routes.


@pytest.mark.parametrize(
    "disturbance",
    [
        ("iptables", "-t", "mangle", "-F", "OUTPUT"),
        ("iptables", "-t", "mangle", "-I", "OUTPUT", "1", "-j", "ACCEPT"),
        ("iptables", "-t", "mangle", "-F", "WIRESOCK-PLAN"),
        ("iptables", "-t", "raw", "-F"),
        ("ip6tables", "-t", "mangle", "-F"),
    ],
)
def test_rules_that_another_program_removed_or_displaced_are_installed_again(
    world: NetfilterWorld, disturbance: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    world.backend.open(PLAN)

    def rules() -> tuple[object, ...]:
        found = [family.standing() for family in world.backend._families]
        return tuple((standing.leads, standing.rules) for standing in found)

    before = rules()
    with caplog.at_level(logging.WARNING):
        world.host.run(*disturbance)
        eventually(lambda: "another program" in caplog.text)
        eventually(lambda: rules() == before)
    world.send(b"secret", INSIDE)
    world.send(b"secret", INSIDE6)
    take(world, 2)


def test_our_own_changes_are_not_taken_for_anothers(world: NetfilterWorld, caplog: pytest.LogCaptureFixture) -> None:
    looked = threading.Event()
    world.backend.open(PLAN)
    assert world.backend._watch is not None
    check = world.backend._watch._check

    def look() -> None:
        check()
        looked.set()

    world.backend._watch._check = look
    with caplog.at_level(logging.WARNING):
        world.backend.update(CapturePlan(PLAN.capture, dns=True))
        assert looked.wait(PATIENCE)
    assert caplog.text == ""


def test_a_default_route_on_another_adapter_is_captured_before_anybody_notices(world: NetfilterWorld) -> None:
    world.backend.open(CapturePlan((ip_network("0.0.0.0/0"),)))
    assert world.backend._watch is not None
    world.backend._watch.stop()
    world.backend._watch = None
    world.host.ip("route", "replace", "default", "via", "10.78.0.1")
    world.send(b"secret", INSIDE)
    assert take(world, 1) == [b"secret"]


def test_default_routes_are_followed(world: NetfilterWorld) -> None:
    everything = CapturePlan((ip_network("0.0.0.0/0"),), (ip_network("10.78.0.1/32"),))
    world.backend.open(everything)
    world.send(b"beside", "10.78.0.9")  # behind side0, which has no default route: left alone
    world.send(b"near", "10.77.0.9")
    assert take(world, 1) == [b"near"]
    world.host.ip("-6", "route", "del", "default")
    world.host.ip("route", "replace", "default", "via", "10.78.0.1")
    eventually(lambda: world.backend._surroundings.default == {"side0"})
    world.backend._check()  # whatever was under way is done
    world.send(b"near", "10.77.0.9")
    world.send(b"beside", "10.78.0.9")
    assert take(world, 1) == [b"beside"]
    assert world.backend.receive(0.0) is None


def test_rules_that_could_not_follow_a_route_are_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Locked:
        version = 4
        refusals = 1
        installed: Content = ()

        def install(self, content: Content) -> None:
            if self.refusals:
                self.refusals -= 1
                raise BackendError("another program holds the lock")
            self.installed = content

        def standing(self) -> Standing:
            jumps = {table: {builtin: f"-A {builtin} -j {chain}" for builtin, chain in JUMPS[table]} for table in JUMPS}
            return Standing({}, {}, {}, jumps)

    locked = Locked()
    backend = NetfilterBackend()
    monkeypatch.setattr(backend, "_families", [locked])
    monkeypatch.setattr(backend, "_installed", {4: locked.standing()})
    monkeypatch.setattr(
        "wiresock_py.filters.netfilter.backend.surroundings", lambda: Surroundings(frozenset({"side0"}))
    )
    backend._check()
    assert "tried again soon" in caplog.text
    backend._check()
    assert locked.installed


def test_a_network_that_leaves_the_default_route_out_is_captured_all_the_same(world: NetfilterWorld) -> None:
    world.backend.open(CapturePlan((ip_network("0.0.0.0/0"),)))
    world.host.ip("route", "del", "default")
    for quarter in ("0.0.0.0/2", "64.0.0.0/2", "128.0.0.0/2", "192.0.0.0/2"):
        world.host.ip("route", "add", quarter, "via", "10.77.0.1")
    world.backend._check()
    world.send(b"secret", "9.9.9.9")
    assert take(world, 1) == [b"secret"]


def test_a_socket_bound_to_an_adapter_cannot_walk_around_the_plan(world: NetfilterWorld) -> None:
    world.backend.open(CapturePlan((ip_network("0.0.0.0/0"),)))
    app = world.open_socket(socket.AF_INET)
    app.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"side0")
    app.sendto(b"secret", (INSIDE, 7))
    assert take(world, 1) == [b"secret"]


def test_a_watch_that_failed_ends_the_reader(world: NetfilterWorld) -> None:
    world.backend.open(PLAN)
    assert world.backend._watch is not None
    world.backend._watch.failure = ZeroDivisionError()
    with pytest.raises(BackendError, match="watches the rules"):
        world.backend.receive(0.0)
