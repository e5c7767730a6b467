"""The way of a datagram that arrives: what is dropped, under which name, and that nothing raises."""

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.peers import ALICE, BOB, CLIENT, EVERYWHERE, PACKET, SERVER, connect, device, pair
from tests.vectors.golden import FixedStamps, snapshot
from wiresock_py.crypto.drops import Drop
from wiresock_py.crypto.keys import PrivateKey
from wiresock_py.crypto.results import Event, Received
from wiresock_py.crypto.tunnel import Tunnel

STRANGER = PrivateKey(b"stranger" * 4)


def established() -> tuple[Tunnel, Tunnel]:
    client, server = pair()
    connect(client, server)
    return client, server


def drop_of(tunnel: Tunnel, datagram: bytes | bytearray, now: float = 1.0) -> Drop | None:
    """Read one datagram; what is dropped must be counted once and change nothing else."""
    before, counted = snapshot(tunnel), sum(tunnel.drops.values())
    received = tunnel.read(datagram, ("203.0.113.1", 1), now)
    if received.drop is not None:
        assert received.datagrams == []
        assert received.packet is None
        assert received.tunnel is None
        assert snapshot(tunnel) == before
        assert tunnel.drops[received.drop] > 0
        assert sum(tunnel.drops.values()) == counted + 1
    return received.drop


@pytest.mark.parametrize("datagram", [b"", b"\1", b"\1\0\0\0", bytes(148), b"\5" + bytes(147), b"\4\0\0\0" + bytes(27)])
def test_malformed_datagrams_are_dropped_by_that_name(datagram: bytes) -> None:
    assert drop_of(pair()[1], datagram) is Drop.MALFORMED


def test_an_unknown_index_belongs_to_no_session() -> None:
    _, server = established()
    assert drop_of(server, b"\4\0\0\0" + bytes(28)) is Drop.UNKNOWN_SESSION


def test_the_index_of_a_pending_initiation_is_no_session() -> None:
    client, _ = pair()
    (initiation,) = client.force_handshake(0.0)
    assert drop_of(client, b"\4\0\0\0" + initiation.data[4:8] + bytes(24)) is Drop.UNKNOWN_SESSION


def test_the_index_of_a_session_waits_for_no_response() -> None:
    client, server = established()
    (initiation,) = server_initiation = Tunnel(
        STRANGER, ALICE.public_key(), wall_clock=lambda: 0, endpoint=CLIENT
    ).force_handshake(0.0)
    assert len(server_initiation) == 1
    assert client.slots.current is not None
    index = client.slots.current.local_index.to_bytes(4, "little")
    forged = server.cookies.add_macs(b"\2\0\0\0" + initiation.data[4:8] + index + bytes(48), 0.0)
    assert drop_of(client, forged) is Drop.UNKNOWN_HANDSHAKE


def test_a_response_of_an_older_initiation_is_too_late() -> None:
    client, server = pair()
    (first,) = client.force_handshake(0.0)
    (late,) = server.read(first.data, CLIENT, 0.0).datagrams
    client.force_handshake(6.0)
    assert drop_of(client, late.data, 6.1) is Drop.UNKNOWN_HANDSHAKE


def test_a_stranger_with_our_public_key_is_an_unknown_peer() -> None:
    _, server = pair()
    stranger = Tunnel(STRANGER, BOB.public_key(), wall_clock=lambda: 0, endpoint=SERVER)
    (initiation,) = stranger.force_handshake(0.0)
    assert drop_of(server, initiation.data) is Drop.UNKNOWN_PEER


def test_a_second_initiation_within_20_ms_is_a_flood() -> None:
    client, server = pair()
    initiations = []
    for _ in range(3):
        client.timers.stop()
        initiations += client.force_handshake(0.0)
    assert server.read(initiations[0].data, CLIENT, 1.0).drop is None
    assert drop_of(server, initiations[1].data, 1.0199) is Drop.INITIATION_FLOOD
    assert server.read(initiations[1].data, CLIENT, 1.0201).drop is None


def test_an_initiation_of_a_greater_stamp_refused_as_flood_may_come_again() -> None:
    client, server = pair()
    (first,) = client.force_handshake(0.0)
    client.timers.stop()
    (second,) = client.force_handshake(0.0)
    server.read(first.data, CLIENT, 1.0)
    greatest = server.greatest_timestamp
    server.read(second.data, CLIENT, 1.01)
    assert server.greatest_timestamp == greatest


def test_any_timestamp_above_zero_may_be_the_first() -> None:
    for stamp, outcome in ((bytes(12), Drop.OLD_TIMESTAMP), (bytes(11) + b"\1", None)):
        client, server = pair()
        client.stamps = FixedStamps(lambda: 0, stamp)
        (initiation,) = client.force_handshake(0.0)
        assert server.read(initiation.data, CLIENT, 0.0).drop is outcome


def test_no_more_than_1024_events_wait_for_a_tick() -> None:
    client, _ = pair()
    for number in range(1030):
        client.local.events.append((client, Event.CONNECTED if number >= 6 else Event.GONE))
    assert [event for _, event in client.tick(0.0).events] == [Event.CONNECTED] * 1024


def test_a_replayed_initiation_has_an_old_timestamp() -> None:
    client, server = pair()
    (initiation,) = client.force_handshake(0.0)
    server.read(initiation.data, CLIENT, 0.0)
    assert drop_of(server, initiation.data, 1.0) is Drop.OLD_TIMESTAMP


