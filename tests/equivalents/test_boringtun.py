"""BoringTun: noise/mod.rs, noise/session.rs, noise/handshake.rs; allowed_ips.rs is TestTrie* of wireguard-go."""

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from tests.support.peers import CLIENT, PACKET, SERVER, connect, pair
from wiresock_py.crypto.primitives import seal, unseal
from wiresock_py.crypto.replay import ReplayWindow


def test_create_two_tunnels_linked_to_eachother() -> None:
    """create_two_tunnels_linked_to_eachother."""
    client, server = pair()
    assert client.public_key == server.local.identity.public
    assert server.public_key == client.local.identity.public


def test_handshake_init() -> None:
    """handshake_init: a first packet makes an initiation."""
    client, _ = pair()
    (initiation,) = client.write([PACKET], 0.0)
    assert (initiation.data[0], len(initiation.data)) == (1, 148)


def test_handshake_init_and_response() -> None:
    """handshake_init_and_response: which is answered."""
    client, server = pair()
    (initiation,) = client.force_handshake(0.0)
    (response,) = server.read(initiation.data, CLIENT, 0.0).datagrams
    assert (response.data[0], len(response.data)) == (2, 92)


def test_full_handshake() -> None:
    """full_handshake: and the answer by a keepalive, which is a transport datagram without content."""
    client, server = pair()
    (initiation,) = client.force_handshake(0.0)
    (response,) = server.read(initiation.data, CLIENT, 0.0).datagrams
    (keepalive,) = client.read(response.data, SERVER, 0.0).datagrams
    assert (keepalive.data[0], len(keepalive.data)) == (4, 32)
    received = server.read(keepalive.data, CLIENT, 0.0)
    assert (received.drop, received.packet, received.datagrams) == (None, None, [])


def test_full_handshake_plus_timers() -> None:
    """full_handshake_plus_timers: nothing is due right after it."""
    client, server = pair()
    connect(client, server)
    assert client.tick(0.1).datagrams == []
    assert server.tick(0.1).datagrams == []


def test_new_handshake_after_two_mins() -> None:
    """new_handshake_after_two_mins: data at 1 s and 121 s; at 121 only the initiator adds an initiation."""
    for sender, kinds in ((0, [4, 1]), (1, [4])):
        ends = pair()
        connect(*ends)
        assert [datagram.data[0] for datagram in ends[sender].write([PACKET], 1.0)] == [4]
        assert [datagram.data[0] for datagram in ends[sender].write([PACKET], 121.0)] == kinds


def test_handshake_no_resp_rekey_timeout() -> None:
    """handshake_no_resp_rekey_timeout: an initiation again 5 s after one without answer."""
    client, _ = pair()
    client.force_handshake(0.0)
    assert client.tick(4.99).datagrams == []
    (again,) = client.tick(5.334).datagrams
    assert again.data[0] == 1


def test_one_ip_packet() -> None:
    """one_ip_packet: what goes in comes out."""
    client, server = pair()
    connect(client, server)
    (datagram,) = client.write([PACKET], 0.1)
    packet = server.read(datagram.data, CLIENT, 0.1).packet
    assert packet is not None
    assert bytes(packet) == PACKET


def test_replay_counter() -> None:
    """test_replay_counter: jumps, reverse order, double marks, in a window of ours instead of 1024."""
    window = ReplayWindow()
    assert window.accept(0)
    assert not window.accept(0)
    for counter in range(1, 3 * 8128):
        assert window.accept(counter)
        assert not window.accept(counter)
    assert not window.accept(0)
    top = 5 * 8128
    for counter in range(top + 8128, top - 1, -1):
        assert window.accept(counter)
        assert not window.accept(counter)
    assert window.accept(top + 8128 + 65)
    assert window.accept(top + 8128 + 64)
    assert not window.accept(top + 64)
    assert not window.accept(top - 1)


@pytest.mark.parametrize("counter", [0, 1])
def test_chacha20_seal_and_open(counter: int) -> None:
    """chacha20_seal_rfc7530_test_vector, symmetric_chacha20_seal_open: the AEAD with our counter for a nonce."""
    key = bytes(range(0x80, 0xA0))
    sealed = seal(key, counter, b"Ladies and Gentlemen", b"associated")
    nonce = bytes(4) + counter.to_bytes(8, "little")
    assert sealed == ChaCha20Poly1305(key).encrypt(nonce, b"Ladies and Gentlemen", b"associated")
    assert unseal(key, counter, sealed, b"associated") == b"Ladies and Gentlemen"
