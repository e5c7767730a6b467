"""gotatun: what it adds to BoringTun's tests."""

from collections.abc import Iterable
from ipaddress import ip_address

import pytest

from tests.support.link import Impairment, Network
from tests.support.peers import ALICE, BOB, CLIENT, EVERYWHERE, PACKET, SERVER, connect, device, kinds, pair
from tests.vectors.cookies import put_under_load
from wiresock_py.crypto.cookie import CookieGenerator
from wiresock_py.crypto.device import Device
from wiresock_py.crypto.drops import Drop
from wiresock_py.crypto.keys import PresharedKey, PrivateKey
from wiresock_py.crypto.ratelimiter import RateLimiter
from wiresock_py.crypto.results import Datagram
from wiresock_py.crypto.tunnel import Tunnel

PSK = PresharedKey(b"p" * 32)


def server_under_load() -> tuple[Tunnel, Device]:
    server = device(BOB, seed=2)
    server.add_peer(ALICE.public_key(), EVERYWHERE)
    put_under_load(server, 0.0)
    client = device(ALICE, seed=1).add_peer(BOB.public_key(), EVERYWHERE, endpoint=SERVER)
    return client, server


def test_verify_handshake() -> None:
    """verify_handshake: mac1 of a genuine initiation is good."""
    client, server = pair()
    (initiation,) = client.force_handshake(0.0)
    assert server.local.gate.admit(initiation.data, CLIENT, 0.0, []) is None


def test_verify_cookie_reply() -> None:
    """verify_cookie_reply: over the limit there is a cookie, and with it the handshake is accepted."""
    client, server = server_under_load()
    (initiation,) = client.force_handshake(0.0)
    refused = server.read(initiation.data, CLIENT, 0.0)
    assert refused.drop is Drop.COOKIE_REQUIRED
    assert client.local.read(refused.datagrams[0].data, SERVER, 0.0).drop is None
    (again,) = client.run_timers(5.334)
    put_under_load(server, 5.334)
    assert server.gate.under_load(5.334)
    assert kinds(server.read(again.data, CLIENT, 5.334).datagrams) == [2]


def test_reject_handshake() -> None:
    """reject_handshake: with the MACs of another key it is dropped."""
    client, server = pair()
    (initiation,) = client.force_handshake(0.0)
    swapped = CookieGenerator(ALICE.public_key()).add_macs(bytes(initiation.data[:116]), 0.0)
    assert server.read(swapped, CLIENT, 0.0).drop is Drop.BAD_MAC1


def test_handshake_jitter_applied() -> None:
    """handshake_jitter_applied: the retry comes at 5 s and its jitter, not a millisecond before."""
    client, _ = pair()
    client.force_handshake(0.0)
    due = client.timers.deadline
    assert 5.0 <= due <= 5.333
    assert client.tick(due - 0.001).datagrams == []
    assert kinds(client.tick(due).datagrams) == [1]
    assert len({pair_jitter(seed) for seed in range(20)}) == 20


def pair_jitter(seed: int) -> float:
    tunnel = device(ALICE, seed=seed).add_peer(BOB.public_key(), endpoint=SERVER)
    tunnel.force_handshake(0.0)
    return tunnel.timers.deadline


def test_keepalive_is_not_answered_with_keepalive() -> None:
    """keepalive_is_not_answered_with_keepalive."""
    client, server = pair()
    connect(client, server)
    assert client.tick(60.0).datagrams == []
    assert server.tick(60.0).datagrams == []


class TestBackwardJumps:
    """update_timers_handles_backward_time_jump and its two neighbours."""

    def test_update_timers_handles_backward_time_jump(self) -> None:
        client, server = pair(persistent_keepalive=25)
        connect(client, server)
        client.tick(100.0)
        assert client.tick(3.0).datagrams == []

    def test_time_since_last_handshake_doesnt_decrease_on_backward_jump(self) -> None:
        client, server = pair()
        connect(client, server)
        client.tick(100.0)
        before = client.stats(100.0).handshake_age
        assert client.stats(3.0).handshake_age == before == 100.0

    def test_timers_freeze_during_backward_jump(self) -> None:
        client, server = pair()
        connect(client, server, 100.0)
        client.write([PACKET], 100.0)
        for now in (0.0, 50.0, 99.0, 114.9):
            assert client.tick(now).datagrams == []
        assert kinds(client.tick(115.4).datagrams) == [1]


