"""A capture plan as static filters: what is outside the plan never leaves the kernel.

The filters are for outgoing packets, first match first, as ``plan.PlanMatcher`` reads a plan. Loopback does not reach
NDIS, so DNS for a resolver on this host cannot be captured here.
"""

from collections.abc import Iterator, Sequence
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
    UDP,
    ordered,
)
from wiresock_py.flow import FiveTuple


def plan_filters(plan: CapturePlan, bypassed: Sequence[FiveTuple] = ()) -> list[StaticFilter]:
    """The table for *plan*; *bypassed* flows, our own UDP among them, are left alone before anything else.

    Its last filter passes everything, so a mode on the adapter captures nothing by itself.
    """
    table = [bypass_filter(flow) for flow in bypassed]
    for version in (4, 6):
        table += _family(plan, version)
    table.append(StaticFilter(Action.PASS))
    return table


def bypass_filter(flow: FiveTuple) -> StaticFilter:
    """Leave one flow's packets from this host in the kernel."""
    ported = flow.protocol in PORTED
    return StaticFilter(
        Action.PASS,
        direction=Direction.SEND,
        source=ip_network(flow.local),
        destination=ip_network(flow.remote),
        protocol=flow.protocol,
        source_ports=Span(flow.local_port, flow.local_port) if ported else None,
        destination_ports=Span(flow.remote_port, flow.remote_port) if ported else None,
    )


def _family(plan: CapturePlan, version: int) -> Iterator[StaticFilter]:
    rows = ordered(plan, version)
    if not rows and not plan.dns:
        return
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
    for network, captured in rows:
        yield _towards(network, Action.REDIRECT if captured else Action.PASS)


def _towards(network: IPv4Network | IPv6Network, action: Action) -> StaticFilter:
    return StaticFilter(action, direction=Direction.SEND, destination=network)
