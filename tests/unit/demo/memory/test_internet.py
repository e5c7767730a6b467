from ipaddress import ip_address

import pytest

from wiresock_py.datapath import Header, parse
from wiresock_py.demo.memory.internet import ECHO_PORT, FIRST_SEQUENCE, HTTP_PORT, Internet, Isp
from wiresock_py.demo.memory.packets import ACK, FIN, PSH, SYN, End, echo, is_sound, tcp, tcp_numbers, tcp_payload, udp
from wiresock_py.filters.memory import MemoryBackend
from wiresock_py.flow import FiveTuple
from wiresock_py.lab import CLIENT, INTERNET, OTHER_SITE, ROUTER
from wiresock_py.lab.programs.wire import answers, question

HERE = End(CLIENT.v4.packed, 40_000)
WEB, ECHO = End(INTERNET.v4.packed, HTTP_PORT), End(INTERNET.v4.packed, ECHO_PORT)
NEXT = (FIRST_SEQUENCE + 1) & 0xFFFFFFFF


@pytest.fixture
def internet() -> Internet:
    return Internet([INTERNET, ROUTER], [ROUTER])


def taken_apart(packets: list[bytes]) -> list[tuple[Header, int, int, bytes]]:
    """Header, sequence and acknowledgment number, payload of TCP packets, all of them sound."""
    found = []
    for packet in packets:
        header = parse(packet)
        assert isinstance(header, Header)
        assert is_sound(packet, header)
        found.append((header, *tcp_numbers(packet, header), tcp_payload(packet, header)))
    return found


def connect(internet: Internet, server: End, mss: int = 1380) -> None:
    ((header, sequence, acknowledged, _),) = taken_apart(internet.answer([tcp(HERE, server, 99, 0, SYN, mss=mss)]))
    assert header.tcp_flags == SYN | ACK
    assert (sequence, acknowledged) == (FIRST_SEQUENCE, 100)
    assert internet.answer([tcp(HERE, server, 100, NEXT, ACK)]) == []


def test_the_web_server_says_who_calls(internet: Internet) -> None:
    connect(internet, WEB)
    ((_, sequence, acknowledged, data),) = taken_apart(internet.answer([tcp(HERE, WEB, 100, NEXT, ACK | PSH, b"GET")]))
    assert (sequence, acknowledged, data) == (NEXT, 103, str(CLIENT.v4).encode())


def test_a_connection_is_closed_and_forgotten(internet: Internet) -> None:
    connect(internet, ECHO)
    ((header, _, acknowledged, _),) = taken_apart(internet.answer([tcp(HERE, ECHO, 100, NEXT, FIN | ACK)]))
    assert (header.tcp_flags, acknowledged) == (FIN | ACK, 101)
    assert internet.answer([tcp(HERE, ECHO, 101, NEXT + 1, ACK)]) == []
    assert not internet.drops
    assert internet.answer([tcp(HERE, ECHO, 101, NEXT + 1, ACK, b"more")]) == []
    assert internet.drops == {"no such connection": 1}


def test_the_echo_of_a_batch_comes_in_segments_of_one_acknowledgment(internet: Internet) -> None:
    connect(internet, ECHO, mss=4)
    batch = [tcp(HERE, ECHO, 100, NEXT, ACK, b"abcdef"), tcp(HERE, ECHO, 106, NEXT, ACK, b"ghi")]
    back = taken_apart(internet.answer(batch))
    assert [data for _, _, _, data in back] == [b"abcd", b"efgh", b"i"]
    assert [sequence for _, sequence, _, _ in back] == [NEXT, NEXT + 4, NEXT + 8]
    assert {acknowledged for _, _, acknowledged, _ in back} == {109}
    assert [bool(header.tcp_flags & PSH) for header, _, _, _ in back] == [False, False, True]


def test_what_is_out_of_order_is_not_taken(internet: Internet) -> None:
    connect(internet, ECHO)
    assert internet.answer([tcp(HERE, ECHO, 101, NEXT, ACK, b"late")]) == []
    assert internet.drops == {"out of order": 1}


def test_a_corrupted_packet_is_not_answered(internet: Internet) -> None:
    packet = tcp(HERE, ECHO, 99, 0, SYN, mss=1380)
    assert internet.answer([packet[:-1] + b"\0"]) == []
    assert internet.drops == {"bad checksum": 1}


@pytest.mark.parametrize("packet", [b"", b"no packet", udp(HERE, End(OTHER_SITE.v4.packed, 53), b"")])
def test_packets_for_nobody_here_are_dropped(internet: Internet, packet: bytes) -> None:
    assert internet.answer([packet]) == []
    assert internet.drops == {"no such host": 1}


@pytest.mark.parametrize("family", [4, 6])
def test_pings_are_answered(internet: Internet, family: int) -> None:
    here, there = (ip_address(host.of(family)).packed for host in (CLIENT, INTERNET))
    assert internet.answer([echo(here, there, 7, 3, b"x")]) == [echo(there, here, 7, 3, b"x", reply=True)]


def test_a_resolver_answers_for_itself_and_other_hosts_do_not(internet: Internet) -> None:
    asked = question("resolver.lab", "A", 1234)
    (reply,) = internet.answer([udp(HERE, End(ROUTER.v4.packed, 53), asked)])
    assert answers(reply[28:], asked) == [str(ROUTER.v4)]
    assert internet.answer([udp(HERE, End(INTERNET.v4.packed, 53), asked)]) == []
    assert internet.drops == {"no such service": 1}


def test_the_isp_carries_packets_both_ways_and_counts_them(internet: Internet) -> None:
    backend = MemoryBackend()
    isp = Isp(backend, internet)
    try:
        backend.stack_sends(echo(CLIENT.v4.packed, INTERNET.v4.packed, 7, 3, b"x"))
        assert backend.stack_received(5) == [echo(INTERNET.v4.packed, CLIENT.v4.packed, 7, 3, b"x", reply=True)]
        assert isp.seen(FiveTuple(1, CLIENT.v4.packed, 7, INTERNET.v4.packed, 0)) == 2
        assert isp.seen(FiveTuple(1, CLIENT.v4.packed, 8, INTERNET.v4.packed, 0)) == 0
    finally:
        isp.stop()
