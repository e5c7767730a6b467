"""Raw sockets that put packets into the host's stack, on a real one."""

import socket
import sys
import time
from collections.abc import Iterator
from ipaddress import ip_network

import pytest

assert sys.platform == "linux"

from tests.backends.packets import Datagram, build
from tests.backends.worlds import PATIENCE, NetfilterWorld
from wiresock_py.filters import CapturePlan
from wiresock_py.filters.netfilter.injection import MAX_REMEMBERED, Injector

pytestmark = pytest.mark.root

MARK = 0x4000_0000
PLAN = CapturePlan((ip_network("203.0.113.0/24"), ip_network("2001:db8::/32")))


@pytest.fixture(params=[False, True], ids=["python", "compiled"])
def injector(request: pytest.FixtureRequest, world: NetfilterWorld) -> Iterator[Injector]:
    found = Injector(MARK, compiled=request.param)
    yield found
    found.close()


def answer(destination: str, port: int, payload: bytes = b"answer") -> bytes:
    source = "2001:db8::1" if ":" in destination else "203.0.113.1"
    return build(Datagram(source, 99, destination, port, payload))


def strict(world: NetfilterWorld) -> None:
    for device in ("all", "eth0", "lo"):
        world.host.run("sysctl", "-qw", f"net.ipv4.conf.{device}.rp_filter=1")


def test_strict_reverse_path_filtering_does_not_matter(world: NetfilterWorld, injector: Injector) -> None:
    strict(world)
    app = world.listen("10.77.0.2", 6000)
    assert injector.send([[answer("10.77.0.2", 6000)]]) == 1
    assert app.received()[0] == b"answer"


@pytest.mark.parametrize("address", ["10.77.0.2", "fd77::2"])
def test_a_socket_bound_to_a_device_gets_it(world: NetfilterWorld, injector: Injector, address: str) -> None:
    strict(world)
    app = world.open_socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    app.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
    app.bind((address, 6000))
    assert injector.send([[answer(address, 6000)]]) == 1
    assert app.recv(100) == b"answer"


@pytest.mark.parametrize(("address", "remote"), [("10.77.0.2", "203.0.113.1"), ("fd77::2", "2001:db8::1")])
def test_a_connected_socket_gets_it(world: NetfilterWorld, injector: Injector, address: str, remote: str) -> None:
    app = world.open_socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    app.bind((address, 6000))
    app.connect((remote, 99))
    assert injector.send([[answer(address, 6000)]]) == 1
    assert app.recv(100) == b"answer"


def test_an_answer_for_a_link_local_address_of_ours_arrives(world: NetfilterWorld, injector: Injector) -> None:
    index = world.adapters["eth0"]
    world.host.ip("addr", "add", "fe80::2/64", "dev", "eth0", "nodad")
    app = world.open_socket(socket.AF_INET6)
    app.bind(("fe80::2", 6000, 0, index))
    until = time.monotonic() + PATIENCE
    while "fe80::2 " not in world.host.ip("-6", "route", "show", "table", "local"):  # the kernel adds it a moment later
        assert time.monotonic() < until
    packet = build(Datagram("fe80::1", 53, "fe80::2", 6000, b"answer"))
    assert injector.send([[packet]]) == 1
    assert app.recv(100) == b"answer"


def test_conntrack_never_hears_of_injected_packets(world: NetfilterWorld) -> None:
    world.backend.open(PLAN)
    apps = [world.listen(address, 6000) for address in ("10.77.0.2", "fd77::2")]
    assert world.backend.send_to_stack([[answer("10.77.0.2", 6000)], [answer("fd77::2", 6000)]]) == 2
    for app in apps:
        app.received()
    for family in ("ipv4", "ipv6"):
        assert "dport=6000" not in world.host.run("conntrack", "-L", "-f", family)


@pytest.mark.parametrize("address", ["10.77.0.99", "fd77::99", "198.51.100.9", "2001:db9::9"])
def test_a_packet_for_an_address_that_is_not_ours_never_leaves(world: NetfilterWorld, address: str) -> None:
    world.backend.open(PLAN)
    assert world.backend.send_to_stack([[answer(address, 6000)]]) == 0
    assert world.left() == []
    assert world.backend.statistics()["not_injected_refused_by_firewall"] == 1


def test_what_the_kernel_refuses_is_counted_by_cause(world: NetfilterWorld, injector: Injector) -> None:
    too_big = answer("10.77.0.2", 6000) + bytes(65_535)
    assert injector.send([[too_big], [answer("10.77.0.2", 6000)], [b""], [b"E" + bytes(10)]]) == 1
    assert injector.refusals["too_big"] == 1
    assert injector.refusals["malformed"] == 2


def test_a_packet_above_the_mtu_is_not_sent_to_the_network(world: NetfilterWorld) -> None:
    world.backend.open(PLAN)
    packet = build(Datagram("10.77.0.2", 99, "203.0.113.1", 7, bytes(1473)))
    assert world.backend.send_to_network([[packet]], world.adapters["eth0"]) == 0
    assert world.backend.statistics()["not_sent_too_big"] == 1
    assert world.left() == []


def test_a_held_packet_leaves_by_the_adapter_it_was_captured_on(world: NetfilterWorld) -> None:
    world.backend.open(PLAN)
    world.host.ip("route", "add", "203.0.113.0/24", "dev", "eth0")
    world.host.ip("route", "add", "203.0.113.0/24", "dev", "side0", "metric", "50")
    hardware = "02:00:00:00:78:01"
    world.host.ip("neigh", "add", "203.0.113.1", "lladdr", hardware, "dev", "side0", "nud", "permanent")
    packet = build(Datagram("10.78.0.2", 99, "203.0.113.1", 7, b"held"))
    assert world.backend.send_to_network([[packet]], world.adapters["side0"]) == 1
    assert packet[20:] in [seen[20:] for seen in world.left_packets("side0")]


def test_a_closed_injector_takes_nothing(injector: Injector) -> None:
    injector.close()
    assert injector.send([[answer("10.77.0.2", 6000)], [answer("fd77::2", 6000)]]) == 0
    assert injector.refusals.total() == 2


def test_the_parts_of_a_packet_arrive_as_one(world: NetfilterWorld, injector: Injector) -> None:
    app = world.listen("10.77.0.2", 6000)
    whole = answer("10.77.0.2", 6000, b"in three parts")
    view = memoryview(bytearray(whole))
    assert injector.send([[view[:20], bytes(view[20:30]), view[30:]]]) == 1
    assert app.received()[0] == b"in three parts"


def test_remembered_addresses_are_bounded(world: NetfilterWorld) -> None:
    injector = Injector(MARK)
    packets = [[answer(f"127.{i // 256}.{i % 256}.1", 6000)] for i in range(MAX_REMEMBERED + 10)]
    assert injector.send(packets) == len(packets)
    assert len(injector._addresses) <= MAX_REMEMBERED
    injector.close()


def test_a_host_without_ipv6_still_injects_ipv4(monkeypatch: pytest.MonkeyPatch, world: NetfilterWorld) -> None:
    real = socket.socket

    def no_ipv6(family: int, *rest: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        return real(family, *rest)

    monkeypatch.setattr(socket, "socket", no_ipv6)
    injector = Injector(MARK)
    monkeypatch.undo()
    app = world.listen("10.77.0.2", 6000)
    assert injector.send([[answer("fd77::2", 6000)], [answer("10.77.0.2", 6000)]]) == 1
    assert app.received()[0] == b"answer"
    assert injector.refusals == {"no_route": 1}
    injector.close()
