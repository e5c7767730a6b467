"""wireguard-go: device/*_test.go, replay, ratelimiter, tai64n."""

import json
import random
import socket
import threading
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tests.support.peers import ALICE, BOB, CLIENT, EVERYWHERE, PACKET, SERVER, CountingRandom, connect, device, pair
from wiresock_py.crypto import noise
from wiresock_py.crypto.allowed_ips import AllowedIPs, Network
from wiresock_py.crypto.cookie import CookieChecker, CookieGenerator
from wiresock_py.crypto.keys import PrivateKey
from wiresock_py.crypto.messages import CookieReply, Initiation, Response
from wiresock_py.crypto.primitives import dh, kdf
from wiresock_py.crypto.ratelimiter import RateLimiter
from wiresock_py.crypto.replay import ReplayWindow
from wiresock_py.crypto.results import Datagram
from wiresock_py.crypto.tai64n import stamp
from wiresock_py.crypto.tunnel import Tunnel

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "wireguard-vectors.json").read_text())


def test_curve_wrappers() -> None:
    """TestCurveWrappers: Diffie-Hellman comes to the same from both sides."""
    ours, theirs = X25519PrivateKey.generate(), X25519PrivateKey.generate()
    assert dh(ours, theirs.public_key().public_bytes_raw()) == dh(theirs, ours.public_key().public_bytes_raw())


def test_noise_handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    """TestNoiseHandshake: equal transcripts after each message, sessions in their slots, data both ways."""
    states: list[tuple[str, str]] = []
    erase = noise.SymmetricState.erase

    def remember(state: noise.SymmetricState) -> None:
        states.append((state.chaining_key.hex(), state.hash.hex()))
        erase(state)

    monkeypatch.setattr(noise.SymmetricState, "erase", remember)
    client, server = pair()
    assert client._static_static == server._static_static

    (initiation,) = client.force_handshake(0.0)
    assert client._pending is not None
    received = noise.read_initiation(server.local.identity, Initiation.parse(initiation.data))
    assert isinstance(received, noise.ReceivedInitiation)
    assert server._static_static is not None
    received.verify(server._static_static)
    assert received.state.chaining_key == client._pending.state.chaining_key
    assert received.state.hash == client._pending.state.hash

    (response,) = server.read(initiation.data, CLIENT, 0.0).datagrams
    (confirmation,) = client.read(response.data, SERVER, 0.0).datagrams
    responder, initiator, _ = states  # both at the end of the response; and the initiation that was used up
    assert initiator == responder

    assert server.slots.next is not None
    assert client.slots.current is not None
    assert (client.slots.previous, client.slots.next, server.slots.current) == (None, None, None)
    server.read(confirmation.data, CLIENT, 0.0)
    for sender, receiver, source in ((client, server, CLIENT), (server, client, SERVER)):
        (datagram,) = sender.write([PACKET], 0.1)
        received_packet = receiver.read(datagram.data, source, 0.1).packet
        assert received_packet is not None
        assert bytes(received_packet) == PACKET


def test_kdf() -> None:
    """TestKDF: its three fixed inputs, one to three outputs."""
    fixed = VECTORS["primitives"]["hkdf"][:3]
    assert [bytes.fromhex(case["key"]) for case in fixed][:2] == [b"test-key", b"wireguard"]
    for case in fixed:
        outputs = [bytes.fromhex(case[name]) for name in ("t1", "t2", "t3")]
        for number in (1, 2, 3):
            assert list(kdf(number, bytes.fromhex(case["key"]), bytes.fromhex(case["input"]))) == outputs[:number]


def test_cookie_mac1() -> None:
    """TestCookieMAC1: mac1 before a cookie, both after; a flipped bit or another source breaks them."""
    generator = CookieGenerator(BOB.public_key())
    checker = CookieChecker(BOB.public_key(), CountingRandom())
    source = ("192.168.13.37", 4000)
    message = bytes.fromhex("99bbcc") * 30

    sent = generator.add_macs(message, 0.0)
    assert checker.mac1_valid(sent)
    assert not checker.mac2_valid(sent, source, 0.0)

    assert generator.consume(CookieReply.parse(checker.reply(sent, 1377, source, 0.0)), 0.0)
    sent = generator.add_macs(message, 0.1)
    assert checker.mac1_valid(sent)
    assert checker.mac2_valid(sent, source, 0.1)

    broken = bytearray(sent)
    broken[5] ^= 0x20
    assert not checker.mac1_valid(broken)
    assert not checker.mac2_valid(broken, source, 0.1)
    for other in (("192.168.13.37", 4001), ("192.168.13.38", 4000)):
        assert checker.mac1_valid(sent)
        assert not checker.mac2_valid(sent, other, 0.1)


