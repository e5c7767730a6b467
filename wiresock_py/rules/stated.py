"""The rules of settings.yaml, made ready to be asked about a destination.

``tunnel NAME`` without ``to`` takes what that tunnel takes: its AllowedIPs without its DisallowedIPs, and DNS queries,
which go to its servers. With ``to`` it takes exactly these destinations, which must lie within AllowedIPs: WireGuard
sends nothing else. A rule for a tunnel that does not run is passed over.
"""

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network

from wiresock_py.config import Config, Notice, Rule
from wiresock_py.config.settings import BLOCK, PROTOCOLS, TUNNEL
from wiresock_py.config.text import nearest
from wiresock_py.errors import ConfigError
from wiresock_py.flow import Route
from wiresock_py.rules.apps import AppCondition, AppSet, Resolver, read_entries
from wiresock_py.rules.conditions import Asker, Condition, PortCondition, Verdict
from wiresock_py.rules.decision import Reason
from wiresock_py.rules.destinations import Destination, Finding, TunnelDestinations
from wiresock_py.rules.domains import DomainSet
from wiresock_py.rules.prefixes import PrefixMap
from wiresock_py.rules.ranges import NEVER_TUNNELLED, Network, covers

EVERYTHING: tuple[Network, ...] = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))


class DomainCondition:
    """The names that a rule is for; none: every name, and what has none."""

    def __init__(self, domains: DomainSet, missed: Reason) -> None:
        self.domains = domains
        self._missed = missed
        self.everyone = not domains

    def includes(self, other: Condition) -> bool:
        """Whether *other* is a rule's too, and its names are all among these."""
        return isinstance(other, DomainCondition) and not other.everyone and self.domains.includes(other.domains)

    def verdict(self, asker: Asker) -> Verdict:
        """Whether a name that led to the destination is one of them."""
        if self.everyone:
            return Verdict(True, Reason("every name"))
        reason = self.domains.any_of(asker.names)
        known = f"known as {', '.join(asker.names[:3])}" if asker.names else "its name is not known"
        missed = self._missed._replace(text=f"{known}, {self._missed.text}")
        return Verdict(reason is not None, reason or missed)


class StatedRule:
    """One rule. Raises ConfigError for a group that is not there, and for destinations its tunnel cannot carry."""

    def __init__(
        self,
        rule: Rule,
        configs: Sequence[Config],
        tunnels: Sequence[TunnelDestinations],
        groups: Mapping[str, tuple[str, ...]],
        resolve: Resolver,
    ) -> None:
        self.rule = rule
        self.reason = Reason(str(rule), rule.file, rule.line)
        self._index = next((index for index, config in enumerate(configs) if config.name == rule.tunnel), -1)
        self.runs = rule.action != TUNNEL or self._index >= 0
        """Whether its tunnel is one of this run."""
        self._tunnel = tunnels[self._index] if self._index >= 0 else None
        self._to = PrefixMap((network, network) for network in rule.to)
        if self._index >= 0:
            self._check_reach(configs[self._index])
        apps = AppSet(
            read_entries("apps", ": ", rule.apps, groups, rule.file, lambda text: rule.place("apps", text)),
            read_entries("app_trees", ": ", rule.app_trees, groups, rule.file, lambda text: rule.place("apps", text)),
            resolve,
        )
        everyone = not rule.apps and not rule.app_trees
        self.apps = AppCondition(apps, self._at("not in apps"), everyone=everyone)
        self.domains = DomainSet((each, self._at(f"domains: {each}", "domains", each)) for each in rule.domains)
        ports = ", ".join(filter(None, (rule.protocol, *map(str, rule.ports))))
        self.conditions = (
            self.apps,
            DomainCondition(self.domains, self._at("not in domains")),
            PortCondition(rule.ports, PROTOCOLS.get(rule.protocol, ()), self._at(ports)),
        )

    def prefixes(self) -> Iterator[Network]:
        """Every prefix that :meth:`findings` depends on, beside those of the tunnels."""
        yield from self.rule.to or EVERYTHING
        yield from NEVER_TUNNELLED

    def findings(self, to: Destination) -> Iterator[Finding]:
        """What the rule makes of *to*: something only if it is for that destination."""
        if not self.runs or (to.never_tunnelled and not to.dns):
            return
        if self.rule.to and self._to.longest(to.version, to.address, to.length) is None:
            return
        if self._tunnel is None:
            route = Route.BLOCK if self.rule.action == BLOCK else Route.DIRECT
            yield Finding(route, -1, -1, self.reason, self.conditions, stated=True)
            return
        for offered in self._offers(self._tunnel, to):
            reason = self.reason
            if offered.route is Route.BLOCK:
                reason = reason._replace(text=f"{reason.text}, but {_why_blocked(offered.reason)}")
            yield offered._replace(reason=reason, conditions=self.conditions, stated=True)

    def _offers(self, tunnel: TunnelDestinations, to: Destination) -> Iterator[Finding]:
        if self.rule.to:
            routed = None if to.never_tunnelled else tunnel.routed(to)
            yield from (routed,) if routed else ()
        elif to.dns and tunnel.rewrites_dns:
            yield tunnel.query(to)
        else:
            # one is enough: the rule's own conditions take the place of the peers'
            offers = (each for each in tunnel.findings(to) if each.conditions is not None)
            yield from (offer for offer, _ in zip(offers, range(1), strict=False))

    def _check_reach(self, config: Config) -> None:
        allowed = [network for peer in config.peers for network in peer.allowed_ips]
        for network in self.rule.to:
            if not covers(allowed, network):
                place = self.rule.place("to", network)
                message = f"to: found {network}, which the AllowedIPs of {config.file} do not hold"
                remedy = f"add it to AllowedIPs there, or leave it out here: {config.name} cannot carry it"
                raise ConfigError(message, remedy, file=self.rule.file, line=place.line, column=place.column)

    def _at(self, text: str, key: str = "", item: str = "") -> Reason:
        return Reason(text, self.rule.file, self.rule.place(key, item).line or self.rule.line)


def notices(rules: Sequence[StatedRule], tunnels: Sequence[str]) -> Iterator[Notice]:
    """What the rules make one wonder about in a run of these *tunnels*."""
    for each in rules:
        if not each.runs:
            message = f"there is no tunnel {each.rule.tunnel} in this run, so this rule is passed over"
            remedy = nearest(each.rule.tunnel, tunnels) or f"this run has {', '.join(tunnels)}"
            yield Notice(message, remedy, each.rule.file, each.rule.line)


def _why_blocked(reason: Reason) -> str:
    return reason.text.rpartition(", but ")[2]
