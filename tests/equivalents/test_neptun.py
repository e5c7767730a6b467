"""NepTUN: what it adds to BoringTun's tests."""

import pytest

from tests.support.link import Impairment, Network
from tests.support.peers import CLIENT, PACKET, SERVER, connect, pair
from wiresock_py.crypto.keys import PrivateKey
from wiresock_py.crypto.tunnel import Tunnel


def initiations(client: Tunnel, start: float, until: float) -> int:
    count = 0
    now = start
    while now <= until:
        count += sum(datagram.data[0] == 1 for datagram in client.tick(now).datagrams)
        now += 0.1
    return count


@pytest.mark.parametrize("pause", [90.0, 540.0])
def test_no_handshake_if_no_keepalive(pause: float) -> None:
    """no_handshake_if_no_keepalive, after 90 s and after 540 s as well: it stays silent."""
    client, server = pair()
    connect(client, server)
    assert initiations(client, 0.0, pause + 200.0) == 0


@pytest.mark.parametrize("pause", [90.0, 540.0])
def test_handshake_if_keepalive(pause: float) -> None:
    """handshake_if_keepalive: with a persistent keepalive and nobody answering it starts over again and again."""
    client, server = pair(persistent_keepalive=25)
    connect(client, server)
    initiations(client, 0.0, pause)
    assert initiations(client, pause, pause + 200.0) > 5


def test_long_running_streams() -> None:
    """test_long_running_streams: byte counters go beyond 32 bits without a thought."""
    client, server = pair()
    connect(client, server)
    client.sealed(1.0, 4_000_000, 4_000_000 * 1452, True)
    assert client.stats(1.0).tx_bytes > 2**32
    assert client.stats(1.0).tx_packets == 4_000_001


def test_key_parsing() -> None:
    """Key parsing: 44 characters of base64 and nothing else."""
    text = PrivateKey(bytes(range(32))).to_base64()
    assert len(text) == 44
    for wrong in (text[:-1], text + "A", text[:43], bytes(range(32)).hex()):
        with pytest.raises(ValueError, match="key"):
            PrivateKey.from_base64(wrong)


def test_traffic_flows_after_reject_after_time() -> None:
    """traffic_flows_after_reject_after_time: a pause of over 180 s costs a handshake and no packet."""
    client, server = pair()
    network = Network(client, server, Impairment(delay=0.01))
    for at in (0.0, 181.0, 400.0, 1000.0):
        network.run_until(at)
        network.send(CLIENT, [PACKET])
    network.run_until(1010.0)
    assert network.delivered[SERVER] == [PACKET] * 4
    assert network.rekeys == 4
