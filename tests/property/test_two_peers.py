"""Two peers over a bad link: what is delivered is authentic and delivered once, and it always gets well again.

The bounds are the protocol's. A peer that lost its session says nothing, so the other notices after 15 s of silence and
its jitter; its initiation may meet the 5 s gap after one that was lost just before. After that a handshake on a sound
link takes one round trip.
"""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.link import ATTACKER, Impairment, Network
from tests.support.peers import CLIENT, PACKET, SERVER, pair

RECOVERY = 15.334 + 5.334 + 1.0


def numbered(number: int) -> bytes:
    return PACKET[:-4] + number.to_bytes(4, "big")


def check_bounds(network: Network) -> None:
    """No state grows, whatever arrives."""
    for end in network.ends.values():
        assert end.stats(network.now).staged <= 128
        assert len(end.local.sessions) <= 3
        assert len(end.local.pending) <= 1
        assert len(end.local.events) <= 1024
        assert end.endpoint != ATTACKER


def check_deliveries(network: Network) -> None:
    """All of it was sent by the other end, and nothing came twice."""
    for place, other in ((CLIENT, SERVER), (SERVER, CLIENT)):
        delivered = network.delivered[place]
        assert len(delivered) == len(set(delivered))
        assert set(delivered) <= set(network.sent[other])


class Talk:
    """Both ends talk, each in its own rhythm."""

    def __init__(self, network: Network, gaps: tuple[float, float]) -> None:
        self.network = network
        self.gaps = dict(zip((CLIENT, SERVER), gaps, strict=True))
        self.next = dict.fromkeys((CLIENT, SERVER), 0.0)
        self.number = 0

    def until(self, end: float) -> None:
        self.next = {place: max(at, self.network.now) for place, at in self.next.items()}
        while (at := min(self.next.values())) < end:
            self.network.run_until(at)
            for place in self.next:
                if self.next[place] <= at:
                    self.next[place] = at + self.gaps[place]
                    self.number += 1
                    self.network.send(place, [numbered(self.number)])
        self.network.run_until(end)


def check_everything_arrives(talk: Talk, seconds: float) -> None:
    network = talk.network
    network.run_until(network.now + 1.0)  # what is on the way comes first
    for place in network.sent:
        network.sent[place].clear()
        network.delivered[place].clear()
    talk.until(network.now + seconds)
    network.run_until(network.now + 1.0)
    assert sorted(network.delivered[SERVER]) == sorted(network.sent[CLIENT])
    assert sorted(network.delivered[CLIENT]) == sorted(network.sent[SERVER])


PART = st.floats(0, 0.7)
GAP = st.floats(0.5, 40)


@settings(max_examples=40, deadline=None)
@given(
    loss=PART,
    duplication=PART,
    corruption=PART,
    delay=st.floats(0, 2),
    jitter=st.floats(0, 8),
    echo=PART,
    gaps=st.tuples(GAP, GAP),
    length=st.floats(20, 600),
    keepalive=st.sampled_from([0, 2, 25]),
    seed=st.integers(0, 2**32),
)
def test_a_bad_link_delivers_nothing_false_and_a_sound_one_everything(
    loss: float,
    duplication: float,
    corruption: float,
    delay: float,
    jitter: float,
    echo: float,
    gaps: tuple[float, float],
    length: float,
    keepalive: float,
    seed: int,
) -> None:
    client, server = pair(persistent_keepalive=keepalive)
    bad = Impairment(loss, duplication, corruption, delay, jitter, echo)
    network = Network(client, server, bad, seed)
    network.after_each_step = check_bounds
    talk = Talk(network, gaps)
    talk.until(length)
    check_deliveries(network)

    # The link gets well; once what was still on the way has come, both ends hear each other within the bound.
    network.impairment = Impairment(delay=0.01)
    network.run_until(length + delay + jitter + 0.1)
    talk.gaps = dict.fromkeys(talk.gaps, 1.0)
    talk.until(network.now + RECOVERY)
    check_everything_arrives(talk, 60.0)


@settings(max_examples=20, deadline=None)
@given(
    pause=st.floats(1, 2000),
    forgetful=st.sampled_from(["client", "server", "both"]),
    seed=st.integers(0, 2**32),
)
def test_an_end_that_forgot_everything_is_picked_up_again(pause: float, forgetful: str, seed: int) -> None:
    """A restarted server, a resumed laptop: the sessions of one end are gone, the other does not know."""
    client, server = pair()
    network = Network(client, server, Impairment(jitter=0.2), seed)
    talk = Talk(network, (1.0, 1.0))
    talk.until(30.0)
    if forgetful != "server":
        client.down()
    if forgetful != "client":
        server.down()
    network.run_until(30.0 + pause)
    talk.until(network.now + RECOVERY)
    check_everything_arrives(talk, 30.0)


@settings(max_examples=20, deadline=None)
@given(steps=st.lists(st.floats(-400, 400), max_size=8), seed=st.integers(0, 2**32))
def test_clocks_that_jump_break_nothing_for_good(steps: list[float], seed: int) -> None:
    """One end's clock leaps ahead and back; both go on, and when it runs on evenly all is well again."""
    client, server = pair()
    now = {CLIENT: 0.0, SERVER: 0.0}
    offset = 0.0
    latest = 0.0
    for number, step in enumerate([*steps, *[0.0] * 80]):
        now[SERVER] += 1.0
        offset += step
        now[CLIENT] = now[SERVER] + offset
        latest = max(latest, now[CLIENT])
        offset = max(offset, latest - now[SERVER]) if number >= len(steps) else offset
        now[CLIENT] = now[SERVER] + offset
        wire = [(SERVER, datagram) for datagram in client.tick(now[CLIENT]).datagrams]
        wire += [(CLIENT, datagram) for datagram in server.tick(now[SERVER]).datagrams]
        wire += [(SERVER, datagram) for datagram in client.write([numbered(number)], now[CLIENT])]
        delivered = []
        while wire:
            place, datagram = wire.pop(0)
            end, source, back = (server, CLIENT, CLIENT) if place == SERVER else (client, SERVER, SERVER)
            received = end.read(datagram.data, source, now[place])
            if received.packet is not None:
                delivered.append(bytes(received.packet))
            wire += [(back, answer) for answer in received.datagrams]
    assert delivered[-1:] == [numbered(number)]
