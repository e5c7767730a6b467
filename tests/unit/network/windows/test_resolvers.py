from dataclasses import replace

from tests.support.windows import FakeAdapter, FakeIpHelper
from wiresock_py.network.windows.adapters import adapters
from wiresock_py.network.windows.resolvers import name_servers, search_domains

WAN = FakeAdapter("WAN", 5, metric=50, gateways=("192.0.2.1",), dns=("192.0.2.53",), suffix="example.org")
LAN = FakeAdapter("LAN", 6, metric=10, dns=("10.0.0.53", "192.0.2.53"), suffix="lan.example")
KNOWN = adapters(FakeIpHelper(LAN, WAN))


def test_the_servers_of_an_adapter_with_a_way_out_come_first_and_each_once() -> None:
    assert name_servers(KNOWN) == ("192.0.2.53", "10.0.0.53")


def test_a_stub_on_this_host_comes_last() -> None:
    stub = replace(KNOWN[1], dns_servers=("127.0.0.1", "192.0.2.53"))
    assert name_servers([stub]) == ("192.0.2.53", "127.0.0.1")
    assert name_servers([replace(stub, dns_servers=("::1",))]) == ("::1",)


def test_what_is_down_or_loopback_has_no_say() -> None:
    assert name_servers([replace(KNOWN[0], up=False), replace(KNOWN[1], loopback=True)]) == ()


def test_the_hosts_own_list_of_domains_counts_before_those_of_adapters() -> None:
    assert search_domains(KNOWN, "one.example, two.example.") == ("one.example", "two.example")
    assert search_domains(KNOWN, "") == ("example.org", "lan.example")
