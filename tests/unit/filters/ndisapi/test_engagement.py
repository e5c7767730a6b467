"""The adapters and the filters stay as they should be, whatever happens to them."""

import logging
import threading

import pytest

from tests.support.captures import (
    OWN,
    PATIENCE,
    PLAN,
    REMOTE,
    datagram,
    modes,
    take,
    wait_for,
)
from tests.support.drivers import Driver
from tests.support.ethernet import EthernetHost
from wiresock_py.filters import HostAdapter, Verdict
from wiresock_py.filters.ndisapi import (
    AdapterMode,
    NdisApi,
)
from wiresock_py.filters.ndisapi import serving as serving_module
from wiresock_py.filters.ndisapi.backend import NdisApiBackend


def test_an_adapter_that_comes_back_under_a_new_handle_is_captured_again(
    backend: NdisApiBackend, host: EthernetHost, driver: Driver
) -> None:
    backend.open(PLAN)
    driver.reattach_adapter(host.networks["eth0"].plugged)
    wait_for(lambda: backend.statistics()["recaptured"])
    host.stack_sends(datagram(b"after"))
    assert take(backend) == [b"after"]
    assert backend.send_to_stack([[datagram(b"in", to=OWN[4], source=REMOTE[4])]]) == 1


def test_a_mode_that_was_lost_without_a_word_is_set_again(
    backend: NdisApiBackend, host: EthernetHost, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving_module, "HEARTBEAT", 0.005)
    backend.open(PLAN)
    with NdisApi(driver.open()) as other:
        other.release(other.find("eth0"))
    wait_for(lambda: backend.statistics()["recaptured"])
    host.stack_sends(datagram(b"after"))
    assert take(backend) == [b"after"]


def test_filters_that_another_program_replaced_are_set_again(
    backend: NdisApiBackend, host: EthernetHost, driver: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    backend.open(PLAN)
    with NdisApi(driver.open()) as other:
        other.reset_filters()
        host.changed()
        wait_for(lambda: other.filter_count())
    host.stack_sends(datagram(b"after"))
    assert take(backend) == [b"after"]
    assert "another program changed the driver's filters" in caplog.text


def test_the_capture_follows_the_default_route(
    backend: NdisApiBackend, host: EthernetHost, driver: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    backend.open(PLAN)
    host.networks["eth0"].default, host.networks["side0"].default = False, True
    host.changed()
    wait_for(lambda: modes(driver) == [0, AdapterMode.SENT_TUNNEL])
    host.stack_sends(datagram(b"new way", source="10.78.0.2"), "side0")
    assert take(backend) == [b"new way"]
    assert "now capturing on side0" in caplog.text


def test_an_adapter_whose_link_is_down_for_a_moment_stays_captured(
    backend: NdisApiBackend, host: EthernetHost, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving_module, "HEARTBEAT", 0.002)
    backend.open(PLAN)
    network = host.networks.pop("eth0")
    looked = threading.Event()
    adapters = host.adapters

    def look() -> tuple[HostAdapter, ...]:
        looked.set()
        return adapters()

    monkeypatch.setattr(host, "adapters", look)
    for _ in range(2):
        looked.clear()
        assert looked.wait(PATIENCE)
    host.networks["eth0"] = network
    host.stack_sends(datagram(b"back again"))
    assert take(backend) == [b"back again"]
    assert host.network_received() == []


def test_an_adapter_that_is_plugged_in_later_is_captured(
    backend: NdisApiBackend, host: EthernetHost, driver: Driver
) -> None:
    network = host.networks.pop("eth0")
    backend.open(PLAN)
    assert modes(driver) == [0, 0]
    host.networks["eth0"] = network
    host.changed()
    wait_for(lambda: modes(driver) == [AdapterMode.SENT_TUNNEL, 0])
    host.stack_sends(datagram(b"late"))
    assert take(backend) == [b"late"]


def test_a_removed_adapter_is_no_error_and_nothing_goes_by_it(
    backend: NdisApiBackend, host: EthernetHost, driver: Driver
) -> None:
    backend.open(PLAN)
    host.stack_sends(datagram(b"read"))
    batch = backend.receive(PATIENCE)
    assert batch is not None
    network = host.networks.pop("eth0")
    driver.remove_adapter(network.plugged)
    batch.verdict[0] = Verdict.PASS
    backend.finish(batch)
    assert backend.statistics()["not_passed"] == 1
    wait_for(lambda: not backend.send_to_stack([[datagram(b"in", to=OWN[4], source=REMOTE[4])]]))
    assert backend.receive(0.0) is None


def test_the_largest_packet_follows_the_captured_adapters(host: EthernetHost, driver: Driver) -> None:
    slow = EthernetHost(driver, {"ppp0": ("10.79.0.2/24",)}, default=("ppp0",))
    slow.networks["ppp0"].plugged = driver.add_adapter("ppp0", mtu=1400)
    backend = NdisApiBackend(slow, driver.open)
    assert backend.largest_to_stack == 1500
    backend.open(PLAN)
    assert backend.largest_to_stack == 1400
    backend.close()
