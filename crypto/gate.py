"""Which handshake messages are worth the Diffie-Hellman work (paper 5.3).

    mac1 wrong                         dropped, always
    not under load                     processed; mac2 is not looked at
    under load, mac2 wrong or zero     a cookie reply, no processing
    under load, mac2 right             processed as far as the source's rate, and that of all together, allows

Initiations and responses alike: the longest exchange is initiation, cookie, initiation, response, cookie, initiation,
response. Under load means that well-addressed handshake messages come faster than HANDSHAKES_PER_SECOND, and lasts
until a second after the last that was too many. A worker of one thread has no queue to measure, so the rate is the
measure; at about 0.4 ms of work each it keeps handshakes below a twentieth of one core.
"""

from collections.abc import Callable

from wiresock_py.crypto.cookie import CookieChecker
from wiresock_py.crypto.drops import Drop
from wiresock_py.crypto.keys import PublicKey
from wiresock_py.crypto.messages import first_index
from wiresock_py.crypto.ratelimiter import RateLimiter, TokenBucket
from wiresock_py.crypto.results import Address, Buffer, Datagram

HANDSHAKES_PER_SECOND = 100
UNDER_LOAD_SECONDS = 1.0
# Of sources that proved their address, all together: whoever holds an IPv6 /48 is 65,536 sources, and one thread has to
# carry the packets, too.
PROVEN_PER_SECOND = 500
# A reply is smaller than what it answers; this bounds the work, and what a reflector may be used for.
COOKIE_REPLIES_PER_SECOND = 500


class Gate:
    """Admits handshake messages to one static key."""

    __slots__ = (
        "_checker",
        "_handshakes",
        "_limiter",
        "_proven",
        "_random",
        "_replies",
        "_under_load_until",
        "cookie_replies",
    )

    def __init__(self, public: PublicKey, random: Callable[[int], bytes]) -> None:
        self._random = random
        self._checker = CookieChecker(public, random)
        self._limiter = RateLimiter()
        self._handshakes = TokenBucket(HANDSHAKES_PER_SECOND, HANDSHAKES_PER_SECOND)
        self._proven = TokenBucket(PROVEN_PER_SECOND, PROVEN_PER_SECOND)
        self._replies = TokenBucket(COOKIE_REPLIES_PER_SECOND, COOKIE_REPLIES_PER_SECOND)
        self._under_load_until = float("-inf")
        self.cookie_replies = 0
        """How many were sent."""

    def set_identity(self, public: PublicKey) -> None:
        """Check for another static key from now on; the load stays what it is."""
        self._checker = CookieChecker(public, self._random)

    def under_load(self, now: float) -> bool:
        return now < self._under_load_until

    def admit(self, datagram: Buffer, source: Address, now: float, answers: list[Datagram]) -> Drop | None:
        """None if a handshake message is to be processed; a cookie reply is added to *answers*."""
        if not self._checker.mac1_valid(datagram):
            return Drop.BAD_MAC1
        if not self._handshakes.take(now):
            self._under_load_until = now + UNDER_LOAD_SECONDS
        if not self.under_load(now):
            return None
        if not self._checker.mac2_valid(datagram, source, now):
            if self._replies.take(now):
                self.cookie_replies += 1
                answers.append(Datagram(self._checker.reply(datagram, first_index(datagram), source, now), source))
            return Drop.COOKIE_REQUIRED
        return None if self._limiter.allow(source, now) and self._proven.take(now) else Drop.RATE_LIMITED
