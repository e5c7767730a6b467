"""What the rules answer: where a flow goes, and why."""

from typing import NamedTuple

from wiresock_py.flow import Route


class Decision(NamedTuple):
    """Where one flow goes."""

    route: Route
    tunnel: int
    """Index of the config that decided; -1 where none did."""
    peer: int
    """Index of the peer within that config; -1 where none. With *dns*: the peer that the DNS server lies behind."""
    reason: str
    """In a few words, for a log line: ``AllowedApps = chrome (wg0.conf:12)``."""
    dns: bool = False
    """With TUNNEL: a DNS query, whose destination becomes one of the tunnel's DNS servers."""
    or_direct: bool = False
    """With *dns*: direct while the tunnel has no session."""


class Reason(NamedTuple):
    """One step towards a decision, and the line it rests on."""

    text: str
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        return f"{self.text} ({self.file}:{self.line})" if self.line else self.text


class Explanation(NamedTuple):
    """A decision with every step that led to it, in order."""

    decision: Decision
    reasons: tuple[Reason, ...]
