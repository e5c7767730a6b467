"""The kernel's drivers/net/wireguard/selftest, and zinc's."""

from ipaddress import ip_network

import pytest

from tests.equivalents import test_wireguard_go
from wiresock_py.crypto.allowed_ips import AllowedIPs
from wiresock_py.crypto.ratelimiter import TABLE_SIZE, RateLimiter


def test_counter() -> None:
    """selftest/counter.c: the list of wireguard-go's TestReplay came from it; window 8192 less a word of 64."""
    assert test_wireguard_go.T - 1 == 8192 - 64
    test_wireguard_go.test_replay()


class TestRatelimiter:
    """selftest/ratelimiter.c."""

    def test_timings(self) -> None:
        """The burst of five and a refill every 50 ms; a neighbouring IPv4 address is served by itself."""
        limiter = RateLimiter()
        for now, allowed in [(0.0, True)] * 5 + [(0.0, False), (0.05, True), (0.05, False), (0.15, True), (0.15, True)]:
            assert limiter.allow(("8.8.8.8", 1), now) == allowed
        assert limiter.allow(("8.8.8.9", 1), 0.15)

    def test_ipv6_by_64(self) -> None:
        """The low half of an IPv6 address is irrelevant, the high half is not."""
        limiter = RateLimiter()
        outcome = [limiter.allow((f"2001:db8::{number:x}", 1), 0.0) for number in range(1, 7)]
        assert outcome == [True] * 5 + [False]
        assert limiter.allow(("2001:db8:0:1::1", 1), 0.0)

    def test_capacity(self) -> None:
        """The table refuses when it is full, and takes new sources when old ones have gone."""
        limiter = RateLimiter()
        for number in range(TABLE_SIZE + 10):
            source = (f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 1)
            assert limiter.allow(source, 0.5) == (number < TABLE_SIZE)
        assert limiter.allow(("192.0.2.1", 1), 2.0)


class Peer:
    pass


class TestAllowedIPs:
    """selftest/allowedips.c; its static tables and its random comparison are TestTrie* of wireguard-go."""

    def test_single_bits(self) -> None:
        """128 addresses, each with one bit different: as /128 each is found, and only itself."""
        table: AllowedIPs[Peer] = AllowedIPs()
        peers = [Peer() for _ in range(128)]
        for bit, peer in enumerate(peers):
            table.insert(ip_network(((1 << bit).to_bytes(16, "big"), 128)), peer)
        for bit, peer in enumerate(peers):
            assert table.lookup((1 << bit).to_bytes(16, "big")) is peer
        assert table.lookup(bytes(16)) is None
        table.remove_owner(peers[64])
        assert table.lookup((1 << 64).to_bytes(16, "big")) is None
        assert len(table) == 127

    def test_listing_masked(self) -> None:
        """A peer's prefixes are listed back, host bits gone, each once."""
        table: AllowedIPs[Peer] = AllowedIPs()
        peer, other = Peer(), Peer()
        for prefix in ("192.95.5.93/27", "26:75ae:6b0::c05f:543/50", "10.1.0.20/29", "10.1.0.20/29", "192.0.2.1/32"):
            table.insert(ip_network(prefix, strict=False), peer)
        table.insert(ip_network("192.0.2.1/32"), other)
        assert [str(network) for network in table.networks(peer)] == [
            "192.95.5.64/27",
            "10.1.0.16/29",
            "26:75ae:6b0::/50",
        ]


@pytest.mark.parametrize("kind", ["x25519", "chacha20poly1305", "xchacha20poly1305", "hchacha20", "blake2s"])
def test_zinc(kind: str) -> None:
    """zinc/selftest: its algorithms' vectors, low-order points refused; ours are in the vector file."""
    cases = test_wireguard_go.VECTORS["primitives"][kind]
    assert len(cases) >= 5
    if kind == "x25519":
        assert sum(case["reject"] for case in cases) >= 7
