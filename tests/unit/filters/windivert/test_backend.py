"""The backend over a driver in Python: what the contract does not say."""

import ctypes
import threading
from collections import deque
from collections.abc import Callable, Iterator
from ipaddress import ip_network

import pytest

from tests.backends.packets import Datagram, build
from wiresock_py.errors import BackendError, NetworkError
from wiresock_py.filters import CapturePlan, HostAdapter, Verdict
from wiresock_py.filters.windivert import backend as module
from wiresock_py.filters.windivert.address import SIZE, Address
from wiresock_py.filters.windivert.backend import WinDivertBackend
from wiresock_py.filters.windivert.handle import Addresses, End, Flag

PLAN = CapturePlan((ip_network("203.0.113.0/24"),))
OWN = b"\x0a\0\0\x02"
ETHERNET = HostAdapter(5, "{A}", "Ethernet", 1500, (OWN,), (b"\x0a\0\0\x01",))
WIFI = HostAdapter(7, "{B}", "Wi-Fi", 1400, (b"\x0a\1\0\x02",), ())


def packet(source_port: int = 1000, destination: str = "203.0.113.1", size: int = 5) -> bytes:
    return build(Datagram("10.0.0.2", source_port, destination, 443, bytes(size)))


class Handle:
    def __init__(self, driver: "Driver", text: str, flags: Flag) -> None:
        self.driver, self.text, self.flags = driver, text, flags
        self.waiting: deque[tuple[bytes, int]] = deque()
        self.stopped = self.closed = False

    def receive(
        self, packets: ctypes.Array[ctypes.c_char], addresses: Addresses, timeout: float
    ) -> tuple[int, int] | End:
        with self.driver.news:
            self.driver.news.wait_for(lambda: self.waiting or self.stopped, timeout)
            assert not self.closed
            if not self.waiting:
                return End.EMPTY if self.stopped else End.TIMEOUT
            at = 0
            for i, (content, interface) in enumerate(self.waiting):
                ctypes.memmove(ctypes.addressof(packets) + at, content, len(content))
                addresses[i] = Address(outbound=1, interface=interface, ip_checksum=1, udp_checksum=1, timestamp=i)
                at += len(content)
            count = len(self.waiting)
            self.waiting.clear()
            return at, count

    def send(self, packets: int, length: int, addresses: int, count: int) -> None:
        if self.driver.refuse:
            raise OSError(self.driver.refuse, "refused")
        entries = [Address.from_buffer_copy(ctypes.string_at(addresses + i * SIZE, SIZE)) for i in range(count)]
        self.driver.sent.append((ctypes.string_at(packets, length), entries))

    def stop(self) -> None:
        with self.driver.news:
            self.stopped = True
            self.driver.news.notify_all()

    def close(self) -> None:
        self.closed = True

    def statistics(self) -> dict[str, int]:
        return {"queue_full": 3}


class Driver:
    def __init__(self) -> None:
        self.news = threading.Condition()
        self.handles: list[Handle] = []
        self.sent: list[tuple[bytes, list[Address]]] = []
        self.refuse = 0

    def open(self, text: str, flags: Flag = Flag.NONE) -> Handle:
        self.handles.append(Handle(self, text, flags))
        return self.handles[-1]

    @property
    def receiving(self) -> list[Handle]:
        return [handle for handle in self.handles if not handle.flags]

    def arrives(self, *packets: bytes, interface: int = 5, handle: int = -1) -> None:
        with self.news:
            self.receiving[handle].waiting.extend((one, interface) for one in packets)
            self.news.notify_all()


class Host:
    def __init__(self) -> None:
        self.found: tuple[HostAdapter, ...] = (ETHERNET, WIFI)
        self.fails = False
        self.changed: Callable[[], None] | None = None

    def adapters(self) -> tuple[HostAdapter, ...]:
        if self.fails:
            raise NetworkError("Windows does not list its adapters")
        return self.found

    def next_hop_mac(self, adapter: int, destination: bytes) -> bytes | None:
        raise AssertionError("there are no frames here")

    def follow(self, changed: Callable[[], None]) -> Callable[[], None]:
        self.changed = changed

        def end() -> None:
            self.changed = None

        return end


class World:
    def __init__(self) -> None:
        self.driver, self.host = Driver(), Host()
        self.backend = WinDivertBackend(self.host, lambda: self.driver)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(module, "LOOK_INTERVAL", 60.0)  # nothing happens by itself
    world = World()
    yield world
    world.backend.close()
    WinDivertBackend.reset()
    assert all(handle.closed for handle in world.driver.handles)


def eventually(condition: Callable[[], bool]) -> None:
    turn = threading.Event()
    for _ in range(500):
        if condition():
            return
        turn.wait(0.01)
    raise AssertionError("it never came to be")


def test_the_default_routes_adapters_are_captured_and_changes_are_followed(world: World) -> None:
    world.backend.open(PLAN)
    assert "ifIdx == 5 " in world.driver.receiving[0].text
    world.host.found = (ETHERNET, HostAdapter(7, "{B}", "Wi-Fi", 1400, (), (bytes(4),)))
    assert world.host.changed
    world.host.changed()
    eventually(lambda: len(world.driver.receiving) == 2)
    assert "(ifIdx == 5 or ifIdx == 7)" in world.driver.receiving[1].text
    world.host.fails = True
    world.host.changed()
    world.backend.close()
    assert world.host.changed is None
    assert len(world.driver.receiving) == 2  # what was known stays


