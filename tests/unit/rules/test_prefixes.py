from ipaddress import ip_address, ip_network

import pytest

from wiresock_py.rules.prefixes import PrefixMap

PREFIXES = ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "fd00::/8", "fd00::1/128"]
MAP = PrefixMap((ip_network(prefix), prefix) for prefix in PREFIXES)


@pytest.mark.parametrize(
    ("prefix", "found"),
    [
        ("10.1.2.3/32", "10.1.2.3/32"),
        ("10.1.2.4/32", "10.1.0.0/16"),
        ("10.1.2.0/24", "10.1.0.0/16"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.0.0.0/7", "0.0.0.0/0"),
        ("11.0.0.1/32", "0.0.0.0/0"),
        ("fd00::1/128", "fd00::1/128"),
        ("fd00::2/128", "fd00::/8"),
        ("fc00::/7", None),
        ("::/128", None),
    ],
)
def test_the_longest_prefix_that_holds_all_is_found(prefix: str, found: str | None) -> None:
    network = ip_network(prefix)
    assert MAP.longest(network.version, int(network.network_address), network.prefixlen) == found


def test_the_families_are_kept_apart() -> None:
    assert PrefixMap([(ip_network("::/0"), "v6")]).longest(4, int(ip_address("10.0.0.1")), 32) is None


def test_of_equal_prefixes_the_first_counts() -> None:
    network = ip_network("10.0.0.0/8")
    assert PrefixMap([(network, 1), (network, 2)]).longest(4, int(network.network_address), 32) == 1
