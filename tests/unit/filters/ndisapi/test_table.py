"""What stands in the driver's filters."""

from ipaddress import ip_network

import pytest

from tests.support.drivers import Driver, Plugged
from wiresock_py.filters import CapturePlan
from wiresock_py.filters.ndisapi import Action, NdisApi, StaticFilter, Version, table
from wiresock_py.filters.ndisapi.emulator import Emulator
from wiresock_py.filters.ndisapi.plan_filters import bypass_filters, exempt_filters, plan_filters
from wiresock_py.filters.ndisapi.table import IDLE, Table
from wiresock_py.flow import FiveTuple

PLAN = CapturePlan((ip_network("203.0.113.0/24"),), dns=True)


def flow(port: int, protocol: int = 17) -> FiveTuple:
    return FiveTuple(protocol, bytes((10, 0, 0, 1)), port, bytes((203, 0, 113, 1)), 443)


def standing(api: NdisApi) -> list[StaticFilter]:
    return api.filters()


def test_the_order_is_bypassed_flows_then_exempt_ports_then_the_plan(api: NdisApi) -> None:
    made = Table(api)
    made.exempt([(17, 51820)])
    assert standing(api) == [], "nothing is written before there is a plan"
    made.install(PLAN, (7,))
    made.bypass([flow(1, 6), flow(2)], made.edition, 0.0)
    plan = [*exempt_filters(17, 51820), *plan_filters(PLAN, (7,))]
    assert standing(api) == [*bypass_filters(flow(2)), *bypass_filters(flow(1, 6)), *plan]
    made.move((8,))
    flows = [rule for rule in standing(api) if rule.source is not None]
    assert flows == [*bypass_filters(flow(2)), *bypass_filters(flow(1, 6))]
    made.exempt([])
    assert not set(exempt_filters(17, 51820)) & set(standing(api))
    made.remove()
    assert standing(api) == []


def test_a_new_plan_shows_bypassed_flows_again(api: NdisApi) -> None:
    made = Table(api)
    made.install(PLAN, ())
    made.bypass([flow(1)], made.edition, 0.0)
    made.install(PLAN, ())
    assert standing(api) == plan_filters(PLAN)


def test_a_flow_decided_under_an_earlier_plan_is_not_bypassed(api: NdisApi) -> None:
    made = Table(api)
    made.install(PLAN, ())
    edition = made.edition
    made.install(PLAN, ())
    made.bypass([flow(1)], edition, 0.0)
    assert standing(api) == plan_filters(PLAN)


def test_a_flow_is_bypassed_once(api: NdisApi) -> None:
    made = Table(api)
    made.install(PLAN, ())
    for _ in range(3):
        made.bypass([flow(1), flow(1)], made.edition, 0.0)
    assert len(standing(api)) == len(plan_filters(PLAN)) + 1


def test_an_older_driver_gets_the_whole_table_each_time() -> None:
    with NdisApi(Emulator(Version(3, 4, 0)).open()) as api:
        made = Table(api)
        made.install(PLAN, ())
        made.bypass([flow(1, 6)], made.edition, 0.0)
        assert standing(api) == [*bypass_filters(flow(1, 6)), *plan_filters(PLAN)]


def test_blocking_drops_what_was_captured_and_leaves_the_rest(api: NdisApi) -> None:
    made = Table(api)
    made.exempt([(17, 51820)])
    made.install(PLAN, ())
    made.bypass([flow(1)], made.edition, 0.0)
    made.block()
    found = standing(api)
    assert Action.REDIRECT not in {rule.action for rule in found}
    assert [rule.action for rule in found].count(Action.DROP) == [rule.action for rule in plan_filters(PLAN)].count(
        Action.REDIRECT
    )
    assert bypass_filters(flow(1))[0] in found
    assert not set(exempt_filters(17, 51820)) & set(found)


def test_what_an_earlier_run_bypassed_is_taken_over_blocked_or_not(api: NdisApi) -> None:
    first = Table(api)
    first.install(PLAN, ())
    first.bypass([flow(1), flow(2, 6)], first.edition, 0.0)
    first.block()
    second = Table(api)
    second.adopt(PLAN, (), 100.0)
    assert [rule for rule in standing(api) if rule.source] == [*bypass_filters(flow(2, 6)), *bypass_filters(flow(1))]
    second.age(100.0 + IDLE - 1, 0.0)
    assert any(rule.source for rule in standing(api))
    second.age(100.0 + IDLE + 1, 0.0)
    assert standing(api) == plan_filters(PLAN)


def test_a_filter_of_another_programs_that_has_no_form_here_is_in_nobodys_way(api: NdisApi, emulator: Emulator) -> None:
    api.set_filters([StaticFilter(Action.PASS)])
    emulator.filters.filters[0].m_FilterAction = 77
    Table(api).adopt(PLAN, (), 0.0)
    assert standing(api) == plan_filters(PLAN)


def test_a_table_that_another_program_changed_is_noticed_and_written_again(api: NdisApi, driver: Driver) -> None:
    made = Table(api)
    made.install(PLAN, ())
    assert made.is_standing()
    with NdisApi(driver.open()) as other:
        other.set_filters([StaticFilter(Action.PASS)])
    assert not made.is_standing()
    made.write_again()
    assert made.is_standing()
    assert standing(api) == plan_filters(PLAN)


def test_too_many_flows_lose_the_oldest_quarter(api: NdisApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "MAX_BYPASSED", 8)
    made = Table(api)
    made.install(PLAN, ())
    for port in range(9):
        made.bypass([flow(port)], made.edition, 0.0)
    ports = [rule.source_ports.first for rule in standing(api) if rule.source and rule.source_ports]
    assert sorted(ports) == list(range(3, 9))


def test_redirected_packets_are_counted_over_all_tables(api: NdisApi, ethernet: Plugged, driver: Driver) -> None:
    from wiresock_py.filters.ndisapi import AdapterMode

    made = Table(api)
    made.install(PLAN, ())
    api.set_mode(api.find("Ethernet"), AdapterMode.SENT_TUNNEL)
    header = bytes.fromhex("450000140000000040110000") + bytes((10, 0, 0, 1)) + bytes((203, 0, 113, 1))
    for expected in range(1, 5):
        ethernet.stack_sends(bytes(12) + b"\x08\x00" + header)
        ethernet.stack_sends(bytes(12) + b"\x08\x00" + header[:-1] + b"\x02")
        assert made.matched() == 2 * expected
        made.move((expected,)) if expected % 2 else made.age(100.0 * expected, 0.0)
