"""One peer: what is sent, to where, with which keys. When it is: test_tunnel_timing.py."""

import random

import pytest

from tests.support.peers import (
    ALICE,
    BOB,
    CLIENT,
    PACKET,
    SERVER,
    carry,
    connect,
    kinds,
    numbered,
    packets_of,
    pair,
)
from wiresock_py.crypto.device import Device
from wiresock_py.crypto.drops import Drop
from wiresock_py.crypto.keys import PresharedKey
from wiresock_py.crypto.results import Datagram
from wiresock_py.crypto.tunnel import Tunnel

ELSEWHERE = ("203.0.113.9", 9)


# Sending and staging


def test_packets_without_a_session_wait_and_leave_in_order_on_the_response() -> None:
    client, server = pair()
    packets = numbered(5)
    sent = client.write(packets[:2], 0.0) + client.write(packets[2:], 0.1)
    assert kinds(sent) == [1]
    (response,) = server.read(sent[0].data, CLIENT, 0.2).datagrams
    released = client.read(response.data, SERVER, 0.3).datagrams
    assert packets_of(carry(released, server, CLIENT, 0.3)) == packets
    assert client.stats(0.3).staged == 0


def test_no_more_than_128_packets_wait_and_the_oldest_goes() -> None:
    client, server = pair()
    packets = numbered(200)
    (initiation,) = client.write(packets, 0.0)
    assert client.stats(0.0).staged == 128
    assert client.drops[Drop.STAGING_FULL] == 72
    (response,) = server.read(initiation.data, CLIENT, 0.1).datagrams
    released = client.read(response.data, SERVER, 0.1).datagrams
    assert packets_of(carry(released, server, CLIENT, 0.1)) == packets[72:]


def test_a_batch_of_any_size_leaves_at_once_on_a_session(ends: tuple[Tunnel, Tunnel]) -> None:
    client, server = ends
    packets = numbered(1000)
    assert packets_of(carry(client.write(packets, 1.0), server, CLIENT, 1.0)) == packets


def test_staged_packets_are_copies() -> None:
    client, server = pair()
    buffer = bytearray(PACKET)
    (initiation,) = client.write([memoryview(buffer)], 0.0)
    buffer[:] = bytes(len(buffer))
    (response,) = server.read(initiation.data, CLIENT, 0.0).datagrams
    assert packets_of(carry(client.read(response.data, SERVER, 0.0).datagrams, server, CLIENT, 0.0)) == [PACKET]


def test_a_responder_sends_nothing_on_a_session_that_is_not_confirmed() -> None:
    client, server = pair()
    (initiation,) = client.force_handshake(0.0)
    (response,) = server.read(initiation.data, CLIENT, 0.0).datagrams
    assert server.sending_session(0.1) is None
    assert server.write([PACKET], 0.1) == []
    (confirmation,) = client.read(response.data, SERVER, 0.2).datagrams
    released = server.read(confirmation.data, CLIENT, 0.3).datagrams
    assert packets_of(carry(released, client, SERVER, 0.3)) == [PACKET]


def test_garbage_on_the_new_index_confirms_nothing() -> None:
    client, server = pair()
    (initiation,) = client.force_handshake(0.0)
    (response,) = server.read(initiation.data, CLIENT, 0.0).datagrams
    (confirmation,) = client.read(response.data, SERVER, 0.2).datagrams
    damaged = bytearray(confirmation.data)
    damaged[-1] ^= 1
    assert server.read(damaged, CLIENT, 0.3).drop is Drop.BAD_TAG
    assert server.sending_session(0.3) is None


def test_a_peer_without_an_endpoint_keeps_packets_until_it_is_heard_of() -> None:
    client, server = pair()
    assert server.write([PACKET], 0.0) == []
    assert server.drops == {Drop.NO_ENDPOINT: 1}
    (initiation,) = client.force_handshake(1.0)
    (response,) = server.read(initiation.data, CLIENT, 1.0).datagrams
    (confirmation,) = client.read(response.data, SERVER, 1.0).datagrams
    released = server.read(confirmation.data, CLIENT, 1.0).datagrams
    assert packets_of(carry(released, client, SERVER, 1.0)) == [PACKET]