def test_a_new_filter_stands_before_the_old_one_ends_and_nothing_that_waits_is_lost(world: World) -> None:
    world.backend.open(PLAN)
    world.driver.arrives(packet(1))
    opened = world.driver.open

    def watched(text: str, flags: Flag = Flag.NONE) -> Handle:
        assert not world.driver.receiving[0].stopped
        return opened(text, flags)

    world.driver.open = watched  # type: ignore[method-assign]
    world.backend.update(CapturePlan((ip_network("203.0.0.0/16"),)))
    world.driver.arrives(packet(2))
    for port in (1, 2):
        batch = world.backend.receive(1)
        assert batch is not None
        assert bytes(batch.data[: batch.length[0]]) == packet(port)
        world.backend.finish(batch)
    assert [handle.closed for handle in world.driver.receiving] == [True, False]


def test_an_update_that_changes_nothing_opens_no_filter(world: World) -> None:
    world.backend.open(PLAN)
    world.backend.update(PLAN)
    assert len(world.driver.receiving) == 1


def test_what_is_captured_beyond_the_plan_is_sent_on_unseen_and_in_order(world: World) -> None:
    world.backend.open(PLAN)
    outside = [packet(port, "198.51.100.1") for port in range(3)]
    world.driver.arrives(outside[0], outside[1], packet(9), outside[2])
    batch = world.backend.receive(1)
    assert batch is not None
    assert len(batch) == 1
    assert [content for content, _ in world.driver.sent] == [outside[0] + outside[1], outside[2]]
    assert [[entry.timestamp for entry in entries] for _, entries in world.driver.sent] == [[0, 1], [3]]
    world.backend.finish(batch)
    counters = world.backend.statistics()
    assert (counters["captured"], counters["dropped"], counters["sent_on"]) == (1, 1, 3)
    assert counters["queue_full"] == 3  # the driver's own figure


def test_what_leaves_by_another_adapter_is_sent_on(world: World) -> None:
    world.backend.open(PLAN)
    world.driver.arrives(packet(), interface=7)
    assert world.backend.receive(0.01) is None
    assert len(world.driver.sent) == 1


def test_a_busy_direct_flow_gets_a_place_in_the_filter(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wiresock_py.filters.windivert.sparing.WORTH", 2)
    world.backend.open(PLAN)
    world.driver.arrives(packet(1234))
    batch = world.backend.receive(1)
    assert batch is not None
    batch.verdict[0] = Verdict.BYPASS
    world.backend.finish(batch)
    for _ in range(3):
        world.driver.arrives(packet(1234), handle=0)
        assert world.backend.receive(0.01) is None
    eventually(lambda: len(world.driver.receiving) == 2)
    assert "udp.SrcPort == 1234 and udp.DstPort == 443" in world.driver.receiving[1].text


def test_a_packet_goes_into_the_stack_by_the_adapter_with_its_address(world: World) -> None:
    world.backend.open(PLAN)
    inbound = build(Datagram("203.0.113.1", 443, "10.0.0.2", 1000, b"answer"))
    assert world.backend.send_to_stack([[inbound[:10], inbound[10:]]]) == 1
    ((content, (entry,)),) = world.driver.sent
    assert content == inbound
    assert (entry.outbound, entry.interface, entry.udp_checksum) == (0, 5, 1)
    lost = build(Datagram("203.0.113.1", 443, "10.9.9.9", 1000, b"answer"))
    assert world.backend.send_to_stack([[lost]]) == 0
    assert world.backend.statistics()["not_injected_no_such_address"] == 1


def test_what_the_driver_refuses_is_counted_by_its_error(world: World) -> None:
    world.backend.open(PLAN)
    world.driver.refuse = 87
    assert world.backend.send_to_stack([[build(Datagram("203.0.113.1", 443, "10.0.0.2", 1, b""))]]) == 0
    assert world.backend.send_to_network([[packet()]]) == 0
    counters = world.backend.statistics()
    assert (counters["not_injected_error_87"], counters["not_sent_error_87"]) == (1, 1)


def test_a_packet_above_an_adapters_mtu_is_not_sent_to_the_network(world: World) -> None:
    world.backend.open(PLAN)
    assert world.backend.send_to_network([[packet(size=1372)], [packet(size=1373)]], 7) == 1
    assert world.backend.statistics()["not_sent_too_big"] == 1
    assert world.driver.sent[0][1][0].interface == 7


def test_a_plan_left_blocked_is_dropped_by_the_driver_until_reset(world: World) -> None:
    world.backend.open(PLAN)
    world.backend.close(keep_blocking=True)
    (block,) = [handle for handle in world.driver.handles if handle.flags & Flag.DROP]
    assert not block.closed
    assert WinDivertBackend.reset() == ["the block on the plan of an earlier run"]
    assert block.closed
    assert WinDivertBackend.reset() == []


def test_a_thread_that_ended_ends_the_reader(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.backend.open(PLAN)
    monkeypatch.setattr(world.backend, "_look", lambda: 1 / 0)
    assert world.host.changed
    world.host.changed()
    assert world.backend._watch is not None
    watch = world.backend._watch
    eventually(lambda: watch.failure is not None)
    with pytest.raises(BackendError, match="follows the adapters ended"):
        world.backend.receive(0.1)


def test_without_anybody_to_ask_about_the_network_it_cannot_work() -> None:
    with pytest.raises(BackendError, match="needs to be told"):
        WinDivertBackend(None)


def test_reasons_are_one_line_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "missing", lambda: "the package is not installed")
    assert WinDivertBackend.unavailable_reason() == (
        "the package is not installed; pip install 'wiresock-py[windivert]'"
    )
    monkeypatch.setattr(module, "missing", str)
    monkeypatch.setattr(module, "_is_administrator", lambda: False)
    assert "run as administrator" in str(WinDivertBackend.unavailable_reason())
    monkeypatch.setattr(module, "_is_administrator", lambda: True)
    assert WinDivertBackend.unavailable_reason() is None
