"""netns.sh: what of it is about the protocol, numbered as in the script's order; the rest needs real interfaces."""

from ipaddress import ip_address, ip_network

import pytest

from tests.support.link import Impairment, Network
from tests.support.peers import ALICE, BOB, CLIENT, EVERYWHERE, PACKET, SERVER, carry, connect, device, packets_of, pair
from wiresock_py.crypto.drops import Drop
from wiresock_py.crypto.keys import PrivateKey

CAROL = PrivateKey(b"carol   " * 4)


def ping(size: int, source: str = "192.168.241.1", destination: str = "192.168.241.2") -> bytes:
    """An IPv4 packet of *size* bytes in all."""
    header = b"\x45\x00" + size.to_bytes(2, "big") + bytes(5) + b"\x01\x00\x00"
    return header + ip_address(source).packed + ip_address(destination).packed + bytes(size - 20)


def test_byte_counters_after_ten_pings() -> None:
    """2: ten pings of 84 bytes are 148 + 10 × 128 bytes from the initiator and 92 + 10 × 128 from the responder."""
    client, server = pair()
    network = Network(client, server, Impairment(delay=0.001))
    for number in range(10):
        network.run_until(number * 1.0)
        network.send(CLIENT, [ping(84)])
        network.run_until(number * 1.0 + 0.5)
        network.send(SERVER, [ping(84)])
    network.run_until(10.5)
    ours, theirs = client.stats(10.5), server.stats(10.5)
    assert ours.tx_bytes == 148 + 10 * 128
    assert ours.rx_bytes == 92 + 10 * 128
    assert (theirs.rx_bytes, theirs.tx_bytes) == (ours.tx_bytes, ours.rx_bytes)


def test_padding_respects_the_mtu() -> None:
    """3: with MTU 1299 a packet of 1297 bytes makes a datagram of 1331, not of 1332 or 1344 bytes."""
    client, server = pair(mtu=1299)
    connect(client, server)
    (datagram,) = client.write([ping(1297)], 1.0)
    assert len(datagram.data) == 1299 + 32
    assert packets_of(carry([datagram], server, CLIENT, 1.0)) == [ping(1297)]


@pytest.mark.parametrize("elsewhere", [("203.0.113.5", 9997), ("2001:db8::5", 9997, 0, 0)])
def test_roaming(elsewhere: tuple[str, int]) -> None:
    """4: after the client moved, the server's answers go to its new place, v4 or v6."""
    client, server = pair()
    connect(client, server)
    (datagram,) = client.write([PACKET], 1.0)
    server.read(datagram.data, elsewhere, 1.0)
    assert [answer.endpoint for answer in server.write([PACKET], 1.1)] == [elsewhere]


def test_reverse_path_filter() -> None:
    """5: a more specific prefix given to another peer stops the first from using it as source; its endpoint moves."""
    ours, theirs = device(ALICE, seed=1), device(BOB, seed=2)
    bob = ours.add_peer(BOB.public_key(), EVERYWHERE, endpoint=SERVER)
    alice = theirs.add_peer(ALICE.public_key(), EVERYWHERE)
    connect(bob, alice)
    carol = theirs.add_peer(CAROL.public_key(), [ip_network("192.168.241.1/32")])
    (datagram,) = bob.write([ping(84)], 1.0)
    assert theirs.read(datagram.data, ("203.0.113.5", 1), 1.0).drop is Drop.INNER_SOURCE
    assert alice.endpoint == ("203.0.113.5", 1)
    assert carol.endpoint is None


def test_private_key_change_and_immediate_handshake() -> None:
    """6: with a new key and the old peer removed at the other end, the very next packet makes a handshake."""
    ours, theirs = device(ALICE, seed=1), device(BOB, seed=2)
    bob = ours.add_peer(BOB.public_key(), EVERYWHERE, endpoint=SERVER)
    connect(bob, theirs.add_peer(ALICE.public_key(), EVERYWHERE))
    ours.set_private_key(CAROL)
    theirs.remove_peer(ALICE.public_key())
    theirs.add_peer(CAROL.public_key(), EVERYWHERE)
    (initiation,) = ours.write([PACKET], 0.1)
    (response,) = theirs.read(initiation.data, CLIENT, 0.1).datagrams
    released = ours.read(response.data, SERVER, 0.1).datagrams
    assert packets_of(theirs.read(datagram.data, CLIENT, 0.1) for datagram in released) == [PACKET]


def test_wireguard_in_wireguard() -> None:
    """7: a datagram of one tunnel is an ordinary packet's payload in another."""
    inner_client, inner_server = pair()
    outer_client, outer_server = pair()
    connect(inner_client, inner_server)
    connect(outer_client, outer_server)
    (inside,) = inner_client.write([PACKET], 1.0)
    wrapped = ping(28 + len(inside.data))[:28] + bytes(inside.data)
    (outside,) = outer_client.write([wrapped], 1.0)
    (unwrapped,) = packets_of(carry([outside], outer_server, CLIENT, 1.0))
    received = inner_server.read(unwrapped[28:], CLIENT, 1.0).packet
    assert received is not None
    assert bytes(received) == PACKET


def test_our_own_datagrams_come_back() -> None:
    """7: what loops back to its sender is dropped, and starts nothing."""
    client, server = pair()
    connect(client, server)
    sent = client.write([PACKET], 1.0) + client.force_handshake(6.0)
    assert {received.drop for received in carry(sent, client, SERVER, 6.0)} == {Drop.UNKNOWN_SESSION, Drop.BAD_MAC1}
    assert [received.datagrams for received in carry(sent, client, SERVER, 6.0)] == [[], []]


def test_persistent_keepalive_keeps_a_short_nat_open() -> None:
    """8: with a keepalive every second no silence of the client lasts longer, over a pause in its traffic."""
    client, server = pair()
    connect(client, server)
    client.set_persistent_keepalive(1, 0.0)
    times = [0.0]
    while times[-1] < 10.0:
        times += [client.timers.deadline] * len(client.tick(client.timers.deadline).datagrams)
    assert times == [float(second) for second in range(11)]


def test_configuration_volume() -> None:
    """11: 255 × 256 × 2 allowed IPs of one peer, 40 peers of 52; missing peers may be removed."""
    ours = device(ALICE)
    many = ours.add_peer(BOB.public_key())
    for high in range(1, 256):
        for low in range(256):
            ours.routes.insert(ip_network((bytes([10, high, low, 0]), 32)), many)
            ours.routes.insert(ip_network((bytes([0xAB, high, low]) + bytes(13), 128)), many)
    assert len(ours.routes) == 255 * 256 * 2
    assert ours.route(bytes([10, 77, 3, 0])) is many
    assert ours.route(bytes([10, 77, 3, 1])) is None
    keys = [PrivateKey(bytes([number]) * 32).public_key() for number in range(100, 140)]
    for number, key in enumerate(keys):
        ours.add_peer(key, [ip_network((bytes([172, 16, number, low]), 32)) for low in range(52)])
    assert len(ours.peers) == 41
    for key in keys * 2:
        ours.remove_peer(key)
    assert len(ours.routes) == 255 * 256 * 2


def test_a_private_key_equal_to_a_peers() -> None:
    """11: a peer that is ourselves cannot be: it is refused, or removed when the key changes."""
    ours = device(ALICE)
    ours.add_peer(BOB.public_key(), EVERYWHERE)
    ours.set_private_key(BOB)
    assert not ours.peers
    with pytest.raises(ValueError, match="own"):
        ours.add_peer(BOB.public_key())