def test_outgoing_packet_refused_after_message_limit() -> None:
    """outgoing_packet_refused_after_message_limit: limit - 1 goes out, the next becomes an initiation."""
    client, server = pair()
    connect(client, server)
    assert client.slots.current is not None
    client.slots.current.counter = 2**64 - 2**13 - 2
    client.timers.handshake_not_before = 100.0
    assert kinds(client.write([PACKET], 10.0)) == [4]
    client.timers.handshake_not_before = 0.0
    assert kinds(client.write([PACKET], 10.0)) == [1]


def test_receive_rejects_counter_at_reject_after_messages() -> None:
    """test_receive_rejects_counter_at_reject_after_messages."""
    client, server = pair()
    connect(client, server)
    session = client.slots.current
    assert session is not None
    for counter, outcome in ((2**64 - 2**13 - 1, Drop.COUNTER_LIMIT), (2**64 - 2**13 - 2, None)):
        nonce = bytes(4) + counter.to_bytes(8, "little")
        sealed = bytearray(len(PACKET) + 16)
        session.sealer.encrypt_into(nonce, PACKET, None, sealed)
        datagram = session.header + nonce[4:] + sealed
        assert server.read(datagram, CLIENT, 1.0).drop is outcome


class TestPresharedKeys:
    """PSK: matching, one-sided, different, and "change affects only the next session"."""

    @pytest.mark.parametrize(
        ("ours", "theirs", "works"),
        [(PSK, PSK, True), (PSK, None, False), (None, PSK, False), (PSK, PresharedKey(b"q" * 32), False)],
    )
    def test_agreement(self, ours: PresharedKey | None, theirs: PresharedKey | None, works: bool) -> None:
        client, server = pair()
        client.set_preshared_key(ours)
        server.set_preshared_key(theirs)
        (initiation,) = client.force_handshake(0.0)
        (response,) = server.read(initiation.data, CLIENT, 0.0).datagrams
        assert client.read(response.data, SERVER, 0.0).drop is (None if works else Drop.BAD_HANDSHAKE)

    def test_change_affects_only_the_next_session(self) -> None:
        client, server = pair(preshared_key=PSK)
        connect(client, server)
        for end in (client, server):
            end.set_preshared_key(PresharedKey(b"q" * 32))
        (datagram,) = client.write([PACKET], 1.0)
        assert server.read(datagram.data, CLIENT, 1.0).drop is None
        connect(client, server, 10.0)


def test_per_ip_rate_limiting_isolation() -> None:
    """per_ip_rate_limiting_isolation: one source at its limit does not touch another."""
    limiter = RateLimiter()
    assert [limiter.allow(("192.0.2.1", 1), 0.0) for _ in range(6)][-1] is False
    assert limiter.allow(("192.0.2.2", 1), 0.0)


def test_index_reuse_on_drop() -> None:
    """Index reuse on drop: a freed index may be drawn again, one in use never."""
    ours = device(ALICE, random=lambda size: bytes([7]) * size)
    bob = ours.add_peer(BOB.public_key(), endpoint=SERVER)
    (first,) = bob.force_handshake(0.0)
    (second,) = bob.force_handshake(10.0)
    assert first.data[4:8] == second.data[4:8]


