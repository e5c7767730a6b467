"""The three sessions a peer may have, and when one takes another's place (paper 6.3; the table is Linux's).

    event                                    previous     current    next
    we consumed a response, next is empty    ← current    ← new      -
    we consumed a response, next is there    ← next       ← new      empty
    we sent a response                       erased       -          ← new
    first authentic packet on next           ← current    ← next     empty

Only *current* sends. *previous* and *next* receive: packets still on their way, and the packet that confirms that the
initiator has our response. Until then a responder must not send on the new keys.
"""

from wiresock_py.crypto.session import Session


class Slots:
    """Each change returns the sessions that lost their place; the caller erases them."""

    __slots__ = ("current", "next", "previous")

    def __init__(self) -> None:
        self.previous: Session | None = None
        self.current: Session | None = None
        self.next: Session | None = None

    def initiated(self, session: Session) -> list[Session]:
        """We are the initiator and have the response."""
        if self.next is not None:
            lost = [self.previous, self.current]
            self.previous = self.next
            self.next = None
        else:
            lost = [self.previous]
            self.previous = self.current
        self.current = session
        return _present(lost)

    def responded(self, session: Session) -> list[Session]:
        """We are the responder and send the response."""
        lost = [self.previous, self.next]
        self.previous = None
        self.next = session
        return _present(lost)

    def confirmed(self) -> list[Session]:
        """The first authentic packet arrived on *next*."""
        lost = [self.previous]
        self.previous = self.current
        self.current = self.next
        self.next = None
        return _present(lost)

    def clear(self) -> list[Session]:
        lost = self.all()
        self.previous = self.current = self.next = None
        return lost

    def all(self) -> list[Session]:
        return _present([self.previous, self.current, self.next])


def _present(sessions: list[Session | None]) -> list[Session]:
    return [session for session in sessions if session is not None]
