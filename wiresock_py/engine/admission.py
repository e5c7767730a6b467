"""From a decision of the rules to a flow that the data path can work on, and the first line the user reads about it."""

import logging
import socket
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from ipaddress import ip_address
from typing import NamedTuple

from wiresock_py.config import Endpoint
from wiresock_py.datapath import Flow, FlowTable
from wiresock_py.engine.links import Link
from wiresock_py.flow import PROTOCOL_NAMES, SYSTEM, App, FiveTuple, Route
from wiresock_py.rules import Decision, NameTable, Rules
from wiresock_py.rules.nesting import carries

log = logging.getLogger(__name__)

MAX_INTRODUCED = 4096
FORWARDED = App(0, 1, "another machine")
"""Stands for the app behind what this host passes on."""
NO_SEQUENCE = 1 << 32
"""In place of a SYN's sequence number: the flow is a connection's rest, and every SYN opens another one."""


class Way(NamedTuple):
    """What a decision means for one flow: how it is entered into the table."""

    route: Route
    peer: Hashable = None
    local: bytes = b""
    remote: tuple[bytes, int] | None = None

    def is_of(self, flow: Flow) -> bool:
        """Whether *flow* goes this way already."""
        if (flow.route, flow.peer) != (self.route, self.peer):
            return False
        if self.route is not Route.TUNNEL or self.peer is None:
            return True
        remote = self.remote or (flow.key.remote, flow.key.remote_port)
        return (flow.inner.local, flow.inner.remote, flow.inner.remote_port) == (self.local, *remote)


