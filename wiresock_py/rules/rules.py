"""The rule decision over all tunnels of a run: one ordered list, of which the first that is met decides.

First the rules of settings.yaml, in their order. Then each config, in the order given: the destination chooses the peer
(longest prefix of AllowedIPs, minus its DisallowedIPs), then that peer's lists say whether app and name are meant. The
first that says yes decides; if none does, the flow is direct.
"""

import os.path
import socket
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from wiresock_py.config import Config, Notice, Settings
from wiresock_py.filters.base import CapturePlan
from wiresock_py.flow import SYSTEM, App, Route
from wiresock_py.rules.apps import AppCondition, AppSet, Entry, Resolver
from wiresock_py.rules.conditions import Asker
from wiresock_py.rules.decision import Decision, Explanation, Reason
from wiresock_py.rules.destinations import DNS_PORT, Destination, Finding, TunnelDestinations
from wiresock_py.rules.domains import DomainSet
from wiresock_py.rules.nesting import outer_tunnels
from wiresock_py.rules.ranges import Network
from wiresock_py.rules.shadows import unreachable
from wiresock_py.rules.stated import StatedRule, notices

_ELSEWHERE = bytes((192, 0, 2, 53))  # an address of nobody's (RFC 5737)
SHARED_RESOLVERS = ("systemd-resolved", "dnsmasq", "unbound", "nscd", "Dnscache")
"""Programs and services that resolve names for all others of a host."""


