"""A thousand rekeys with traffic in flight: not one packet is lost to a switch of keys."""

import pytest

from tests.support.link import Impairment, Network
from tests.support.peers import CLIENT, PACKET, SERVER, pair


def numbered(number: int) -> bytes:
    return PACKET[:-4] + number.to_bytes(4, "big")


@pytest.mark.parametrize(("rekeys", "jitter"), [(1000, 0.2), (100, 0.0)], ids=["reordered", "in order"])
def test_a_thousand_rekeys_lose_no_packet(rekeys: int, jitter: float) -> None:
    """Both ends send all around the moment at which the client, the initiator, renews the keys by age.

    The link is sound but slow: 0.1 to 0.3 s each way, so every switch happens with dozens of packets on the way, before
    and after the response and the confirmation.
    """
    client, server = pair()
    network = Network(client, server, Impairment(delay=0.1, jitter=jitter), seed=1)
    number = 0
    network.send(CLIENT, [numbered(number)])
    network.run_until(1.0)
    for round_number in range(rekeys):
        started = client.stats(network.now).handshake_age
        assert started is not None
        network.run_until(network.now + 120.0 - started - 0.3)
        for _ in range(10):
            for place in (CLIENT, SERVER):
                number += 1
                network.send(place, [numbered(number)])
            network.run_until(network.now + 0.06)
        network.run_until(network.now + 1.0)
        assert network.rekeys == round_number + 2
    assert network.rekeys == rekeys + 1
    for place, other in ((CLIENT, SERVER), (SERVER, CLIENT)):
        assert sorted(network.delivered[place]) == sorted(network.sent[other])
    for end in network.ends.values():
        assert set(end.drops) == set()


def test_crossing_rekeys_always_leave_sessions_that_work() -> None:
    """Both ends initiate at once, again and again: whichever session each ends up with, the other understands it.

    What is on the way on the *old* keys may be lost here: whoever gets a response while it holds an unconfirmed session
    of its own gives up the old one (see ``slots.py``), as the kernel does.
    """
    client, server = pair()
    server.endpoint = CLIENT
    network = Network(client, server, Impairment(delay=0.05, jitter=0.1), seed=2)
    number = 0
    for round_number in range(200):
        network.run_until(round_number * 6.0)
        for place in (CLIENT, SERVER):
            network.carry(place, network.ends[place].force_handshake(network.now))
        network.run_until(network.now + 1.0)
        for place in (CLIENT, SERVER, CLIENT):
            number += 1
            network.send(place, [numbered(number)])
        network.run_until(network.now + 1.0)
        assert network.rekeys == 2 * (round_number + 1)
        for place, other in ((CLIENT, SERVER), (SERVER, CLIENT)):
            assert sorted(network.delivered[place]) == sorted(network.sent[other])