class Admission:
    """Enters new flows into the table, in the way the rules say.

    Without *links* (the line is held for a dead worker) tunnelled flows get no peer: their packets are dropped.
    """

    def __init__(
        self,
        rules: Rules,
        flows: FlowTable,
        links: Sequence[Link],
        ancestors: Callable[[App], tuple[App, ...]],
    ) -> None:
        """*ancestors* is the owner look-up's."""
        self._ancestors = ancestors
        self.names = NameTable(lambda name: self._rules.mentions(name))
        """Which names led to which addresses, as far as rules ask."""
        self._flows = flows
        self._links = links
        self._entering = threading.Lock()
        """Held while a flow is entered by the rules that decided it, or the rules are exchanged."""
        self._introduced: set[tuple[str, Route, int]] = set()
        self.follow(rules)

    def follow(self, rules: Rules) -> None:
        """Decide by *rules* from now on."""
        with self._entering:
            self._rules = rules
            self._outer = {link.socket.port: link.outer for link in self._links if link.outer is not None}
            # as these rules count them: the links may be on their way to others
            self._peers = [tuple(link.peers) for link in self._links]
            self._places: dict[Hashable, tuple[int, int]] = {
                peer: (tunnel, number) for tunnel, peers in enumerate(self._peers) for number, peer in enumerate(peers)
            }
            self._open_ports = {
                peer: rules.configs[tunnel].peers[number].allow_inbound
                for peer, (tunnel, number) in self._places.items()
            }

    def needs_owner(self, key: FiveTuple) -> bool:
        """Whether the rules ask which app it is."""
        if self._outer_link(key) is not None:
            return False
        return self._rules.needs_owner(key.remote, key.protocol, key.remote_port)

    def leads_to(self, peer: Hashable, address: bytes) -> bool:
        """Whether some app's packets to *address* would go to *peer*: then packets from there may come from it.

        Of a peer that departed while its packet was on the way, none do.
        """
        place = self._places.get(peer)
        return place is not None and self._rules.leads_to(*place, address)

    def allows_inbound(self, peer: Hashable, protocol: int, port: int) -> bool:
        """Whether hosts behind *peer* may open *port* of this host."""
        return any(each.holds(protocol, port) for each in self._open_ports.get(peer, ()))

    @property
    def uses_domains(self) -> bool:
        """Whether a decision may depend on the names that led to an address."""
        return self._rules.uses_domains

    def decide(self, key: FiveTuple, app: App, names: tuple[str, ...]) -> Decision:
        """What the rules say of *app* on its way to what *names* led to."""
        return self._decide(self._rules, key, app, names)

    def admit(self, key: FiveTuple, app: App, now: float) -> Flow:
        """Decide for *app* and enter the flow."""
        while True:
            rules = self._rules
            decision = self._decide(rules, key, app, self._known_as(key, now))
            with self._entering:
                if rules is self._rules:  # else they changed just now
                    flow = self._enter(key, app, self._way(key, decision), now)
                    break
        self.introduce(app, key, decision, flow.route)
        return flow

    def enter(self, key: FiveTuple, app: App, decision: Decision, now: float) -> Flow:
        """Enter the flow that was decided so."""
        return self._enter(key, app, self._way(key, decision), now)

    def admit_forwarded(self, key: FiveTuple, now: float) -> Flow:
        """Decide for another machine, whose address is the flow's local end, and enter the flow."""
        with self._entering:
            decision = self._rules.decide_forwarded(key.remote, key.protocol, key.remote_port)
            flow = self._enter(key, FORWARDED, self._way(key, decision), now)
        self.introduce(FORWARDED, key, decision, flow.route)
        return flow

    def admit_direct(self, key: FiveTuple, now: float) -> Flow:
        """Enter a flow that is none of ours whatever its app: one that the other end opened, or that is to be left."""
        return self._flows.add(key, Route.DIRECT, now)

    def admit_rest(self, key: FiveTuple, app: App, now: float) -> None:
        """Enter what is left of a TCP connection that may not go on: each of its packets is answered by a reset."""
        self._flows.add(key, Route.BLOCK, now, owner=app, initial_sequence=NO_SEQUENCE)

    def must_end(self, key: FiveTuple, app: App, now: float) -> bool:
        """Whether the TCP connection *key* of *app*, which this end opened, is open outside and may not go on there."""
        if self.decide(key, app, self._known_as(key, now)).route is Route.DIRECT:
            return False
        flow = self._flows.find(key)
        return flow is None or (flow.route is not Route.TUNNEL and flow.owner is not None)

    def is_lost(self, key: FiveTuple, app: App, now: float) -> bool:
        """Whether the TCP connection *key* of *app* belongs in a tunnel, and how far it has got is not known here."""
        if self.decide(key, app, self._known_as(key, now)).route is not Route.TUNNEL:
            return False
        flow = self._flows.find(key)
        return flow is None or (flow.route is Route.TUNNEL and flow.sequence < 0)

    def review(self, owners: Mapping[FiveTuple, App], now: float) -> list[Flow]:
        """Decide again for every flow; those that go another way now are ended and returned.

        A datagram flow is forgotten, its next packet goes the new way. A TCP connection cannot change its way, so its
        rest is refused. *owners* are of the connections there are: earlier rules may not have asked for them.
        """
        ended = []
        for flow in list(self._flows):
            key = flow.key
            app = owners.get(key, SYSTEM) if flow.owner == SYSTEM else flow.owner
            if not isinstance(app, App):
                continue  # the other end opened it
            if app == SYSTEM and key.protocol != socket.IPPROTO_TCP and self.needs_owner(key):
                self._flows.remove(flow)  # whose it is was never asked
                continue
            if app == FORWARDED:
                decision = self._rules.decide_forwarded(key.remote, key.protocol, key.remote_port)
            else:
                decision = self.decide(key, app, self._known_as(key, now))
            way = self._way(key, decision)
            if way.is_of(flow):
                continue
            ended.append(flow)
            if key.protocol == socket.IPPROTO_TCP:
                self.admit_rest(key, app, now)
            else:
                self._flows.remove(flow)
        return ended

    def _decide(self, rules: Rules, key: FiveTuple, app: App, names: tuple[str, ...]) -> Decision:
        """What *rules* say; a link's own datagrams that go through another one are not for them to judge."""
        outer = self._outer_link(key)
        if outer is None:
            ancestors = self._ancestors(app) if rules.uses_ancestors else ()
            return rules.decide(app, key.remote, key.protocol, key.remote_port, ancestors=ancestors, names=names)
        tunnel = self._links.index(outer)
        address = ip_address(key.remote)
        if carries(outer.config, address):
            return Decision(Route.TUNNEL, tunnel, outer.config.peer_for(address), f"Via = {outer.name}")
        return Decision(Route.BLOCK, tunnel, -1, f"Via = {outer.name}, which does not lead there")

    def _outer_link(self, key: FiveTuple) -> Link | None:
        """The link that the packets of *key* go through because they are another one's datagrams."""
        if key.protocol != socket.IPPROTO_UDP:
            return None
        return self._outer.get(key.local_port)

    def _known_as(self, key: FiveTuple, now: float) -> tuple[str, ...]:
        return self.names.of(key.remote, now) if self._rules.uses_domains else ()

    def _way(self, key: FiveTuple, decision: Decision) -> Way:
        version = 6 if key.is_ipv6 else 4
        if decision.route is not Route.TUNNEL:
            return Way(decision.route)
        remote: tuple[bytes, int] | None = None
        if decision.dns:
            # over TCP: queries over UDP are carried one by one
            servers = self._rules.configs[decision.tunnel].dns_servers(version)
            if not servers:
                return Way(Route.BLOCK)
            remote = (servers[0].packed, key.remote_port)
        if not self._links:
            return Way(Route.TUNNEL)
        link = self._links[decision.tunnel]
        return Way(Route.TUNNEL, self._peers[decision.tunnel][decision.peer], link.addresses[version], remote)

    def _enter(self, key: FiveTuple, app: App, way: Way, now: float) -> Flow:
        return self._flows.add(key, way.route, now, peer=way.peer, local=way.local, remote=way.remote, owner=app)

    def introduce(self, app: App, key: FiveTuple, decision: Decision, route: Route) -> None:
        """Say once for each app and route where its packets go, and once for all where nobody asked whose they are.

        At the level debug, say it of every flow.
        """
        name = app.name if app != SYSTEM or self.needs_owner(key) else "every app"
        introduction = (app.path or name, route, decision.tunnel)
        known = introduction in self._introduced or len(self._introduced) >= MAX_INTRODUCED
        if known and not log.isEnabledFor(logging.DEBUG):
            return
        where = {Route.TUNNEL: "into the tunnel", Route.DIRECT: "direct", Route.BLOCK: "blocked"}[route]
        process = f"{name} (pid {app.pid})" if app.pid else name
        protocol = PROTOCOL_NAMES.get(key.protocol, f"protocol {key.protocol}")
        if known:
            address = ip_address(key.remote)
            to = Endpoint(str(address), key.remote_port) if key.remote_port else address
            log.debug("%s: %s to %s goes %s: %s", process, protocol, to, where, decision.reason)
            return
        self._introduced.add(introduction)
        log.info("%s: first %s packet goes %s: %s", process, protocol, where, decision.reason)
