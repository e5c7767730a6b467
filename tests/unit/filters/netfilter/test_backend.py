"""What is netfilter's own: queues, offloads, marks, and whether it works here. The rules: test_backend_rules.py."""

import re
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP

assert sys.platform == "linux"

from tests.backends.packets import read
from tests.backends.worlds import HOST, PATIENCE, NetfilterWorld, all_packets
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
    assert left(world) == [b"60000000", b"60000007"]


@pytest.mark.parametrize("address", [INSIDE, INSIDE6])
def test_a_port_that_one_of_our_sockets_had_is_not_exempt_for_the_next(world: NetfilterWorld, address: str) -> None:
    world.backend.open(PLAN)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as ours:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, world.backend.mark)
        ours.sendto(b"ours", (address, 53))
        port = ours.getsockname()[1]
    app = world.open_socket(family)
    app.bind(("", port))
    app.sendto(b"an app's", (address, 53))
    assert left(world) == [b"ours"]
    assert [payload(packet) for packet, _flags in take(world, 1)] == [b"an app's"]


@pytest.mark.parametrize("address", [INSIDE, INSIDE6])
def test_the_next_connection_between_the_same_ends_is_shown_whole(world: NetfilterWorld, address: str) -> None:
    """Also where the kernel still knows the one before, as it does for seconds after a reset by the far end."""
    world.backend.open(PLAN)
    with world.wire.inside():
        listener = socket.create_server((address, 80), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
    source = 0
    seen_of_each = []
    for verdict in (BYPASS, PASS):
        with (
            serving(world, verdict) as seen,
            socket.create_connection((address, 80), PATIENCE, source_address=("", source)) as app,
            listener.accept()[0] as far,
        ):
            source = app.getsockname()[1]
            app.sendall(b"data")
            assert far.recv(100) == b"data"
            far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            far.close()
            with pytest.raises(ConnectionResetError):
                app.recv(1)
        seen_of_each.append(len(seen))
    listener.close()
    assert seen_of_each == [1, 3], "of the second one the SYN, the acknowledgment of its answer, and the data"


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
        assert world.backend.mark == 0x30
        for mark, content in ((0x30, b"ours"), (Marks().bypass, b"theirs")):
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