class Rules:
    """The rules of all tunnels of one run; may be asked from any thread.

    Raises ConfigError for an app group that *settings* does not have, for a ``Via`` that leads nowhere, and for a
    rule that its tunnel cannot follow.
    *resolve* follows the symbolic links of the paths in the app lists, once, here. *on_link* are the networks this host
    is connected to, which BypassLan leaves out.
    """

    def __init__(
        self,
        configs: Sequence[Config],
        settings: Settings | None = None,
        *,
        resolve: Resolver = os.path.realpath,
        on_link: Iterable[Network] = (),
    ) -> None:
        settings = settings or Settings()
        self.configs = tuple(configs)
        """The tunnels that ``Decision.tunnel`` counts."""
        self.outer = outer_tunnels(self.configs)
        """For each tunnel the index of the one that its own datagrams go through, None without ``Via``."""
        on_link = tuple(on_link)
        groups = settings.app_groups
        self._forwarded = settings.forwarded
        self._tunnels = [
            TunnelDestinations(index, config, groups, resolve, rewrite_dns=settings.dns == "tunnel", on_link=on_link)
            for index, config in enumerate(self.configs)
        ]
        self._stated = [StatedRule(rule, self.configs, self._tunnels, groups, resolve) for rule in settings.rules]
        self._parts: tuple[StatedRule | TunnelDestinations, ...] = (*self._stated, *self._tunnels)
        self._resolver_policy = settings.shared_resolver
        shared = AppSet(
            (Entry(name, Reason(f"{name} resolves names for all apps")) for name in SHARED_RESOLVERS), (), resolve
        )
        self._shared_resolver = AppCondition(shared, Reason("not a shared resolver"), everyone=False)
        self._domains: tuple[DomainSet, ...] = (
            *(rule.domains for rule in self._stated if rule.runs),
            *(
                each
                for tunnel in self._tunnels
                for lists in tunnel.domains
                for each in (lists.allowed, lists.disallowed)
            ),
        )
        self.uses_domains = any(self._domains)
        """Whether a decision may depend on the names that led to an address."""
        self.uses_ancestors = any(rule.apps.has_trees for rule in self._stated) or any(
            lists.has_trees for tunnel in self._tunnels for lists in tunnel.apps
        )
        """Whether a decision may depend on the processes that an app came from."""
        self._findings = lru_cache(maxsize=4096)(self._find)

    def notices(self, shared_resolver: str = "") -> tuple[Notice, ...]:
        """What the user should hear about the rules although they are valid.

        *shared_resolver* is the process that programs of this host ask for names without sending a packet.
        """
        stated = notices(self._stated, [config.name for config in self.configs])
        return (*stated, *unreachable(self._parts), *self._asked_outside(shared_resolver))

    def _asked_outside(self, resolver: str) -> Iterator[Notice]:
        """That names of the tunnel's apps are looked up outside it, by a process that the tunnel is not for."""
        app = App(0, 0, f"/{resolver}", resolver)
        query = Destination.of_flow(_ELSEWHERE, socket.IPPROTO_UDP, DNS_PORT)
        carried = any(finding.dns and not finding.everyone for finding in self._findings(query))
        decided = self.decide(app, _ELSEWHERE, socket.IPPROTO_UDP, DNS_PORT)
        if resolver and carried and decided.route is Route.DIRECT:
            message = f"programs here ask {resolver} for names, so names of the tunnel's apps are looked up outside it"
            yield Notice(message, "write shared_resolver: tunnel, or tunnel_or_direct, into settings.yaml")

    def mentions(self, name: str) -> bool:
        """Whether a rule is about the domain *name* (small letters)."""
        return any(domains.match(name) is not None for domains in self._domains)

    def decide(
        self,
        app: App,
        destination: bytes,
        protocol: int,
        port: int,
        *,
        ancestors: tuple[App, ...] = (),
        names: tuple[str, ...] = (),
    ) -> Decision:
        """Where a flow of *app* to *destination* (packed) and remote *port* goes.

        *ancestors* are the processes the app's one came from; *names* led to the address, or are asked for by a query.
        """
        asker = Asker(app, ancestors, protocol, port, names)
        refused = Reason("there is no tunnel")
        for finding in self._findings(Destination.of_flow(destination, protocol, port)):
            if finding.conditions is None:
                refused = finding.reason
                continue
            told: Reason | None = None
            for condition in finding.conditions:
                verdict = condition.verdict(asker)
                if not verdict.holds:
                    refused = verdict.reason if not finding.stated else refused
                    break
                if not condition.everyone:
                    told = told or verdict.reason
            else:
                if finding.route is Route.BLOCK or finding.stated or told is None:
                    told = finding.reason
                return Decision(finding.route, finding.tunnel, finding.peer, str(told), finding.dns, finding.or_direct)
        return Decision(Route.DIRECT, -1, -1, str(refused))

    def decide_forwarded(self, destination: bytes, protocol: int, port: int) -> Decision:
        """Where a flow of another machine goes that this host passes on."""
        if self._forwarded == "block":
            return Decision(Route.BLOCK, -1, -1, "forwarded: block")
        return self.decide(SYSTEM, destination, protocol, port)

    def explain(
        self,
        app: App,
        destination: bytes,
        protocol: int,
        port: int,
        *,
        ancestors: tuple[App, ...] = (),
        names: tuple[str, ...] = (),
    ) -> Explanation:
        """The decision with every step that led to it."""
        asker = Asker(app, ancestors, protocol, port, names)
        reasons: list[Reason] = []
        for finding in self._findings(Destination.of_flow(destination, protocol, port)):
            reasons.append(finding.reason)
            if finding.conditions is None:
                continue
            steps = list(_steps(finding, asker))
            reasons += [reason for holds, reason in steps if reason is not None]
            if all(holds for holds, _ in steps):
                break
        decision = self.decide(app, destination, protocol, port, ancestors=ancestors, names=names)
        return Explanation(decision, tuple(reasons))

    def needs_owner(self, destination: bytes, protocol: int, port: int) -> bool:
        """False when every app gets the same decision for that destination."""
        for finding in self._findings(Destination.of_flow(destination, protocol, port)):
            if finding.conditions and not finding.conditions[0].everyone:
                return True
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
        mentioned = {network for part in self._parts for network in part.prefixes()}
        for network in sorted(mentioned, key=lambda net: (net.version, int(net.network_address), net.prefixlen)):
            while around and not _within(network, around[-1][0]):
                around.pop()
            taken = any(finding.route is not Route.DIRECT for finding in self._find(Destination.of_prefix(network)))
            if taken != (around[-1][1] if around else False):
                (capture if taken else leave).append(network)
            around.append((network, taken))
        dns = self.uses_domains or any(tunnel.rewrites_dns for tunnel in self._tunnels)
        return CapturePlan(tuple(capture), tuple(leave), dns=dns, forwarded=self._forwarded != "direct")

    def _find(self, to: Destination) -> tuple[Finding, ...]:
        """All that may be met for *to*, up to the first that is whoever asks."""
        found: list[Finding] = []
        for finding in self._findings_in_order(to):
            found.append(finding)
            if finding.everyone:
                break
        return tuple(found)

    def _findings_in_order(self, to: Destination) -> Iterator[Finding]:
        if to.dns and self._resolver_policy != "rules":
            yield from self._shared_resolver_findings(to)
        for part in self._parts:
            yield from part.findings(to)

    def _shared_resolver_findings(self, to: Destination) -> Iterator[Finding]:
        policy = self._resolver_policy
        for tunnel in self._tunnels:
            if tunnel.rewrites_dns:
                query = tunnel.query(to)
                yield query._replace(
                    reason=Reason(f"shared_resolver: {policy}, and {query.reason}"),
                    conditions=(self._shared_resolver,),
                    or_direct=policy == "tunnel_or_direct",
                )
                return


def _steps(finding: Finding, asker: Asker) -> Iterator[tuple[bool, Reason | None]]:
    """Each condition's answer with what to say of it, up to the first that does not hold."""
    for position, condition in enumerate(finding.conditions or ()):
        verdict = condition.verdict(asker)
        told = not condition.everyone or (position == 0 and not finding.stated)
        yield verdict.holds, verdict.reason if told else None
        if not verdict.holds:
            return


def _within(network: Network, outer: Network) -> bool:
    return (
        network.version == outer.version
        and network.prefixlen >= outer.prefixlen
        and int(network.network_address) >> (network.max_prefixlen - outer.prefixlen)
        == int(outer.network_address) >> (outer.max_prefixlen - outer.prefixlen)
    )
