"""One peer: what is sent when. The exact moments are in the vectors (``timer_scenarios``, ``keypair_rotation``)."""

import pytest

from tests.support.peers import (
    ALICE,
    BOB,
    CLIENT,
    PACKET,
    SERVER,
    CountingRandom,
    WallClock,
    carry,
    connect,
    datagrams_of,
    kinds,
    numbered,
    packets_of,
    pair,
)
from wiresock_py.crypto.drops import Drop
from wiresock_py.crypto.results import Event
from wiresock_py.crypto.tunnel import Tunnel

ELSEWHERE = ("203.0.113.9", 9)


# Rekeying


def test_data_goes_first_and_the_initiation_of_a_rekey_second(ends: tuple[Tunnel, Tunnel]) -> None:
    client, _ = ends
    assert kinds(client.write(numbered(2), 119.9)) == [4, 4]
    assert kinds(client.write(numbered(2), 120.0)) == [4, 4, 1]


def test_both_ends_rekey_after_2_to_60_messages(ends: tuple[Tunnel, Tunnel]) -> None:
    for end in ends:
        assert end.slots.current is not None
        end.slots.current.counter = 2**60 - 1
        assert kinds(end.write([PACKET], 10.0)) == [4]  # the 2**60th message
        assert kinds(end.write([PACKET], 10.0)) == [4, 1]


def test_at_the_counter_limit_the_rest_of_a_batch_waits_for_the_next_session(ends: tuple[Tunnel, Tunnel]) -> None:
    client, server = ends
    assert client.slots.current is not None
    client.slots.current.counter = 2**64 - 2**13 - 1 - 2
    packets = numbered(5)
    sent = client.write(packets, 10.0)
    assert kinds(sent) == [4, 4, 1]
    received = carry(sent, server, CLIENT, 10.0)
    released = client.read(datagrams_of(received)[0].data, SERVER, 10.0).datagrams
    received += carry(released, server, CLIENT, 10.0)
    assert packets_of(received) == packets


def test_staged_packets_beyond_the_counter_limit_wait_on(ends: tuple[Tunnel, Tunnel]) -> None:
    client, _ = ends
    client.endpoint = None
    client.write(numbered(5), 10.0)
    assert client.slots.current is not None
    client.slots.current.counter = 2**64 - 2**13 - 1 - 2
    client.endpoint = SERVER
    sent = client.tick(10.0).datagrams + client._flush(10.0)
    assert kinds(sent) == [4, 4, 1]
    assert client.stats(10.0).staged == 3


def test_an_initiator_that_only_receives_rekeys_once_at_165_seconds(ends: tuple[Tunnel, Tunnel]) -> None:
    client, server = ends
    for now, expected in ((164.9, []), (165.0, [1]), (166.0, []), (175.0, [])):
        (datagram,) = server.write([PACKET], now)
        assert kinds(client.read(datagram.data, SERVER, now).datagrams) == expected


def test_a_late_packet_of_the_last_session_renews_none(ends: tuple[Tunnel, Tunnel]) -> None:
    """The age that counts is that of the session we send on, not of the one a packet happened to use."""
    client, server = ends
    (late,) = server.write([PACKET], 110.0)
    connect(client, server, 120.0)
    assert client.read(late.data, SERVER, 170.0).datagrams == []


def test_crossing_initiations_give_both_ends_a_session_at_once() -> None:
    client, server = pair()
    server.endpoint = CLIENT
    (ours,) = client.force_handshake(0.0)
    (theirs,) = server.force_handshake(0.0)
    (our_response,) = client.read(theirs.data, SERVER, 0.1).datagrams
    (their_response,) = server.read(ours.data, CLIENT, 0.1).datagrams
    confirmations = client.read(their_response.data, SERVER, 0.2).datagrams
    answers = server.read(our_response.data, CLIENT, 0.2).datagrams
    assert [received.drop for received in carry(confirmations, server, CLIENT, 0.3)] == [None]
    assert [received.drop for received in carry(answers, client, SERVER, 0.3)] == [None]
    for sender, receiver, source in ((client, server, CLIENT), (server, client, SERVER)):
        assert packets_of(carry(sender.write([PACKET], 0.4), receiver, source, 0.4)) == [PACKET]


def test_a_retry_in_the_shadow_of_a_response_comes_later_not_never() -> None:
    client, server = pair()
    server.endpoint = CLIENT
    client.write([PACKET], 0.0)
    (theirs,) = server.force_handshake(4.0)
    client.read(theirs.data, SERVER, 4.0)  # our response is lost; it also holds our retry back
    assert client.tick(5.5).datagrams == []
    retries = [now for now in (8.9, 9.4) if kinds(client.tick(now).datagrams) == [1]]
    assert retries == [9.4]


