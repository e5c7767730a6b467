"""The rules seen from outside are in the vectors (``timer_scenarios``); here is each row of the table in numbers."""

from math import inf

import pytest

from wiresock_py.crypto.timers import Timer, Timers


def due(timers: Timers, until: float) -> list[tuple[float, Timer]]:
    """What runs out, and when, up to a second."""
    fired = []
    while timers.deadline <= until:
        at = timers.deadline
        timer = timers.pop_due(at)
        assert timer is not None
        fired.append((at, timer))
    return fired


@pytest.fixture
def timers() -> Timers:
    return Timers(persistent=0)


def test_nothing_runs_at_first(timers: Timers) -> None:
    assert timers.deadline == inf
    assert timers.pop_due(1e12) is None


def test_an_initiation_is_retried_after_5_seconds_and_its_jitter(timers: Timers) -> None:
    timers.handshake_sent(100.0)
    timers.initiation_due(100.0, 0.2)
    assert due(timers, 200.0) == [(105.2, Timer.RETRY)]


def test_a_retry_waits_for_the_gap_after_a_response(timers: Timers) -> None:
    timers.handshake_sent(103.0)
    timers.initiation_due(100.0, 0.0)
    assert due(timers, 200.0) == [(108.0, Timer.RETRY)]


def test_data_received_asks_for_a_keepalive_10_seconds_after_the_first(timers: Timers) -> None:
    for now in (100.0, 103.0, 109.0):
        timers.data_received(now)
    assert due(timers, 200.0) == [(110.0, Timer.PASSIVE)]


def test_sending_anything_spares_the_keepalive(timers: Timers) -> None:
    timers.data_received(100.0)
    timers.authentic_sent(105.0)
    assert due(timers, 200.0) == []


def test_silence_counts_15_seconds_from_the_first_unanswered_packet(timers: Timers) -> None:
    for now in (100.0, 108.0):
        timers.data_sent(now, 0.25)
    assert due(timers, 200.0) == [(115.25, Timer.SILENCE)]


def test_receiving_anything_ends_the_silence(timers: Timers) -> None:
    timers.data_sent(100.0, 0.0)
    timers.authentic_received(114.0)
    assert due(timers, 200.0) == []


def test_keys_expire_after_180_seconds_and_everything_is_erased_after_540(timers: Timers) -> None:
    timers.session_created(100.0)
    assert due(timers, 1000.0) == [(280.0, Timer.EXPIRE), (640.0, Timer.ZERO)]


def test_a_new_session_puts_the_end_off_but_not_the_expiry_of_the_old(timers: Timers) -> None:
    timers.session_created(100.0)
    timers.session_created(200.0)
    assert due(timers, 1000.0) == [(280.0, Timer.EXPIRE), (740.0, Timer.ZERO)]


def test_the_persistent_keepalive_follows_the_last_packet_either_way() -> None:
    timers = Timers(persistent=25)
    timers.authentic_sent(100.0)
    timers.authentic_received(110.0)
    assert due(timers, 200.0) == [(135.0, Timer.PERSIST)]


def test_giving_up_stops_the_keepalive_and_counts_to_the_end(timers: Timers) -> None:
    timers.data_received(100.0)
    timers.gave_up(101.0)
    assert due(timers, 1000.0) == [(641.0, Timer.ZERO)]


def test_giving_up_does_not_put_the_end_off(timers: Timers) -> None:
    timers.session_created(0.0)
    timers.gave_up(101.0)
    assert (540.0, Timer.ZERO) in due(timers, 1000.0)


def test_a_complete_handshake_starts_the_count_over(timers: Timers) -> None:
    timers.initiation_due(100.0, 0.0)
    timers.attempts = 7
    timers.rekeyed_by_age = True
    timers.handshake_complete()
    assert not timers.running(Timer.RETRY)
    assert timers.attempts == 0
    assert not timers.rekeyed_by_age


def test_attempts_run_out_after_the_nineteenth_retry(timers: Timers) -> None:
    timers.attempts = 18
    assert not timers.out_of_attempts
    timers.attempts = 19
    assert timers.out_of_attempts


def test_timers_run_out_in_the_order_of_their_deadlines(timers: Timers) -> None:
    timers.arm(Timer.PERSIST, 3.0)
    timers.arm(Timer.RETRY, 2.0)
    timers.arm(Timer.ZERO, 1.0)
    assert [timer for _, timer in due(timers, 10.0)] == [Timer.ZERO, Timer.RETRY, Timer.PERSIST]


def test_stopping_forgets_deadlines_and_the_gap() -> None:
    timers = Timers(persistent=25)
    timers.handshake_sent(100.0)
    timers.stop()
    assert timers.deadline == inf
    assert timers.handshake_not_before == -inf
    assert timers.persistent == 25
