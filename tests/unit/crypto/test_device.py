"""Many peers behind one key."""

from ipaddress import ip_address, ip_network

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tests.support.peers import ALICE, BOB, CLIENT, EVERYWHERE, PACKET, SERVER, connect, device, packets_of
from wiresock_py.crypto.cookie import CookieGenerator
from wiresock_py.crypto.device import Device
from wiresock_py.crypto.drops import Drop
from wiresock_py.crypto.keys import PresharedKey, PrivateKey, PublicKey
from wiresock_py.crypto.noise import Identity, initiate
from wiresock_py.crypto.results import Event

CAROL = PrivateKey(b"carol   " * 4)
TO_BOB = ip_network("10.66.0.1/32")


def packet(destination: str, source: str = "10.66.0.2") -> bytes:
    return bytes.fromhex("4500001400000000403b0000") + ip_address(source).packed + ip_address(destination).packed


def test_outbound_packets_go_to_the_longest_prefix() -> None:
    ours = device(ALICE)
    bob = ours.add_peer(BOB.public_key(), [ip_network("10.0.0.0/8")], endpoint=SERVER)
    carol = ours.add_peer(CAROL.public_key(), EVERYWHERE, endpoint=CLIENT)
    assert ours.route(ip_address("10.1.2.3").packed) is bob
    assert ours.route(ip_address("192.0.2.1").packed) is carol
    assert ours.route(ip_address("2001:db8::1").packed) is carol
    sent = ours.write([packet("10.1.1.1"), packet("8.8.8.8")], 0.0)
    assert sorted(str(datagram.endpoint) for datagram in sent) == sorted([str(SERVER), str(CLIENT)])


def test_outbound_packets_for_nobody_are_counted_drops() -> None:
    ours = device(ALICE)
    ours.add_peer(BOB.public_key(), [TO_BOB], endpoint=SERVER)
    assert ours.write([packet("10.66.0.9"), b"", b"\x45", bytes(20)], 0.0) == []
    assert ours.drops == {Drop.NO_ROUTE: 1, Drop.MALFORMED: 3}


def test_allowed_ips_change_while_a_session_lives() -> None:
    ours, theirs = device(ALICE, seed=1), device(BOB, seed=2)
    bob = ours.add_peer(BOB.public_key(), EVERYWHERE, endpoint=SERVER)
    alice = theirs.add_peer(ALICE.public_key(), EVERYWHERE)
    connect(bob, alice)
    sent = ours.write([packet("10.66.0.1")], 1.0)
    assert packets_of([theirs.read(sent[0].data, CLIENT, 1.0)])
    theirs.set_allowed_ips(alice, [ip_network("192.168.0.0/16")])
    sent = ours.write([packet("10.66.0.1")], 1.0)
    assert theirs.read(sent[0].data, CLIENT, 1.0).drop is Drop.INNER_SOURCE
    sent = ours.write([packet("10.66.0.1", source="192.168.7.7")], 1.0)
    assert packets_of([theirs.read(sent[0].data, CLIENT, 1.0)])


def test_a_prefix_given_to_another_peer_moves() -> None:
    ours = device(ALICE)
    bob = ours.add_peer(BOB.public_key(), EVERYWHERE)
    carol = ours.add_peer(CAROL.public_key(), [EVERYWHERE[0]])
    assert ours.route(bytes(4)) is carol
    assert ours.routes.networks(bob) == [EVERYWHERE[1]]


def test_a_removed_peer_leaves_nothing_behind() -> None:
    ours, theirs = device(ALICE, seed=1), device(BOB, seed=2)
    secret = PresharedKey(b"p" * 32)
    bob = ours.add_peer(BOB.public_key(), EVERYWHERE, preshared_key=secret, endpoint=SERVER)
    connect(bob, theirs.add_peer(ALICE.public_key(), preshared_key=secret))
    bob.force_handshake(10.0)
    ours.remove_peer(BOB.public_key())
    ours.remove_peer(BOB.public_key())
    assert not ours.sessions
    assert not ours.pending
    assert not ours.peers
    assert ours.route(bytes(4)) is None
    assert bob._preshared_key == bytes(32)
    assert bob._static_static is None
    assert ours.tick(1000.0).datagrams == []


@pytest.mark.parametrize("key", [ALICE, BOB])
def test_our_own_key_and_one_twice_are_refused(key: PrivateKey) -> None:
    ours = device(ALICE)
    bob = ours.add_peer(BOB.public_key(), EVERYWHERE)
    with pytest.raises(ValueError, match="public key"):
        ours.add_peer(key.public_key(), EVERYWHERE)
    assert list(ours.peers.values()) == [bob]
    assert ours.route(bytes(4)) is bob


def test_a_peer_with_a_low_order_key_never_shakes_hands() -> None:
    ours = device(ALICE)
    low = ours.add_peer(PublicKey(bytes(32)), EVERYWHERE, endpoint=SERVER)
    assert low.write([PACKET], 0.0) == []
    for second in range(1, 200):
        assert ours.tick(second).datagrams == []
    assert low.drops[Drop.ZERO_DH] == 20
    assert low.stats(200.0).staged == 0