@pytest.mark.parametrize(("byte", "deadline"), [(b"\0", 5.0), (b"\xff", 5.333)])
def test_jitter_covers_a_third_of_a_second(byte: bytes, deadline: float) -> None:
    drawn = iter([byte * 4] * 2)
    client = Tunnel(
        ALICE,
        BOB.public_key(),
        wall_clock=WallClock(),
        random=lambda size: next(drawn) if size == 4 else bytes([7]) * size,
        endpoint=SERVER,
    )
    client.force_handshake(0.0)
    assert client.tick(0.0).deadline == pytest.approx(deadline, abs=1e-6)


# Giving up


def run(tunnel: Tunnel, start: float, until: float) -> tuple[list[float], list[Event]]:
    """The times at which initiations left, and the events, with nobody answering."""
    times, events = [], []
    now = start
    while True:
        ticked = tunnel.tick(now)
        times += [now] * len(ticked.datagrams)
        events += [event for _, event in ticked.events]
        if ticked.deadline > until:
            return times, events
        now = ticked.deadline


def test_twenty_initiations_then_the_peer_is_gone_and_the_packets_with_it() -> None:
    client, _ = pair()
    client.write(numbered(3), 0.0)
    times, events = run(client, 0.0, 120.0)
    assert len(times) == 19
    assert 90 <= times[-1] <= 19 * 5.334
    assert events == [Event.UNANSWERED] * 19 + [Event.GONE]
    assert client.stats(120.0).staged == 0
    assert client.drops[Drop.GAVE_UP] == 3


def test_traffic_after_giving_up_starts_over() -> None:
    client, server = pair()
    client.write([PACKET], 0.0)
    run(client, 0.0, 120.0)
    (initiation,) = client.write(numbered(1), 200.0)
    (response,) = server.read(initiation.data, CLIENT, 200.0).datagrams
    released = client.read(response.data, SERVER, 200.0).datagrams
    assert packets_of(carry(released, server, CLIENT, 200.0)) == numbered(1)


def test_traffic_after_giving_up_is_tried_for_as_long_as_the_first() -> None:
    client, _ = pair()
    client.write([PACKET], 0.0)
    run(client, 0.0, 120.0)
    client.write([PACKET], 200.0)
    times, events = run(client, 200.0, 320.0)
    assert len(times) == 19
    assert events[-1] is Event.GONE


def test_a_handshake_given_up_is_erased_540_seconds_later() -> None:
    client, server = pair()
    (initiation,) = client.force_handshake(0.0)
    times, _ = run(client, 0.0, 120.0)
    assert client.local.pending
    _, events = run(client, 120.0, times[-1] + 5.334 + 540.0)
    assert events == [Event.ERASED]
    assert not client.local.pending
    (response,) = server.read(initiation.data, CLIENT, 800.0).datagrams
    assert client.read(response.data, SERVER, 800.0).drop is Drop.UNKNOWN_HANDSHAKE


def test_a_short_persistent_keepalive_never_stops_trying() -> None:
    client, _ = pair(persistent_keepalive=2)
    client.up(0.0)
    times, _ = run(client, 0.0, 600.0)
    gaps = [later - earlier for earlier, later in zip([0.0, *times], times, strict=False)]
    assert len(times) > 80
    assert all(5.0 <= gap < 8.0 for gap in gaps)


def test_a_persistent_keepalive_outlives_a_response_that_was_lost() -> None:
    """It fires while our response holds back initiations, so it sends nothing, and must come again by itself."""
    client, server = pair()
    server.set_persistent_keepalive(2, 0.0)
    server.down()
    (initiation,) = client.force_handshake(0.0)
    server.read(initiation.data, CLIENT, 0.0)
    times, _ = run(server, 0.0, 7.0)
    assert times == [6.0]


def test_a_persistent_keepalive_waits_for_an_endpoint_for_ever() -> None:
    _, server = pair()
    server.timers.persistent = 25
    assert server.up(0.0) == []
    run(server, 0.0, 500.0)
    server.endpoint = CLIENT
    times, _ = run(server, 500.0, 525.0)
    assert times


@pytest.mark.parametrize("handshake", ["initiation", "response"])
def test_a_handshake_message_ends_the_silence(ends: tuple[Tunnel, Tunnel], handshake: str) -> None:
    client, server = ends
    client.write([PACKET], 20.0)
    if handshake == "initiation":
        (initiation,) = server.force_handshake(30.0)
        client.read(initiation.data, SERVER, 30.0)
    else:
        (initiation,) = client.force_handshake(30.0)
        (response,) = server.read(initiation.data, CLIENT, 30.0).datagrams
        client.read(response.data, SERVER, 30.0)
    assert run(client, 30.0, 50.0)[0] == []


