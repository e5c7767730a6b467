from ipaddress import ip_address, ip_network

import pytest

from wiresock_py.rules.ranges import GLOBAL_UNICAST, NEVER_TUNNELLED, REACHES_INTERNET, covers_internet

# What a calculator prints for 0.0.0.0/0 without the private networks.
WITHOUT_PRIVATE = (
    "0.0.0.0/5 8.0.0.0/7 11.0.0.0/8 12.0.0.0/6 16.0.0.0/4 32.0.0.0/3 64.0.0.0/2 128.0.0.0/3 160.0.0.0/5 "
    "168.0.0.0/6 172.0.0.0/12 172.32.0.0/11 172.64.0.0/10 172.128.0.0/9 173.0.0.0/8 174.0.0.0/7 176.0.0.0/4 "
    "192.0.0.0/9 192.128.0.0/11 192.160.0.0/13 192.169.0.0/16 192.170.0.0/15 192.172.0.0/14 192.176.0.0/12 "
    "192.192.0.0/10 193.0.0.0/8 194.0.0.0/7 196.0.0.0/6 200.0.0.0/5 208.0.0.0/4"
)


@pytest.mark.parametrize(
    ("text", "version", "covers"),
    [
        ("0.0.0.0/0", 4, True),
        ("0.0.0.0/1 128.0.0.0/1", 4, True),
        ("0.0.0.0/1 128.0.0.0/2 192.0.0.0/2", 4, True),
        ("0.0.0.0/1", 4, False),
        ("::/0", 4, False),
        ("::/0", 6, True),
        ("::/1 8000::/1", 6, True),
        ("2000::/3", 6, True),
        ("2000::/4", 6, False),
        ("0.0.0.0/0", 6, False),
        ("10.0.0.0/8", 4, False),
        ("", 4, False),
        (WITHOUT_PRIVATE, 4, True),
    ],
)
def test_the_internet_is_covered_in_however_many_pieces(text: str, version: int, covers: bool) -> None:
    assert covers_internet([ip_network(part) for part in text.split()], version) is covers


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "198.51.100.7", "1.0.0.0", "223.255.255.255", "2606:4700::1111", "64:ff9b::808:808"]
)
def test_the_internet_holds_public_addresses_and_the_ways_to_them(address: str) -> None:
    assert any(ip_address(address) in net for networks in REACHES_INTERNET.values() for net in networks)


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.1.1",
        "224.0.0.1",
        "255.255.255.255",
        "fd00::1",
        "fe80::1",
        "ff02::1",
        "::1",
    ],
)
def test_the_internet_holds_no_private_and_no_special_address(address: str) -> None:
    assert not any(ip_address(address) in net for networks in GLOBAL_UNICAST.values() for net in networks)


@pytest.mark.parametrize(
    ("address", "never"),
    [
        ("127.0.0.53", True), ("169.254.169.254", True), ("224.0.0.251", True), ("239.255.255.250", True),
        ("255.255.255.255", True), ("0.0.0.0", True), ("::1", True), ("::", True), ("fe80::1", True),
        ("ff02::fb", True), ("192.168.1.255", False), ("10.0.0.1", False), ("8.8.8.8", False), ("fd00::1", False),
    ],
)  # fmt: skip
def test_this_host_and_this_link_are_never_tunnelled(address: str, never: bool) -> None:
    assert any(ip_address(address) in net for net in NEVER_TUNNELLED) is never
