"""The flow table: look-up, translation, collisions, expiry, eviction."""

import socket
from collections.abc import Iterable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tests.support.datapaths import flow_table
from tests.support.traffic import IPV4, IPV6, PEER, Ends, address
from wiresock_py.datapath import Flow, FlowTable
from wiresock_py.datapath.flows import (
    ACK_FLAG,
    FIN_FLAG,
    FIN_IN,
    ICMP_TIMEOUT,
    RST_FLAG,
    SYN_FLAG,
    SYN_OUT,
    TCP_ESTABLISHED_TIMEOUT,
    TCP_TRANSITORY_TIMEOUT,
    UDP_TIMEOUT,
    random_ports,
)
from wiresock_py.flow import FiveTuple, Route

pytestmark = pytest.mark.usefixtures("datapath")
TCP, UDP = socket.IPPROTO_TCP, socket.IPPROTO_UDP
BOTH = pytest.mark.parametrize("ends", [IPV4, IPV6], ids=["ipv4", "ipv6"])


def add(flows: FlowTable, ends: Ends = IPV4, protocol: int = UDP, port: int = 40000, now: float = 0.0) -> Flow:
    return flows.add(ends.key(protocol, port), Route.TUNNEL, now, peer=PEER, local=address(ends.tunnel))


@BOTH
def test_a_flow_is_found_by_what_the_stack_and_by_what_the_tunnel_sees(ends: Ends) -> None:
    flows = flow_table()
    flow = add(flows, ends)
    assert flows.find(flow.key) is flow
    assert flow.inner == flow.key._replace(local=address(ends.tunnel))
    assert flows.find_inner(flow.inner) is flow
    assert flows.find_inner(flow.key) is None
    assert flows.find(flow.key._replace(protocol=TCP)) is None
    assert flows.find(flow.key._replace(protocol=132)) is None


def test_a_direct_flow_is_not_reachable_from_the_tunnel() -> None:
    flows = flow_table()
    flow = flows.add(IPV4.key(UDP), Route.DIRECT, 0.0)
    assert flows.find(flow.key) is flow
    assert flows.find_inner(flow.key) is None


def test_a_redirected_flow_goes_to_the_tunnels_resolver_and_answers_as_the_one_asked() -> None:
    flows = flow_table()
    asked = FiveTuple(UDP, address(IPV4.host), 5353, address(IPV4.resolver), 53)
    flow = flows.add(
        asked, Route.TUNNEL, 0.0, peer=PEER, local=address(IPV4.tunnel), remote=(address(IPV4.redirected), 53)
    )
    assert flow.inner == FiveTuple(UDP, address(IPV4.tunnel), 5353, address(IPV4.redirected), 53)
    assert flows.find_inner(flow.inner) is flow


def test_a_five_tuple_entered_again_replaces_the_old_flow() -> None:
    flows = flow_table()
    old = add(flows)
    new = add(flows)
    assert flows.find(new.key) is new
    assert flows.find_inner(new.inner) is new
    assert len(flows) == 1
    assert not old.live
    flows.remove(old)
    assert flows.find(new.key) is new


@BOTH
def test_only_a_collision_changes_the_port(ends: Ends) -> None:
    tried: list[FiveTuple] = []

    def ports(inner: FiveTuple) -> Iterable[int]:
        tried.append(inner)
        return iter([40000, 50000, 50001])

    flows = flow_table(ports=ports)
    first = add(flows, ends)
    second = flows.add(ends.key(UDP, local=ends.second), Route.TUNNEL, 0.0, peer=PEER, local=address(ends.tunnel))
    third = flows.add(
        ends.key(UDP)._replace(local=address(ends.server)), Route.TUNNEL, 0.0, peer=PEER, local=address(ends.tunnel)
    )
    assert [flow.inner.local_port for flow in (first, second, third)] == [40000, 50000, 50001]
    assert len(tried) == 2
    assert all(flows.find_inner(flow.inner) is flow for flow in (first, second, third))


def test_with_every_port_taken_the_last_one_tried_changes_hands() -> None:
    flows = flow_table(ports=lambda _: iter([50000]))
    for number in range(3):
        key = IPV4.key(UDP)._replace(local=bytes((192, 168, 1, number)))
        flows.add(key, Route.TUNNEL, 0.0, peer=PEER, local=address(IPV4.tunnel))
    assert len(flows) == 2
    assert flows.evicted == 1


