"""An open backend: next hops, bypassed flows, figures, threads."""

import itertools
import threading
import time
from collections.abc import Callable
from ipaddress import ip_address

import pytest

from tests.support.captures import (
    ADAPTERS,
    EVERYTHING,
    NEIGHBOUR,
    OWN,
    PATIENCE,
    PLAN,
    REMOTE,
    datagram,
    payloads,
    take,
    wait_for,
)
from tests.support.drivers import Driver
from tests.support.ethernet import EthernetHost
from wiresock_py.errors import BackendError
from wiresock_py.filters import Verdict
from wiresock_py.filters.ndisapi import (
    NO_EVENT,
    Ioctl,
    NdisApi,
    Version,
)
from wiresock_py.filters.ndisapi import serving as serving_module
from wiresock_py.filters.ndisapi.backend import NdisApiBackend
from wiresock_py.filters.ndisapi.emulator import Emulator


@pytest.mark.parametrize("version", [4, 6])
def test_what_is_handed_to_the_stack_comes_from_the_router(
    backend: NdisApiBackend, host: EthernetHost, version: int
) -> None:
    backend.open(PLAN)
    network = host.networks["eth0"]
    answer = datagram(b"answer", version, to=OWN[version], source=REMOTE[version])

    def source() -> bytes:
        with host.turn:
            assert backend.send_to_stack([[answer]]) == 1
            (frame,) = network.plugged.stack_received()
        assert frame[:6] == network.plugged.mac
        return bytes(frame[6:12])

    wait_for(lambda: source() == network.mac)


def test_a_held_packet_goes_to_the_next_hop_that_its_own_frame_named(
    backend: NdisApiBackend, host: EthernetHost
) -> None:
    backend.open(EVERYTHING)
    network = host.networks["eth0"]
    for destination in (REMOTE[4], NEIGHBOUR):
        held = datagram(b"held", to=destination)
        host.stack_sends(held)
        assert take(backend) == [b"held"]
        with host.turn:
            assert backend.send_to_network([[held]], network.index) == 1
            (frame,) = network.plugged.network_received()
        assert frame[:6] == network.mac_of(held[16:20] if destination == NEIGHBOUR else network.router(4))
        assert frame[14:] == held


def test_a_packet_that_was_never_captured_goes_to_the_router_once_it_is_known(
    backend: NdisApiBackend, host: EthernetHost
) -> None:
    backend.open(PLAN)
    wait_for(lambda: backend.send_to_network([[datagram(b"new")]], 0))
    assert payloads(host.network_received()) == [b"new"]
    assert backend.send_to_network([[datagram(b"new", source="192.0.2.9")]], 0) == 0
    assert backend.send_to_network([[datagram(b"new")]], 99) == 0
    assert backend.statistics()["not_sent_no_adapter"] == 2


def test_neighbours_are_resolved_over_the_driver_without_being_captured(
    backend: NdisApiBackend, host: EthernetHost
) -> None:
    backend.open(EVERYTHING)
    for version, destination in ((4, NEIGHBOUR), (6, "fd77::9")):
        host.stack_sends(datagram(b"near", version, to=destination))
        assert take(backend) == [b"near"]
        assert ip_address(destination).packed in host.networks["eth0"].asked


