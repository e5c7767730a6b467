"""News from the kernel when links, addresses or routes change."""

from enum import Flag


class Change(Flag):
    """What changed."""

    NONE = 0
    LINK = 1
    ADDRESS = 2
    ROUTE = 4


class NetworkChanges:
    """Subscribes when made; Linux only so far, elsewhere a NetworkError. One thread waits, any may close."""

    def fileno(self) -> int:
        """Readable when there is news."""
        raise NotImplementedError

    def wait(self, timeout: float) -> Change:
        """All kinds of change since the last call, waiting up to *timeout* seconds for the first."""
        raise NotImplementedError

    def close(self) -> None:
        """End the subscription."""
        raise NotImplementedError
