"""Section "growth": what a packet costs as flows, peers, prefixes and rules become many.

Each size is measured in turn within each round, and the fastest round counts: what is compared is work, not what the
machine did meanwhile. A packet of a known flow must cost the same however many there are of everything; only what is
done once a flow may grow.
"""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv4Network

from benchmarks import clients
from benchmarks.clients import CACHE
from benchmarks.end import SERVICE, End, Step, remote
from benchmarks.results import Results, Run
from wiresock_py.config import Config, parse
from wiresock_py.crypto import Device, PrivateKey, PublicKey
from wiresock_py.datapath import DataPath, choose
from wiresock_py.flow import App
from wiresock_py.lab import OTHER_SITE, KeyPair, Lab
from wiresock_py.rules import Rules

SECTION = "growth"
FIRST, SPAN = int.from_bytes(remote(0)) & ~0xFF, 10_000 * 256
"""Where the 10,000 prefixes are."""
BOUND = 1.15
"""How much more a packet may cost with many than with few."""
ANY = "any"
"""Stands for the data path where it makes no difference."""
SENT = 4000
"""Datagrams of one measurement of the kernel's rules."""


@dataclass(frozen=True, slots=True)
class Growth:
    """Something that can become many, and the cost that is watched meanwhile."""

    name: str
    title: str
    sizes: tuple[int, ...]
    make: Callable[[DataPath, int], Step]
    bounded: bool = True
    """Whether BOUND is to hold. Not for what comes once a flow or ten times a second, and not for what grows because
    ever more of memory is in use: no cache holds a hundred thousand flows."""
    of_datapath: bool = True
    """Whether each data path has its own cost."""


def tick(_: DataPath, peers: int) -> Step:
    """One turn of the timers of a device with *peers* peers, none of which has anything to do."""
    device = Device(PrivateKey.generate(), wall_clock=time.time_ns)
    for _number in range(peers):
        device.add_peer(PublicKey.from_base64(KeyPair.generate().public))
    device.up(0.0)

    def step() -> float:
        begun = time.perf_counter()
        for _turn in range(20):
            device.tick(1.0)
        return (time.perf_counter() - begun) / 20 * 1e6

    return step


def prefix(number: int) -> IPv4Network:
    """One of very many networks that are nobody's in the lab."""
    return IPv4Network((remote(number), 24), strict=False)


def config(*, prefixes: int = 1, apps: int = 0) -> Config:
    """A configuration with so many prefixes in AllowedIPs, and so many apps in AllowedApps."""
    lines = [
        "[Interface]",
        f"PrivateKey = {KeyPair.generate().private}",
        "Address = 10.66.66.2/32",
        "[Peer]",
        f"PublicKey = {KeyPair.generate().public}",
        "Endpoint = 198.51.100.2:51820",
        f"AllowedIPs = {', '.join(str(prefix(number)) for number in range(prefixes))}",
    ]
    if apps:
        lines.append(f"AllowedApps = {', '.join(f'app-{number}' for number in range(apps))}")
    return parse("\n".join(lines) + "\n", "wg0.conf")


def decide_destination(_: DataPath, prefixes: int) -> Step:
    """The decision on a flow to a destination not asked for lately."""
    rules = Rules([config(prefixes=prefixes)])
    app = App(1, 0, "/usr/bin/chrome")
    numbers = iter(range(1 << 40))

    def step() -> float:
        addresses = [(FIRST + next(numbers) * 101 % SPAN).to_bytes(4, "big") for _ in range(500)]
        begun = time.perf_counter()
        for address in addresses:
            rules.decide(app, address, socket.IPPROTO_TCP, SERVICE)
        return (time.perf_counter() - begun) / len(addresses) * 1e6

    return step


def decide_app(_: DataPath, entries: int) -> Step:
    """The decision on the first flow of a process, whose app is the last in the list."""
    rules = Rules([config(apps=entries)])
    address, name = remote(0), f"app-{entries - 1}"
    numbers = iter(range(1 << 40))

    def step() -> float:
        apps = [App(pid, 0, f"/opt/{pid}/{name}") for pid in (next(numbers) for _ in range(500))]
        begun = time.perf_counter()
        for app in apps:
            rules.decide(app, address, socket.IPPROTO_TCP, SERVICE)
        return (time.perf_counter() - begun) / len(apps) * 1e6

    return step