def test_the_greatest_timestamp_outlives_sessions_and_going_down() -> None:
    client, server = pair()
    (initiation,) = client.force_handshake(0.0)
    server.read(initiation.data, CLIENT, 0.0)
    server.down()
    server.set_preshared_key(None)
    server.identity_changed()
    server.tick(10_000.0)
    assert drop_of(server, initiation.data, 10_001.0) is Drop.OLD_TIMESTAMP


def test_the_greatest_timestamp_may_be_carried_over_a_restart() -> None:
    client, server = pair()
    (initiation,) = client.force_handshake(0.0)
    server.read(initiation.data, CLIENT, 0.0)
    _, restarted = pair()
    restarted.greatest_timestamp = server.greatest_timestamp
    assert drop_of(restarted, initiation.data, 1.0) is Drop.OLD_TIMESTAMP


def test_an_expired_session_receives_no_more_even_before_a_tick_erased_it() -> None:
    client, server = established()
    (datagram,) = client.write([PACKET], 1.0)
    assert drop_of(server, datagram.data, 180.0) is Drop.SESSION_EXPIRED
    server.tick(180.0)
    assert drop_of(server, datagram.data, 180.0) is Drop.UNKNOWN_SESSION
    client, server = established()
    (datagram,) = client.write([PACKET], 1.0)
    assert drop_of(server, datagram.data, 179.9) is None


def test_replayed_and_damaged_datagrams_have_their_names() -> None:
    client, server = established()
    (datagram,) = client.write([PACKET], 1.0)
    damaged = bytearray(datagram.data)
    damaged[-1] ^= 1
    assert drop_of(server, damaged) is Drop.BAD_TAG
    assert drop_of(server, datagram.data) is None
    assert drop_of(server, datagram.data) is Drop.REPLAY


def test_reading_keeps_no_hold_of_the_callers_buffer() -> None:
    client, server = established()
    (datagram,) = client.write([PACKET], 1.0)
    buffer = bytearray(datagram.data)
    received = server.read(memoryview(buffer), CLIENT, 1.0)
    buffer[:] = bytes(len(buffer))
    assert received.packet is not None
    assert bytes(received.packet) == PACKET


def test_an_inner_packet_from_another_peers_address_is_dropped_but_its_datagram_counts() -> None:
    receiver = device(BOB)
    alice = receiver.add_peer(ALICE.public_key())
    stranger = receiver.add_peer(STRANGER.public_key(), EVERYWHERE)
    sender = device(ALICE, seed=1).add_peer(BOB.public_key(), EVERYWHERE, endpoint=SERVER)
    connect(sender, alice)
    (datagram,) = sender.write([PACKET], 1.0)
    received = receiver.read(datagram.data, ("203.0.113.5", 5), 1.0)
    assert (received.drop, received.packet, received.tunnel) == (Drop.INNER_SOURCE, None, alice)
    assert alice.endpoint == ("203.0.113.5", 5)
    assert alice.drops == {Drop.INNER_SOURCE: 1}
    assert stranger.endpoint is None


def test_new_indices_avoid_those_in_use() -> None:
    drawn = [b"\1\0\0\0", b"\1\0\0\0", b"\2\0\0\0", b"\1\0\0\0", b"\2\0\0\0", b"\xff\xff\xff\xff"]
    ours = device(ALICE, random=lambda size: drawn.pop(0) if size == 4 and drawn else bytes([1]) * size)
    peers = [ours.add_peer(key.public_key(), endpoint=SERVER) for key in (BOB, STRANGER)]
    sent: list[bytes | bytearray] = []
    for peer in peers:
        sent += [datagram.data for datagram in peer.force_handshake(0.0)]
        drawn[:0] = [b"\1\0\0\0"]
    assert len({bytes(data[4:8]) for data in sent}) == 2


def test_new_indices_avoid_those_of_sessions() -> None:
    ours, theirs = device(ALICE, seed=1), device(BOB, seed=2)
    bob = ours.add_peer(BOB.public_key(), endpoint=SERVER)
    connect(bob, theirs.add_peer(ALICE.public_key()))
    (taken,) = ours.sessions
    drawn = [taken.to_bytes(4, "little"), b"free"]
    ours.random = lambda size: drawn.pop(0) if size == 4 and drawn else bytes([1]) * size
    (initiation,) = bob.force_handshake(10.0)
    assert initiation.data[4:8] == b"free"
    assert list(ours.sessions) == [taken]


@given(st.binary(max_size=300), st.integers(0, 5))
def test_no_datagram_raises(body: bytes, kind: int) -> None:
    _, server = lasting_ends()
    received = server.read(bytes([kind, 0, 0, 0]) + body, ("203.0.113.1", 1), 2.0)
    assert isinstance(received, Received)
    assert received.drop is not None


@given(st.integers(0, 147), st.integers(0, 7))
def test_no_flipped_bit_of_an_initiation_is_accepted(position: int, bit: int) -> None:
    """But those of mac2, which is not looked at without load."""
    client, server = pair()
    (initiation,) = client.force_handshake(0.0)
    damaged = bytearray(initiation.data)
    damaged[position] ^= 1 << bit
    assert (server.read(damaged, CLIENT, 0.0).drop is None) == (position >= 132)


@cache
def lasting_ends() -> tuple[Tunnel, Tunnel]:
    return established()
