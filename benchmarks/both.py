"""Section "both": one and the same program at both ends of the tunnel, with iperf3's server beside the far one.

Ours takes connections from the tunnel where ``AllowInbound`` opens a port. Both ends share this machine's cores.
"""

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path

from benchmarks import iperf
from benchmarks.clients import CACHE, OURS, PLAIN, Running, family, on_a_device
from benchmarks.results import Results, Run
from benchmarks.tunnel import turns
from wiresock_py.lab import INNER_CLIENT, INNER_SERVER, SERVER, Client, Endpoint, Host, KeyPair, Lab, Peer
from wiresock_py.lab.namespaces import Process

SECTION = "both"
CASES = ("tcp-4-up", "tcp-4-down", "tcp-1-up", "tcp-1-down")
NAMES = (PLAIN, *OURS, "head")
"""Whom to measure if nobody is named: the others are no match for these as a client."""
PORT = 5201
_numbers = itertools.count()
Ends = tuple[Host, Running, Running]
"""Where iperf3's server is reached, the near end and the far one."""


def measure(results: Results, names: list[str], cases: list[str], rounds: int, seconds: float) -> Iterator[Run]:
    """Each of the clients *names* with itself, in turns."""
    with Lab(cache=CACHE) as lab:
        log = lab.folder / "iperf3-server.log"
        listening = Process(lab.server.command("iperf3", "-s", "-p", str(PORT), "--forceflush"), log=log)
        listening.wait_for(lambda: "listening" in listening.log(), "serving as iperf3")  # it ends with its namespace
        for name in turns(names, rounds):
            with results.excusing(f"{SECTION} {name}"), ends(name, lab) as (host, near, far):
                for case in cases:
                    figures = iperf.measure(lab.client, iperf.CASES[case], seconds, near, far, host)
                    yield Run(SECTION, name, case, figures)


@contextlib.contextmanager
def ends(name: str, lab: Lab) -> Iterator[Ends]:
    """Both ends of the program *name*, connected."""
    if name == PLAIN:
        yield SERVER, Running(list), Running(list)
    elif name in OURS:
        with ours(name, lab) as (near, far):
            yield INNER_SERVER, near, far
    else:
        server = lab.start_server(name)
        try:
            with on_a_device(name, lab, server, server.add_peer(), routes=(INNER_SERVER.v4,)) as near:
                lab.client.run("ping", "-c", "1", "-W", "5", str(INNER_SERVER.v4))
                yield INNER_SERVER, near, Running(lambda: [server.wireguard.pid])
        finally:
            server.stop()


@contextlib.contextmanager
def ours(name: str, lab: Lab) -> Iterator[tuple[Running, Running]]:
    """Our program with the data path *name* in the namespaces of client and server."""
    peer, endpoint = Peer(KeyPair.generate()), Endpoint()
    config = lab.folder / f"far{next(_numbers)}.conf"
    config.touch(mode=0o600)
    config.write_text(
        f"[Interface]\nPrivateKey = {endpoint.keys.private}\nAddress = {INNER_SERVER.v4}/32\n"
        f"ListenPort = {endpoint.port}\n"
        f"[Peer]\nPublicKey = {peer.keys.public}\nAllowedIPs = {INNER_CLIENT.v4}/32\nAllowInbound = {PORT}\n"
    )
    far = far_end(name, lab, config)
    try:
        far.wait_until_up()
        text = endpoint.client_config(peer, allowed_apps="iperf3", allowed_ips=f"{INNER_SERVER.v4}/32")
        near = lab.start_client(text, options=("--datapath", name))
        try:
            near.wait_until_connected()
            yield Running(lambda: family(near.pid), near), Running(lambda: family(far.pid), far)
        finally:
            near.stop()
    finally:
        far.stop()


def far_end(name: str, lab: Lab, config: Path) -> Client:
    """Our program in the server's namespace: it waits to be called."""
    options = ("--datapath", name, "--connect-timeout", "0")
    state = {"STATE_DIRECTORY": str(lab.folder / "far-state")}
    return Client(lab.server, [config], options, state, config.with_suffix(".log"))
