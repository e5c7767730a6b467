import socket
import threading

import pytest

from tests.support.windows import FakeAdapter, FakeIpHelper, packed
from wiresock_py.filters import HostAdapter, HostNetwork
from wiresock_py.network import host_network
from wiresock_py.network.windows.host import WindowsHost

ETHERNET = FakeAdapter(
    "Ethernet", 5, 5, guid="{abcd}", addresses=(("192.0.2.2", 24), ("fe80::2", 64)), gateways=("192.0.2.1",)
)
MAC = b"\x02\0\0\0\0\x09"


@pytest.fixture
def helper() -> FakeIpHelper:
    helper = FakeIpHelper(
        ETHERNET, FakeAdapter("Wi-Fi", 7, up=False), FakeAdapter("Loopback", 1, 1, kind=24), FakeAdapter("WAN", 0, 9)
    )
    helper.add_route("0.0.0.0", 0, 5, "192.0.2.254", metric=50)
    helper.add_route("0.0.0.0", 0, 5, "192.0.2.1")
    helper.add_route("::", 0, 5, "fe80::1")
    helper.add_route("::", 0, 9, "::")
    return helper


def test_adapters_that_are_up_are_told_with_the_next_hops_of_their_default_routes(helper: FakeIpHelper) -> None:
    host: HostNetwork = WindowsHost(helper)
    assert host.adapters() == (
        HostAdapter(
            5,
            "{ABCD}",
            "Ethernet",
            1500,
            (packed("192.0.2.2"), packed("fe80::2")),
            (packed("192.0.2.1"), packed("192.0.2.254"), packed("fe80::1")),
        ),
        HostAdapter(9, "{4D36E972-0000-0000-0000-000000000001}", "WAN", 1500, (), (bytes(16),)),
    )


def test_a_frame_goes_to_the_gateway_or_to_the_destination_itself(helper: FakeIpHelper) -> None:
    helper.best = {packed("203.0.113.9"): (5, "192.0.2.1"), packed("192.0.2.77"): (5, "0.0.0.0")}
    helper.add_neighbour("192.0.2.1", 5, MAC)
    helper.answering[packed("192.0.2.77")] = b"\x02\0\0\0\0\x77"
    host = WindowsHost(helper)
    assert host.next_hop_mac(5, packed("203.0.113.9")) == MAC
    assert host.next_hop_mac(5, packed("192.0.2.77")) == b"\x02\0\0\0\0\x77"
    assert host.next_hop_mac(5, packed("192.0.2.78")) is None
    assert host.next_hop_mac(77, packed("203.0.113.9")) is None


def test_changes_are_followed_until_that_is_ended(helper: FakeIpHelper) -> None:
    changed = threading.Event()
    end = WindowsHost(helper).follow(changed.set)
    helper.callbacks[3](None, None, 0)
    assert changed.wait(30)
    end()
    assert not helper.callbacks
    assert not [thread for thread in threading.enumerate() if thread.name == "network changes"]


def test_only_windows_needs_to_be_asked_for_the_backends() -> None:
    assert (host_network() is not None) == (not hasattr(socket, "AF_NETLINK"))