def test_a_protocol_without_ports_has_one_flow_to_each_remote() -> None:
    flows = flow_table()
    old = flows.add(IPV4.key(47, 0, 0), Route.TUNNEL, 0.0, peer=PEER, local=address(IPV4.tunnel))
    new = flows.add(IPV4.key(47, 0, 0, local=IPV4.second), Route.TUNNEL, 0.0, peer=PEER, local=address(IPV4.tunnel))
    assert not old.live
    assert flows.find_inner(new.inner) is new


def test_random_ports_offers_each_dynamic_port_once() -> None:
    assert sorted(random_ports(IPV4.key(UDP))) == list(range(49152, 65536))


@pytest.mark.parametrize(
    ("protocol", "timeout"),
    [(UDP, UDP_TIMEOUT), (socket.IPPROTO_ICMP, ICMP_TIMEOUT), (TCP, TCP_ESTABLISHED_TIMEOUT), (47, UDP_TIMEOUT)],
)
def test_an_idle_flow_expires_after_its_protocols_time(protocol: int, timeout: float) -> None:
    flows = flow_table()
    flow = add(flows, protocol=protocol, now=100.5)
    assert flows.expire(100.5 + timeout - 1) == []
    assert flows.expire(100.5 + timeout + 2) == [flow]
    assert flows.find(flow.key) is None
    assert flows.find_inner(flow.inner) is None
    assert len(flows) == 0


def test_activity_either_way_keeps_a_flow() -> None:
    flows = flow_table()
    flow = add(flows)
    flow.last_out = 200.0
    assert flows.expire(UDP_TIMEOUT + 10) == []
    flow.last_in = 400.0
    assert flows.expire(200 + UDP_TIMEOUT + 10) == []
    assert flows.expire(400 + UDP_TIMEOUT + 2) == [flow]


@pytest.mark.parametrize("close", ["reset", "both", "half open"])
def test_a_connection_that_is_half_open_or_closed_expires_soon(close: str) -> None:
    flows = flow_table()
    flow = add(flows, protocol=TCP)
    flows.track(flow, SYN_FLAG, outbound=True)
    if close != "half open":
        flows.track(flow, SYN_FLAG | ACK_FLAG, outbound=False)
        assert flow.timeout == TCP_ESTABLISHED_TIMEOUT
        flow.last_out = 50.0
        flows.track(flow, (RST_FLAG if close == "reset" else FIN_FLAG) | ACK_FLAG, outbound=True)
        if close == "both":
            assert flow.timeout == TCP_ESTABLISHED_TIMEOUT  # half closed: the other side may still send for long
            flows.track(flow, FIN_FLAG | ACK_FLAG, outbound=False)
    assert flow.timeout == TCP_TRANSITORY_TIMEOUT
    assert flows.expire(flow.last + TCP_TRANSITORY_TIMEOUT - 1) == []
    assert flows.expire(flow.last + TCP_TRANSITORY_TIMEOUT + 2) == [flow]


def test_a_connection_met_in_mid_stream_counts_as_open() -> None:
    flows = flow_table()
    flow = add(flows, protocol=TCP)
    assert flow.is_established
    flows.track(flow, FIN_FLAG | ACK_FLAG, outbound=False)
    assert flow.state == FIN_IN
    assert flow.is_established


def test_a_syn_begins_its_flow_once() -> None:
    flow = flow_table().add(IPV4.key(TCP), Route.DIRECT, 0.0)
    assert flow.begins(1000)
    assert flow.begins(1000)
    assert not flow.begins(1001)
    known = flow_table().add(IPV4.key(TCP), Route.DIRECT, 0.0, initial_sequence=7)
    assert known.state == SYN_OUT
    assert not known.begins(8)
    in_mid_stream = flow_table().add(IPV4.key(TCP), Route.DIRECT, 0.0)
    in_mid_stream.packets_out = 1
    assert not in_mid_stream.begins(5)


def test_expiry_looks_at_no_more_flows_than_it_may() -> None:
    flows = flow_table()
    for port in range(1, 101):
        add(flows, port=port)
    assert len(flows.expire(1e6, limit=30)) == 30
    assert len(flows) == 70
    assert len(flows.expire(1e6, limit=1000)) == 70