def test_packets_that_waited_for_an_endpoint_leave_when_the_peer_is_heard(ends: tuple[Tunnel, Tunnel]) -> None:
    client, server = ends
    client.endpoint = None
    client.write([PACKET], 1.0)
    (datagram,) = server.write([PACKET], 2.0)
    released = client.read(datagram.data, ELSEWHERE, 2.0).datagrams
    assert [one.endpoint for one in released] == [ELSEWHERE]
    assert packets_of(carry(released, server, CLIENT, 2.0)) == [PACKET]


def test_an_endpoint_set_later_is_used_by_the_next_retry() -> None:
    _, server = pair()
    server.write([PACKET], 0.0)
    server.endpoint = CLIENT
    assert [datagram.endpoint for datagram in server.tick(5.4).datagrams] == [CLIENT]


def test_a_session_that_lost_its_endpoint_seals_nothing(ends: tuple[Tunnel, Tunnel]) -> None:
    client, _ = ends
    client.endpoint = None
    assert client.sending_session(1.0) is None
    assert client.write([PACKET], 1.0) == []


def test_padding_stops_at_the_mtu(ends: tuple[Tunnel, Tunnel]) -> None:
    client, _ = ends
    client.mtu = 1420
    full = bytes.fromhex("45000000") + bytes(1416)
    assert [len(datagram.data) for datagram in client.write([full, full[:1409], full[:1400]], 1.0)] == [
        1452,
        1452,
        1440,
    ]


# Roaming


def test_the_endpoint_follows_every_authentic_datagram(ends: tuple[Tunnel, Tunnel]) -> None:
    client, server = ends
    (data,) = client.write([PACKET], 1.0)
    server.read(data.data, ELSEWHERE, 1.0)
    assert server.endpoint == ELSEWHERE
    (keepalive,) = client._keepalive(2.0)
    server.read(keepalive.data, CLIENT, 2.0)
    assert server.endpoint == CLIENT
    (initiation,) = client.force_handshake(10.0)
    received = server.read(initiation.data, ELSEWHERE, 10.0)
    assert server.endpoint == received.datagrams[0].endpoint == ELSEWHERE
    client.read(received.datagrams[0].data, ("198.51.100.99", 1), 10.0)
    assert client.endpoint == ("198.51.100.99", 1)


def test_the_endpoint_moves_between_families(ends: tuple[Tunnel, Tunnel]) -> None:
    client, server = ends
    (data,) = client.write([PACKET], 1.0)
    server.read(data.data, ("2001:db8::7", 7, 0, 0), 1.0)
    (answer,) = server.write([PACKET], 1.0)
    assert answer.endpoint == ("2001:db8::7", 7, 0, 0)


def test_replays_and_forgeries_move_no_endpoint(ends: tuple[Tunnel, Tunnel]) -> None:
    client, server = ends
    (data,) = client.write([PACKET], 1.0)
    server.read(data.data, CLIENT, 1.0)
    damaged = bytearray(data.data)
    damaged[-1] ^= 1
    for datagram in (data.data, damaged):
        server.read(datagram, ELSEWHERE, 2.0)
    assert server.endpoint == CLIENT


# Keys


def test_a_preshared_key_must_be_the_same_at_both_ends() -> None:
    client, server = pair(preshared_key=PresharedKey(b"p" * 32))
    server.set_preshared_key(None)
    (initiation,) = client.force_handshake(0.0)
    (response,) = server.read(initiation.data, CLIENT, 0.0).datagrams
    assert client.read(response.data, SERVER, 0.0).drop is Drop.BAD_HANDSHAKE
    server.set_preshared_key(PresharedKey(b"p" * 32))
    connect(client, server, 10.0)


def test_a_changed_preshared_key_leaves_the_session_alone(ends: tuple[Tunnel, Tunnel]) -> None:
    client, server = ends
    client.set_preshared_key(PresharedKey(b"p" * 32))
    assert packets_of(carry(client.write([PACKET], 1.0), server, CLIENT, 1.0)) == [PACKET]
    (initiation,) = client.force_handshake(10.0)
    (response,) = server.read(initiation.data, CLIENT, 10.0).datagrams
    assert client.read(response.data, SERVER, 10.0).drop is Drop.BAD_HANDSHAKE


