"""The worker: has the keys, runs the engine, answers the control socket. Started by the supervisor, never by hand.

    read files ─> resolve, open sockets ─> "waiting" ─> told "open" ─> rules in, "serving" ─> handshake ─> until "stop"

It ends in one way for every reason: the engine is shut down (bounded in time), the rules go, the keys are erased. Only
a worker that lost its supervisor leaves the plan blocked, unless the kill switch is off: nobody is left to replace it.
"""

import dataclasses
import ipaddress
import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any, NoReturn

from wiresock_py.config import Config, Settings, advise_together, format_config, load, load_settings
from wiresock_py.crypto import Event, PrivateKey, Tunnel
from wiresock_py.datapath import choose
from wiresock_py.engine import Engine, Link
from wiresock_py.engine.clock import now as clock
from wiresock_py.engine.reconfigure import Change, prepare
from wiresock_py.engine.udp import UdpSocket
from wiresock_py.errors import EXIT_FAILURE, BackendError, NetworkError, WiresockError
from wiresock_py.filters import CapturePlan
from wiresock_py.filters.registry import create
from wiresock_py.network import (
    NetworkChanges,
    adapter_mtu,
    default_adapters,
    has_route,
    host_network,
    on_link_networks,
    resolvers,
    shared_resolver,
)
from wiresock_py.owners import SocketOwners, open_connections
from wiresock_py.rules import Known, Rules
from wiresock_py.service import messages
from wiresock_py.service.console import outlive_the_console
from wiresock_py.service.control import DEFAULT_PATH, ControlServer
from wiresock_py.service.options import RunOptions
from wiresock_py.service.stamps import SentStamps, default_folder
from wiresock_py.service.status import describe
from wiresock_py.service.talk import say_error, set_up_logging

if sys.platform != "win32":
    import resource

log = logging.getLogger(__name__)

Inbox = queue.SimpleQueue[dict[str, Any]]
"""From the supervisor: its messages, and "orphaned" when it is gone. From the engine: "event" and "failed"."""

SIGN_OF_LIFE = 1.0
"""Seconds between two."""

FAMILIES = {4: (socket.AF_INET, "IPv4"), 6: (socket.AF_INET6, "IPv6")}


