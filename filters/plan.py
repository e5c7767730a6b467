"""What a capture plan means, packet by packet: the one place that backends without a kernel to ask take it from.

The longest matching prefix of the plan decides. Above it stand destinations that no plan captures, because the link
itself lives on them: neighbour discovery and address configuration stop the moment they are held up.
"""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network

from wiresock_py.filters.base import Buffer, CapturePlan, Network

DNS_PORT = 53
TCP, UDP, ICMPV6 = 6, 17, 58
PORTED = frozenset((TCP, UDP))

# Never captured, not even port 53: packets to more than one host (RFC 5771, RFC 4291 section 2.7).
GROUPS = (IPv4Network("224.0.0.0/4"), IPv4Network("255.255.255.255/32"), IPv6Network("ff00::/8"))
# Never captured but for port 53, as the resolver is often the router's link-local address: RFC 3927, RFC 4291 (2.5.6).
LINK_LOCAL = (IPv4Network("169.254.0.0/16"), IPv6Network("fe80::/10"))
# DHCP client and server (RFC 2131), DHCPv6 (RFC 8415): (source port, destination port), both ways.
DHCP = {4: ((68, 67), (67, 68)), 6: ((546, 547), (547, 546))}
# Router and neighbour solicitation and advertisement, redirect (RFC 4861): ICMPv6 types.
NEIGHBOUR_DISCOVERY = range(133, 138)


def ordered(plan: CapturePlan, version: int) -> list[tuple[Network, bool]]:
    """The plan's prefixes of one IP version, longest first, each with whether it is captured.

    The first that contains a destination decides; a destination that none contains is left alone. Prefixes that
    change nothing, because the next shorter one around them says the same, are left out.
    """
    decision: dict[Network, bool] = dict.fromkeys((n for n in plan.capture if n.version == version), True)
    decision.update(dict.fromkeys((n for n in plan.leave if n.version == version), False))
    width = 32 if version == 4 else 128
    # by length and leading bits: ten thousand networks are looked up in milliseconds
    known = {
        (n.prefixlen, int(n.network_address) >> (width - n.prefixlen)): captured for n, captured in decision.items()
    }
    lengths = sorted({length for length, _ in known}, reverse=True)
    rows: list[tuple[Network, bool]] = []
    for network, captured in decision.items():
        address = int(network.network_address)
        around = ((length, address >> (width - length)) for length in lengths if length < network.prefixlen)
        if captured != next((known[prefix] for prefix in around if prefix in known), False):
            rows.append((network, captured))
    rows.sort(key=lambda row: (-row[0].prefixlen, int(row[0].network_address)))
    return rows


class PlanMatcher:
    """A plan made ready to be asked about packets."""

    def __init__(self, plan: CapturePlan) -> None:
        self._dns = plan.dns
        self._ports = frozenset(plan.ports)
        self._masked = {version: _masked(ordered(plan, version)) for version in (4, 6)}

    def captures(self, packet: Buffer, *, loopback: bool = False) -> bool:
        """Whether the plan captures this outbound packet (from its IP header on); on loopback only DNS is captured."""
        head = _read(packet)
        if head is None:
            return False
        version, protocol, destination, first, second = head
        if protocol == UDP and first in self._ports:
            return True
        if _within(destination, version, GROUPS):
            return False
        ported = protocol in PORTED
        if self._dns and ported and second == DNS_PORT:
            return True
        if loopback or _within(destination, version, LINK_LOCAL):
            return False
        if protocol == UDP and (first, second) in DHCP[version]:
            return False
        if version == 6 and protocol == ICMPV6 and first >> 8 in NEIGHBOUR_DISCOVERY:
            return False
        for network, mask, captured in self._masked[version]:
            if destination & mask == network:
                return captured
        return False


def _read(packet: Buffer) -> tuple[int, int, int, int, int] | None:
    """(version, protocol, destination, the transport header's first two 16-bit words) of a packet; -1 for no such word.

    For UDP and TCP the words are source and destination port, for ICMPv6 the first is type and code.
    """
    if len(packet) < 20:
        return None
    version = packet[0] >> 4
    if version == 4:
        protocol, destination, transport = packet[9], packet[16:20], (packet[0] & 15) * 4
        if int.from_bytes(packet[6:8], "big") & 0x1FFF:
            transport = len(packet)  # a later fragment has no transport header
    elif version == 6 and len(packet) >= 40:
        protocol, destination, transport = packet[6], packet[24:40], 40
    else:
        return None
    words = packet[transport : transport + 4]
    first = int.from_bytes(words[:2], "big") if len(words) == 4 else -1
    second = int.from_bytes(words[2:], "big") if len(words) == 4 else -1
    return version, protocol, int.from_bytes(destination, "big"), first, second


def _masked(rows: Iterable[tuple[Network, bool]]) -> list[tuple[int, int, bool]]:
    return [(int(network.network_address), int(network.netmask), captured) for network, captured in rows]


def _within(number: int, version: int, networks: Iterable[Network]) -> bool:
    return any(
        network.version == version and number & int(network.netmask) == int(network.network_address)
        for network in networks
    )