def test_expiry_goes_on_after_the_table_was_empty() -> None:
    flows = flow_table()
    assert flows.expire(1e6) == []
    add(flows)
    assert len(flows.expire(1e6)) == 1
    late = add(flows, now=1e6)
    assert flows.expire(1e6 + UDP_TIMEOUT - 1) == []
    assert flows.expire(1e6 + UDP_TIMEOUT + 2) == [late]


def test_a_full_table_loses_its_idlest_flow() -> None:
    flows = flow_table(capacity=64)
    entered = [add(flows, port=port, now=float(port)) for port in range(1, 65)]
    entered[0].last_in = 1000.0
    entered[1].last_out = 1001.0
    for flow in entered[2:20]:
        newcomer = add(flows, port=flow.key.local_port + 1000, now=2000.0)
        assert not flow.live
        assert newcomer.live
    assert entered[0].live
    assert entered[1].live
    assert len(flows) == 64
    assert flows.evicted == 18


def test_a_flow_shows_what_it_is_and_not_more() -> None:
    assert repr(add(flow_table())) == "Flow(UDP 192.168.1.5:40000 -> 93.184.216.34:443, TUNNEL)"


class Model(RuleBasedStateMachine):
    """The table against a plain dictionary of flows and their last activity."""

    def __init__(self) -> None:
        super().__init__()
        self.table = flow_table(capacity=12, ports=lambda _: range(60000, 60040))
        self.flows: dict[FiveTuple, Flow] = {}
        self.now = 0.0

    @rule(
        local=st.integers(1, 3),
        port=st.integers(1, 3),
        protocol=st.sampled_from([TCP, UDP, socket.IPPROTO_ICMP, 47]),
        route=st.sampled_from(Route),
    )
    def enter(self, local: int, port: int, protocol: int, route: Route) -> None:
        key = FiveTuple(protocol, bytes((10, 0, 0, local)), port if protocol != 47 else 0, address(IPV4.server), 0)
        full = len(self.flows) >= 12 and key not in self.flows
        before = min((flow.last for flow in self.flows.values()), default=0.0)
        flow = self.table.add(key, route, self.now, peer=PEER, local=address(IPV4.tunnel))
        gone = [known for known, old in self.flows.items() if not old.live and known != key]
        if full and route is not Route.TUNNEL:
            assert [self.flows[known].last for known in gone] == [before]
        for known in gone:
            del self.flows[known]
        self.flows[key] = flow

    @precondition(lambda self: bool(self.flows))
    @rule(number=st.integers(0), inbound=st.booleans(), flags=st.sampled_from([0, SYN_FLAG, FIN_FLAG, RST_FLAG]))
    def carry(self, number: int, inbound: bool, flags: int) -> None:
        flow = list(self.flows.values())[number % len(self.flows)]
        if inbound:
            flow.last_in = self.now
        else:
            flow.last_out = self.now
        if flow.key.protocol == TCP and flags:
            self.table.track(flow, flags, outbound=not inbound)

    @rule(seconds=st.sampled_from([0.3, 1.0, 59.0, 100.0, 250.0, 8000.0]), limit=st.sampled_from([1, 1000]))
    def wait(self, seconds: float, limit: int) -> None:
        self.now += seconds
        for flow in self.table.expire(self.now, limit):
            assert flow.last + flow.timeout <= self.now
            del self.flows[flow.key]
        if limit == 1000:
            assert all(flow.last + flow.timeout > self.now - 2 for flow in self.flows.values())

    @precondition(lambda self: bool(self.flows))
    @rule(number=st.integers(0))
    def remove(self, number: int) -> None:
        key = list(self.flows)[number % len(self.flows)]
        self.table.remove(self.flows.pop(key))

    @invariant()
    def same(self) -> None:
        assert len(self.table) == len(self.flows) <= 12
        assert set(self.table) == set(self.flows.values())
        inner = [flow.inner for flow in self.flows.values() if flow.route is Route.TUNNEL]
        assert len(set(inner)) == len(inner)
        for key, flow in self.flows.items():
            assert flow.live
            assert self.table.find(key) is flow
            if flow.route is Route.TUNNEL:
                assert self.table.find_inner(flow.inner) is flow


def test_the_table_does_what_a_plain_dictionary_does() -> None:
    run_state_machine_as_test(Model, settings=settings(max_examples=60, stateful_step_count=40, deadline=None))