class Worker:
    """One worker's life. Making one does everything that can fail for a reason the user can mend, changing nothing."""

    def __init__(self, options: RunOptions, inbox: Inbox, resources: ExitStack) -> None:
        """What must be closed goes on *resources*, whatever becomes of the worker. Raises WiresockError."""
        self._options = options
        self._inbox = inbox
        self._configs, rules, self._settings = _read(options)
        self._plan = rules.plan()
        datapath = choose(options.datapath)
        self._backend = create(options.backend, host_network(), compiled=datapath.compiled)
        if any(outer is not None for outer in rules.outer) and not self._backend.mark:
            raise BackendError(
                f"the {self._backend.name} backend cannot send one tunnel through another (Via) yet",
                "take the Via line out, or use the netfilter backend",
            )
        self._control = ControlServer(Path(options.control_socket or DEFAULT_PATH), self._answer)
        resources.callback(self._control.close)
        routes = default_adapters()
        if not routes:
            raise NetworkError(
                "this host has no default route, so there is nothing to tunnel", "connect it to a network"
            )
        _warn_of_missing_routes(self._configs)
        if self._plan.dns and not self._backend.sees_loopback:
            _warn_of_unseen_resolvers(self._backend.name)
        lock = threading.Lock()
        self._exemptions: dict[Link, ExitStack] = {}
        resources.callback(self._end_exemptions)
        mtu = adapter_mtu(routes[0].adapter)
        made: dict[int, Link] = {}

        def make(index: int) -> Link:
            if index not in made:
                config, outer = self._configs[index], rules.outer[index]
                link = Link(
                    config,
                    mtu,
                    self._backend.mark,
                    lock,
                    datapath,
                    exempt=self._backend.exempt,
                    outer=None if outer is None else make(outer),
                )
                resources.callback(link.close)
                if link.outer is None:
                    self._exemptions[link] = self._exemption(link.socket.port)
                made[index] = link
            return made[index]

        self._links = [make(index) for index in range(len(self._configs))]
        self._stamps = _restored_stamps(self._links)
        self._engine = Engine(
            rules,
            self._backend,
            SocketOwners(),
            lock,
            self._links,
            datapath=datapath,
            kill_switch=options.kill_switch,
            replacing=options.replacing,
            connections=open_connections,
            news=resources.enter_context(NetworkChanges()),
            on_event=lambda link, peer, event: inbox.put({"kind": "event", "link": link, "peer": peer, "event": event}),
            on_failure=lambda error: inbox.put({"kind": "failed", "error": error}),
            on_learned=lambda known: _tell("learned", names=known),
        )
        self._answering: set[Tunnel] = set()
        self._refreshing: set[Tunnel] = set()
        self._connected = False
        self._reloading = threading.Lock()
        self._ended = threading.Event()

    def run(self) -> None:
        """Wait for the queues, then serve until told to stop. Raises WiresockError if the tunnel does not come up."""
        _tell("waiting", configurations=[_without_keys(config) for config in self._configs])
        message = self._inbox.get()
        if message["kind"] != "open":
            return
        self._engine.remember(Known(*each) for each in message.get("names", ()))
        log.info("intercepting with the %s backend, %s data path", self._backend.name, self._engine.datapath.name)
        reset = self._settings.existing == "reset"
        if not self._options.replacing:
            # before the rules: else their next packets would be taken for the tunnel's
            if reset:
                self._engine.refuse_connections()
            else:
                self._engine.leave_connections()
        self._backend.open(self._capture_plan({link.socket: link for link in self._links}))
        keep_blocking = False
        try:
            self._engine.start()
            self._control.start()
            _tell("serving")
            threading.Thread(target=self._give_signs_of_life, name="life", daemon=True).start()
            log.info("the rules are in place: from now on nothing of the tunnel's leaves outside it")
            if reset and not self._options.replacing:
                threading.Thread(target=self._end_connections, name="existing connections", daemon=True).start()
            keep_blocking = self._serve() and self._options.kill_switch != "off"
        except WiresockError:
            raise
        except BaseException:
            log.exception("the worker failed")
            _leave_to_the_supervisor()
        finally:
            self._ended.set()
            try:
                self._engine.stop()
            finally:
                self._backend.close(keep_blocking=keep_blocking)
            for stamps in self._stamps.values():
                stamps.save()

    def _give_signs_of_life(self) -> None:
        """As long as the engine's timers tick; aside, as a supervisor that does not listen must not hold them up."""
        while not self._ended.wait(SIGN_OF_LIFE):
            if self._engine.seems_alive:
                _tell("alive")

    def _end_connections(self) -> None:
        try:
            count = self._engine.end_connections()
        except Exception as error:
            log.exception("the connections that were open before could not be ended")
            self._inbox.put({"kind": "failed", "error": error})
            return
        if count:
            log.info("connections from before that belong in the tunnel: %d reset; their apps connect again", count)

    def _serve(self) -> bool:
        """Until told to stop; True if there is nobody left who could."""
        started = time.monotonic()
        for link in self._links:
            for peer in link.config.peers:
                if peer.endpoint is not None:
                    log.info("%s: calling %s", link.name, peer.endpoint)
        timeout = self._options.connect_timeout
        may_give_up = timeout > 0 and any(peer.endpoint for link in self._links for peer in link.peers)
        while True:
            waiting = may_give_up and not self._connected
            try:
                message = self._inbox.get(timeout=max(0.0, started + timeout - time.monotonic()) if waiting else None)
            except queue.Empty:
                raise self._unanswered(timeout) from None
            match message["kind"]:
                case "stop":
                    return False
                case "orphaned":
                    log.error("the supervisor is gone, so this worker goes too")
                    return True
                case "failed":
                    _leave_to_the_supervisor()
                case "reload":
                    # aside: names to look up must not hold up a "stop"
                    threading.Thread(target=self._reload_and_tell, name="reload", daemon=True).start()
                case "event":
                    self._on_event(message["link"], message["peer"], message["event"])

    def _unanswered(self, timeout: float) -> NetworkError:
        endpoints = [str(peer.endpoint) for link in self._links for peer in link.config.peers if peer.endpoint]
        return NetworkError(
            f"no answer from {', '.join(endpoints)} within {timeout:g} s",
            "is the server up and its UDP port open, is PublicKey its key, does it know yours (wiresock-py pubkey)? "
            "--connect-timeout 0 keeps trying",
        )

    def _on_event(self, link: Link, peer: Tunnel, event: Event) -> None:
        configured = link.configured(peer)
        if configured is None:  # a reload took it out since
            return
        name = configured.endpoint or peer.public_key
        match event:
            case Event.CONNECTED:
                self._connected = True
                self._stamps[link].save()
                if peer not in self._answering:
                    self._answering.add(peer)
                    rtt = peer.stats(clock()).handshake_rtt
                    log.info("%s: handshake with %s done%s", link.name, name, f" in {rtt * 1000:.0f} ms" if rtt else "")
            case Event.UNANSWERED:
                log.debug("%s: %s does not answer", link.name, name)
                self._refresh_endpoint(link, peer)
            case Event.GONE:
                self._stamps[link].save()
                self._answering.discard(peer)
                log.warning("%s: %s does not answer; its apps wait until it does", link.name, name)
                link.call(peer, clock())

    def _refresh_endpoint(self, link: Link, peer: Tunnel) -> None:
        """Look the peer's name up again, aside: a DNS server that does not answer must not hold up a "stop"."""

        def look_up() -> None:
            try:
                link.refresh_endpoint(peer)
            finally:
                self._refreshing.discard(peer)

        if peer not in self._refreshing:
            self._refreshing.add(peer)
            threading.Thread(target=look_up, name=f"look-up {link.name}", daemon=True).start()

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        match request.get("command"):
            case "status":
                return describe(self._engine, self._backend, self._options)
            case "reload":
                try:
                    self._reload()
                except WiresockError as error:
                    say_error(error)
                    found = [(str(each), each.remedy) for each in error.all()]
                    return {"refused": found, "exit_code": error.exit_code}
                except Exception as error:
                    self._reload_failed(error)
                    return {"error": "the reload failed halfway, so the worker is replaced; its log says why"}
                return {"reloaded": [link.name for link in self._links]}
            case unknown:
                return {"error": f"unknown command {unknown!r}"}

    def _reload_and_tell(self) -> None:
        try:
            self._reload()
        except WiresockError as error:
            say_error(error)
            log.error("nothing was changed: the client goes on as before")
        except Exception as error:
            self._reload_failed(error)

    def _reload_failed(self, error: Exception) -> None:
        """Half of it may be done, above all other rules with the old capture: such a worker is replaced."""
        log.error("the reload failed", exc_info=error)
        self._inbox.put({"kind": "failed", "error": error})

    def _reload(self) -> None:
        """Read the files again and go on with them. Raises WiresockError if they cannot be used, changing nothing."""
        with self._reloading, ExitStack() as undo:
            configs, rules, _ = _read(self._options)
            changes = []
            for link, config in zip(self._links, configs, strict=True):
                change = prepare(link, config)
                undo.callback(change.close)
                changes.append(change)
            self._plan = rules.plan()
            undo.pop_all()
            try:
                self._go_on(configs, rules, changes)
            except WiresockError as error:
                raise RuntimeError(str(error)) from error  # not one that changed nothing

    def _go_on(self, configs: list[Config], rules: Rules, changes: list[Change]) -> None:
        """Follow the new configurations, for which all is prepared. What fails here leaves half of it done."""
        exemptions = {
            link: self._exemption(change.socket.port)
            for link, change in zip(self._links, changes, strict=True)
            if change.socket is not None and link.outer is None
        }
        ports = {change.socket or link.socket: link for link, change in zip(self._links, changes, strict=True)}
        for stamps in self._stamps.values():
            stamps.save()
        self._engine.reload(rules, self._capture_plan(ports), changes)
        for link, exemption in exemptions.items():
            self._exemptions[link].close()
            self._exemptions[link] = exemption
        self._configs = configs
        self._stamps = _restored_stamps(self._links)
        _tell("reloaded", configurations=[_without_keys(config) for config in configs])
        log.info("reloaded %s", ", ".join(config.file for config in configs))

    def _exemption(self, port: int) -> ExitStack:
        """Keeps what is sent from *port* out of the capture until closed."""
        exemption = ExitStack()
        exemption.enter_context(self._backend.exempt(port))
        return exemption

    def _end_exemptions(self) -> None:
        while self._exemptions:
            self._exemptions.popitem()[1].close()

    def _capture_plan(self, sockets: Mapping[UdpSocket, Link]) -> CapturePlan:
        """The plan of the rules, and all that links send by their *sockets* which goes through other links."""
        ports = tuple(sorted(opened.port for opened, link in sockets.items() if link.outer is not None))
        return dataclasses.replace(self._plan, ports=ports, fail_open=self._options.kill_switch == "off")


