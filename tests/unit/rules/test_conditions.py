import socket

import pytest

from wiresock_py.config import PortRange
from wiresock_py.flow import SYSTEM
from wiresock_py.rules.conditions import Asker, PortCondition
from wiresock_py.rules.decision import Reason

TCP, UDP, ICMP = socket.IPPROTO_TCP, socket.IPPROTO_UDP, socket.IPPROTO_ICMP


@pytest.mark.parametrize(
    ("ports", "protocols", "asked", "holds"),
    [
        ((), (), (ICMP, 0), True),
        ((PortRange(443, 443),), (), (TCP, 443), True),
        ((PortRange(443, 443),), (), (UDP, 443), True),
        ((PortRange(443, 443),), (), (ICMP, 443), False),
        ((PortRange(443, 443, "tcp"),), (), (UDP, 443), False),
        ((PortRange(1, 9), PortRange(20, 29)), (), (TCP, 20), True),
        ((PortRange(1, 9), PortRange(20, 29)), (), (TCP, 10), False),
        ((), (TCP,), (TCP, 1), True),
        ((), (TCP,), (UDP, 1), False),
        ((PortRange(443, 443),), (UDP,), (TCP, 443), False),
    ],
)
def test_a_port_condition_asks_for_protocol_and_port(
    ports: tuple[PortRange, ...], protocols: tuple[int, ...], asked: tuple[int, int], holds: bool
) -> None:
    condition = PortCondition(ports, protocols, Reason("x"))
    assert condition.verdict(Asker(SYSTEM, protocol=asked[0], port=asked[1])).holds is holds
    assert condition.everyone == (not ports and not protocols)
