"""First packets wait, in order and bounded."""

import threading

from wiresock_py.engine.holding import MAX_BYTES, MAX_FLOWS, MAX_PACKETS_PER_FLOW, HeldPacket, Holding
from wiresock_py.flow import FiveTuple


def key(port: int) -> FiveTuple:
    return FiveTuple(17, bytes(4), port, bytes(4), 53)


def test_a_flow_is_asked_for_once_and_its_packets_come_out_in_order() -> None:
    holding = Holding()
    for number in range(3):
        holding.hold(key(1), bytes([number]), number, 7)
    (flow,) = holding.asked(0)
    assert (flow.key, flow.adapter) == (key(1), 7)
    assert holding.asked(0) == []
    holding.hold(key(1), b"later", 9, 7)
    assert holding.release(flow) == [*(HeldPacket(bytes([n]), n) for n in range(3)), HeldPacket(b"later", 9)]
    assert len(holding) == 0


def test_a_released_flow_that_sends_again_is_asked_for_again() -> None:
    holding = Holding()
    holding.hold(key(1), b"a", 0, 2)
    holding.release(*holding.asked(0))
    holding.hold(key(1), b"b", 0, 2)
    (again,) = holding.asked(0)
    assert holding.release(again) == [HeldPacket(b"b", 0)]


def test_a_flow_put_back_is_among_the_next_asked() -> None:
    holding = Holding()
    holding.hold(key(1), b"a", 0, 2)
    (flow,) = holding.asked(0)
    holding.ask_again(flow)
    assert holding.asked(0) == [flow]


def test_packets_beyond_a_flows_share_are_counted_and_not_kept() -> None:
    holding = Holding()
    for _ in range(MAX_PACKETS_PER_FLOW + 3):
        holding.hold(key(1), b"x", 0, 2)
    assert holding.overflows == 3
    assert len(holding.release(*holding.asked(0))) == MAX_PACKETS_PER_FLOW


def test_flows_beyond_the_bound_are_counted_and_not_kept() -> None:
    holding = Holding()
    for port in range(MAX_FLOWS + 2):
        holding.hold(key(port), b"x", 0, 2)
    assert (len(holding), holding.overflows) == (MAX_FLOWS, 2)
    assert len(holding.asked(0)) == MAX_FLOWS


def test_bytes_beyond_the_bound_are_counted_and_released_ones_make_room() -> None:
    holding = Holding()
    half = bytes(MAX_BYTES // 2)
    for port in range(3):
        holding.hold(key(port), half, 0, 2)
    assert holding.overflows == 1
    first, _ = holding.asked(0)
    holding.release(first)
    holding.hold(key(9), half, 0, 2)
    assert holding.overflows == 1


def test_a_packet_ends_the_wait_for_flows() -> None:
    holding = Holding()
    threading.Timer(0.05, holding.hold, (key(1), b"x", 0, 2)).start()
    assert [flow.key for flow in holding.asked(10)] == [key(1)]


def test_closing_ends_the_wait_for_good() -> None:
    holding = Holding()
    threading.Timer(0.05, holding.close).start()
    assert holding.asked(10) == []
    assert holding.asked(10) == []
