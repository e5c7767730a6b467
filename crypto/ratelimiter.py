"""How many handshake messages one source may have processed under load: 20 a second, 5 at once (as Linux).

A source is an IPv4 address, or an IPv6 /64: whoever has one address of a /64 has all of them. Only sources that proved
their address (mac2) come here, so the table is as large as the number of real addresses an attacker holds; still it is
bounded, and a new source is refused when it is full.
"""

from wiresock_py.crypto.address import origin
from wiresock_py.crypto.results import Address

PACKETS_PER_SECOND = 20
PACKETS_BURSTABLE = 5
TABLE_SIZE = 8192
IDLE_SECONDS = 1.0


class TokenBucket:
    """*burst* tokens, and *rate* new ones a second up to that.

    Kept as the time they took to earn, in whole nanoseconds as in Linux and wireguard-go: fractions would round.
    """

    __slots__ = ("_cost", "_full", "_tokens", "_updated")

    def __init__(self, rate: int, burst: int) -> None:
        self._cost = 1_000_000_000 // rate
        self._full = self._tokens = self._cost * burst
        self._updated = 0

    def take(self, now: float) -> bool:
        """Whether there is a token at second *now*; it is used up."""
        now_ns = round(now * 1e9)
        self._tokens = min(self._full, self._tokens + max(0, now_ns - self._updated))
        self._updated = max(self._updated, now_ns)
        if self._tokens < self._cost:
            return False
        self._tokens -= self._cost
        return True


class RateLimiter:
    """A token bucket for each source."""

    __slots__ = ("_last_seen", "_swept", "_table")

    def __init__(self) -> None:
        self._table: dict[bytes, TokenBucket] = {}
        self._last_seen: dict[bytes, float] = {}
        self._swept = 0.0

    def __len__(self) -> int:
        return len(self._table)

    def allow(self, source: Address, now: float) -> bool:
        """Whether one more message of *source* may be processed at second *now*."""
        if now - self._swept >= IDLE_SECONDS:
            self._sweep(now)
        address, _ = origin(source)
        key = address if len(address) == 4 else address[:8]
        bucket = self._table.get(key)
        if bucket is None:
            if len(self._table) >= TABLE_SIZE:
                return False
            bucket = self._table[key] = TokenBucket(PACKETS_PER_SECOND, PACKETS_BURSTABLE)
        self._last_seen[key] = now
        return bucket.take(now)

    def _sweep(self, now: float) -> None:
        """Forget sources that are idle long enough to have a full bucket again."""
        self._swept = now
        for key in [key for key, seen in self._last_seen.items() if now - seen >= IDLE_SECONDS]:
            del self._table[key], self._last_seen[key]
