"""The rule decision over all tunnels of a run.

For each config, in the order given: the destination chooses the peer (longest prefix of AllowedIPs, minus its
DisallowedIPs), then that peer's app lists say whether the app is meant. The first config that says yes decides; if
none does, the flow is direct.
"""

import os.path
from collections.abc import Sequence
from functools import lru_cache

from wiresock_py.config import Config, Settings
from wiresock_py.filters.base import CapturePlan
from wiresock_py.flow import App, Route
from wiresock_py.rules.apps import Resolver
from wiresock_py.rules.decision import Decision, Explanation, Reason
from wiresock_py.rules.destinations import Destination, Finding, TunnelDestinations
from wiresock_py.rules.ranges import Network


class Rules:
    """The rules of all tunnels of one run; may be asked from any thread.

    Raises ConfigError for an app group that *settings* does not have. *resolve* follows the symbolic links of the
    paths in the app lists, once, here.
    """

    def __init__(
        self,
        configs: Sequence[Config],
        settings: Settings | None = None,
        *,
        resolve: Resolver = os.path.realpath,
    ) -> None:
        settings = settings or Settings()
        self.configs = tuple(configs)
        """The tunnels that ``Decision.tunnel`` counts."""
        self._tunnels = [
            TunnelDestinations(index, config, settings.app_groups, resolve, rewrite_dns=settings.dns == "tunnel")
            for index, config in enumerate(self.configs)
        ]
        self._findings = lru_cache(maxsize=4096)(self._find)

    def decide(self, app: App, destination: bytes, protocol: int, port: int) -> Decision:
        """Where a flow of *app* to *destination* (packed) and remote *port* goes."""
        refused = Reason("there is no tunnel")
        for finding in self._findings(Destination.of_flow(destination, protocol, port)):
            if finding.lists is None:
                refused = finding.reason
                continue
            verdict = finding.lists.verdict(app)
            if verdict.tunnel:
                told = finding.reason if finding.route is Route.BLOCK or finding.lists.everyone else verdict.reason
                return Decision(finding.route, finding.tunnel, finding.peer, str(told), finding.dns)
            refused = verdict.reason
        return Decision(Route.DIRECT, -1, -1, str(refused))

    def explain(self, app: App, destination: bytes, protocol: int, port: int) -> Explanation:
        """The decision with every step that led to it."""
        reasons: list[Reason] = []
        for finding in self._findings(Destination.of_flow(destination, protocol, port)):
            reasons.append(finding.reason)
            if finding.lists is not None:
                verdict = finding.lists.verdict(app)
                reasons.append(verdict.reason)
                if verdict.tunnel:
                    break
        return Explanation(self.decide(app, destination, protocol, port), tuple(reasons))

    def needs_owner(self, destination: bytes, protocol: int, port: int) -> bool:
        """False when every app gets the same decision for that destination."""
        for finding in self._findings(Destination.of_flow(destination, protocol, port)):
            if finding.lists is not None:
                return not finding.lists.everyone
        return False

    def leads_to(self, tunnel: int, peer: int, address: bytes) -> bool:
        """Whether packets of some app to *address* (packed) would go to this peer of config *tunnel*."""
        return any(
            (finding.route, finding.tunnel, finding.peer) == (Route.TUNNEL, tunnel, peer)
            for finding in self._findings(Destination.of_flow(address, 0, 0))
        )

    def blocked_versions(self, tunnel: int) -> tuple[int, ...]:
        """The IP versions that config *tunnel* lacks and therefore keeps its apps from using around it."""
        return self._tunnels[tunnel].blocked_versions

    def plan(self) -> CapturePlan:
        """What must be captured: exactly the destinations for which some app could get TUNNEL or BLOCK.

        Whatever a peer's lists say, there is an app that they give the tunnel to, so it is the destination that
        counts. That changes only at the prefixes the rules mention; each is listed where it differs from the next
        shorter one around it.
        """
        capture: list[Network] = []
        leave: list[Network] = []
        around: list[tuple[Network, bool]] = []
        mentioned = {network for tunnel in self._tunnels for network in tunnel.prefixes()}
        for network in sorted(mentioned, key=lambda net: (net.version, int(net.network_address), net.prefixlen)):
            while around and not _within(network, around[-1][0]):
                around.pop()
            taken = any(finding.route is not Route.DIRECT for finding in self._find(Destination.of_prefix(network)))
            if taken != (around[-1][1] if around else False):
                (capture if taken else leave).append(network)
            around.append((network, taken))
        return CapturePlan(tuple(capture), tuple(leave), dns=any(tunnel.rewrites_dns for tunnel in self._tunnels))

    def _find(self, to: Destination) -> tuple[Finding, ...]:
        return tuple(finding for tunnel in self._tunnels for finding in tunnel.findings(to))


def _within(network: Network, outer: Network) -> bool:
    return (
        network.version == outer.version
        and network.prefixlen >= outer.prefixlen
        and int(network.network_address) >> (network.max_prefixlen - outer.prefixlen)
        == int(outer.network_address) >> (outer.max_prefixlen - outer.prefixlen)
    )
