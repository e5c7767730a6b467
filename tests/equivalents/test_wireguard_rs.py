"""wireguard-rs: handshake, anti-replay and router tests."""

import random

from tests.support.peers import ALICE, BOB, CLIENT, EVERYWHERE, PACKET, SERVER, carry, connect, device, packets_of, pair
from tests.vectors.cookies import put_under_load
from wiresock_py.crypto.device import Device
from wiresock_py.crypto.drops import Drop
from wiresock_py.crypto.messages import CookieReply, Initiation, Response
from wiresock_py.crypto.noise import SymmetricState


def test_handshake_under_load() -> None:
    """handshake_under_load: initiation, cookie, initiation, response, cookie, initiation, response: then it works."""
    ours, theirs = device(ALICE, seed=1), device(BOB, seed=2)
    bob = ours.add_peer(BOB.public_key(), EVERYWHERE, endpoint=SERVER)
    theirs.add_peer(ALICE.public_key(), EVERYWHERE)

    def under_load(now: float) -> None:
        for end in (ours, theirs):
            assert isinstance(end, Device)
            put_under_load(end, now)

    def cookie_for(
        sender: Device, receiver: Device, datagram: bytes | bytearray, now: float, where: tuple[str, int]
    ) -> None:
        refused = receiver.read(datagram, where, now)
        assert refused.drop is Drop.COOKIE_REQUIRED
        assert sender.read(refused.datagrams[0].data, SERVER, now).drop is None

    under_load(0.0)
    (first,) = bob.force_handshake(0.0)
    cookie_for(ours, theirs, first.data, 0.0, CLIENT)

    under_load(5.5)
    (second,) = bob.run_timers(5.5)
    (response,) = theirs.read(second.data, CLIENT, 5.5).datagrams
    cookie_for(theirs, ours, response.data, 5.5, SERVER)

    under_load(11.0)
    (third,) = bob.run_timers(11.0)
    (response,) = theirs.read(third.data, CLIENT, 11.0).datagrams
    received = ours.read(response.data, SERVER, 11.0)
    assert received.drop is None
    assert theirs.read(received.datagrams[0].data, CLIENT, 11.0).drop is None


def test_handshake_no_load() -> None:
    """handshake_no_load: ten in a row; the initiator's session is confirmed at once, the responder's is not."""
    client, server = pair()
    for number in range(10):
        now = number * 10.0
        (initiation,) = client.force_handshake(now)
        (response,) = server.read(initiation.data, CLIENT, now).datagrams
        (confirmation,) = client.read(response.data, SERVER, now).datagrams
        assert client.slots.current is not None
        assert server.slots.next is not None
        assert client.slots.current.local_index == server.slots.next.remote_index
        assert (server.slots.current is None) == (number == 0)
        server.read(confirmation.data, CLIENT, now)
        assert server.slots.next is None


def test_unique_shared_secrets() -> None:
    """unique_shared_secrets: no two handshakes come to the same keys."""
    client, server = pair()
    texts = set()
    for number in range(10):
        connect(client, server, number * 10.0)
        assert client.slots.current is not None
        sealed = bytearray(len(PACKET) + 16)
        client.slots.current.sealer.encrypt_into(bytes(12), PACKET, None, sealed)
        texts.add(bytes(sealed))
    assert len(texts) == 10


def test_message_round_trips() -> None:
    """Message round trips: parsed is what was packed."""
    generator = random.Random(1)
    for _ in range(50):
        indices = [generator.getrandbits(32) for _ in range(2)]
        for message in (
            Initiation(indices[0], generator.randbytes(32), generator.randbytes(48), generator.randbytes(28)),
            Response(indices[0], indices[1], generator.randbytes(32), generator.randbytes(16)),
            CookieReply(indices[0], generator.randbytes(24), generator.randbytes(32)),
        ):
            assert type(message).parse(message.pack()) == message


def test_precomputed_chain_key_and_hash() -> None:
    """precomputed_chain_key, precomputed_hash."""
    state = SymmetricState()
    assert state.chaining_key.hex() == "60e26daef327efc02ec335e2a025d2d016eb4206f87277f52d38d1988b78cd36"
    assert state.hash.hex() == "2211b361081ac566691243db458ad5322d9c6c662293e8b70ee19c65ba079ef3"


def test_bidirectional() -> None:
    """router bidirectional: many packets both ways over one session, all delivered in order."""
    client, server = pair()
    connect(client, server)
    packets = [PACKET[:-2] + number.to_bytes(2, "big") for number in range(500)]
    assert packets_of(carry(client.write(packets, 1.0), server, CLIENT, 1.0)) == packets
    assert packets_of(carry(server.write(packets, 1.0), client, SERVER, 1.0)) == packets


def test_outbound() -> None:
    """router outbound: packets go to the peer of their prefix, none where there is none."""
    ours = device(ALICE, seed=1)
    ours.add_peer(BOB.public_key(), EVERYWHERE[:1], endpoint=SERVER)
    assert [datagram.endpoint for datagram in ours.write([PACKET], 0.0)] == [SERVER]
    assert ours.write([b"\x60" + bytes(39)], 0.0) == []
    assert ours.drops == {Drop.NO_ROUTE: 1}
