import socket
import sys

import psutil
import pytest

from tests.support.windows import FakeAdapter, FakeIpHelper, packed
from wiresock_py.errors import NetworkError
from wiresock_py.network.windows.adapters import adapters

WIFI = FakeAdapter(
    "Wi-Fi",
    12,
    ipv6_index=13,
    guid="{AAAA}",
    addresses=(("192.0.2.2", 24), ("fe80::2%13", 64)),
    gateways=("192.0.2.1", "fe80::1%13"),
    dns=("192.0.2.1", "fe80::1%13", "fec0:0:0:ffff::1"),
    suffix="home.arpa",
)
LOOPBACK = FakeAdapter("Loopback", 1, 1, mtu=0xFFFF_FFFF, mac=b"", kind=24, addresses=(("127.0.0.1", 8),))


def test_an_adapter_is_told_with_all_that_belongs_to_it() -> None:
    (wifi,) = adapters(FakeIpHelper(WIFI))
    assert (wifi.name, wifi.guid, wifi.description) == ("Wi-Fi", "{AAAA}", "a network card")
    assert (wifi.index, wifi.ipv6_index, wifi.luid) == (12, 13, 12 << 24)
    assert (wifi.mtu, wifi.mac, wifi.up, wifi.loopback) == (1500, b"\x02\0\0\0\0\x01", True, False)
    assert wifi.addresses == ((packed("192.0.2.2"), 24), (packed("fe80::2"), 64))
    assert wifi.gateways == (packed("192.0.2.1"), packed("fe80::1"))
    assert wifi.dns_suffix == "home.arpa"


def test_a_link_local_resolver_has_its_zone_and_those_nobody_configured_are_left_out() -> None:
    (wifi,) = adapters(FakeIpHelper(WIFI))
    assert wifi.dns_servers == ("192.0.2.1", "fe80::1%13")


def test_every_adapter_is_told_however_small_the_first_buffer_was() -> None:
    many = [WIFI._replace(name=f"Ethernet {number}", ipv4_index=number) for number in range(1, 100)]
    assert [each.index for each in adapters(FakeIpHelper(*many))] == list(range(1, 100))


def test_the_loopback_has_an_mtu_that_packets_can_have() -> None:
    (loopback,) = adapters(FakeIpHelper(LOOPBACK))
    assert (loopback.mtu, loopback.mac, loopback.loopback) == (65_535, b"", True)


@pytest.mark.parametrize(
    ("index", "ipv6_index", "expected"), [(12, 13, (12, 13)), (12, 0, (12, 12)), (0, 13, (13, 13))]
)
def test_each_family_has_its_index_and_one_stands_in_for_the_other(
    index: int, ipv6_index: int, expected: tuple[int, int]
) -> None:
    (one,) = adapters(FakeIpHelper(WIFI._replace(ipv4_index=index, ipv6_index=ipv6_index)))
    assert (one.index_of(socket.AF_INET), one.index_of(socket.AF_INET6)) == expected


def test_a_host_without_adapters_has_none_and_an_error_is_told() -> None:
    helper = FakeIpHelper()
    assert adapters(helper) == ()
    helper.adapters_error = 8
    with pytest.raises(NetworkError, match="does not list its adapters: error 8"):
        adapters(helper)


@pytest.mark.skipif(sys.platform != "win32", reason="for other systems: asks Windows")
def test_windows_lists_the_adapters_that_psutil_sees() -> None:
    assert {each.name for each in adapters()} >= set(psutil.net_if_addrs())