class TestWithAnEavesdropper:
    """The device-level tests that watch the wire."""

    def talk(self, packets: int) -> tuple[Network, list[bytes]]:
        client, server = pair()
        network = Network(client, server, Impairment(delay=0.01))
        seen: list[bytes] = []
        carry = network.carry

        def watch(source: object, datagrams: Iterable[Datagram]) -> None:
            datagrams = list(datagrams)
            seen.extend(bytes(datagram.data) for datagram in datagrams)
            carry(source, datagrams)

        network.carry = watch  # type: ignore[method-assign]
        network.send(CLIENT, [PACKET])
        network.run_until(1.0)
        for _ in range(packets - 1):
            network.send(CLIENT, [PACKET])
        network.run_until(60.0)
        return network, seen

    def test_number_of_packets(self) -> None:
        """number_of_packets: n packets cost n + 3 datagrams: initiation, response, and one keepalive in answer."""
        network, seen = self.talk(20)
        assert len(network.delivered[SERVER]) == 20
        assert len(seen) == 20 + 3

    def test_one_handshake(self) -> None:
        """one_handshake: exactly one initiation and one response."""
        _, seen = self.talk(20)
        assert [data[0] for data in seen].count(1) == [data[0] for data in seen].count(2) == 1

    def test_one_keepalive(self) -> None:
        """one_keepalive: exactly one, ten seconds after the data."""
        _, seen = self.talk(20)
        assert [len(data) for data in seen].count(32) == 1

    def test_wg_data_length_is_x16(self) -> None:
        """wg_data_length_is_x16: without an MTU every payload is a multiple of 16."""
        client, server = pair()
        connect(client, server)
        for size in range(20, 200):
            (datagram,) = client.write([b"\x45" + bytes(size - 1)], 1.0)
            assert len(datagram.data) % 16 == 0

    def test_indices(self) -> None:
        """test_indices: each side's datagrams carry the index the other chose."""
        _, seen = self.talk(5)
        initiation, response = seen[:2]
        ours, theirs = initiation[4:8], response[4:8]
        assert response[8:12] == ours
        assert ours != theirs
        assert {data[4:8] for data in seen[2:]} == {ours, theirs}

    def test_endpoint_roaming(self) -> None:
        """test_endpoint_roaming."""
        client, server = pair()
        connect(client, server)
        for port in (1000, 2000):
            (datagram,) = client.write([PACKET], 1.0)
            server.read(datagram.data, ("203.0.113.1", port), 1.0)
            assert server.write([PACKET], 1.0)[0].endpoint == ("203.0.113.1", port)


def test_reverse_path_rejects_source_owned_by_another_peer() -> None:
    """reverse_path_rejects_source_owned_by_another_peer."""
    from ipaddress import ip_network

    theirs = device(BOB, seed=2)
    alice = theirs.add_peer(ALICE.public_key(), EVERYWHERE)
    theirs.add_peer(PrivateKey(b"c" * 32).public_key(), [ip_network(f"{ip_address(PACKET[12:16])}/32")])
    bob = device(ALICE, seed=1).add_peer(BOB.public_key(), EVERYWHERE, endpoint=SERVER)
    connect(bob, alice)
    (datagram,) = bob.write([PACKET], 1.0)
    assert theirs.read(datagram.data, CLIENT, 1.0).drop is Drop.INNER_SOURCE


class TestSuspend:
    """suspend_and_resume, reconfigure_while_suspended_stays_down."""

    def test_suspend_and_resume(self) -> None:
        ours, theirs = device(ALICE, seed=1), device(BOB, seed=2)
        bob = ours.add_peer(BOB.public_key(), EVERYWHERE, endpoint=SERVER, persistent_keepalive=25)
        connect(bob, theirs.add_peer(ALICE.public_key(), EVERYWHERE))
        ours.down()
        assert ours.tick(10_000.0).datagrams == []
        (initiation,) = ours.up(10_000.0)
        assert kinds(theirs.read(initiation.data, CLIENT, 10_000.0).datagrams) == [2]

    def test_reconfigure_while_suspended_stays_down(self) -> None:
        ours = device(ALICE)
        bob = ours.add_peer(BOB.public_key(), EVERYWHERE, endpoint=SERVER, persistent_keepalive=25)
        ours.down()
        bob.set_preshared_key(PSK)
        ours.set_allowed_ips(bob, EVERYWHERE)
        bob.set_persistent_keepalive(10, 5.0)
        assert ours.tick(100.0).datagrams == []


def test_oversized_datagram_does_not_crash_receiver() -> None:
    """oversized_datagram_does_not_crash_receiver: 65,535 bytes, garbage or authentic."""
    client, server = pair()
    connect(client, server)
    assert server.read(b"\4\0\0\0" + bytes(65_531), CLIENT, 1.0).drop is Drop.UNKNOWN_SESSION
    large = b"\x45\x00" + (65_000).to_bytes(2, "big") + bytes(64_996)
    (datagram,) = client.write([large], 1.0)
    packet = server.read(datagram.data, CLIENT, 1.0).packet
    assert packet is not None
    assert bytes(packet) == large
