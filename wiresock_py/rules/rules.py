"""The rule decision (design: destination chooses the tunnel and peer, then that peer's app lists decide)."""

import os.path
from collections.abc import Callable, Sequence

from wiresock_py.config import Address, Config, Settings
from wiresock_py.filters.base import CapturePlan
from wiresock_py.flow import App
from wiresock_py.rules.decision import Decision, Explanation


class Rules:
    """The rules of all tunnels of one run.

    Raises ConfigError for an app group that *settings* does not have. *resolve* follows the symbolic links of the
    paths in the app lists, once, here.
    """

    def __init__(
        self,
        configs: Sequence[Config],
        settings: Settings | None = None,
        *,
        resolve: Callable[[str], str] = os.path.realpath,
    ) -> None:
        raise NotImplementedError

    def decide(self, app: App, destination: bytes, protocol: int, port: int) -> Decision:
        """Where a flow of *app* to *destination* (packed) and remote *port* goes."""
        raise NotImplementedError

    def needs_owner(self, destination: bytes, protocol: int, port: int) -> bool:
        """False when every app gets the same decision for that destination."""
        raise NotImplementedError

    def plan(self) -> CapturePlan:
        """What must be captured: exactly the destinations for which some app could get TUNNEL or BLOCK."""
        raise NotImplementedError

    def explain(self, app: App, destination: bytes, protocol: int, port: int) -> Explanation:
        """The decision with every step that led to it."""
        raise NotImplementedError

    def dns_servers(self, tunnel: int, version: int) -> tuple[Address, ...]:
        """The servers of config *tunnel* of IP *version* that DNS queries can be rewritten to, in file order."""
        raise NotImplementedError
