"""iperf3 through the tunnel: our client beside wireguard-go and the plain link, in one run.

    python benchmarks/iperf.py [--seconds 5] [--rounds 3] [--clients plain,ours,debian,head] [--json FILE]

The server is always the same: wireguard-go's newest commit, in the lab. The clients take turns within each round, so
that whatever else the machine does falls on all of them alike; what counts is the median of the rounds, and the ratio
to Debian's wireguard-go as client. All of it - client, server, both ends of iperf3 - shares this machine's cores, so
the figures say how clients compare here, not what a client can do on a machine of its own.
"""

import contextlib
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import psutil
from rich.console import Console
from rich.table import Table

from wiresock_py.lab import INTERNET, Lab, LabError, Namespace, Peer, Server
from wiresock_py.lab.wireguard import program, version

CACHE = Path(__file__).parents[1] / ".cache"
YARDSTICK = "debian"
DIRECTIONS = {"up": (), "down": ("-R",)}

Busy = Callable[[], float]
"""CPU seconds that a client's processes have used so far."""


@dataclass(frozen=True, slots=True)
class Run:
    """One iperf3 run; rate in Mbit/s as the receiver saw it, CPU in cores busy on average."""

    client: str
    direction: str
    mbit: float
    retransmits: int
    client_cores: float
    server_cores: float


def cpu_seconds(*pids: int) -> float:
    """CPU seconds of processes and their children."""
    total = 0.0
    for pid in pids:
        for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
            times = process.cpu_times()
            total += times.user + times.system
    return total


@contextlib.contextmanager
def plain(lab: Lab, server: Server, peer: Peer) -> Iterator[Busy]:
    """No tunnel at all."""
    yield lambda: 0.0


@contextlib.contextmanager
def ours(lab: Lab, server: Server, peer: Peer) -> Iterator[Busy]:
    """wiresock-py run, with iperf3 as the application."""
    client = lab.start_client(server.client_config(peer, allowed_apps="iperf3"))
    try:
        client.wait_until_connected()
        yield lambda: cpu_seconds(client.pid)
    finally:
        client.stop()


@contextlib.contextmanager
def wireguard_go(kind: str, lab: Lab, server: Server, peer: Peer) -> Iterator[Busy]:
    """wireguard-go on a TUN device that the internet host is routed into."""
    client = lab.start_wireguard_client(kind, server.wireguard_config(peer), *peer.addresses)
    try:
        lab.client.ip(f"route add {INTERNET.v4} dev {client.interface}")
        yield lambda: cpu_seconds(client.pid)
    finally:
        client.stop()


@contextlib.contextmanager
def client_of(name: str, lab: Lab, server: Server, peer: Peer) -> Iterator[Busy]:
    """The client called *name*, up and with a handshake."""
    maker = {"plain": plain, "ours": ours}.get(name)
    with maker(lab, server, peer) if maker else wireguard_go(name, lab, server, peer) as busy:
        lab.client.run("ping", "-c", "1", "-W", "5", str(INTERNET.v4))
        yield busy


def iperf(client: Namespace, streams: int, seconds: float, *options: str) -> tuple[float, int]:
    """Mbit/s at the receiver, and retransmits at the sender."""
    command = ["iperf3", "-c", str(INTERNET.v4), "-P", str(streams), "-t", f"{seconds:g}", "-J", *options]
    report = json.loads(client.run(*command, timeout=seconds + 30))
    if "error" in report:
        raise LabError(f"iperf3: {report['error']}")
    return report["end"]["sum_received"]["bits_per_second"] / 1e6, report["end"]["sum_sent"].get("retransmits", 0)


def measure(lab: Lab, server: Server, names: list[str], rounds: int, streams: int, seconds: float) -> Iterator[Run]:
    """All runs, clients interleaved."""
    peers = {name: server.add_peer(number=number) for number, name in enumerate(names, 2)}
    for _ in range(rounds):
        for name in names:
            with client_of(name, lab, server, peers[name]) as busy:
                for direction, options in DIRECTIONS.items():
                    started, client_before = time.monotonic(), busy()
                    server_before = cpu_seconds(server.wireguard.pid)
                    mbit, retransmits = iperf(lab.client, streams, seconds, *options)
                    spent = time.monotonic() - started
                    yield Run(
                        name,
                        direction,
                        mbit,
                        retransmits,
                        (busy() - client_before) / spent,
                        (cpu_seconds(server.wireguard.pid) - server_before) / spent,
                    )


def report(runs: list[Run], names: list[str]) -> Table:
    """Medians, every figure, and the ratio to Debian's wireguard-go."""
    table = Table("client", "direction", "median Mbit/s", "all", f"× {YARDSTICK}", "client cores", "server cores")
    for name in names:
        for direction in DIRECTIONS:
            mine = [run for run in runs if (run.client, run.direction) == (name, direction)]
            theirs = [run.mbit for run in runs if (run.client, run.direction) == (YARDSTICK, direction)]
            median = statistics.median(run.mbit for run in mine)
            table.add_row(
                name,
                direction,
                f"{median:.0f}",
                " ".join(f"{run.mbit:.0f}" for run in mine),
                f"{median / statistics.median(theirs):.2f}" if theirs else "",
                f"{statistics.median(run.client_cores for run in mine):.2f}",
                f"{statistics.median(run.server_cores for run in mine):.2f}",
            )
    return table


@click.command(help=__doc__)
@click.option("--seconds", default=5.0, show_default=True, help="Length of each iperf3 run.")
@click.option("--rounds", default=3, show_default=True, help="Runs of each client and direction.")
@click.option("--streams", default=4, show_default=True, help="Parallel TCP streams.")
@click.option("--clients", default="plain,ours,debian,head", show_default=True, help="plain, ours, or a wireguard-go.")
@click.option("--server", "server_kind", default="head", show_default=True, help="The server's wireguard-go.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write every figure to this file.")
def main(seconds: float, rounds: int, streams: int, clients: str, server_kind: str, json_path: Path | None) -> None:
    names = clients.split(",")
    try:
        with Lab(cache=CACHE) as lab:
            server = lab.start_server(server_kind)
            runs = []
            for run in measure(lab, server, names, rounds, streams, seconds):
                click.echo(f"{run.client:<8} {run.direction:<5} {run.mbit:7.0f} Mbit/s", err=True)
                runs.append(run)
    except LabError as error:
        raise click.ClickException(f"{error}; {error.remedy}" if error.remedy else str(error)) from None
    versions = {name: version(program(name, CACHE)) for name in {*names, server_kind} - {"plain", "ours"}}
    machine = {
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "wireguard-go": versions,
        "server": server_kind,
        "streams": streams,
        "seconds": seconds,
    }
    Console(width=120).print(report(runs, names))
    click.echo(json.dumps(machine))
    if json_path:
        json_path.write_text(json.dumps({"machine": machine, "runs": [asdict(run) for run in runs]}, indent=1))


if __name__ == "__main__":
    main()
