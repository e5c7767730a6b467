"""What is netfilter's own: queues, offloads, marks, crashes, takeovers, and other programs that change rules."""

import logging
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP

assert sys.platform == "linux"

from tests.backends.packets import read
from tests.backends.worlds import HOST, PATIENCE, NetfilterWorld, all_packets
from wiresock_py.errors import BackendError
from wiresock_py.filters import CapturePlan, PacketFlag, Verdict
from wiresock_py.filters.netfilter import NetfilterBackend
from wiresock_py.filters.netfilter.queue import QUEUE_LENGTH
from wiresock_py.filters.netfilter.rules import Marks

pytestmark = pytest.mark.root

INSIDE, INSIDE6, OUTSIDE = "203.0.113.1", "2001:db8::1", "198.51.100.1"
PLAN = CapturePlan((ip_network("203.0.113.0/24"), ip_network("2001:db8::/32")))
UDP_SEGMENT = 103
PASS, DROP, BYPASS = Verdict.PASS, Verdict.DROP, Verdict.BYPASS


def take(world: NetfilterWorld, count: int, verdict: Verdict = DROP) -> list[tuple[bytes, int]]:
    """(packet, flags) of the next *count* captured packets, all given one verdict."""
    found: list[tuple[bytes, int]] = []
    while len(found) < count:
        batch = world.backend.receive(PATIENCE)
        assert batch is not None, f"{count - len(found)} packets are missing"
        found += zip(all_packets(batch), batch.flags, strict=True)
        batch.verdict[:] = [verdict] * len(batch)
        world.backend.finish(batch)
    return found


def payload(packet: bytes) -> bytes:
    datagram = read(packet)
    assert datagram is not None
    return datagram.payload


def left(world: NetfilterWorld) -> list[bytes]:
    return [datagram.payload for datagram in world.left()]