FLOWS, PEERS, PREFIXES, RULES = (10, 100, 1000, 10_000, 100_000), (1, 10, 100, 1000), (1, 100, 10_000), (1, 20, 200)
GROWTHS = (
    Growth(
        "flows-out", "flows, 10 of them busy: a packet out", FLOWS, lambda path, size: End(path, flows=size).out(10)
    ),
    Growth("flows-in", "flows, 10 of them busy: a packet in", FLOWS, lambda path, size: End(path, flows=size).into(10)),
    Growth(
        "spread-out",
        "flows, all of them busy: a packet out",
        FLOWS,
        lambda path, size: End(path, flows=size).out(),
        bounded=False,
    ),
    Growth(
        "spread-in",
        "flows, all of them busy: a packet in",
        FLOWS,
        lambda path, size: End(path, flows=size).into(),
        bounded=False,
    ),
    Growth("peers-out", "peers: a packet out", PEERS, lambda path, size: End(path, sessions=size).out()),
    Growth("peers-in", "peers: a packet in", PEERS, lambda path, size: End(path, sessions=size).into()),
    Growth("peers-tick", "peers: a turn of the timers", PEERS, tick, False, False),
    Growth("prefixes-first", "prefixes: a flow's first packet", PREFIXES, decide_destination, False, False),
    Growth("rules-first", "apps in the rules: a flow's first packet", RULES, decide_app, False, False),
)
KERNEL = "prefixes-kernel"
TITLES = {growth.name: growth.title for growth in GROWTHS} | {KERNEL: "prefixes: a packet the kernel lets by"}
BOUNDED = frozenset(growth.name for growth in GROWTHS if growth.bounded) | {KERNEL}


def measure(rounds: int, datapaths: list[str]) -> Iterator[Run]:
    """The fastest of *rounds* for each growth and size, a figure for each data path that has its own."""
    for growth in GROWTHS:
        names = datapaths if growth.of_datapath else [ANY]
        steps = {
            (size, name): growth.make(choose("" if name == ANY else name), size)
            for name in names
            for size in growth.sizes
        }
        best = dict.fromkeys(steps, float("inf"))
        for _ in range(rounds):
            for key, step in steps.items():
                best[key] = min(best[key], step())
        for size in growth.sizes:
            costs = {name: cost for (its_size, name), cost in best.items() if its_size == size}
            yield Run(SECTION, growth.name, str(size), costs)


def measure_kernel(results: Results, rounds: int) -> Iterator[Run]:
    """What the capture's rules cost a datagram that is none of the plan's, on its way from a socket to the wire.

    In the lab; CPU time of the thread that sends, which carries the datagram all the way.
    """
    with results.excusing(KERNEL), Lab(cache=CACHE) as lab, ExitStack() as stack:
        server = lab.start_server(clients.SERVER)
        peer = server.add_peer()
        sock = stack.enter_context(lab.client.socket(socket.AF_INET, socket.SOCK_DGRAM))
        best = dict.fromkeys(PREFIXES, float("inf"))
        for _ in range(rounds):
            for size in PREFIXES:
                client = lab.start_client(
                    server.client_config(peer, allowed_ips=", ".join(str(prefix(number)) for number in range(size)))
                )
                try:
                    best[size] = min(best[size], send(sock))
                finally:
                    client.stop()
        for size, cost in best.items():
            yield Run(SECTION, KERNEL, str(size), {ANY: cost})


def send(sock: socket.socket) -> float:
    """Microseconds of CPU time to send a datagram to a place outside the plan: the fastest of several runs."""
    costs = []
    for _ in range(5):
        begun = time.thread_time()
        for _number in range(SENT):
            sock.sendto(b"datagram", (str(OTHER_SITE.v4), 9))
        costs.append((time.thread_time() - begun) / SENT * 1e6)
    return min(costs)
