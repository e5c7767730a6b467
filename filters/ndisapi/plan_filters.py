"""A capture plan as static filters: what is outside the plan never leaves the kernel.

The filters are for outgoing packets, first match first, as ``plan.PlanMatcher`` reads a plan. Loopback does not reach
NDIS, so DNS for a resolver on this host cannot be captured here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_network

from wiresock_py.filters.base import CapturePlan
from wiresock_py.filters.ndisapi.adapters import Direction
from wiresock_py.filters.ndisapi.static_filters import Action, Span, StaticFilter
from wiresock_py.filters.plan import (
    DHCP,
    DNS_PORT,
    GROUPS,
    ICMPV6,
    LINK_LOCAL,
    NEIGHBOUR_DISCOVERY,
    PORTED,
    TCP,
    UDP,
    ordered,
)
from wiresock_py.flow import FiveTuple

BROADCAST = b"\xff" * 6
SYN = 0x02


def plan_filters(plan: CapturePlan, elsewhere: Sequence[int] = ()) -> list[StaticFilter]:
    """The table for *plan*; of the adapters with the handles *elsewhere* only DNS is captured.

    Its last filter passes everything, so a mode on the adapter captures nothing by itself.
    """
    versions = [version for version in (4, 6) if plan.dns or ordered(plan, version)]
    table: list[StaticFilter] = []
    if versions:
        # a subnet's broadcast address looks like any other: the frame tells
        table.append(StaticFilter(Action.PASS, direction=Direction.SEND, destination_mac=BROADCAST))
    for version in versions:
        table += _groups_and_dns(plan, version)
    if table:
        table += [StaticFilter(Action.PASS, adapter=handle) for handle in elsewhere]
    for version in versions:
        table += _destinations(plan, version)
    table.append(StaticFilter(Action.PASS))
    return table


def bypass_filters(flow: FiveTuple) -> list[StaticFilter]:
    """Leave the packets of one TCP or UDP flow from this host in the kernel, but for one that opens it anew.

    A port goes from one program to the next: the SYN of a new connection between the same ends is shown.
    """
    passing = StaticFilter(
        Action.PASS,
        direction=Direction.SEND,
        source=ip_network(flow.local),
        destination=ip_network(flow.remote),
        protocol=flow.protocol,
        source_ports=Span(flow.local_port, flow.local_port),
        destination_ports=Span(flow.remote_port, flow.remote_port),
    )
    if flow.protocol == TCP:
        return [replace(passing, action=Action.REDIRECT, tcp_flags=SYN), passing]
    return [passing]


def bypassed_flow(rule: StaticFilter) -> FiveTuple | None:
    """The flow that *rule* leaves in the kernel, if ``bypass_filters`` made it."""
    source, destination = rule.source, rule.destination
    if (
        not isinstance(source, IPv4Network | IPv6Network)
        or not isinstance(destination, IPv4Network | IPv6Network)
        or rule.source_ports is None
        or rule.destination_ports is None
        or rule.protocol is None
    ):
        return None
    local, remote = source.network_address.packed, destination.network_address.packed
    flow = FiveTuple(rule.protocol, local, rule.source_ports.first, remote, rule.destination_ports.first)
    return flow if rule == bypass_filters(flow)[-1] else None


def exempt_filters(protocol: int, port: int) -> list[StaticFilter]:
    """Leave everything that this host sends from *port* by *protocol* in the kernel."""
    return [
        StaticFilter(
            Action.PASS,
            direction=Direction.SEND,
            version=version,
            protocol=protocol,
            source_ports=Span(port, port),
        )
        for version in (4, 6)
    ]


def _groups_and_dns(plan: CapturePlan, version: int) -> Iterator[StaticFilter]:
    for network in GROUPS:
        if network.version == version:
            yield _towards(network, Action.PASS)
    if plan.dns:
        for protocol in sorted(PORTED):
            yield StaticFilter(
                Action.REDIRECT,
                direction=Direction.SEND,
                version=version,
                protocol=protocol,
                destination_ports=Span(DNS_PORT, DNS_PORT),
            )


def _destinations(plan: CapturePlan, version: int) -> Iterator[StaticFilter]:
    for network in LINK_LOCAL:
        if network.version == version:
            yield _towards(network, Action.PASS)
    for source, destination in DHCP[version]:
        yield StaticFilter(
            Action.PASS,
            direction=Direction.SEND,
            version=version,
            protocol=UDP,
            source_ports=Span(source, source),
            destination_ports=Span(destination, destination),
        )
    if version == 6:
        first, last = NEIGHBOUR_DISCOVERY[0], NEIGHBOUR_DISCOVERY[-1]
        yield StaticFilter(
            Action.PASS, direction=Direction.SEND, version=6, protocol=ICMPV6, icmp_types=Span(first, last)
        )
    for network, captured in ordered(plan, version):
        yield _towards(network, Action.REDIRECT if captured else Action.PASS)


def _towards(network: IPv4Network | IPv6Network, action: Action) -> StaticFilter:
    return StaticFilter(action, direction=Direction.SEND, destination=network)