def test_bypassed_flows_that_are_silent_are_shown_again(
    backend: NdisApiBackend, host: EthernetHost, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(serving_module, "monotonic", lambda: now)
    monkeypatch.setattr(serving_module, "HEARTBEAT", 0.005)
    backend.open(PLAN)
    host.stack_sends(datagram(b"one"))
    take(backend, Verdict.BYPASS)
    host.stack_sends(datagram(b"two"))
    assert payloads(host.network_received()) == [b"one", b"two"]
    with NdisApi(driver.open()) as api:
        standing = api.filter_count()
        now += 11  # it is seen at work
        wait_for(lambda: not any(entry.packets_out for entry in api.filter_statistics()))
        now += 59
        assert api.filter_count() == standing
        now += 2
        wait_for(lambda: api.filter_count() < standing)
    host.stack_sends(datagram(b"later"))
    assert take(backend) == [b"later"]


def test_only_so_many_flows_are_bypassed_and_the_oldest_are_shown_again(
    backend: NdisApiBackend, host: EthernetHost, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wiresock_py.filters.ndisapi.table.MAX_BYPASSED", 8)
    backend.open(PLAN)
    for port in range(5000, 5012):
        host.stack_sends(datagram(b"first", port=port))
        take(backend, Verdict.BYPASS)
    host.network_received()
    for port in range(5000, 5012):
        host.stack_sends(datagram(b"%d" % port, port=port))
    unseen = payloads(host.network_received())
    assert unseen[-1] == b"5011"
    assert b"5000" not in unseen
    assert 6 <= len(unseen) <= 8


def test_what_is_queued_is_not_overtaken_by_what_stays_in_the_kernel(
    backend: NdisApiBackend, host: EthernetHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.open(PLAN)
    host.stack_sends(datagram(b"one"))
    batch = backend.receive(PATIENCE)
    assert batch is not None
    host.stack_sends(datagram(b"two"))
    batch.verdict[0] = Verdict.BYPASS
    backend.finish(batch)
    host.stack_sends(datagram(b"three"))
    assert take(backend, Verdict.BYPASS) == [b"two", b"three"]
    host.stack_sends(datagram(b"four"))
    assert payloads(host.network_received()) == [b"one", b"two", b"three", b"four"]
    monkeypatch.setattr(serving_module, "OVERTAKING", 0.0)  # but not for ever
    host.stack_sends(datagram(b"other", port=6000))
    batch = backend.receive(PATIENCE)
    assert batch is not None
    host.stack_sends(datagram(b"queued", port=7000))
    batch.verdict[0] = Verdict.BYPASS
    backend.finish(batch)
    host.stack_sends(datagram(b"past", port=6000))
    assert payloads(host.network_received()) == [b"other", b"past"]


@pytest.mark.parametrize("queued", [False, True])
def test_a_verdict_of_before_an_update_bypasses_nothing(
    backend: NdisApiBackend, host: EthernetHost, queued: bool
) -> None:
    backend.open(PLAN)
    host.stack_sends(datagram(b"one"))
    batch = backend.receive(PATIENCE)
    assert batch is not None
    batch.verdict[0] = Verdict.BYPASS
    if queued:  # what is queued keeps the bypass waiting
        host.stack_sends(datagram(b"two", port=6000))
        backend.finish(batch)
        backend.update(PLAN)
        assert take(backend) == [b"two"]
    else:
        backend.update(PLAN)
        backend.finish(batch)
    host.stack_sends(datagram(b"three"))
    assert take(backend) == [b"three"]
    assert payloads(host.network_received()) == [b"one"]


def test_a_flow_that_the_driver_has_no_filter_for_is_shown_again_and_counted(
    backend: NdisApiBackend, host: EthernetHost, driver: Driver
) -> None:
    backend.open(PLAN)
    driver.fail(Ioctl.ADD_PACKET_FILTER_FRONT, 1450)
    for name in (b"one", b"two"):
        host.stack_sends(datagram(name))
        assert take(backend, Verdict.BYPASS) == [name]
    assert payloads(host.network_received()) == [b"one", b"two"]
    assert backend.statistics()["not_bypassed"] == 1


def test_packets_that_the_driver_had_no_room_for_are_counted() -> None:
    emulator = Emulator(pool_size=20)
    host = EthernetHost(emulator, ADAPTERS, default=("eth0",))
    backend = NdisApiBackend(host, emulator.open)
    backend.open(PLAN)
    for i in range(25):
        host.stack_sends(datagram(b"%d" % i))
    assert backend.statistics()["queue_full"] == 5
    assert len(take(backend)) == 20
    assert backend.statistics()["queue_full"] == 5
    backend.update(EVERYTHING)
    host.stack_sends(datagram(b"more"))
    assert take(backend) == [b"more"]
    backend.close()
    assert backend.statistics()["queue_full"] == 5


def test_a_thread_that_fails_ends_the_reading(
    backend: NdisApiBackend, host: EthernetHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.open(PLAN)
    monkeypatch.setattr(host, "adapters", lambda: 1 // 0)
    host.changed()

    with pytest.raises(BackendError, match="the thread that follows the adapters ended"):
        wait_for(lambda: backend.receive(0.0))


def test_trouble_with_the_adapters_is_said_once_and_tried_again(
    backend: NdisApiBackend,
    host: EthernetHost,
    driver: Driver,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serving_module, "HEARTBEAT", 0.002)
    backend.open(PLAN)
    driver.fail(Ioctl.GET_TCPIP_INTERFACES, 31, times=5)
    wait_for(lambda: "could not be looked after" in caplog.text)
    driver.reattach_adapter(host.networks["eth0"].plugged)
    wait_for(lambda: backend.statistics()["recaptured"])
    assert caplog.text.count("could not be looked after") == 1


def test_it_needs_somebody_to_ask_about_the_host() -> None:
    with pytest.raises(BackendError, match="nobody to ask"):
        NdisApiBackend(None)


def test_a_driver_that_cannot_be_used_says_why_and_what_to_do() -> None:
    reason = NdisApiBackend.unavailable_reason(Emulator(Version(3, 2, 32)).open)
    assert reason is not None
    assert "version is 3.2.32" in reason
    assert "install" in reason


def test_an_old_event_is_not_taken_for_ours(backend: NdisApiBackend, driver: Driver) -> None:
    with NdisApi(driver.open()) as other:
        adapter = other.find("eth0")
        other.set_packet_event(adapter, NO_EVENT)
    backend.open(PLAN)
    started = time.monotonic()
    assert backend.receive(0.02) is None
    assert time.monotonic() - started >= 0.02


def test_threads_that_do_everything_at_once_disturb_nobody(
    backend: NdisApiBackend, host: EthernetHost, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving_module, "HEARTBEAT", 0.001)
    backend.open(PLAN)
    ending = threading.Event()
    failures: list[BaseException] = []
    side = host.networks["side0"].plugged

    def capture() -> None:
        batch = backend.receive(0.01)
        if batch is not None:
            batch.verdict[:] = [Verdict(i % 3) for i in range(len(batch))]
            backend.finish(batch)

    def exempt() -> None:
        with backend.exempt(6000):
            backend.statistics()

    def change() -> None:
        backend.update(EVERYTHING)
        driver.reattach_adapter(side)
        host.changed()
        backend.update(PLAN)

    ports = itertools.count(5000)
    turns = (
        capture,
        exempt,
        change,
        lambda: host.stack_sends(datagram(b"out", port=next(ports))),
        lambda: backend.send_to_stack([[datagram(b"in", to=OWN[4], source=REMOTE[4])]]),
        lambda: backend.send_to_network([[datagram(b"held")]], 2),
        lambda: host.network_received() and host.stack_received(),
    )

    def loop(turn: Callable[[], object]) -> None:
        try:
            while not ending.is_set():
                turn()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=loop, args=(turn,)) for turn in turns]
    for thread in threads:
        thread.start()
    time.sleep(1.0)
    ending.set()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert failures == []
    counted = backend.statistics()
    assert counted["captured"] == counted["passed"] + counted["bypassed"] + counted["dropped"] > 0
    host.stack_sends(datagram(b"after"))
    while b"after" not in take(backend):
        pass