class Peer:
    """An owner of prefixes."""


def filled(prefixes: dict[str, str]) -> tuple[AllowedIPs[Peer], dict[str, Peer]]:
    table: AllowedIPs[Peer] = AllowedIPs()
    peers = {name: Peer() for name in set(prefixes.values())}
    for prefix, name in prefixes.items():
        table.insert(ip_network(prefix, strict=False), peers[name])
    return table, peers


@pytest.mark.parametrize("bits", [32, 128])
def test_common_bits(bits: int) -> None:
    """TestCommonBits: two addresses meet in every prefix up to their first different bit, and in none beyond."""
    generator = random.Random(bits)
    for _ in range(100):
        common = generator.randrange(bits)
        one = generator.getrandbits(bits)
        other = (
            one
            ^ (1 << (bits - 1 - common))
            ^ generator.getrandbits(max(bits - 1 - common, 1)) % (1 << (bits - 1 - common))
        )
        for length, shared in ((common, True), (common + 1, False)):
            table: AllowedIPs[Peer] = AllowedIPs()
            table.insert(ip_network((one.to_bytes(bits // 8, "big"), length), strict=False), peer := Peer())
            found = table.lookup(other.to_bytes(bits // 8, "big"))
            assert found is (peer if shared else None)


def test_trie_ipv4() -> None:
    """TestTrieIPv4: longest prefix, insertion over an old owner, removal by peer and by prefix."""
    table, peers = filled(
        {
            "192.168.4.0/24": "a",
            "192.168.4.4/32": "b",
            "192.168.0.0/16": "c",
            "192.95.5.64/27": "d",
            "192.95.5.65/27": "c",  # the same network, so it moves
            "0.0.0.0/0": "e",
            "64.15.112.0/20": "f",
            "64.15.123.211/25": "g",
            "10.0.0.0/25": "a",
            "10.0.0.128/25": "b",
        }
    )
    expected = {
        "192.168.4.20": "a", "192.168.4.4": "b", "192.168.200.182": "c", "192.95.5.68": "c", "192.95.5.96": "e",
        "64.15.116.26": "f", "64.15.127.3": "f", "64.15.123.128": "g", "64.15.123.127": "f", "10.0.0.52": "a",
        "10.0.0.220": "b", "1.0.0.0": "e",
    }  # fmt: skip
    for address, name in expected.items():
        assert table.lookup(ip_address(address).packed) is peers[name], address

    # removal by exact prefix and owner: another length, another owner remove nothing
    assert not table.remove(ip_network("192.168.4.0/25"), peers["a"])
    assert not table.remove(ip_network("192.168.4.0/24"), peers["b"])
    assert not table.remove(ip_network("192.168.4.0/24"), Peer())
    assert table.remove(ip_network("192.168.4.0/24"), peers["a"])
    assert table.lookup(ip_address("192.168.4.20").packed) is peers["c"]

    table.remove_owner(peers["e"])
    assert table.lookup(ip_address("1.0.0.0").packed) is None
    for peer in peers.values():
        table.remove_owner(peer)
    assert len(table) == 0


def test_trie_ipv6() -> None:
    """TestTrieIPv6: the same for 128 bits."""
    table, peers = filled(
        {
            "2607:5300:60:6b0::c05f:543/128": "d",
            "2607:5300:60:6b0::/64": "c",
            "::/0": "e",
            "2404:6800::/32": "g",
            "2404:6800:4004:800:dead:beef:dead:beef/64": "h",
            "2404:6800:4004:800:dead:beef:dead:beef/128": "a",
            "2444:6800:40e4:800:deae:beef:def:beef/128": "c",
            "2444:6800:f0e4:800:eeae:beef::/98": "b",
        }
    )
    expected = {
        "2607:5300:60:6b0::c05f:543": "d", "2607:5300:60:6b0::c02e:1ee": "c", "2607:5300:60:6b1::": "e",
        "2404:6800:4004:806::1006": "g", "2404:6800:4004:806::1234:5678": "g", "2404:67ff:4004:806::1234": "e",
        "2404:6800:4004:800:4040::4040": "h", "2404:6800:4004:800:dead:beef:dead:beef": "a",
        "2444:6800:40e4:800:deae:beef:def:beef": "c", "2444:6800:f0e4:800:eeae:beef:1234:5678": "b",
        "2444:6800:f0e4:800:eeae:beef:8000::": "e",
    }  # fmt: skip
    for address, name in expected.items():
        assert table.lookup(ip_address(address).packed) is peers[name], address
    table.remove_owner(peers["h"])
    assert table.lookup(ip_address("2404:6800:4004:800:4040::4040").packed) is peers["g"]


def test_trie_random() -> None:
    """TestTrieRandom: 250 random prefixes of 100 peers, 10,000 look-ups against a linear scan, again after removals."""
    generator = random.Random(20_220_222)
    for bits, network_type, address_type in (
        (32, IPv4Network, IPv4Address),
        (128, IPv6Network, IPv6Address),
    ):
        table: AllowedIPs[Peer] = AllowedIPs()
        linear: dict[Network, Peer] = {}
        peers = [Peer() for _ in range(100)]
        for _ in range(250):
            network = network_type((generator.getrandbits(bits), generator.randrange(bits + 1)), strict=False)
            linear[network] = generator.choice(peers)
            table.insert(network, linear[network])
        scan = sorted(linear.items(), key=lambda entry: -entry[0].prefixlen)
        for removed in ([], peers[:10], peers[10:50], peers[50:]):
            for peer in removed:
                table.remove_owner(peer)
            scan = [(network, peer) for network, peer in scan if peer not in removed]
            masks = [(int(network.netmask), int(network.network_address), peer) for network, peer in scan]
            for _ in range(2_500):
                number = generator.getrandbits(bits)
                if masks and generator.random() < 0.5:  # near a prefix, or most of 128 bits would match nothing
                    mask, base, _ = generator.choice(masks)
                    number = base | number & ~mask & ((1 << bits) - 1)
                expected = next((peer for mask, base, peer in masks if number & mask == base), None)
                assert table.lookup(address_type(number).packed) is expected
        assert len(table) == 0


T = 8192 - 64 + 1
REJECT = 2**64 - 2**13 - 1


def test_replay() -> None:
    """TestReplay: around the window's edge, jumps over it, the counter limit, and six bulk runs."""
    window = ReplayWindow()
    listed = [
        (0, 1), (1, 1), (1, 0), (9, 1), (8, 1), (7, 1), (7, 0), (T, 1), (T - 1, 1), (T - 1, 0), (T - 2, 1), (2, 1),
        (2, 0), (T + 16, 1), (3, 0), (T + 16, 0), (T * 4, 1), (T * 4 - (T - 1), 1), (10, 0), (T * 4 - T, 0),
        (T * 4 - (T + 1), 0), (T * 4 - (T - 2), 1), (T * 4 + 1 - T, 0), (0, 0), (REJECT, 0), (REJECT - 1, 1),
        (REJECT, 0), (REJECT - 1, 0), (REJECT - 2, 1), (REJECT + 1, 0), (REJECT + 2, 0), (REJECT - 2, 0),
        (REJECT - 3, 1), (0, 0),
    ]  # fmt: skip
    for counter, accepted in listed:
        assert window.accept(counter) == bool(accepted), counter

    def run(*parts: tuple[range, bool]) -> None:
        window = ReplayWindow()
        for counters, accepted in parts:
            assert {window.accept(counter) for counter in counters} == {accepted}

    run((range(1, T), True), (range(1), True), (range(1), False))
    run((range(2, T + 1), True), (range(1, 2), True), (range(1), False))
    run((range(T, -1, -1)[:-1], True))
    run((range(T + 1, 0, -1)[:-1], True), (range(1), False))
    run((range(T - 1, -1, -1), True), (range(T, T + 1), True), (range(1), False))
    run((range(T - 1, -1, -1), True), (range(T + 1, T + 2), True), (range(2), False))


def test_ratelimiter() -> None:
    """TestRatelimiter: five pass, the sixth not; one more after 50 ms, two after 100, for 14 sources each by itself."""
    sources = [
        "127.0.0.1", "192.168.1.1", "172.167.2.3", "97.231.252.215", "248.97.91.167", "188.208.233.47",
        "104.2.183.179", "72.129.46.120",
        "2001:0db8:0a0b:12f0:0000:0000:0000:0001", "f5c2:818f:c052:655a:9860:b136:6894:25f0",
        "b2d7:15ab:48a7:b07c:a541:f144:a9fe:54fc", "a47b:786e:1671:a22b:d6f9:4ab0:abc7:c918",
        "ea1e:d155:7f7a:98fb:2bf5:9483:80f6:5445", "3f0e:54a2:f5b4:cd19:a21d:58e1:3746:84c4",
    ]  # fmt: skip
    limiter = RateLimiter()
    for at, outcome in ((0.0, [True] * 5 + [False]), (0.05, [True, False]), (0.15, [True, True, False])):
        for allowed in outcome:
            for source in sources:
                assert limiter.allow((source, 51820), at) == allowed, (source, at)


def test_monotonic() -> None:
    """TestMonotonic: stamps do not differ for 10 ns, 10 µs, 1 ms, 10 ms, and do for 20 ms."""
    start = 1_750_000_000 * 10**9 + 5
    for nanoseconds in (10, 10_000, 1_000_000, 10_000_000):
        assert stamp(start + nanoseconds) == stamp(start)
    assert stamp(start + 20_000_000) > stamp(start)


def test_two_device_ping() -> None:
    """TestTwoDevicePing: a packet each way through real sockets."""
    ends = []
    for key, other, seed in ((ALICE, BOB, 1), (BOB, ALICE, 2)):
        bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        bound.bind(("127.0.0.1", 0))
        bound.settimeout(10)
        local = device(key, seed=seed)
        ends.append((bound, local, local.add_peer(other.public_key(), EVERYWHERE)))
    for (_, _, tunnel), (other_socket, _, _) in (ends, ends[::-1]):
        tunnel.endpoint = other_socket.getsockname()

    def send(end: int, datagrams: list[Datagram]) -> None:
        for datagram in datagrams:
            assert isinstance(datagram.endpoint, tuple)
            ends[end][0].sendto(datagram.data, datagram.endpoint)

    def receive(end: int) -> bytes | None:
        data, source = ends[end][0].recvfrom(2048)
        received = ends[end][1].read(data, source, 1.0)
        send(end, received.datagrams)
        return None if received.packet is None else bytes(received.packet)

    try:
        send(0, ends[0][2].write([PACKET], 1.0))
        assert receive(1) is None  # the initiation
        assert receive(0) is None  # the response
        assert receive(1) == PACKET
        send(1, ends[1][2].write([PACKET], 1.0))
        assert receive(0) == PACKET
    finally:
        for bound, _, _ in ends:
            bound.close()


def test_up_down() -> None:
    """TestUpDown: ten times fifty random ups and downs with keepalives on; nothing is left, nothing stuck."""
    generator = random.Random(7)
    for round_number in range(10):
        client, server = pair(persistent_keepalive=5)
        server.endpoint = CLIENT
        now = 0.0
        for _ in range(50):
            now += generator.random() * 10
            for end, other, source, back in ((client, server, CLIENT, SERVER), (server, client, SERVER, CLIENT)):
                if generator.random() < 0.3:
                    end.down()
                    assert not end.local.sessions
                    assert not end.local.pending
                wire = end.up(now) if generator.random() < 0.5 else end.tick(now).datagrams
                for datagram in wire:
                    for answer in other.read(datagram.data, source, now).datagrams:
                        end.read(answer.data, back, now)
        client.down()
        server.down()
        connect(client, server, now + 10.0 + round_number)


def test_concurrency_safety() -> None:
    """TestConcurrencySafety: traffic while keepalive, key and endpoint change, under the one lock the core asks for."""
    ours, theirs = device(ALICE, seed=1), device(BOB, seed=2)
    bob = ours.add_peer(BOB.public_key(), EVERYWHERE, endpoint=SERVER)
    alice = theirs.add_peer(ALICE.public_key(), EVERYWHERE)
    connect(bob, alice)
    lock = threading.Lock()
    failures: list[BaseException] = []
    delivered = 0

    def traffic() -> None:
        nonlocal delivered
        for step in range(200):
            with lock:
                now = 1.0 + step / 100
                for datagram in ours.write([PACKET], now):
                    received = theirs.read(datagram.data, CLIENT, now)
                    delivered += received.packet is not None
                    for answer in received.datagrams:
                        for confirmation in ours.read(answer.data, SERVER, now).datagrams:
                            delivered += theirs.read(confirmation.data, CLIENT, now).packet is not None

    def change() -> None:
        for step in range(100):
            with lock:
                bob.set_persistent_keepalive(step % 3, 1.0)
                bob.endpoint = ("198.51.100.1", 1000 + step)
            with lock:
                ours.set_private_key(PrivateKey(b"wrong one" + bytes(23)))
                ours.set_private_key(ALICE)

    def guarded(work: object) -> None:
        try:
            assert callable(work)
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=[work]) for work in (traffic, traffic, change)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert delivered > 0
    assert isinstance(bob, Tunnel)


def test_responses_parse() -> None:
    """Part of TestNoiseHandshake: a response names both indices."""
    client, server = pair()
    (initiation,) = client.force_handshake(0.0)
    (response,) = server.read(initiation.data, CLIENT, 0.0).datagrams
    message = Response.parse(response.data)
    assert message.receiver == Initiation.parse(initiation.data).sender
    assert message.sender in server.local.sessions
