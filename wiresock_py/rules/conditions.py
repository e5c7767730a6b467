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


class PortCondition:
    """The remote port, and the protocol."""

    def __init__(self, ports: Iterable[PortRange], protocols: Iterable[int], reason: Reason) -> None:
        """*protocols* by IP number, none: any. *reason* is told when it holds."""
        self._ports = tuple(ports)
        self._protocols = frozenset(protocols)
        self._reason = reason
        self.everyone = not self._ports and not self._protocols

    def verdict(self, asker: Asker) -> Verdict:
        """Whether the flow's protocol and port are among them."""
        holds = not self._protocols or asker.protocol in self._protocols
        if holds and self._ports:
            holds = any(ports.holds(asker.protocol, asker.port) for ports in self._ports)
        return Verdict(holds, self._reason if holds else self._reason._replace(text=f"not {self._reason.text}"))
