"""What stats tell, seen from a tunnel."""

import pytest

from tests.support.peers import CLIENT, SERVER, carry, numbered, pair
from wiresock_py.crypto.tunnel import Tunnel


def test_stats_count_udp_payloads_handshakes_included(ends: tuple[Tunnel, Tunnel]) -> None:
    client, server = ends
    carry(client.write(numbered(10), 1.0), server, CLIENT, 1.0)
    ours, theirs = client.stats(2.0), server.stats(2.0)
    assert (ours.tx_bytes, ours.rx_bytes) == (148 + 32 + 10 * 64, 92)
    assert (theirs.rx_bytes, theirs.tx_bytes) == (ours.tx_bytes, ours.rx_bytes)
    assert (ours.tx_packets, theirs.rx_packets) == (11, 11)
    assert ours.handshake_age == 2.0


def test_the_handshakes_round_trip_is_from_the_answered_initiation() -> None:
    client, server = pair()
    client.force_handshake(0.0)
    (retry,) = client.tick(5.4).datagrams
    (response,) = server.read(retry.data, CLIENT, 5.5).datagrams
    client.read(response.data, SERVER, 5.65)
    assert client.stats(6.0).handshake_rtt == pytest.approx(0.25)
    assert server.stats(6.0).handshake_rtt is None


def test_loss_is_estimated_from_the_counters_that_never_came(ends: tuple[Tunnel, Tunnel]) -> None:
    client, server = ends
    assert server.stats(1.0).loss == 0.0
    sent = client.write(numbered(199), 1.0)
    carry(sent[:50] + sent[100:], server, CLIENT, 1.0)
    assert server.stats(1.0).loss == pytest.approx(50 / 200)