def test_going_down_erases_keys_and_packets_and_keeps_the_way(ends: tuple[Tunnel, Tunnel]) -> None:
    client, server = ends
    session = client.slots.current
    assert session is not None
    sealer = session.sealer
    (initiation,) = client.force_handshake(10.0)
    pending = client._pending
    assert pending is not None
    client.write([PACKET], 200.0)
    client.down()
    assert session.sealer is not sealer
    assert pending.ephemeral is None
    assert client.slots.all() == []
    assert not client.local.sessions
    assert not client.local.pending
    assert client.stats(200.0).staged == 0
    assert client.endpoint == SERVER
    assert client.timers.deadline == float("inf")
    server.read(initiation.data, CLIENT, 10.0)
    connect(client, server, 201.0)


def test_sessions_that_left_their_slot_are_erased_and_their_index_freed(ends: tuple[Tunnel, Tunnel]) -> None:
    client, server = ends
    sessions = [client.slots.current]
    for number in range(1, 4):
        connect(client, server, number * 10.0)
        sessions.append(client.slots.current)
    for gone in sessions[:2]:
        assert gone is not None
        assert gone.local_index not in client.local.sessions
        assert gone.counter == 2**64 - 2**13 - 1
    assert len(client.local.sessions) == len(server.local.sessions) == 2


def test_expired_keys_are_erased_without_waiting_for_the_end(ends: tuple[Tunnel, Tunnel]) -> None:
    client, server = ends
    session = client.slots.current
    assert session is not None
    opener = session.opener
    connect(client, server, 100.0)
    client.tick(180.0)
    assert session.opener is not opener
    assert len(client.local.sessions) == 1
    client.tick(280.0)
    assert not client.local.sessions


# The data path's hooks


def test_sealing_by_hand_and_reporting_it_is_as_good_as_writing(ends: tuple[Tunnel, Tunnel]) -> None:
    client, server = ends
    session = client.sending_session(120.0)
    assert session is not None
    datagrams = []
    for packet in numbered(3):
        out = bytearray(32 + len(packet))
        session.seal_into(packet, out)
        datagrams.append(Datagram(out, SERVER))
    after = client.sealed(120.0, 3, 180, True)
    assert kinds(after) == [1]
    assert packets_of(carry(datagrams, server, CLIENT, 120.0)) == numbered(3)
    assert client.tick(135.4).datagrams  # SILENCE was armed


def test_opening_by_hand_and_reporting_it_is_as_good_as_reading() -> None:
    client, server = pair()
    (initiation,) = client.force_handshake(0.0)
    (response,) = server.read(initiation.data, CLIENT, 0.0).datagrams
    client.write([PACKET], 0.0)
    (data,) = client.read(response.data, SERVER, 0.0).datagrams
    server.write(numbered(2), 0.0)
    session = server.local.sessions[int.from_bytes(data.data[4:8], "little")]
    assert session.open_into(data.data, bytearray(100)) == 32
    released = server.opened(session, ELSEWHERE, 1, len(data.data), True, 0.1)
    assert server.endpoint == ELSEWHERE
    assert packets_of(carry(released, client, SERVER, 0.1)) == numbered(2)
    assert server.slots.current is session


def test_no_session_to_send_on_at_its_age_or_counter_limit(ends: tuple[Tunnel, Tunnel]) -> None:
    client, _ = ends
    session = client.sending_session(179.9)
    assert session is not None
    session.counter = 2**64 - 2**13 - 2
    assert client.sending_session(179.9) is session
    session.counter += 1
    assert client.sending_session(179.9) is None
    session.counter = 0
    assert client.sending_session(180.0) is None


def test_what_must_be_secret_does_not_come_from_a_generator_that_can_be_seeded() -> None:
    """Indices, ephemeral keys, nonces and cookie secrets are drawn from the system (section 21 of the notes, 19)."""
    sent = []
    for _ in range(2):
        random.seed(7)
        ours = Device(ALICE, wall_clock=lambda: 0)
        sent += ours.add_peer(BOB.public_key(), endpoint=SERVER).force_handshake(0.0)
        random.seed(7)
        sent += Tunnel(ALICE, BOB.public_key(), wall_clock=lambda: 0, endpoint=SERVER).force_handshake(0.0)
    assert len({bytes(datagram.data[4:8]) for datagram in sent}) == 4
    assert len({bytes(datagram.data[8:40]) for datagram in sent}) == 4


def test_our_own_public_key_is_no_peer() -> None:
    with pytest.raises(ValueError, match="own"):
        Tunnel(ALICE, ALICE.public_key(), wall_clock=lambda: 0)
