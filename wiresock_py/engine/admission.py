"""From a decision of the rules to a flow that the data path can work on, and the first line the user reads about it."""

import logging
from collections.abc import Hashable, Sequence

from wiresock_py.datapath import Flow, FlowTable
from wiresock_py.engine.links import Link
from wiresock_py.flow import PROTOCOL_NAMES, App, FiveTuple, Route
from wiresock_py.rules import Decision, Rules

log = logging.getLogger(__name__)

MAX_INTRODUCED = 4096


class Admission:
    """Enters new flows into the table, in the way the rules say.

    Without *links* (the line is held for a dead worker) tunnelled flows get no peer: their packets are dropped.
    """

    def __init__(self, rules: Rules, flows: FlowTable, links: Sequence[Link]) -> None:
        self._rules = rules
        self._flows = flows
        self._links = links
        self._places: dict[Hashable, tuple[int, int]] = {
            peer: (tunnel, number) for tunnel, link in enumerate(links) for number, peer in enumerate(link.peers)
        }
        self._introduced: set[tuple[str, Route, int]] = set()

    def needs_owner(self, key: FiveTuple) -> bool:
        """Whether the rules ask which app it is."""
        return self._rules.needs_owner(key.remote, key.protocol, key.remote_port)

    def leads_to(self, peer: Hashable, address: bytes) -> bool:
        """Whether some app's packets to *address* would go to *peer*: then packets from there may come from it."""
        return self._rules.leads_to(*self._places[peer], address)

    def admit(self, key: FiveTuple, app: App, now: float) -> Flow:
        """Decide for *app* and enter the flow."""
        decision = self._rules.decide(app, key.remote, key.protocol, key.remote_port)
        flow = self._enter(key, app, decision, now)
        self._introduce(app, key, decision, flow.route)
        return flow

    def admit_direct(self, key: FiveTuple, now: float) -> Flow:
        """Enter a flow that is none of ours whatever its app: one that the other end opened."""
        return self._flows.add(key, Route.DIRECT, now)

    def _enter(self, key: FiveTuple, app: App, decision: Decision, now: float) -> Flow:
        version = 6 if key.is_ipv6 else 4
        if decision.route is not Route.TUNNEL:
            return self._flows.add(key, decision.route, now, owner=app)
        remote: tuple[bytes, int] | None = None
        if decision.dns:
            servers = self._rules.configs[decision.tunnel].dns_servers(version)
            if not servers:
                # it asks a resolver of a family in which the tunnel has none: refused, so that it tries another
                return self._flows.add(key, Route.BLOCK, now, owner=app)
            remote = (servers[0].packed, key.remote_port)
        if not self._links:
            return self._flows.add(key, Route.TUNNEL, now, owner=app)
        link = self._links[decision.tunnel]
        peer = link.peers[decision.peer]
        local = link.addresses[version]
        return self._flows.add(key, Route.TUNNEL, now, peer=peer, local=local, remote=remote, owner=app)

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