def eventually(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@contextmanager
def serving(world: NetfilterWorld, verdict: Verdict) -> Iterator[list[int]]:
    """A thread gives every captured packet one verdict; yields the flags of all it saw."""
    seen: list[int] = []
    stopped = threading.Event()

    def serve() -> None:
        while not stopped.is_set():
            if batch := world.backend.receive(0.05):
                seen.extend(batch.flags)
                batch.verdict[:] = [verdict] * len(batch)
                world.backend.finish(batch)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield seen
    finally:
        stopped.set()
        thread.join()


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


# Queues and offloads.


def test_a_segmented_senders_datagrams_keep_their_boundaries(world: NetfilterWorld) -> None:
    world.backend.open(PLAN)
    app = world.open_socket(socket.AF_INET)
    control = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", 1000))]
    app.sendmsg([bytes(9_500)], control, 0, (INSIDE, 7))
    packets = take(world, 10)
    assert [len(payload(packet)) for packet, _flags in packets] == [1000] * 9 + [500]
    assert all(flags == PacketFlag.NONE for _packet, flags in packets)


@pytest.mark.parametrize("address", [INSIDE, INSIDE6])
def test_tcp_comes_in_super_packets_that_may_pass_whole(world: NetfilterWorld, address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with world.wire.inside():
        listener = world.open_socket(family, socket.SOCK_STREAM)
    listener.bind((address, 8000))
    listener.listen()
    world.backend.open(PLAN)
    content = bytes(range(256)) * 8192
    with serving(world, PASS) as seen:
        app = world.open_socket(family, socket.SOCK_STREAM)
        app.connect((address, 8000))
        server, _peer = listener.accept()
        server.settimeout(PATIENCE)
        sender = threading.Thread(target=app.sendall, args=(content,))
        sender.start()
        received = bytearray()
        while len(received) < len(content):
            received += server.recv(1 << 20)
        sender.join()
        server.close()
    assert received == content
    assert PacketFlag.SUPER_PACKET | PacketFlag.CHECKSUM_PARTIAL in seen
    assert len(seen) < len(content) / 1460, "more packets than the wire has"


def test_a_packet_longer_than_netlink_carries_is_flagged_and_may_pass(world: NetfilterWorld) -> None:
    world.backend.open(PLAN)
    world.send(bytes(65_507), INSIDE)
    ((packet, flags),) = take(world, 1, PASS)
    assert flags == PacketFlag.TRUNCATED
    assert len(packet) < 65_535
    assert world.backend.statistics()["truncated"] == 1
    assert sum(len(fragment) - 20 for fragment in world.left_packets("eth0") if fragment[9] == 17) == 65_507 + 8


def test_a_queue_that_is_full_loses_and_says_how_many(world: NetfilterWorld) -> None:
    world.backend.open(PLAN)
    app = world.open_socket(socket.AF_INET)
    app.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 26)
    for _ in range(QUEUE_LENGTH + 100):
        app.sendto(b"x", (INSIDE, 7))
    assert world.backend.statistics()["queue_full"] == 100
    assert left(world) == [], "a full queue drops, it does not pass"
    take(world, QUEUE_LENGTH)


def test_a_reader_too_slow_for_the_bytes_loses_and_says_how_many(world: NetfilterWorld) -> None:
    world.backend.open(PLAN)
    app = world.open_socket(socket.AF_INET)
    app.setsockopt(socket.SOL_SOCKET, 32, 1 << 28)  # SO_SNDBUFFORCE
    count = 1000
    for _ in range(count):
        app.sendto(bytes(65_000), (INSIDE, 7))
    lost = world.backend.statistics()["reader_slow"]
    assert lost > 0
    assert len(take(world, count - lost)) == count - lost
    assert world.backend.receive(0.0) is None
    app.sendto(b"after", (INSIDE, 7))
    assert payload(take(world, 1)[0][0]) == b"after", "one overrun does not block what follows"


def test_a_flood_of_datagrams_leaves_tcp_its_share_of_the_batch(world: NetfilterWorld) -> None:
    world.backend.open(PLAN)
    for _ in range(200):
        world.send(bytes(30_000), INSIDE)
    app = world.open_socket(socket.AF_INET, socket.SOCK_STREAM)
    app.setblocking(False)
    app.connect_ex((INSIDE, 8000))
    batch = world.backend.receive(PATIENCE)
    assert batch is not None
    assert 6 in [packet[9] for packet in all_packets(batch)], "the SYN is in the first batch"
    world.backend.finish(batch)


# Marks.


def test_our_own_sockets_are_exempt_whatever_other_bits_they_carry(world: NetfilterWorld) -> None:
    world.backend.open(PLAN)
    for mark in (world.backend.mark, world.backend.mark | 0x7):
        app = world.open_socket(socket.AF_INET)
        app.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        app.sendto(b"%x" % mark, (INSIDE, 7))
    assert left(world) == [b"20000000", b"20000007"]


def test_a_bypass_leaves_other_peoples_bits_alone(world: NetfilterWorld) -> None:
    world.host.run("iptables", "-t", "mangle", "-A", "OUTPUT", "-j", "CONNMARK", "--set-xmark", "0x700/0xf00")
    world.host.run("iptables", "-t", "filter", "-A", "OUTPUT", "-m", "mark", "--mark", "0x20000005")
    world.backend.open(PLAN)
    app = world.open_socket(socket.AF_INET)
    app.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 0x5)
    app.sendto(b"one", (INSIDE, 7))
    take(world, 1, BYPASS)
    app.sendto(b"two", (INSIDE, 7))
    assert left(world) == [b"one", b"two"]
    assert "mark=536872704" in world.host.run("conntrack", "-L", "-p", "udp", "--dport", "7")  # 0x20000700
    counters = world.host.run("iptables", "-t", "filter", "-L", "OUTPUT", "-v", "-x", "-n")
    assert re.search(r"^\s+1\s.*0x20000005", counters, re.MULTILINE), "the packet kept its own mark"


def test_a_passed_packet_keeps_its_mark(world: NetfilterWorld) -> None:
    world.host.run("iptables", "-t", "filter", "-A", "OUTPUT", "-m", "mark", "--mark", "0x5")
    world.backend.open(PLAN)
    app = world.open_socket(socket.AF_INET)
    app.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 0x5)
    app.sendto(b"one", (INSIDE, 7))
    take(world, 1, PASS)
    assert left(world) == [b"one"]
    counters = world.host.run("iptables", "-t", "filter", "-L", "OUTPUT", "-v", "-x", "-n")
    assert re.search(r"^\s+1\s.*0x5", counters, re.MULTILINE)