def test_nobody_can_speak_for_a_peer_with_a_low_order_key() -> None:
    """Its DH(S, S) is zero for everyone, so anybody could: an initiation in its name ends there."""
    ours = device(ALICE)
    low = ours.add_peer(PublicKey(bytes(32)), EVERYWHERE)
    anybody = Identity(BOB)
    anybody.public = PublicKey(bytes(32))
    initiated = initiate(
        anybody,
        ALICE.public_key(),
        bytes(32),
        ephemeral=X25519PrivateKey.from_private_bytes(bytes(CAROL)),
        local_index=7,
        timestamp=b"\x40" + bytes(11),
        now=0.0,
    )
    assert initiated is not None
    message = CookieGenerator(ALICE.public_key()).add_macs(initiated[0].pack(), 0.0)
    received = ours.read(message, CLIENT, 0.0)
    assert (received.drop, received.datagrams, low.endpoint) == (Drop.ZERO_DH, [], None)


def test_one_tick_serves_all_peers_and_tells_the_next_deadline() -> None:
    ours = device(ALICE)
    for key in (BOB, CAROL):
        ours.add_peer(key.public_key(), endpoint=SERVER).force_handshake(0.0)
    first = ours.tick(1.0)
    assert first.datagrams == []
    assert 5.0 <= first.deadline <= 5.333
    assert len(ours.tick(5.4).datagrams) == 2


def test_events_name_their_peer_and_are_told_once() -> None:
    ours, theirs = device(ALICE, seed=1), device(BOB, seed=2)
    bob = ours.add_peer(BOB.public_key(), endpoint=SERVER)
    connect(bob, theirs.add_peer(ALICE.public_key()))
    assert ours.tick(0.1).events == [(bob, Event.CONNECTED)]
    assert ours.tick(0.2).events == []


def test_up_starts_peers_with_a_persistent_keepalive_and_down_erases_all() -> None:
    ours = device(ALICE)
    ours.add_peer(BOB.public_key(), EVERYWHERE, endpoint=SERVER, persistent_keepalive=25)
    ours.add_peer(CAROL.public_key(), endpoint=CLIENT)
    (initiation,) = ours.up(0.0)
    assert initiation.endpoint == SERVER
    ours.down()
    assert not ours.pending
    assert ours.tick(1000.0) == ([], [], float("inf"))
    assert len(ours.up(1000.0)) == 1


class TestPrivateKeyChange:
    """Section 17 of the notes: handshakes afresh, sessions only receive, a peer that is now ourselves goes."""

    def setup(self) -> tuple[Device, Device]:
        ours, theirs = device(ALICE, seed=1), device(BOB, seed=2)
        connect(
            ours.add_peer(BOB.public_key(), EVERYWHERE, endpoint=SERVER),
            theirs.add_peer(ALICE.public_key(), EVERYWHERE),
        )
        return ours, theirs

    def test_the_next_packet_shakes_hands_with_the_new_key_at_once(self) -> None:
        ours, theirs = self.setup()
        theirs.add_peer(CAROL.public_key(), EVERYWHERE)
        ours.set_private_key(CAROL)
        (initiation,) = ours.write([packet("10.0.0.1")], 0.1)
        (response,) = theirs.read(initiation.data, CLIENT, 0.1).datagrams
        (data,) = ours.read(response.data, SERVER, 0.1).datagrams
        received = theirs.read(data.data, CLIENT, 0.1)
        assert received.tunnel is theirs.peers[CAROL.public_key()]
        assert packets_of([received]) == [packet("10.0.0.1")]

    def test_live_sessions_go_on_receiving(self) -> None:
        ours, theirs = self.setup()
        ours.set_private_key(CAROL)
        (datagram,) = theirs.write([PACKET], 1.0)
        assert packets_of([ours.read(datagram.data, SERVER, 1.0)]) == [PACKET]

    def test_a_session_confirmed_after_it_only_receives_too(self) -> None:
        ours, theirs = self.setup()
        bob, alice = ours.peers[BOB.public_key()], theirs.peers[ALICE.public_key()]
        alice.endpoint = CLIENT
        (initiation,) = alice.force_handshake(10.0)
        (response,) = ours.read(initiation.data, SERVER, 10.0).datagrams
        ours.set_private_key(CAROL)
        (confirmation,) = theirs.read(response.data, CLIENT, 10.0).datagrams
        assert ours.read(confirmation.data, SERVER, 10.0).drop is None
        assert bob.sending_session(10.0) is None
        (datagram,) = theirs.write([PACKET], 10.0)
        assert packets_of([ours.read(datagram.data, SERVER, 10.0)]) == [PACKET]

    def test_a_pending_handshake_is_dropped(self) -> None:
        ours, theirs = self.setup()
        (initiation,) = ours.peers[BOB.public_key()].force_handshake(10.0)
        (response,) = theirs.read(initiation.data, CLIENT, 10.0).datagrams
        ours.set_private_key(CAROL)
        assert ours.read(response.data, SERVER, 10.0).drop is Drop.BAD_MAC1
        assert not ours.pending

    def test_a_peer_that_is_now_ourselves_is_removed(self) -> None:
        ours, _ = self.setup()
        ours.set_private_key(BOB)
        assert not ours.peers
        assert ours.route(bytes(4)) is None
