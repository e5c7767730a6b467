"""The engine: threads and tables put together, started and stopped as one.

    capture   Outbound.capture    batches from the backend, on their way
    resolver  Outbound.resolve    owners of new flows, held packets
    udp       Inbound.receive     datagrams of one link, to the stack (one thread a link)
    network   Roaming.follow      news of routes, addresses, adapters; a resume
    tick      Engine.tick         every 100 ms: WireGuard's timers, expiry, the state of the tunnel
    dns       OutsideQueries      answers to queries that stay outside, where rules are about names

No thread dies silently: what escapes one of them is reported once to ``on_failure`` and ends the engine's use.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from wiresock_py.crypto import Datagram, Event, Tunnel
from wiresock_py.crypto.constants import REKEY_AFTER_TIME
from wiresock_py.datapath import DEFAULT, DataPath, Flow, abort, provoke
from wiresock_py.datapath.flows import RESET, TCP
from wiresock_py.engine import reconfigure
from wiresock_py.engine.admission import Admission
from wiresock_py.engine.answers import Answers
from wiresock_py.engine.clock import now as clock
from wiresock_py.engine.inbound import Inbound
from wiresock_py.engine.links import Link
from wiresock_py.engine.outbound import Outbound
from wiresock_py.engine.outside_queries import OutsideQueries, OutsideQuery
from wiresock_py.engine.queries import Queries
from wiresock_py.engine.reconfigure import Change
from wiresock_py.engine.roaming import News, Roaming
from wiresock_py.filters import Backend, CapturePlan, RemembersConnections
from wiresock_py.flow import App, FiveTuple, Route
from wiresock_py.owners import Owners
from wiresock_py.rules import Known, Rules

log = logging.getLogger(__name__)

TICK = 0.1
MISSED_TICKS = 50
"""So many without one, and the engine does not live any more, though its process may."""
JOIN_TIMEOUT = 2.0
RESET_ROUNDS = 4
RESET_PAUSE = 0.1
"""Seconds after a round of resets: for delayed acknowledgments and answers to resets to come past us."""

OnEvent = Callable[[Link, Tunnel, Event], None]
OnFailure = Callable[[BaseException], None]
OnLearned = Callable[[Sequence[Known]], None]
Connections = Callable[[], Iterable[tuple[FiveTuple, App]]]
"""Every connected socket of this host there is now, with its owner."""


class Engine:
    """The life of a packet, whole. Without links it holds the line: what belongs in a tunnel is dropped."""

    def __init__(
        self,
        rules: Rules,
        backend: Backend,
        owners: Owners,
        lock: threading.Lock,
        links: Sequence[Link] = (),
        *,
        datapath: DataPath = DEFAULT,
        kill_switch: str = "app",
        replacing: bool = False,
        connections: Connections = tuple,
        news: News | None = None,
        on_event: OnEvent = lambda *_: None,
        on_failure: OnFailure = lambda *_: None,
        on_learned: OnLearned = lambda *_: None,
    ) -> None:
        """*backend* is open before ``start`` and outlives ``stop``; *lock* and *datapath* are those the links
        were made with. *news* tells of changes of the network.
        With *replacing*, connections may go on that an earlier engine carried."""
        self._backend = backend
        self._owners = owners
        self._connections = connections
        self._on_event = on_event
        self._on_failure = on_failure
        self.links = list(links)
        self.lock = lock
        self.datapath = datapath
        self.flows = datapath.flow_table()
        self._answers = Answers(backend.send_to_stack)
        admission = self._admission = Admission(rules, self.flows, self.links, owners.ancestors)
        by_peer = self._by_peer()
        self._outside: OutsideQueries | None = None
        if self.links:
            self._outside = OutsideQueries(backend.mark, backend.exempt, self._answer_outside, self._refuse_outside)
        self._queries = Queries(admission, self.links, backend.send_to_stack, self._outside, on_learned)
        self._outbound = Outbound(
            backend, self.flows, admission, owners, by_peer, self._answers, self._queries, self.lock, datapath
        )
        if replacing and isinstance(backend, RemembersConnections):
            self._outbound.goes_on_outside = backend.goes_on_outside
        self._outbound.bypassing = kill_switch != "all"
        self._outbound.blocking = kill_switch == "all"  # until the first tick finds a tunnel
        self._inbound = [Inbound(backend, self.flows, admission, self._queries, link) for link in self.links]
        self._roaming = Roaming(self.links, news) if news is not None and self.links else None
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()
        self._failed = False
        self._ticked = float("-inf")
        self._renewed: dict[Tunnel, float] = {}

    def remember(self, known: Iterable[Known]) -> None:
        """Know the names that another process of this run learned."""
        self._admission.names.remember(known, clock())

    def start(self) -> None:
        """Serve the backend, and call every peer that has an endpoint."""
        turns: list[tuple[str, Callable[[], None]]] = [
            ("capture", self._outbound.capture),
            ("resolver", self._outbound.resolve),
            *((f"udp {inbound.link.name}", inbound.receive) for inbound in self._inbound),
            ("tick", self._tick),
        ]
        if self._roaming is not None:
            turns.append(("network", self._roaming.follow))
        if self._outside is not None:
            self._outside.open()
            turns.append(("dns", self._outside.receive))
        self._threads = [threading.Thread(target=self._loop, args=(turn,), name=name) for name, turn in turns]
        for thread in self._threads:
            thread.daemon = True  # a stuck thread must not keep a dying process alive
            thread.start()
        for link in self.links:
            link.connect(clock())

    def reload(self, rules: Rules, plan: CapturePlan, changes: Sequence[Change]) -> None:
        """Go on by other rules; *changes* has what was prepared for each link.

        Peers that stay keep their sessions. Flows that go another way now are ended, TCP by resets, so that none goes
        on on the wrong side. The capture changes last: what is no longer captured must have ended before.
        """
        now = clock()
        owners = dict(self._connections())
        outgoing: list[tuple[Link, list[Datagram]]] = []
        with self._outbound.settling, self.lock:
            by_depth = sorted(zip(self.links, changes, strict=True), key=lambda pair: pair[0].depth)
            for link, change in by_depth:
                outgoing.append((link, reconfigure.adopt(link, change, now)))
            departed: dict[object, Link] = {
                peer: link for link, change in zip(self.links, changes, strict=True) for peer in change.departed
            }
            links = {**self._by_peer(), **departed}
            self._admission.follow(rules)
            ended = self._admission.review(owners, now)
            for flow in ended:
                if isinstance(flow.peer, Tunnel) and flow.is_established and (pair := abort(flow)) is not None:
                    outgoing.append((links[flow.peer], flow.peer.write([pair[1]], now)))
            self._outbound.follow(self._by_peer())
            self._queries.follow()
        for link, datagrams in outgoing:
            link.send(datagrams)
        with self.lock:
            for change in changes:
                reconfigure.release(change)
        if self._provoke(flow.key for flow in ended if flow.route is Route.TUNNEL):
            time.sleep(RESET_PAUSE)
        self._backend.update(plan)
        self.end_connections()
        for link, change in zip(self.links, changes, strict=True):
            change.close()
            for peer in change.called:
                link.call(peer, clock())

    def leave_connections(self) -> None:
        """Let connections that are open outside and belong in a tunnel go on there until they end."""
        for key, _ in self._open_outside():
            self._admission.admit_direct(key, clock())

    def refuse_connections(self) -> list[FiveTuple]:
        """Refuse whatever more comes of connections that are open outside and belong in a tunnel; returns them.

        They cannot be moved into it: the far end knows them by another address.
        """
        found = self._open_outside()
        for key, app in found:
            self._admission.admit_rest(key, app, clock())
        return [key for key, _ in found]

    def end_connections(self) -> int:
        """Refuse them and make their apps notice at once; how many there were."""
        return self._provoke(self.refuse_connections())

    def end_lost_connections(self) -> None:
        """Refuse the rest of connections that the tunnel carried and that no flow of ours tells how to reset.

        An earlier engine carried them, and nothing of them was sent since, or they were silent for hours. They would go
        on outside once the rules are gone.
        """
        now = clock()
        lost = [
            (key, app)
            for key, app in self._connections()
            if key.protocol == TCP and self._admission.is_lost(key, app, now) and not self._goes_on_outside(key)
        ]
        for key, app in lost:
            self._admission.admit_rest(key, app, now)
        if self._provoke(key for key, _ in lost):
            time.sleep(RESET_PAUSE)

    def _goes_on_outside(self, key: FiveTuple) -> bool:
        if isinstance(self._backend, RemembersConnections):
            return self._backend.goes_on_outside(key)
        return self._owners.listening(key.protocol, key.local, key.local_port)  # the other end opened it

    def _open_outside(self) -> list[tuple[FiveTuple, App]]:
        now = clock()
        return [
            (key, app)
            for key, app in self._connections()
            if key.protocol == TCP
            and self._admission.must_end(key, app, now)
            and not self._owners.listening(key.protocol, key.local, key.local_port)  # the other end opened it
        ]

    def _provoke(self, keys: Iterable[FiveTuple]) -> int:
        """Make the stack say where connections stand whose rest is refused: what it says is answered by a reset."""
        connections = [key for key in keys if key.protocol == TCP]
        self._backend.send_to_stack([[packet] for key in connections for packet in provoke(key)])
        return len(connections)

    def _by_peer(self) -> dict[object, Link]:
        return {peer: link for link in self.links for peer in link.peers}

    def _loop(self, turn: Callable[[], None]) -> None:
        try:
            while not self._stopping.is_set():
                turn()
        except BaseException as error:
            if not self._failed and not self._stopping.is_set():
                self._failed = True
                log.exception("the %s thread failed", threading.current_thread().name)
                self._on_failure(error)

    def _tick(self) -> None:
        if not self._stopping.wait(TICK):
            self.tick(clock())

    @property
    def seems_alive(self) -> bool:
        """Whether the timers ticked a moment ago."""
        return time.monotonic() - self._ticked < MISSED_TICKS * TICK

    def tick(self, now: float) -> None:
        """Run the timers that are due, forget flows that are over, look whether there is a tunnel."""
        self._ticked = time.monotonic()
        for link in self.links:
            for peer, event in link.tick(now):
                self._on_event(link, peer, event)
        self._queries.tick(now)
        self.flows.expire(now)
        if not self._outbound.bypassing:
            self._renew(now)
            self._outbound.blocking = not self.is_up(now)

    def _renew(self, now: float) -> None:
        """Renew sessions that no traffic renews: an idle tunnel is not a dead one (kill switch ``all``)."""
        for link in self.links:
            for peer, _, stats in link.stats(now):
                age = float("inf") if stats.handshake_age is None else stats.handshake_age
                if min(age, now - self._renewed.get(peer, float("-inf"))) >= REKEY_AFTER_TIME:
                    self._renewed[peer] = now
                    link.call(peer, now)

    def is_up(self, now: float) -> bool:
        """Whether there are links and every one has a peer with a session to send on."""
        with self.lock:
            up = [any(peer.sending_session(now) for peer in link.peers) for link in self.links]
        return bool(up) and all(up)

    def stop(self) -> None:
        """Reset live tunnelled connections and end the threads, within a few seconds; the backend stays open."""
        if self._stopping.is_set():
            return
        try:
            if self.links and self._threads:
                self._reset_connections()
        finally:
            self._stopping.set()
            self._outbound.stop()
            for thread in self._threads:
                if thread is not threading.current_thread():
                    thread.join(JOIN_TIMEOUT)
            if self._outside is not None:
                self._outside.close()

    def _reset_connections(self) -> None:
        """Tell both ends of every tunnelled connection that it is over: they would never hear of each other again.

        This end in rounds: a reset that is not exact is answered with the number it should have carried (RFC 5961
        section 3.2) or, if what was acknowledged last has not come past us yet, not at all. A connection that missed
        its reset would go on outside once the rules are gone.
        """
        for inbound in self._inbound:
            inbound.delivering = False
        self.end_lost_connections()
        # chosen once: the far end's own resets, which are not delivered any more, change nothing
        flows = [flow for flow in self.flows if flow.route is Route.TUNNEL and not flow.state & RESET]
        self._reset_far_ends(flow for flow in flows if flow.is_established)
        for _ in range(RESET_ROUNDS):
            resets = [[pair[0]] for flow in flows if (pair := abort(flow)) is not None]
            if not resets:
                return
            self._backend.send_to_stack(resets)
            time.sleep(RESET_PAUSE)

    def _reset_far_ends(self, flows: Iterable[Flow]) -> None:
        to_peers: dict[object, list[bytes]] = {}
        for flow in flows:
            if (pair := abort(flow)) is not None:
                to_peers.setdefault(flow.peer, []).append(pair[1])
        for link in self.links:
            for peer in link.peers:
                if peer in to_peers:
                    link.write(peer, to_peers[peer], clock())

    def _answer_outside(self, query: OutsideQuery, answer: bytes) -> None:
        self._queries.answered_outside(query, answer, clock())

    def _refuse_outside(self, query: OutsideQuery) -> None:
        self._answers.refuse(query.packet, clock())

    def close(self) -> None:
        """Erase the keys and close the sockets of the links, after ``stop``."""
        for link in self.links:
            link.close()

    def flow_counts(self) -> dict[str, int]:
        """Live flows by route, in words."""
        routes = Counter(flow.route for flow in self.flows)
        return {route.name.lower(): routes[route] for route in Route}

    def counters(self) -> Counter[str]:
        """Every drop and oddity by name, of all threads."""
        total = self._outbound.statistics()
        for inbound in self._inbound:
            total.update(inbound.statistics())
        total.update(self._queries.counters.copy())
        total["answers_suppressed"] = self._answers.suppressed
        return total
