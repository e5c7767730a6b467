"""Holding the line: the rules of a dead worker stand, and their queues are served without a tunnel.

What belongs in the tunnel is dropped, everything else passes, by the same engine and the same rules as with a tunnel.
"""

import threading
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

from wiresock_py.config import load_settings, parse
from wiresock_py.datapath import choose
from wiresock_py.engine import Engine
from wiresock_py.filters.registry import create
from wiresock_py.network import host_network, on_link_networks
from wiresock_py.owners import SocketOwners, open_connections
from wiresock_py.rules import Known, Rules
from wiresock_py.service.options import RunOptions


class Line:
    """Serves the standing rules from construction on. Raises BackendError if the queues cannot be taken over."""

    def __init__(self, configurations: Sequence[str], options: RunOptions, names: Iterable[Known] = ()) -> None:
        """*configurations* are the tunnels' texts without keys, as the worker told them, *names* what it learned."""
        configs = [parse(text, file) for file, text in zip(options.files, configurations, strict=True)]
        settings = load_settings(Path(options.settings) if options.settings else None)
        rules = Rules(configs, settings, on_link=on_link_networks())
        self._backend = create(options.backend, host_network())
        with ExitStack() as undo:
            self._owners = SocketOwners()
            undo.callback(self._owners.close)
            self._backend.attach(rules.plan())
            undo.callback(self._backend.close, keep_blocking=True)
            self._engine = Engine(
                rules,
                self._backend,
                self._owners,
                threading.Lock(),
                datapath=choose(options.datapath),
                kill_switch=options.kill_switch,
                replacing=True,
                connections=open_connections,
            )
            self._engine.remember(names)
            self._engine.start()
            undo.pop_all()

    def release(self, *, restore: bool = False) -> None:
        """Stop serving. The rules stay, so nothing of the plan passes until a worker serves them; with *restore* the
        system is as it was, and what the tunnel carried is reset."""
        try:
            if restore:
                self._engine.end_lost_connections()
            self._engine.stop()
        finally:
            self._backend.close(keep_blocking=not restore)
            self._owners.close()
