"""Section "life": how soon a client carries its first packet, and what it costs while nothing happens."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from benchmarks.clients import CACHE, OURS, PLAIN, SERVER, Running, client_of, on_a_device, ours
from benchmarks.results import Results, Run
from benchmarks.tunnel import turns
from wiresock_py.lab import TUNNEL_RESOLVER, Client, Lab, LabError, Peer, Server
from wiresock_py.lab.apps import install
from wiresock_py.service.control import ask

SECTION = "life"
KNOCK = Path(__file__).with_name("knock.py")
RELOAD_PATIENCE = 60.0
SETTLE = 2.0
"""Seconds a client has to come to rest before its idleness is measured."""


def measure(results: Results, names: list[str], rounds: int, idle_seconds: float) -> Iterator[Run]:
    """Each client's start *rounds* times, its rest once for *idle_seconds*: others' side by side, for they use next to
    nothing, and of ours there can be only one."""
    names = [name for name in names if name != PLAIN]
    with Lab(cache=CACHE) as lab:
        server = lab.start_server(SERVER)
        peers = {name: server.add_peer(number=number) for number, name in enumerate(names, 2)}
        for name in turns(names, rounds):
            with results.excusing(f"{SECTION} {name} start"):
                seconds = first_answer(lab, client_of(name, lab, server, peers[name]))
                yield Run(SECTION, name, "start", {"seconds": seconds})
        for together in [[name] for name in names if name in OURS] + [[name for name in names if name not in OURS]]:
            with ExitStack() as stack:
                running: dict[str, Running] = {}
                for name in together:
                    with results.excusing(f"{SECTION} {name} idle"):
                        running[name] = stack.enter_context(at_rest(name, lab, server, peers[name]))
                found = idle(list(running.values()), idle_seconds)
                for name, client in ((name, one.client) for name, one in running.items() if one.client is not None):
                    with results.excusing(f"{SECTION} {name} reload"):
                        yield Run(SECTION, name, "reload", {"ms": reload(client)})
            for name, figures in zip(running, found, strict=True):
                yield Run(SECTION, name, "idle", figures)


def at_rest(name: str, lab: Lab, server: Server, peer: Peer) -> AbstractContextManager[Running]:
    """A client that is connected; of others' without routes, so that they can be there side by side."""
    return ours(name, lab, server, peer) if name in OURS else on_a_device(name, lab, server, peer, routes=())


def first_answer(lab: Lab, client: AbstractContextManager[Running]) -> float:
    """Seconds from the start of *client*, not yet entered, to the first answer that came through its tunnel."""
    program = install("meter", lab.folder / "apps")
    command = lab.client.command(str(program), "-E", "-s", "-S", str(KNOCK), str(TUNNEL_RESOLVER.v4))
    with ExitStack() as stack, subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as knocking:
        stack.callback(knocking.kill)
        assert knocking.stdout is not None
        if knocking.stdout.readline() != "ready\n":
            raise LabError("the application that knocks does not start")
        started = time.monotonic()
        with client:
            answered = knocking.stdout.readline()
        if not answered:
            raise LabError("nothing was answered through the tunnel")
        return float(answered) - started


def idle(clients: list[Running], seconds: float) -> list[dict[str, float]]:
    """Of each client, the percentage of a core it uses while nothing happens, and the memory it has."""
    time.sleep(SETTLE)
    before = [running.cpu_seconds() for running in clients]
    time.sleep(seconds)
    used = [running.cpu_seconds() - then for running, then in zip(clients, before, strict=True)]
    return [
        {
            "cpu_percent": 100 * spent / seconds,
            "resident_mib": running.resident(),
            "proportional_mib": running.proportional(),
        }
        for running, spent in zip(clients, used, strict=True)
    ]


def reload(client: Client) -> float:
    """Milliseconds until a client has read its unchanged files again, without the start of the command that asks."""
    begun = time.monotonic()
    answer = ask(client.control, {"command": "reload"}, timeout=RELOAD_PATIENCE)
    if "reloaded" not in answer:
        raise LabError(f"the client refuses to reload: {answer}")
    return 1000 * (time.monotonic() - begun)
