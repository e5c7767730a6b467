"""Cryptokey routing beside a linear search through all prefixes."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from wiresock_py.crypto.allowed_ips import AllowedIPs, Network


class Owner:
    pass


class Model:
    """A list of (prefix, owner); the longest that contains the address wins."""

    def __init__(self) -> None:
        self.entries: dict[Network, Owner] = {}

    def lookup(self, address: IPv4Address | IPv6Address) -> Owner | None:
        matching = [network for network in self.entries if address in network]
        return self.entries[max(matching, key=lambda network: network.prefixlen)] if matching else None


# Few distinct bits, so that prefixes nest and collide
SMALL = st.integers(0, 15)


@st.composite
def networks(draw: st.DrawFn) -> Network:
    if draw(st.booleans()):
        return IPv4Network((draw(SMALL) << 28 | draw(SMALL) << 8 | draw(SMALL), draw(st.integers(0, 32))), strict=False)
    return IPv6Network((draw(SMALL) << 124 | draw(SMALL) << 60 | draw(SMALL), draw(st.integers(0, 128))), strict=False)


@st.composite
def addresses(draw: st.DrawFn) -> IPv4Address | IPv6Address:
    if draw(st.booleans()):
        return IPv4Address(draw(SMALL) << 28 | draw(SMALL) << 8 | draw(SMALL))
    return IPv6Address(draw(SMALL) << 124 | draw(SMALL) << 60 | draw(SMALL))


class Tables(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.table: AllowedIPs[Owner] = AllowedIPs()
        self.model = Model()
        self.owners = [Owner() for _ in range(4)]

    @rule(network=networks(), owner=st.integers(0, 3))
    def insert(self, network: Network, owner: int) -> None:
        self.table.insert(network, self.owners[owner])
        self.model.entries[network] = self.owners[owner]

    @rule(network=networks(), owner=st.integers(0, 3))
    def remove(self, network: Network, owner: int) -> None:
        held = self.model.entries.get(network) is self.owners[owner]
        assert self.table.remove(network, self.owners[owner]) == held
        if held:
            del self.model.entries[network]

    @rule(owner=st.integers(0, 3))
    def remove_owner(self, owner: int) -> None:
        self.table.remove_owner(self.owners[owner])
        self.model.entries = {net: held for net, held in self.model.entries.items() if held is not self.owners[owner]}

    @rule(address=addresses())
    def lookup(self, address: IPv4Address | IPv6Address) -> None:
        assert self.table.lookup(address.packed) is self.model.lookup(address)

    @invariant()
    def same_prefixes(self) -> None:
        assert len(self.table) == len(self.model.entries)
        for owner in self.owners:
            assert set(self.table.networks(owner)) == {
                network for network, held in self.model.entries.items() if held is owner
            }


TestTables = Tables.TestCase
TestTables.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)


@given(st.lists(st.tuples(networks(), st.integers(0, 3)), max_size=40), st.lists(addresses(), max_size=20))
def test_many_prefixes_at_once(entries: list[tuple[Network, int]], probes: list[IPv4Address | IPv6Address]) -> None:
    table: AllowedIPs[Owner] = AllowedIPs()
    model = Model()
    owners = [Owner() for _ in range(4)]
    for network, owner in entries:
        table.insert(network, owners[owner])
        model.entries[network] = owners[owner]
    probes += [network.network_address for network, _ in entries]
    probes += [network.broadcast_address for network, _ in entries]
    for address in probes:
        assert table.lookup(address.packed) is model.lookup(address)


def test_every_length_of_both_families_is_found() -> None:
    for bits, family in ((32, "255.255.255.255"), (128, "ffff:" * 7 + "ffff")):
        table: AllowedIPs[Owner] = AllowedIPs()
        owners = [Owner() for _ in range(bits + 1)]
        for length, owner in enumerate(owners):
            table.insert(ip_network(f"{family}/{length}", strict=False), owner)
        everything = (1 << bits) - 1
        for length in range(bits):  # an address that shares exactly *length* leading bits
            address = everything ^ (1 << (bits - 1 - length))
            assert table.lookup(address.to_bytes(bits // 8, "big")) is owners[length]
