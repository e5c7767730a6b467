"""wiresock_py.lab.topology: the addresses."""

from ipaddress import ip_address, ip_network

from wiresock_py.lab import topology

DOCUMENTATION = ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"]  # RFC 5737, RFC 3849
PRIVATE = ["192.168.1.0/24", "10.66.66.0/24", "fd42:42:42::/64"]


def hosts() -> dict[str, topology.Host]:
    return {name: value for name, value in vars(topology).items() if isinstance(value, topology.Host)}


def test_every_address_is_nobodys() -> None:
    allowed = [ip_network(text) for text in DOCUMENTATION + PRIVATE]
    for name, host in hosts().items():
        for address in (host.v4, host.v6):
            assert any(address in network for network in allowed if network.version == address.version), name


def test_no_two_hosts_share_an_address() -> None:
    every = [address for host in hosts().values() for address in (host.v4, host.v6)]
    assert len(every) == len(set(every)) == 2 * len(hosts()) > 10


def test_the_tunnels_resolver_is_in_no_network_the_isp_has() -> None:
    for text in ("192.168.1.0/24", "198.51.100.0/24", "203.0.113.0/24"):
        assert topology.TUNNEL_RESOLVER.v4 not in ip_network(text)
    for number in (1, 2, 3):
        assert topology.TUNNEL_RESOLVER.v6 not in ip_network(f"2001:db8:{number}::/64")


def test_urls_and_endpoints_are_written_as_each_family_wants() -> None:
    host = topology.INTERNET
    assert host.url(4, "/x") == "http://203.0.113.10/x"
    assert host.url(6) == "http://[2001:db8:3::10]/"
    assert host.endpoint(4, 51820) == "203.0.113.10:51820"
    assert host.endpoint(6, 51820) == "[2001:db8:3::10]:51820"
    assert host.of(6) == str(ip_address("2001:db8:3::10"))


def test_a_resolv_conf_names_each_resolver() -> None:
    assert topology.resolv_conf("192.0.2.1", "2001:db8::1").splitlines()[:2] == [
        "nameserver 192.0.2.1",
        "nameserver 2001:db8::1",
    ]
