"""The timers of one peer (paper 6.2 - 6.5; as in Linux and wireguard-go, whose rules are what a peer can observe).

    timer     armed by                            after           stopped by                  on expiry
    RETRY     an initiation sent                  5 s + jitter    handshake complete          initiate again, or give up
    PASSIVE   data received, if not running       10 s            anything authentic sent     keepalive
    SILENCE   data sent, if not running           15 s + jitter   anything authentic received fresh handshake
    EXPIRE    a new session, if not running       180 s           -                           erase expired sessions
    ZERO      a new session                       540 s           -                           erase all keys
    PERSIST   anything authentic sent/received    the interval    -                           keepalive

*Data* is a non-empty packet; *authentic* is one that passed its tag and the replay window, or a verified handshake
message. Traps: SILENCE counts from the *first* unanswered packet and a keepalive never arms it; PASSIVE is not pushed
back by further data; only the initiator rekeys by age.

Linux and wireguard-go also remember that data came while PASSIVE ran, and then send a second keepalive 10 s after the
first. It answers nothing that the first did not, so like gotatun we leave it out. EXPIRE is ours: keys that may neither
send nor receive any more need not wait for ZERO.

Here is the state and what each happening does to it; what to send on expiry is the tunnel's business.
"""

from enum import IntEnum
from math import inf

from wiresock_py.crypto.constants import (
    KEEPALIVE_TIMEOUT,
    MAX_TIMER_HANDSHAKES,
    REJECT_AFTER_TIME,
    REKEY_TIMEOUT,
)


class Timer(IntEnum):
    RETRY = 0
    PASSIVE = 1
    SILENCE = 2
    EXPIRE = 3
    ZERO = 4
    PERSIST = 5


class Timers:
    """Deadlines in monotonic seconds, ``inf`` while not running. *jitter* arguments are 0 to REKEY_TIMEOUT_JITTER."""

    __slots__ = ("_deadlines", "attempts", "deadline", "handshake_not_before", "persistent", "rekeyed_by_age")

    def __init__(self, persistent: float) -> None:
        self.persistent = persistent
        """The persistent keepalive's interval in seconds, 0 for none."""
        self.stop()

    def stop(self) -> None:
        """No timer runs, no handshake was ever sent."""
        self._deadlines = [inf] * len(Timer)
        self.deadline = inf
        """The earliest deadline."""
        self.attempts = 0
        """Retries of the handshake in progress."""
        self.rekeyed_by_age = False
        """Whether receiving has already brought on a handshake in the last seconds of this session's life."""
        self.handshake_not_before = -inf
        """No initiation may leave before: REKEY_TIMEOUT after the last initiation or response we sent."""

    def running(self, timer: Timer) -> bool:
        return self._deadlines[timer] != inf

    def arm(self, timer: Timer, deadline: float) -> None:
        self._deadlines[timer] = deadline
        self.deadline = min(self._deadlines)

    def cancel(self, timer: Timer) -> None:
        self.arm(timer, inf)

    def pop_due(self, now: float) -> Timer | None:
        """The timer that ran out first, if one has; it no longer runs."""
        if self.deadline > now:
            return None
        timer = Timer(self._deadlines.index(self.deadline))
        self.cancel(timer)
        return timer

    # What happened

    def handshake_sent(self, now: float) -> None:
        """An initiation or a response."""
        self.handshake_not_before = now + REKEY_TIMEOUT
        self.authentic_sent(now)

    def initiation_due(self, now: float, jitter: float) -> None:
        """An initiation was sent, or could not be: try again as soon as the next may leave."""
        next_one = self.handshake_not_before if now < self.handshake_not_before else now + REKEY_TIMEOUT
        self.arm(Timer.RETRY, next_one + jitter)

    def authentic_sent(self, now: float) -> None:
        self._deadlines[Timer.PASSIVE] = inf
        self._rearm_persist(now)

    def data_sent(self, now: float, jitter: float) -> None:
        if not self.running(Timer.SILENCE):
            self.arm(Timer.SILENCE, now + KEEPALIVE_TIMEOUT + REKEY_TIMEOUT + jitter)

    def authentic_received(self, now: float) -> None:
        self._deadlines[Timer.SILENCE] = inf
        self._rearm_persist(now)

    def data_received(self, now: float) -> None:
        if not self.running(Timer.PASSIVE):
            self.arm(Timer.PASSIVE, now + KEEPALIVE_TIMEOUT)

    def session_created(self, now: float) -> None:
        self.arm(Timer.ZERO, now + REJECT_AFTER_TIME * 3)
        if not self.running(Timer.EXPIRE):
            self.arm(Timer.EXPIRE, now + REJECT_AFTER_TIME)

    def handshake_complete(self) -> None:
        self.attempts = 0
        self.rekeyed_by_age = False
        self.cancel(Timer.RETRY)

    def gave_up(self, now: float) -> None:
        self.cancel(Timer.PASSIVE)
        if not self.running(Timer.ZERO):
            self.arm(Timer.ZERO, now + REJECT_AFTER_TIME * 3)

    @property
    def out_of_attempts(self) -> bool:
        return self.attempts > MAX_TIMER_HANDSHAKES

    def _rearm_persist(self, now: float) -> None:
        if self.persistent:
            self._deadlines[Timer.PERSIST] = now + self.persistent
        self.deadline = min(self._deadlines)
