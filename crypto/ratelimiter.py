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
IDLE_NS = 1_000_000_000

# Whole nanoseconds, as Linux and wireguard-go count them: exact where fractions of a second would round.
_COST_NS = 1_000_000_000 // PACKETS_PER_SECOND
_FULL_NS = _COST_NS * PACKETS_BURSTABLE


class TokenBucket:
    """Tokens kept as the time they took to earn."""

    __slots__ = ("_cost", "_full", "_tokens", "updated")

    def __init__(self, cost_ns: int, full_ns: int, now_ns: int) -> None:
        self._cost = cost_ns
        self._full = full_ns
        self._tokens = full_ns
        self.updated = now_ns

    def take(self, now_ns: int) -> bool:
        self._tokens = min(self._full, self._tokens + max(0, now_ns - self.updated))
        self.updated = max(self.updated, now_ns)
        if self._tokens < self._cost:
            return False
        self._tokens -= self._cost
        return True


class RateLimiter:
    """A token bucket for each source."""

    __slots__ = ("_swept", "_table")

    def __init__(self) -> None:
        self._table: dict[bytes, TokenBucket] = {}
        self._swept = 0

    def __len__(self) -> int:
        return len(self._table)

    def allow(self, source: Address, now: float) -> bool:
        """Whether one more message of *source* may be processed at second *now*."""
        now_ns = round(now * 1e9)
        if now_ns - self._swept >= IDLE_NS:
            self._sweep(now_ns)
        address, _ = origin(source)
        key = address if len(address) == 4 else address[:8]
        bucket = self._table.get(key)
        if bucket is None:
            if len(self._table) >= TABLE_SIZE:
                return False
            bucket = self._table[key] = TokenBucket(_COST_NS, _FULL_NS, now_ns)
        return bucket.take(now_ns)

    def _sweep(self, now_ns: int) -> None:
        """Forget sources that are idle long enough to have a full bucket again."""
        self._swept = now_ns
        self._table = {key: bucket for key, bucket in self._table.items() if now_ns - bucket.updated < IDLE_NS}
