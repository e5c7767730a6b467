"""The emulated table of static filters."""

from typing import Any

from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from wiresock_py.filters.ndisapi import Action, Direction, NdisApi, Span, StaticFilter
from wiresock_py.filters.ndisapi.emulator import Emulator
from wiresock_py.filters.ndisapi.emulator.filter_table import FRAGMENTS, FilterTable
from wiresock_py.filters.ndisapi.static_filters import pack

DNS = pack(StaticFilter(Action.REDIRECT, destination_ports=Span(53, 53)))
REST = pack(StaticFilter(Action.PASS))
LINK = Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01")  # without addresses scapy asks the system for some


def question(identifier: int = 1, **parts: Any) -> bytes:
    return bytes(LINK / IP(src="10.0.0.1", dst="10.0.0.2", id=identifier, **parts) / UDP(sport=9, dport=53))


def later(identifier: int = 1) -> bytes:
    return bytes(LINK / IP(src="10.0.0.1", dst="10.0.0.2", id=identifier, frag=3, proto=17) / bytes(8))


def test_the_first_match_decides_and_gives_its_number() -> None:
    table = FilterTable()
    table.replace([DNS, REST])
    assert table.decide(question(), Direction.SEND, 1) == (Action.REDIRECT, 1)
    assert table.decide(bytes(60), Direction.SEND, 1) == (Action.PASS, 2)
    table.replace([REST, DNS])
    assert table.decide(question(), Direction.SEND, 1) == (Action.PASS, 1)


def test_without_a_match_nothing_is_decided() -> None:
    table = FilterTable()
    assert table.decide(question(), Direction.SEND, 1) == (0, 0)
    table.replace([DNS])
    assert table.decide(bytes(60), Direction.SEND, 1) == (0, 0)


def test_a_filter_is_copied_and_counts_from_0() -> None:
    table = FilterTable()
    counted = pack(StaticFilter(Action.PASS))
    counted.m_PacketsIn = 7
    table.replace([counted])
    counted.m_FilterAction = Action.DROP
    assert table.decide(bytes(60), Direction.RECEIVE, 1) == (Action.PASS, 1)
    assert (table.filters[0].m_PacketsIn, table.filters[0].m_BytesIn) == (1, 60)


def test_without_the_fragment_cache_a_later_fragment_is_judged_by_itself() -> None:
    table = FilterTable()
    table.replace([DNS, REST])
    table.decide(question(flags="MF"), Direction.SEND, 1)
    assert table.decide(later(), Direction.SEND, 1) == (Action.PASS, 2)


def test_with_the_fragment_cache_it_follows_the_first() -> None:
    table = FilterTable()
    table.fragment_cache = True
    table.replace([DNS, REST])
    table.decide(question(flags="MF"), Direction.SEND, 1)
    assert table.decide(later(), Direction.SEND, 1) == (Action.REDIRECT, 1)
    assert table.decide(later(2), Direction.SEND, 1) == (Action.PASS, 2)


def test_a_change_of_the_table_forgets_cached_verdicts() -> None:
    table = FilterTable()
    table.fragment_cache = True
    table.replace([DNS, REST])
    table.decide(question(flags="MF"), Direction.SEND, 1)
    table.remove(0)
    assert table.decide(later(), Direction.SEND, 1) == (Action.PASS, 1)


def test_the_fragment_cache_is_bounded_and_loses_the_oldest() -> None:
    table = FilterTable()
    table.fragment_cache = True
    table.replace([DNS, REST])
    for i in range(FRAGMENTS + 1):
        table.decide(question(i, flags="MF"), Direction.SEND, 1)
    assert len(table._fragments) == FRAGMENTS
    assert table.decide(later(0), Direction.SEND, 1)[0] == Action.PASS
    assert table.decide(later(1), Direction.SEND, 1)[0] == Action.REDIRECT


def test_a_table_may_list_the_default_action_behind_its_filters() -> None:
    with NdisApi(Emulator(lists_default=True).open()) as api:
        assert api.filters() == [StaticFilter(Action.PASS)]
        api.set_filters([StaticFilter(Action.DROP, ethertype=7)])
        assert api.filters() == [StaticFilter(Action.DROP, ethertype=7), StaticFilter(Action.PASS)]
        assert api.restore() == ["removed 1 static filters"]
        assert api.restore() == []
