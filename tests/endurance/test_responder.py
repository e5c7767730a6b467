"""A responder good enough to be somebody's server: 250 peers, each with its own allowed IPs."""

from ipaddress import IPv4Address, IPv6Address, ip_network

from tests.support.peers import SERVER, CountingRandom, WallClock, carry, datagrams_of, packets_of
from wiresock_py.crypto.device import Device
from wiresock_py.crypto.drops import Drop
from wiresock_py.crypto.keys import PresharedKey, PrivateKey
from wiresock_py.crypto.results import Datagram
from wiresock_py.crypto.tunnel import Tunnel

PEERS = 250
SERVER_KEY = PrivateKey(b"server  " * 4)
SERVER_ADDRESS = IPv4Address("10.77.0.1")


class Client:
    def __init__(self, number: int) -> None:
        self.number = number
        self.key = PrivateKey(number.to_bytes(2, "big") * 16)
        self.preshared_key = PresharedKey(number.to_bytes(4, "big") * 8) if number % 2 else None
        self.address = IPv4Address("10.77.1.0") + number
        self.address6 = IPv6Address("fd77::1:0") + number
        self.source = (f"192.0.{2 + number // 250}.{number % 250}", 20_000 + number)
        self.tunnel = Tunnel(
            self.key,
            SERVER_KEY.public_key(),
            self.preshared_key,
            wall_clock=WallClock(),
            random=CountingRandom(number),
            endpoint=SERVER,
        )

    def packet(self, content: int, source: IPv4Address | None = None) -> bytes:
        addresses = (source or self.address).packed + SERVER_ADDRESS.packed
        return bytes.fromhex("45000018000000004011 0000".replace(" ", "")) + addresses + content.to_bytes(4, "big")

    def packet6(self, content: int) -> bytes:
        header = bytes.fromhex("60000000000411 40".replace(" ", ""))
        return header + self.address6.packed + IPv6Address("fd77::1").packed + content.to_bytes(4, "big")

    def answer(self, content: int) -> bytes:
        addresses = SERVER_ADDRESS.packed + self.address.packed
        return bytes.fromhex("450000180000000040110000") + addresses + content.to_bytes(4, "big")


class Crowd:
    """The server with all its clients, one datagram after another on a virtual clock."""

    def __init__(self) -> None:
        self.server = Device(SERVER_KEY, wall_clock=WallClock(), random=CountingRandom(9999))
        self.clients = [Client(number) for number in range(1, PEERS + 1)]
        for client in self.clients:
            self.server.add_peer(
                client.key.public_key(),
                [ip_network(f"{client.address}/32"), ip_network(f"{client.address6}/128")],
                preshared_key=client.preshared_key,
            )

    def to_server(self, client: Client, datagrams: list[Datagram], now: float) -> list[bytes]:
        """Carry what *client* sends, and all answers, until nothing more is sent; what the server delivered."""
        received = carry(datagrams, self.server, client.source, now)
        delivered = packets_of(received)
        answers = datagrams_of(received)
        assert all(answer.endpoint == client.source for answer in answers)
        back = datagrams_of(carry(answers, client.tunnel, SERVER, now))
        return delivered + (self.to_server(client, back, now) if back else [])

    def tick(self, now: float) -> list[bytes]:
        delivered = []
        self.server.tick(now)
        for client in self.clients:
            delivered += self.to_server(client, client.tunnel.tick(now).datagrams, now)
        return delivered


def test_250_peers_come_at_once_and_all_are_served() -> None:
    """More than a hundred handshakes in one moment are load: the rest are asked for a cookie and come back with it."""
    crowd = Crowd()
    sent, delivered = [], []
    for client in crowd.clients:
        sent += [client.packet(client.number), client.packet6(client.number)]
        delivered += crowd.to_server(client, client.tunnel.write(sent[-2:], 0.0), 0.0)
    assert crowd.server.gate.cookie_replies == PEERS - 100
    assert len(delivered) == 200
    delivered += crowd.tick(5.334)
    assert sorted(delivered) == sorted(sent)
    assert len(crowd.server.sessions) == PEERS


def test_each_of_250_peers_speaks_for_its_own_addresses_only() -> None:
    crowd = Crowd()
    for client in crowd.clients:
        crowd.to_server(client, client.tunnel.force_handshake(client.number / 10), client.number / 10)
    now = 40.0
    for client, neighbour in zip(crowd.clients, crowd.clients[1:] + crowd.clients[:1], strict=True):
        assert crowd.to_server(client, client.tunnel.write([client.packet(1)], now), now) == [client.packet(1)]
        assert crowd.to_server(client, client.tunnel.write([client.packet(2, neighbour.address)], now), now) == []
        assert crowd.server.peers[client.key.public_key()].drops == {Drop.INNER_SOURCE: 1}
        (datagram,) = crowd.server.write([client.answer(3)], now)
        assert datagram.endpoint == client.source
        assert packets_of(carry([datagram], client.tunnel, SERVER, now)) == [client.answer(3)]


def test_250_peers_rekey_roam_and_leave_and_nothing_piles_up() -> None:
    crowd = Crowd()
    for client in crowd.clients:
        crowd.to_server(client, client.tunnel.force_handshake(client.number / 10), client.number / 10)
    now = 30.0
    for step in range(8):
        now += 61.0
        crowd.server.tick(now)
        for client in crowd.clients:
            if step == 4:
                client.source = (client.source[0], client.source[1] + 1000)
            packet = client.packet(step)
            when = now + client.number / 10  # spread, so that rekeys are no load
            assert crowd.to_server(client, client.tunnel.write([packet], when), when) == [packet]
        now += PEERS / 10
        assert PEERS <= len(crowd.server.sessions) <= 3 * PEERS
    for client in crowd.clients[::2]:
        crowd.server.remove_peer(client.key.public_key())
    assert {session.peer for session in crowd.server.sessions.values()} <= set(crowd.server.peers.values())
    crowd.server.tick(now + 181.0)
    assert not crowd.server.sessions