def test_marks_and_queues_may_be_others(world: NetfilterWorld) -> None:
    """Where another program has our usual bits, they mean nothing to us."""
    with closing(NetfilterBackend(Marks(bypass=0x10, injected=0x20), queues=(7, 8))) as world.backend:
        world.backend.open(PLAN)
        assert world.backend.mark == 0x10
        for mark, content in ((0x10, b"ours"), (Marks().bypass, b"theirs")):
            app = world.open_socket(socket.AF_INET)
            app.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
            app.sendto(content, (INSIDE, 7))
        ((packet, _flags),) = take(world, 1, BYPASS)
        assert payload(packet) == b"theirs"
        app.sendto(b"bypassed", (INSIDE, 7))
        assert left(world) == [b"ours", b"theirs", b"bypassed"]
        injected = IP(src=INSIDE, dst=HOST["eth0"][0]) / UDP(sport=7, dport=app.getsockname()[1]) / b"answer"
        world.backend.send_to_stack([[bytes(injected)]])
        assert app.recv(100) == b"answer"
        assert "mark=16 " in world.host.run("conntrack", "-L", "-p", "udp")
    assert "mark=16 " not in world.host.run("conntrack", "-L", "-p", "udp")


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
    ((packet, _flags),) = take(world, 1)
    assert payload(packet) == b"secret"


def test_default_routes_are_followed(world: NetfilterWorld) -> None:
    everything = CapturePlan((ip_network("0.0.0.0/0"),), (ip_network("10.78.0.1/32"),))
    world.backend.open(everything)
    world.send(b"beside", "10.78.0.9")  # behind side0, which has no default route: left alone
    world.send(b"near", "10.77.0.9")
    assert payload(take(world, 1)[0][0]) == b"near"
    world.host.ip("-6", "route", "del", "default")
    world.host.ip("route", "replace", "default", "via", "10.78.0.1")
    eventually(lambda: world.backend._surroundings.default == {"side0"})
    world.backend._check()  # whatever was under way is done
    world.send(b"near", "10.77.0.9")
    world.send(b"beside", "10.78.0.9")
    assert payload(take(world, 1)[0][0]) == b"beside"
    assert world.backend.receive(0.0) is None


def test_a_socket_bound_to_an_adapter_cannot_walk_around_the_plan(world: NetfilterWorld) -> None:
    world.backend.open(CapturePlan((ip_network("0.0.0.0/0"),)))
    app = world.open_socket(socket.AF_INET)
    app.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"side0")
    app.sendto(b"secret", (INSIDE, 7))
    assert payload(take(world, 1)[0][0]) == b"secret"


def test_a_watch_that_failed_ends_the_reader(world: NetfilterWorld) -> None:
    world.backend.open(PLAN)
    assert world.backend._watch is not None
    world.backend._watch.failure = ZeroDivisionError()
    with pytest.raises(BackendError, match="watches the rules"):
        world.backend.receive(0.0)


# Availability.


def test_missing_rights_are_one_line_with_the_remedy(world: NetfilterWorld) -> None:
    code = "from wiresock_py.filters.netfilter import NetfilterBackend as B; print(B.unavailable_reason())"
    for right in ("net_admin", "net_raw"):
        reason = world.host.run("setpriv", f"--bounding-set=-{right}", sys.executable, "-c", code)
        assert reason == "it needs CAP_NET_ADMIN and CAP_NET_RAW; run as root (sudo wiresock-py …)\n"


def test_asking_whether_it_works_changes_nothing(world: NetfilterWorld) -> None:
    before = world.host.run("iptables-save") + world.host.run("ip6tables-save")
    assert NetfilterBackend.unavailable_reason() is None
    assert world.host.run("iptables-save") + world.host.run("ip6tables-save") == before
    assert Path("/proc/thread-self/net/netfilter/nfnetlink_queue").read_text() == ""


def test_missing_iptables_is_one_line_with_the_remedy(
    world: NetfilterWorld, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("wiresock_py.filters.netfilter.iptables.SBIN", ())
    assert NetfilterBackend.unavailable_reason() == "iptables-restore is not installed; apt install iptables"


@pytest.mark.parametrize(
    ("found", "words"), [(None, "has no NFQUEUE"), (OSError(93, "Not supported"), "Not supported")]
)
def test_a_kernel_without_nfqueue_is_one_line_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, found: OSError | None, words: str
) -> None:
    def supported() -> bool:
        if found is not None:
            raise found
        return False

    monkeypatch.setattr("wiresock_py.filters.netfilter.backend.supported", supported)
    reason = NetfilterBackend.unavailable_reason()
    assert reason is not None
    assert words in reason
    assert "load nfnetlink_queue" in reason
