"""A capture plan in WinDivert's filter language, short enough for the driver.

The driver takes at most 256 tests (WINDIVERT_FILTER_MAXLEN). A plan with more networks than fit is widened: networks
with little between them are tested as one, and the backend sends on at once what was captured beyond the plan. So the
filter never captures less than the plan, and often exactly it.
"""

from collections.abc import Collection, Iterable
from ipaddress import IPv4Address, IPv6Address

from wiresock_py.filters.base import CapturePlan
from wiresock_py.filters.plan import DHCP, DNS_PORT, GROUPS, LINK_LOCAL, NEIGHBOUR_DISCOVERY, ordered

MAX_TESTS = 250
"""Of the driver's 256, some are left for what its compiler adds."""
MAX_PORTS = 24
MAX_FLOWS = 16

Range = tuple[int, int]
"""First and last address."""
Flow = tuple[int, bytes, int, int]
"""Protocol (TCP or UDP), packed destination, source port, destination port."""
Port = tuple[int, int]
"""Protocol (TCP or UDP) and local port."""

_BITS = {4: 32, 6: 128}
_FIELD = {4: "ip.DstAddr", 6: "ipv6.DstAddr"}
_ADDRESS = {4: IPv4Address, 6: IPv6Address}
_PROTOCOL = {6: "tcp", 17: "udp"}
_DNS = f"(udp.DstPort == {DNS_PORT} or tcp.DstPort == {DNS_PORT})"
_DNS_TESTS = 2
# outbound and loopback, DHCP of both families, neighbour discovery
_FIXED_TESTS = 2 + 8 + 2


def filter_text(
    plan: CapturePlan, adapters: Collection[int], ports: Collection[Port] = (), flows: Iterable[Flow] = ()
) -> str:
    """The filter for outbound packets of *plan* that leave by *adapters* (interface indices).

    *ports* are local ports, and *flows* connections, that are left alone; as many as there is room for.
    """
    ports, flows = list(ports)[:MAX_PORTS], list(flows)[:MAX_FLOWS]
    taken = _FIXED_TESTS + len(adapters) + 2 * _DNS_TESTS + len(ports) + 3 * len(flows)
    networks = _networks(plan, MAX_TESTS - taken) if adapters else ""
    by_adapter = _any(f"ifIdx == {index}" for index in adapters)
    captured = []
    if plan.dns:
        captured.append(f"({_DNS} and (loopback or {by_adapter}))" if plan.adapters and adapters else _DNS)
    if networks:
        spared = [
            *(f"(udp.SrcPort == {own} and udp.DstPort == {other})" for pair in DHCP.values() for own, other in pair),
            f"(icmpv6.Type >= {NEIGHBOUR_DISCOVERY[0]} and icmpv6.Type <= {NEIGHBOUR_DISCOVERY[-1]})",
        ]
        captured.append(f"(not loopback and {by_adapter} and {_but(spared, networks)})")
    if not captured:
        return "false"
    spared = [f"{_PROTOCOL[protocol]}.SrcPort == {port}" for protocol, port in ports]
    spared += [_flow(flow) for flow in flows]
    return f"outbound and {_but(spared, _any(captured))}"


def ranges(plan: CapturePlan, version: int) -> list[Range]:
    """The addresses of one IP version that *plan* captures, but for what no plan captures; ascending, apart."""
    found: list[Range] = []

    def add(first: int, last: int) -> None:
        if first <= last:
            if found and found[-1][1] + 1 == first:
                found[-1] = found[-1][0], last
            else:
                found.append((first, last))

    # Prefixes lie apart or one within the other: the innermost one that is open decides.
    open_prefixes: list[tuple[int, bool]] = [((1 << _BITS[version]) - 1, False)]
    at = 0

    def end_before(start: int) -> None:
        nonlocal at
        while open_prefixes and open_prefixes[-1][0] < start:
            last, captured = open_prefixes.pop()
            if captured:
                add(at, last)
            at = max(at, last + 1)

    rows = [(int(network.network_address), network.prefixlen, captured) for network, captured in ordered(plan, version)]
    for start, length, captured in sorted(rows):
        end_before(start)
        if open_prefixes[-1][1]:
            add(at, start - 1)
        at = start
        open_prefixes.append((start + (1 << (_BITS[version] - length)) - 1, captured))
    end_before(1 << _BITS[version])
    for network in (*GROUPS, *LINK_LOCAL):
        if network.version == version:
            found = _without(found, int(network.network_address), int(network.broadcast_address))
    return found


def widened(apart: list[Range], most: int) -> list[Range]:
    """At most *most* ranges with all of *apart* in them, and as little else as can be."""
    if len(apart) <= most:
        return apart
    if most < 1:
        return []
    gaps = sorted(range(1, len(apart)), key=lambda i: apart[i][0] - apart[i - 1][1], reverse=True)
    kept = sorted(gaps[: most - 1])
    starts, ends = [0, *kept], [*kept, len(apart)]
    return [(apart[start][0], apart[end - 1][1]) for start, end in zip(starts, ends, strict=True)]


def _networks(plan: CapturePlan, tests: int) -> str:
    both = {version: ranges(plan, version) for version in (4, 6)}
    needed = {version: 2 * len(found) + 1 for version, found in both.items()}
    if sum(needed.values()) > tests:
        half = tests // 2
        for version, other in ((4, 6), (6, 4)):
            room = max(half, tests - needed[other])
            both[version] = widened(both[version], (room - 1) // 2)
    tests_of = [_any(_range(version, one) for one in found) for version, found in both.items() if found]
    return _any(tests_of) if tests_of else ""


def _range(version: int, one: Range) -> str:
    field, address = _FIELD[version], _ADDRESS[version]
    first, last = one
    if first == last:
        return f"{field} == {address(first)}"
    if first == 0:
        return f"{field} <= {address(last)}"
    return f"({field} >= {address(first)} and {field} <= {address(last)})"


def _flow(flow: Flow) -> str:
    protocol, destination, source_port, port = flow
    version = 6 if len(destination) == 16 else 4
    address = _ADDRESS[version](int.from_bytes(destination, "big"))
    name = _PROTOCOL[protocol]
    return f"({_FIELD[version]} == {address} and {name}.SrcPort == {source_port} and {name}.DstPort == {port})"


def _but(spared: list[str], captured: str) -> str:
    """The language negates single tests only; and of a header that a packet does not have, every test is false."""
    return f"({_any(spared)} ? false : {captured})" if spared else captured


def _any(tests: Iterable[str]) -> str:
    found = list(tests)
    return f"({' or '.join(found)})" if len(found) != 1 else found[0]


def _without(found: list[Range], first: int, last: int) -> list[Range]:
    rest: list[Range] = []
    for start, end in found:
        if end < first or start > last:
            rest.append((start, end))
            continue
        if start < first:
            rest.append((start, first - 1))
        if end > last:
            rest.append((last + 1, end))
    return rest