def test_a_responders_handshake_is_complete_with_the_first_packet() -> None:
    client, server = pair()
    server.endpoint = CLIENT
    server.force_handshake(0.0)  # lost; its retry is not needed any more
    (initiation,) = client.force_handshake(1.0)
    (response,) = server.read(initiation.data, CLIENT, 1.0).datagrams
    assert server.tick(1.0).events == []
    assert server.stats(1.0).handshake_age is None
    (confirmation,) = client.read(response.data, SERVER, 2.0).datagrams
    server.read(confirmation.data, CLIENT, 2.0)
    assert server.stats(3.0).handshake_age == 1.0
    assert run(server, 2.0, 60.0) == ([], [Event.CONNECTED])


def test_silence_forgets_the_way_and_says_so(ends: tuple[Tunnel, Tunnel]) -> None:
    client, _ = ends
    client.tick(0.0)
    client.write([PACKET], 20.0)
    ticked = client.tick(35.4)
    assert kinds(ticked.datagrams) == [1]
    assert [event for _, event in ticked.events] == [Event.UNANSWERED]


# Keepalives


def test_turning_the_persistent_keepalive_on_sends_one_at_once(ends: tuple[Tunnel, Tunnel]) -> None:
    client, _ = ends
    assert [len(datagram.data) for datagram in client.set_persistent_keepalive(25, 10.0)] == [32]
    assert client.set_persistent_keepalive(30, 11.0) == []
    assert [now for now in (34.9, 35.0, 64.9, 65.0) if client.tick(now).datagrams] == [35.0, 65.0]
    client.set_persistent_keepalive(0, 66.0)
    assert client.tick(100.0).datagrams == []


def test_a_pending_keepalive_becomes_the_waiting_data() -> None:
    client, server = pair()
    (initiation,) = client.force_handshake(0.0)
    (response,) = server.read(initiation.data, CLIENT, 0.0).datagrams
    client.write([PACKET], 0.1)
    assert [len(datagram.data) for datagram in client.read(response.data, SERVER, 0.2).datagrams] == [64]


# Clocks


def test_a_clock_that_steps_back_stops_time_until_it_has_caught_up(ends: tuple[Tunnel, Tunnel]) -> None:
    client, server = ends
    (data,) = client.write([PACKET], 100.0)
    server.read(data.data, CLIENT, 100.0)
    assert client.tick(30.0).datagrams == []
    assert kinds(client.write([PACKET], 20.0)) == [4]
    assert client.stats(20.0).handshake_age == 100.0
    assert server.tick(99.0).datagrams == []
    assert kinds(server.tick(110.0).datagrams) == [4]


def test_timers_count_from_the_latest_time_seen(ends: tuple[Tunnel, Tunnel]) -> None:
    """Whichever verb is called while the clock is behind."""
    client, server = ends
    (data,) = client.write([PACKET], 99.0)
    server.tick(100.0)
    server.sealed(20.0, 1, 100, True)
    assert run(server, 100.0, 114.9)[0] == []
    server.tick(114.9)
    session = server.local.sessions[int.from_bytes(data.data[4:8], "little")]
    server.opened(session, CLIENT, 1, len(data.data), True, 20.0)
    assert server.tick(124.8).datagrams == []
    assert kinds(server.tick(124.9).datagrams) == [4]
    newcomer, _ = pair()
    newcomer.tick(100.0)
    newcomer.write([PACKET], 20.0)
    assert newcomer.tick(104.9).datagrams == []


def test_a_clock_that_jumps_ahead_is_time_that_passed(ends: tuple[Tunnel, Tunnel]) -> None:
    client, _ = ends
    assert client.sending_session(1.0) is not None
    assert client.sending_session(400.0) is None
    assert kinds(client.write([PACKET], 400.0)) == [1]


def test_handshakes_go_on_when_the_wall_clock_is_set_back() -> None:
    wall = WallClock(step=0)
    client = Tunnel(ALICE, BOB.public_key(), wall_clock=wall, random=CountingRandom(1), endpoint=SERVER)
    _, server = pair()
    for number in range(5):
        now = number * 10.0
        (initiation,) = client.force_handshake(now)
        assert server.read(initiation.data, CLIENT, now).drop is None
        wall.now -= 3600 * 10**9


def test_our_own_stamps_may_be_carried_over_a_restart() -> None:
    client, server = pair()
    (initiation,) = client.force_handshake(0.0)
    server.read(initiation.data, CLIENT, 0.0)
    restarted = Tunnel(ALICE, BOB.public_key(), wall_clock=lambda: 0, random=CountingRandom(3), endpoint=SERVER)
    restarted.stamps.last = client.stamps.last
    (initiation,) = restarted.force_handshake(10.0)
    assert server.read(initiation.data, CLIENT, 10.0).drop is None
