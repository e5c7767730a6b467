"""Inbound fragments follow the first one of their datagram."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import UDP
from scapy.layers.inet6 import IPv6ExtHdrFragment, fragment6

from tests.support.datapaths import flow_table
from tests.support.traffic import IPV4, IPV6, OTHER_PEER, PEER, Ends, dissect, tunnelled
from wiresock_py.datapath import Flow, FlowTable, Fragments, Header, PacketDrop, fragment, parse, translate_inbound
from wiresock_py.datapath import fragments as module

pytestmark = pytest.mark.usefixtures("datapath")
BOTH = pytest.mark.parametrize("ends", [IPV4, IPV6], ids=["ipv4", "ipv6"])
Pieces = list[tuple[bytes, Header]]


def pieces_of(ends: Ends, size: int = 200, identification: int = 7) -> Pieces:
    """A datagram from the server in fragments."""
    datagram = ends.ip(ends.server, ends.tunnel) / UDP(sport=443, dport=40000) / bytes(range(size))
    if ends is IPV4:
        datagram.id = identification
        packet = bytes(datagram)
        cut = fragment(packet, read(packet), 100)
    else:
        extended = ends.ip(ends.server, ends.tunnel) / IPv6ExtHdrFragment(id=identification) / datagram.payload
        cut = [bytes(piece) for piece in fragment6(dissect(bytes(extended)), 120)]  # type: ignore[no-untyped-call]  # scapy's
    assert len(cut) > 2
    return [(piece, read(piece)) for piece in cut]


def read(packet: bytes) -> Header:
    header = parse(packet)
    assert isinstance(header, Header), header
    return header


def world(ends: Ends) -> tuple[FlowTable, Flow, Fragments]:
    flows = flow_table()
    return flows, tunnelled(flows, ends, 17), Fragments()


@BOTH
def test_fragments_in_order_pass_one_by_one(ends: Ends) -> None:
    _, flow, fragments = world(ends)
    for packet, header in pieces_of(ends):
        found = None if header.is_later_fragment else flow
        assert fragments.follow(packet, header, found, PEER, 1.0) == [(packet, header, flow)]
    assert not fragments.drops


@BOTH
def test_translated_fragments_add_up_to_the_translated_datagram(ends: Ends) -> None:
    flows, flow, fragments = world(ends)
    data = b""
    for packet, header in pieces_of(ends):
        for piece, its_header, its_flow in fragments.follow(packet, header, flow, PEER, 1.0):
            translated = translate_inbound(piece, its_header, its_flow, flows, 1.0)
            assert dissect(translated).dst == ends.host
            data += translated[its_header.transport :]
    expected = bytes(ends.ip(ends.server, ends.host) / UDP(sport=443, dport=40000) / bytes(range(200)))
    assert data == expected[20 if ends is IPV4 else 40 :]  # the checksum scapy gives the datagram at the host's address


@BOTH
def test_fragments_before_the_first_wait_for_it(ends: Ends) -> None:
    _, flow, fragments = world(ends)
    first, *later = pieces_of(ends)
    for packet, header in later:
        assert fragments.follow(packet, header, None, PEER, 1.0) == []
    assert fragments.follow(*first, flow, PEER, 2.0) == [(*first, flow), *((*piece, flow) for piece in later)]
    assert fragments.follow(*later[0], None, PEER, 2.0) == [(*later[0], flow)]
    assert not fragments.drops


def test_another_peer_cannot_add_to_a_datagram() -> None:
    _, flow, fragments = world(IPV4)
    first, second, *_ = pieces_of(IPV4)
    assert fragments.follow(*first, flow, PEER, 1.0)
    assert fragments.follow(*second, None, OTHER_PEER, 1.0) == []


def test_fragments_of_different_datagrams_are_kept_apart() -> None:
    _, flow, fragments = world(IPV4)
    fragments.follow(*pieces_of(IPV4, identification=1)[0], flow, PEER, 1.0)
    assert fragments.follow(*pieces_of(IPV4, identification=2)[1], None, PEER, 1.0) == []


def test_without_a_flow_the_first_takes_those_that_waited_with_it() -> None:
    _, _, fragments = world(IPV4)
    first, second, third, *_ = pieces_of(IPV4)
    fragments.follow(*second, None, PEER, 1.0)
    fragments.follow(*third, None, PEER, 1.0)
    assert fragments.follow(*first, None, PEER, 1.0) == []
    assert fragments.drops[PacketDrop.FRAGMENT_ORPHAN] == 2


def test_nothing_follows_a_flow_that_ended() -> None:
    flows, flow, fragments = world(IPV4)
    first, second, *_ = pieces_of(IPV4)
    fragments.follow(*first, flow, PEER, 1.0)
    flows.remove(flow)
    assert fragments.follow(*second, None, PEER, 1.0) == []
    assert fragments.drops[PacketDrop.FRAGMENT_ORPHAN] == 1


def test_a_datagram_is_forgotten_after_its_time() -> None:
    _, flow, fragments = world(IPV4)
    first, second, third, *_ = pieces_of(IPV4)
    fragments.follow(*first, flow, PEER, 1.0)
    assert fragments.follow(*second, None, PEER, 1.0 + module.TIMEOUT - 0.1)
    assert fragments.follow(*third, None, PEER, 1.0 + module.TIMEOUT) == []
    fragments.expire(1.0 + 2 * module.TIMEOUT)
    assert fragments.drops[PacketDrop.FRAGMENT_ORPHAN] == 1


def test_no_more_datagrams_are_remembered_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_DATAGRAMS", 3)
    _, flow, fragments = world(IPV4)
    datagrams = [pieces_of(IPV4, identification=number) for number in range(4)]
    for first, *_ in datagrams:
        fragments.follow(*first, flow, PEER, 1.0)
    assert fragments.follow(*datagrams[0][1], None, PEER, 1.0) == []
    assert fragments.follow(*datagrams[3][1], None, PEER, 1.0)


def test_no_more_bytes_are_held_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_HELD_BYTES", 250)
    _, flow, fragments = world(IPV4)
    for number in range(5):
        fragments.follow(*pieces_of(IPV4, identification=number)[1], None, PEER, 1.0)
    assert fragments.drops[PacketDrop.FRAGMENT_ORPHAN] == 3
    assert len(fragments.follow(*pieces_of(IPV4, identification=0)[0], flow, PEER, 1.0)) == 2
    assert fragments.follow(*pieces_of(IPV4, identification=9)[1], None, PEER, 1.0) == []
    assert len(fragments.follow(*pieces_of(IPV4, identification=9)[0], flow, PEER, 1.0)) == 2


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.booleans(), st.integers(0, 20))))
def test_whatever_comes_passes_at_most_once_and_the_books_balance(steps: list[tuple[int, int, bool, int]]) -> None:
    flows, flow, fragments = world(IPV4)
    datagrams = [pieces_of(IPV4, identification=number) for number in range(3)]
    now, offered, passed = 0.0, 0, 0
    refused = 0
    for which, piece, has_flow, seconds in steps:
        packet, header = datagrams[which][min(piece, len(datagrams[which]) - 1)]
        now += seconds
        offered += 1
        refused += not header.is_later_fragment and not has_flow
        passed += len(fragments.follow(packet, header, flow if has_flow else None, PEER, now))
    fragments.expire(now + 1000)
    assert passed + refused + fragments.drops[PacketDrop.FRAGMENT_ORPHAN] == offered
    assert len(flows) == 1