def _read(options: RunOptions) -> tuple[list[Config], Rules, Settings]:
    """The files as they are now, with a warning for what they make one wonder about."""
    settings = load_settings(Path(options.settings) if options.settings else None)
    configs = [load(Path(file)) for file in options.files]
    rules = Rules(configs, settings, on_link=on_link_networks())
    of_files = (notice for config in configs for notice in config.notices)
    for notice in (*of_files, *advise_together(configs), *rules.notices(shared_resolver())):
        log.warning("%s%s", notice, f" ({notice.remedy})" if notice.remedy else "")
    return configs, rules, settings


def _restored_stamps(links: Sequence[Link]) -> dict[Link, SentStamps]:
    found = {link: SentStamps(link.device.identity.public, link.peers, default_folder()) for link in links}
    for stamps in found.values():
        stamps.restore()
    return found


def _without_keys(config: Config) -> str:
    """The text of *config* with a key of nobody's and no preshared key: the same rules, for the supervisor."""
    interface = dataclasses.replace(config.interface, private_key=PrivateKey.generate())
    peers = tuple(dataclasses.replace(peer, preshared_key=None) for peer in config.peers)
    return format_config(dataclasses.replace(config, interface=interface, peers=peers), secrets=True)


def _warn_of_missing_routes(configs: Sequence[Config]) -> None:
    for version, (family, name) in FAMILIES.items():
        wanted = any(network.version == version for c in configs for peer in c.peers for network in peer.allowed_ips)
        if wanted and not has_route(family):
            log.warning("this host has no %s route: programs cannot send any, so none of it is tunnelled", name)


