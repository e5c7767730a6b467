"""Answers to the host's own stack, not too many of them."""

import pytest
from scapy.layers.inet import ICMP, TCP, UDP
from scapy.layers.inet6 import ICMPv6PacketTooBig
from scapy.packet import Raw

from tests.support.traffic import assert_sound, dissect
from tests.support.worlds import HOST, REMOTE, outgoing
from wiresock_py.engine.answers import BURST, RATE, Answers

BIG = Raw(bytes(1450))


class Stack:
    """Takes what is delivered."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []

    def take(self, packets: object) -> int:
        assert isinstance(packets, list)
        self.packets += [b"".join(packet) for packet in packets]
        return len(packets)


@pytest.fixture
def stack() -> Stack:
    return Stack()


@pytest.fixture
def answers(stack: Stack) -> Answers:
    return Answers(stack.take)


@pytest.mark.parametrize("version", [4, 6])
def test_a_refused_connection_is_reset_by_the_far_end(answers: Answers, stack: Stack, version: int) -> None:
    answers.refuse(outgoing(TCP(sport=5000, dport=443, flags="S", seq=7), version), 1.0)
    (reset,) = stack.packets
    segment = assert_sound(reset)[TCP]
    assert (segment.sport, segment.dport, segment.flags, segment.ack) == (443, 5000, "RA", 8)


@pytest.mark.parametrize("version", [4, 6])
def test_a_refused_datagram_is_told_of_by_icmp(answers: Answers, stack: Stack, version: int) -> None:
    answers.refuse(outgoing(UDP(sport=5000, dport=53) / Raw(b"query"), version), 1.0)
    (error,) = stack.packets
    parsed = dissect(error)
    assert (parsed.src, parsed.dst) == (REMOTE[version], HOST[version])
    if version == 4:
        assert (parsed[ICMP].type, parsed[ICMP].code) == (3, 13)
    else:
        assert (error[40], error[41]) == (1, 1)


def test_a_packet_too_big_learns_the_mtu_of_the_tunnel(answers: Answers, stack: Stack) -> None:
    answers.too_big(outgoing(UDP(sport=5000, dport=7) / BIG, 4, flags="DF"), 1420, 1.0)
    answers.too_big(outgoing(UDP(sport=5000, dport=7) / BIG, 6), 1420, 1.0)
    four, six = map(dissect, stack.packets)
    assert (four[ICMP].type, four[ICMP].code, four[ICMP].nexthopmtu) == (3, 4, 1420)
    assert six[ICMPv6PacketTooBig].mtu == 1420


def test_what_may_not_be_answered_is_not(answers: Answers, stack: Stack) -> None:
    answers.too_big(outgoing(UDP(sport=5000, dport=7) / BIG, 4), 1420, 1.0)  # no DF
    answers.refuse(b"\x45rubbish", 1.0)
    answers.refuse(outgoing(UDP(sport=5000, dport=7), to="224.0.0.1"), 1.0)
    assert stack.packets == []
    assert answers.suppressed == 0


def test_a_flood_is_answered_up_to_the_rate_and_the_rest_counted(answers: Answers, stack: Stack) -> None:
    packet = outgoing(UDP(sport=5000, dport=53))
    for _ in range(int(BURST) + 50):
        answers.refuse(packet, 1.0)
    assert (len(stack.packets), answers.suppressed) == (BURST, 50)
    for _ in range(100):
        answers.refuse(packet, 1.0 + 10 / RATE)
    assert (len(stack.packets), answers.suppressed) == (BURST + 10, 140)
