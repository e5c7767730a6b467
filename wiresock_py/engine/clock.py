"""The engine's clock: seconds that go on while the machine sleeps, so that session ages are right after a resume."""

import sys
import time

if sys.platform == "linux":

    def now() -> float:
        """Monotonic seconds, time asleep included (WireGuard peers count it too)."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

else:
    # Windows' monotonic clock counts sleep by itself
    now = time.monotonic