def _warn_of_unseen_resolvers(backend: str) -> None:
    with suppress(NetworkError):
        local = [resolver.address for resolver in resolvers() if ipaddress.ip_address(resolver.address).is_loopback]
        if local:
            log.warning(
                "the %s backend does not see DNS for a resolver on this machine (%s): what it asks for programs of the "
                "tunnel goes where its own program's packets go",
                backend,
                ", ".join(local),
            )


def _leave_to_the_supervisor() -> NoReturn:
    """End at once. A worker with a fault is replaced, not repaired, and nothing may be tidied up first: the plan would
    be open until the supervisor holds the line."""
    os._exit(EXIT_FAILURE)


def _tell(kind: str, **fields: Any) -> None:
    """Tell the supervisor; if it is gone, ``_listen`` says so."""
    with suppress(OSError):
        messages.send(sys.stdout.buffer, kind, **fields)


def _listen(supervisor: IO[bytes], inbox: Inbox) -> None:
    while message := messages.receive(supervisor):
        inbox.put(message)
    inbox.put({"kind": "orphaned"})


def main() -> int:
    # Ctrl+C, and what a service manager or a closing terminal sends to all of us, is the supervisor's to handle; it
    # tells us
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.platform == "win32":
        outlive_the_console()
    else:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump of this process would put the keys on disk
    # unbuffered: a thread that waits in a buffered reader holds a lock that the interpreter wants when it ends
    supervisor = os.fdopen(0, "rb", buffering=0, closefd=False)
    message = messages.receive(supervisor)
    if message is None or message["kind"] != "start":
        return EXIT_FAILURE
    options = RunOptions(**{**message["options"], "files": tuple(message["options"]["files"])})
    set_up_logging(options.log_level)
    inbox: Inbox = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(supervisor, inbox), name="supervisor", daemon=True).start()
    try:
        with ExitStack() as resources:
            Worker(options, inbox, resources).run()
    except WiresockError as error:
        say_error(error)
        _tell("refused", exit_code=error.exit_code)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
