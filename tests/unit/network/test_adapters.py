import socket
import sys
from ipaddress import ip_address

import psutil
import pytest

from wiresock_py.errors import NetworkError
from wiresock_py.network import adapters
from wiresock_py.network.adapters import (
    LocalAddress,
    adapter_mtu,
    adapter_mtu_by_index,
    default_adapters,
    has_route,
    local_addresses,
    on_link_networks,
    packed,
    path_mtu,
    set_mark,
    source_address,
)
from wiresock_py.network.routes import DefaultRoute

LOOPBACK = socket.inet_aton("127.0.0.1")


def test_the_loopback_address_is_among_the_local_ones_with_its_prefix() -> None:
    own = [address for address in local_addresses() if address.address == LOOPBACK]
    assert [(address.prefix_length, address.adapter in psutil.net_if_addrs()) for address in own] == [(8, True)]


def test_the_source_address_is_the_one_the_host_would_send_from() -> None:
    assert source_address(socket.inet_aton("127.0.0.77")) == LOOPBACK


@pytest.mark.skipif(sys.platform != "linux", reason="for other systems: only Linux says")
def test_the_path_to_this_host_carries_what_its_loopback_adapter_does() -> None:
    assert path_mtu(LOOPBACK) == min(adapter_mtu("lo"), 65_535)  # no IPv4 packet is larger


def test_addresses_lose_their_zone() -> None:
    assert packed("fe80::1%eth0") == socket.inet_pton(socket.AF_INET6, "fe80::1")


@pytest.mark.parametrize(
    ("netmask", "size", "length"),
    [
        ("255.255.255.0", 4, 24),
        ("255.255.255.255", 4, 32),
        ("0.0.0.0", 4, 0),
        ("ffff:ffff:ffff:ffff::", 16, 64),
        ("ffff:ffff::/32", 16, 32),
        (None, 4, 32),
        (None, 16, 128),
    ],
)
def test_masks_become_prefix_lengths(netmask: str | None, size: int, length: int) -> None:
    assert adapters._prefix_length(netmask, size) == length


def test_the_mtu_is_the_systems_own() -> None:
    for name, facts in psutil.net_if_stats().items():
        assert adapter_mtu(name) == facts.mtu


def test_an_adapter_is_also_known_by_its_index() -> None:
    loopback = next(own.adapter for own in local_addresses() if own.address == LOOPBACK)
    index = 1  # of the loopback, on Linux as on Windows
    # Windows says that the loopback takes 4 GiB; no packet has more than 65,535 bytes
    assert min(adapter_mtu_by_index(index), 65_535) == min(adapter_mtu(loopback), 65_535)
    with pytest.raises(NetworkError, match="no adapter number 999999"):
        adapter_mtu_by_index(999_999)


@pytest.mark.parametrize("name", ["nosuch0", "a-name-far-too-long-for-an-adapter", "ä"])
def test_an_adapter_that_is_not_there_is_an_error_that_names_those_there_are(name: str) -> None:
    with pytest.raises(NetworkError, match=f"no adapter {name}") as caught:
        adapter_mtu(name)
    assert next(iter(psutil.net_if_addrs())) in caught.value.remedy


def test_a_host_can_send_where_it_has_a_source_address(monkeypatch: pytest.MonkeyPatch) -> None:
    reachable = {4: b"\x0a\0\0\1", 16: None}
    monkeypatch.setattr(adapters, "source_address", lambda remote: reachable[len(remote)])
    assert has_route(socket.AF_INET)
    assert not has_route(socket.AF_INET6)


def test_the_adapter_in_use_is_the_one_with_the_source_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapters, "source_address", lambda remote: LOOPBACK if len(remote) == 4 else None)
    name = next(own.adapter for own in local_addresses() if own.address == LOOPBACK)
    assert adapters._route_in_use(socket.AF_INET) == DefaultRoute(socket.AF_INET, name, 0, b"", 0)
    assert adapters._route_in_use(socket.AF_INET6) is None


def test_ipv4_default_routes_come_before_ipv6_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    def routes(family: socket.AddressFamily) -> list[DefaultRoute]:
        return [DefaultRoute(family, "eth0", 2, b"", 10)]

    monkeypatch.setattr(adapters, "default_routes", routes)
    if sys.platform == "win32":
        monkeypatch.setattr(adapters.windows_routes, "default_routes", routes)
    monkeypatch.setattr(adapters, "_route_in_use", lambda family: routes(family)[0])
    assert [route.family for route in default_adapters()] == [socket.AF_INET, socket.AF_INET6]
    assert [route.family for route in default_adapters(socket.AF_INET6)] == [socket.AF_INET6]


@pytest.mark.skipif(sys.platform != "linux", reason="for other systems: only Linux marks packets")
def test_a_process_without_the_right_to_mark_is_told_what_to_do() -> None:
    class Refusing(socket.socket):
        def setsockopt(self, *_: object) -> None:
            raise PermissionError

    with Refusing(socket.AF_INET, socket.SOCK_DGRAM) as sock, pytest.raises(NetworkError) as caught:
        set_mark(sock, 1)
    assert "CAP_NET_ADMIN" in caught.value.remedy


def test_on_link_networks_are_the_adapters_own_without_loopback_and_single_addresses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = [
        ("127.0.0.1", 8), ("192.168.1.7", 24), ("192.168.1.8", 24), ("10.66.66.2", 32),
        ("fe80::1", 64), ("2001:db8:1::7", 64), ("::1", 128), ("192.0.2.1", 0),
    ]  # fmt: skip
    addresses = tuple(LocalAddress(ip_address(address).packed, length, "eth0") for address, length in own)
    monkeypatch.setattr(adapters, "local_addresses", lambda: addresses)
    assert [str(network) for network in on_link_networks()] == ["192.168.1.0/24", "2001:db8:1::/64"]
