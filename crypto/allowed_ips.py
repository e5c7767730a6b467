"""Cryptokey routing (paper 2): prefix to peer, the longest prefix wins, for destinations and for sources alike.

One dict for each prefix length that is in use, longest first: a look-up is a mask and a probe for each, which for the
handful of lengths a configuration has is faster in Python than walking a trie. IPv4-mapped IPv6 is IPv6.
"""

from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_network
from typing import Generic, TypeAlias, TypeVar

Owner = TypeVar("Owner")
Network: TypeAlias = IPv4Network | IPv6Network
Prefix: TypeAlias = Network | IPv4Interface | IPv6Interface


class _Family(Generic[Owner]):
    """The prefixes of one address family."""

    __slots__ = ("_bits", "_by_length", "_lengths")

    def __init__(self, size: int) -> None:
        self._bits = size * 8
        self._by_length: dict[int, dict[int, Owner]] = {}
        # (mask, table) of each length in use, longest first; replaced, never changed, so a reader needs no lock
        self._lengths: tuple[tuple[int, dict[int, Owner]], ...] = ()

    def insert(self, network: Network, owner: Owner) -> None:
        if network.prefixlen not in self._by_length:
            self._by_length[network.prefixlen] = {}
            self._arrange()
        self._by_length[network.prefixlen][int(network.network_address)] = owner

    def remove(self, network: Network, owner: Owner) -> bool:
        table = self._by_length.get(network.prefixlen, {})
        address = int(network.network_address)
        if table.get(address) is not owner:
            return False
        del table[address]
        if not table:
            del self._by_length[network.prefixlen]
            self._arrange()
        return True

    def lookup(self, address: bytes) -> Owner | None:
        number = int.from_bytes(address, "big")
        for mask, table in self._lengths:
            owner = table.get(number & mask)
            if owner is not None:
                return owner
        return None

    def networks(self, owner: Owner) -> list[Network]:
        return [
            ip_network((address.to_bytes(self._bits // 8, "big"), length))
            for length, table in self._by_length.items()
            for address, holder in table.items()
            if holder is owner
        ]

    def _arrange(self) -> None:
        every = (1 << self._bits) - 1
        self._lengths = tuple(
            (every ^ (every >> length), self._by_length[length]) for length in sorted(self._by_length, reverse=True)
        )

    def __len__(self) -> int:
        return sum(map(len, self._by_length.values()))


class AllowedIPs(Generic[Owner]):
    """Which owner a packed address (4 or 16 bytes) belongs to. Owners are compared by identity."""

    __slots__ = ("_families",)

    def __init__(self) -> None:
        self._families: dict[int, _Family[Owner]] = {4: _Family(4), 16: _Family(16)}

    def insert(self, prefix: Prefix, owner: Owner) -> None:
        """Give *prefix* to *owner*, taking it from whoever had it; host bits are masked off."""
        network = _network(prefix)
        self._families[len(network.network_address.packed)].insert(network, owner)

    def remove(self, prefix: Prefix, owner: Owner) -> bool:
        """Take exactly this prefix from *owner*; False if it was not theirs."""
        network = _network(prefix)
        return self._families[len(network.network_address.packed)].remove(network, owner)

    def remove_owner(self, owner: Owner) -> None:
        for network in self.networks(owner):
            self.remove(network, owner)

    def lookup(self, address: bytes) -> Owner | None:
        """The owner of the longest prefix that covers a packed address."""
        family = self._families.get(len(address))
        return family.lookup(address) if family is not None else None

    def networks(self, owner: Owner) -> list[Network]:
        """The prefixes of *owner*, IPv4 first, in order of length and address."""
        return [
            network
            for family in self._families.values()
            for network in sorted(family.networks(owner), key=lambda net: (net.prefixlen, int(net.network_address)))
        ]

    def __len__(self) -> int:
        return sum(map(len, self._families.values()))


def _network(prefix: Prefix) -> Network:
    return prefix.network if isinstance(prefix, IPv4Interface | IPv6Interface) else prefix
