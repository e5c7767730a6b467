import ipaddress
import sys
from ipaddress import ip_network
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wiresock_py.filters import CapturePlan, Network
from wiresock_py.filters.plan import GROUPS, LINK_LOCAL, ordered
from wiresock_py.filters.windivert.filter_text import Range, filter_text, ranges, widened

elsewhere = pytest.mark.skipif(
    sys.platform == "win32", reason="for other systems: WinDivert's compiler is asked where pydivert has it for Linux"
)
# a small corner of the address space, so that prefixes meet often
NETWORKS = st.builds(
    lambda number, length: ip_network((number << 24 & (0xFFFF_FFFF << (32 - length)), length)),
    st.integers(0, 255),
    st.integers(0, 8),
)


def plan(*capture: str, leave: tuple[str, ...] = (), **options: object) -> CapturePlan:
    return CapturePlan(
        tuple(map(ip_network, capture)),
        tuple(map(ip_network, leave)),
        **options,  # type: ignore[arg-type] # a test's shorthand
    )


def compiles(text: str) -> bool:
    """Whether WinDivert's own compiler takes it, which libebpfdivert has, too."""
    import pydivert

    return bool(pydivert.Divert.check_filter(text)[0])


@given(st.lists(NETWORKS, max_size=8), st.lists(NETWORKS, max_size=8))
def test_ranges_are_the_addresses_that_the_longest_prefix_captures(
    capture: list[Network], leave: list[Network]
) -> None:
    chosen = CapturePlan(tuple(capture), tuple(leave))
    found = ranges(chosen, 4)
    assert all(before[1] + 1 < after[0] for before, after in pairwise(found))
    for number in range(0, 1 << 32, 1 << 24):
        address = ipaddress.ip_address(number)
        decided = next((captured for network, captured in ordered(chosen, 4) if address in network), False)
        spared = any(address in network for network in (*GROUPS, *LINK_LOCAL) if network.version == 4)
        assert any(first <= number <= last for first, last in found) == (decided and not spared)


@given(st.lists(st.integers(0, 1000), unique=True, min_size=2, max_size=40), st.integers(1, 10))
def test_widened_ranges_hold_all_and_add_the_narrowest_gaps(bounds: list[int], most: int) -> None:
    ordered_bounds = sorted(bounds)[: len(bounds) // 2 * 2]
    apart: list[Range] = list(zip(ordered_bounds[::2], ordered_bounds[1::2], strict=True))
    found = widened(apart, most)
    assert len(found) <= most or found == apart
    assert all(any(first <= one[0] and one[1] <= last for first, last in found) for one in apart)
    gaps = sorted(after[0] - before[1] for before, after in pairwise(apart))
    kept = [after[0] - before[1] for before, after in pairwise(found)]
    assert sorted(kept) == gaps[len(gaps) - len(kept) :]


@elsewhere
@pytest.mark.parametrize("adapters", [[], [2], [2, 3, 5]])
@pytest.mark.parametrize("dns", [True, False])
@pytest.mark.parametrize("named", [(), ("Ethernet",)])
def test_the_compiler_takes_every_form(adapters: list[int], dns: bool, named: tuple[str, ...]) -> None:
    chosen = plan("0.0.0.0/0", "::/0", "10.1.2.3/32", leave=("10.0.0.0/8",), dns=dns, adapters=named)
    text = filter_text(chosen, adapters, [(17, 51820), (6, 50000)], [(6, bytes(4), 1, 2), (17, bytes(16), 3, 4)])
    assert compiles(text)
    assert ("DstPort == 53" in text) == ((dns and not (named and not adapters)) or (dns and not adapters))


@elsewhere
def test_a_plan_of_thousands_of_networks_fits_with_ports_and_flows() -> None:
    many = [f"10.{a}.{2 * b}.0/24" for a in range(40) for b in range(50)] + [
        f"2001:{n:x}::/32" for n in range(1, 3000, 2)
    ]
    ports = [(17, port) for port in range(1000, 1200)]
    flows = [(6, bytes(4), port, 443) for port in range(200)]
    text = filter_text(plan(*many, dns=True), range(1, 9), ports, flows)
    assert compiles(text)
    assert text.count("ip.DstAddr") > 40  # of both families something is left


def test_nothing_to_capture_is_a_filter_that_captures_nothing() -> None:
    assert filter_text(plan(), [2]) == "false"
    assert filter_text(plan("0.0.0.0/0"), []) == "false"
