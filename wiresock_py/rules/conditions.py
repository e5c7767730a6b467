"""What a rule may ask beside the destination's address: app, name, port. All that it asks must hold."""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from wiresock_py.config import PortRange
from wiresock_py.flow import App
from wiresock_py.rules.decision import Reason


class Asker(NamedTuple):
    """Who wants to go somewhere, and what is known of it beside the address."""

    app: App
    ancestors: tuple[App, ...] = ()
    """The processes that the app's one came from, its parent first."""
    protocol: int = 0
    port: int = 0
    names: tuple[str, ...] = ()
    """The names that led to the address; of a DNS query the name it asks for. In small letters."""


class Verdict(NamedTuple):
    """What a condition says."""

    holds: bool
    reason: Reason


class Condition(Protocol):
    """One thing that a rule asks."""

    @property
    def everyone(self) -> bool:
        """Whether it holds for everything, so that nobody needs to ask."""

    def verdict(self, asker: Asker) -> Verdict:
        """Whether it holds for *asker*."""

    def includes(self, other: "Condition") -> bool:
        """Whether it certainly holds wherever *other* does; False if that cannot be told."""


class Choice(NamedTuple):
    """Which of all entries a list means: only these, or all but these."""

    only: frozenset[str] | None
    but: frozenset[str] = frozenset()

    def includes(self, other: "Choice") -> bool:
        """Whether what *other* means is among what this means, as far as the entries' texts tell."""
        if self.only is not None:
            return other.only is not None and other.only <= self.only
        return self.but <= other.but if other.only is None else not self.but


class PortCondition:
    """The remote port, and the protocol."""

    def __init__(self, ports: Iterable[PortRange], protocols: Iterable[int], reason: Reason) -> None:
        """*protocols* by IP number, none: any. *reason* is told when it holds."""
        self.ports = tuple(ports)
        self.protocols = frozenset(protocols)
        self._reason = reason
        self.everyone = not self.ports and not self.protocols

    def includes(self, other: Condition) -> bool:
        """Whether *other* names ports and protocols that are all among these."""
        if not isinstance(other, PortCondition):
            return False
        protocols = not self.protocols or (bool(other.protocols) and other.protocols <= self.protocols)
        ports = not self.ports or (
            bool(other.ports) and all(any(mine.includes(each) for mine in self.ports) for each in other.ports)
        )
        return protocols and ports

    def verdict(self, asker: Asker) -> Verdict:
        """Whether the flow's protocol and port are among them."""
        holds = not self.protocols or asker.protocol in self.protocols
        if holds and self.ports:
            holds = any(ports.holds(asker.protocol, asker.port) for ports in self.ports)
        return Verdict(holds, self._reason if holds else self._reason._replace(text=f"not {self._reason.text}"))
