"""From a decision of the rules to a flow that the data path can work on, and the first line the user reads about it."""

import logging
import socket
import threading
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

from wiresock_py.datapath import Flow, FlowTable
from wiresock_py.engine.links import Link
from wiresock_py.flow import PROTOCOL_NAMES, SYSTEM, App, FiveTuple, Route
from wiresock_py.rules import Decision, Rules

log = logging.getLogger(__name__)

MAX_INTRODUCED = 4096
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

    def __init__(self, rules: Rules, flows: FlowTable, links: Sequence[Link]) -> None:
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
            self._places: dict[Hashable, tuple[int, int]] = {
                peer: (tunnel, number)
                for tunnel, link in enumerate(self._links)
                for number, peer in enumerate(link.peers)
            }

    def needs_owner(self, key: FiveTuple) -> bool:
        """Whether the rules ask which app it is."""
        return self._rules.needs_owner(key.remote, key.protocol, key.remote_port)

    def leads_to(self, peer: Hashable, address: bytes) -> bool:
        """Whether some app's packets to *address* would go to *peer*: then packets from there may come from it."""
        return self._rules.leads_to(*self._places[peer], address)

    def admit(self, key: FiveTuple, app: App, now: float) -> Flow:
        """Decide for *app* and enter the flow."""
        while True:
            rules = self._rules
            decision = rules.decide(app, key.remote, key.protocol, key.remote_port)
            with self._entering:
                if rules is self._rules:  # else they changed just now
                    flow = self._enter(key, app, self._way(key, decision), now)
                    break
        self._introduce(app, key, decision, flow.route)
        return flow

    def admit_direct(self, key: FiveTuple, now: float) -> Flow:
        """Enter a flow that is none of ours whatever its app: one that the other end opened, or that is to be left."""
        return self._flows.add(key, Route.DIRECT, now)

    def admit_rest(self, key: FiveTuple, app: App, now: float) -> None:
        """Enter what is left of a TCP connection that may not go on: each of its packets is answered by a reset."""
        self._flows.add(key, Route.BLOCK, now, owner=app, initial_sequence=NO_SEQUENCE)

    def must_end(self, key: FiveTuple, app: App) -> bool:
        """Whether the TCP connection *key* of *app*, which this end opened, is open outside and may not go on there."""
        if self._rules.decide(app, key.remote, key.protocol, key.remote_port).route is Route.DIRECT:
            return False
        flow = self._flows.find(key)
        return flow is None or (flow.route is not Route.TUNNEL and flow.owner is not None)

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
            way = self._way(key, self._rules.decide(app, key.remote, key.protocol, key.remote_port))
            if way.is_of(flow):
                continue
            ended.append(flow)
            if key.protocol == socket.IPPROTO_TCP:
                self.admit_rest(key, app, now)
            else:
                self._flows.remove(flow)
        return ended

    def _way(self, key: FiveTuple, decision: Decision) -> Way:
        version = 6 if key.is_ipv6 else 4
        if decision.route is not Route.TUNNEL:
            return Way(decision.route)
        remote: tuple[bytes, int] | None = None
        if decision.dns:
            servers = self._rules.configs[decision.tunnel].dns_servers(version)
            if not servers:
                # it asks a resolver of a family in which the tunnel has none: refused, so that it tries another
                return Way(Route.BLOCK)
            remote = (servers[0].packed, key.remote_port)
        if not self._links:
            return Way(Route.TUNNEL)
        link = self._links[decision.tunnel]
        return Way(Route.TUNNEL, link.peers[decision.peer], link.addresses[version], remote)

    def _enter(self, key: FiveTuple, app: App, way: Way, now: float) -> Flow:
        return self._flows.add(key, way.route, now, peer=way.peer, local=way.local, remote=way.remote, owner=app)

    def _introduce(self, app: App, key: FiveTuple, decision: Decision, route: Route) -> None:
        """Say once for each app and route where its packets go."""
        introduction = (app.path, route, decision.tunnel)
        if introduction in self._introduced or len(self._introduced) >= MAX_INTRODUCED:
            return
        self._introduced.add(introduction)
        where = {Route.TUNNEL: "into the tunnel", Route.DIRECT: "direct", Route.BLOCK: "blocked"}[route]
        process = f"{app.name} (pid {app.pid})" if app.pid else app.name
        protocol = PROTOCOL_NAMES.get(key.protocol, f"protocol {key.protocol}")
        log.info("%s: first %s packet goes %s: %s", process, protocol, where, decision.reason)
