"""The clients that take turns at one and the same server: ours with each data path, others', and none at all."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import psutil

from wiresock_py import __version__
from wiresock_py.datapath import choose
from wiresock_py.errors import WiresockError
from wiresock_py.lab import INTERNET, TUNNEL_RESOLVER, Client, Lab, Peer, Server
from wiresock_py.lab.builds import program, version

CACHE = Path(__file__).parents[1] / ".cache"
PLAIN = "plain"
OURS = ("python", "native")
OTHERS = ("debian", "head", "boringtun", "gotatun")
NAMES = (PLAIN, *OURS, *OTHERS)
SERVER = "head"
"""The server's WireGuard, whoever the client is: Debian's would be the slowest part of every measurement."""
TITLES = {
    PLAIN: "no tunnel",
    "python": "wiresock-py, Python",
    "native": "wiresock-py, native",
    "debian": "wireguard-go (Debian)",
    "head": "wireguard-go (current)",
    "boringtun": "BoringTun",
    "gotatun": "GotaTun",
}
APPS = "iperf3, meter"
"""What our client tunnels, by name; the others have routes instead, to what lies BEHIND them."""
BEHIND = (INTERNET.v4, INTERNET.v6, TUNNEL_RESOLVER.v4)


@dataclass(frozen=True, slots=True)
class Running:
    """A client at work, as the processes it is made of see it."""

    pids: Callable[[], list[int]]
    client: Client | None = None
    """The client itself, if it is one of ours."""

    def cpu_seconds(self) -> float:
        """User and system time that its processes have used so far, in seconds."""
        total = 0.0
        for pid in self.pids():
            times = psutil.Process(pid).cpu_times()
            total += times.user + times.system
        return total

    def peak(self) -> float:
        """MiB its processes have had resident together, at most so far."""
        return self._memory("status", "VmHWM:")

    def resident(self) -> float:
        """MiB its processes have resident now; pages that two of them share count twice."""
        return self._memory("status", "VmRSS:")

    def proportional(self) -> float:
        """MiB as :meth:`resident`, with each page that several share split between them."""
        return self._memory("smaps_rollup", "Pss:")

    def _memory(self, file: str, field: str) -> float:
        """The sum of a field of proc(5), in KiB there."""
        return (
            sum(
                int(line.split()[1])
                for pid in self.pids()
                for line in Path(f"/proc/{pid}/{file}").read_text().splitlines()
                if line.startswith(field)
            )
            / 1024
        )


def family(pid: int) -> list[int]:
    """A process and all its children."""
    process = psutil.Process(pid)
    return [process.pid, *(child.pid for child in process.children(recursive=True))]


def versions(names: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """The versions of the clients that can be had, built where need be, and why the others cannot."""
    found, missing = {}, {}
    for name in names:
        try:
            if name in OURS:
                choose(name)
                found[name] = __version__
            elif name != PLAIN:
                found[name] = version(program(name, CACHE))
        except WiresockError as error:
            missing[name] = f"{error}; {error.remedy}" if error.remedy else str(error)
    return found, missing


@contextlib.contextmanager
def plain() -> Iterator[Running]:
    """No tunnel at all."""
    yield Running(list)


@contextlib.contextmanager
def ours(name: str, lab: Lab, server: Server, peer: Peer, *, apps: str = APPS) -> Iterator[Running]:
    """wiresock-py run, by default for the applications of the benchmarks."""
    client = lab.start_client(server.client_config(peer, allowed_apps=apps), options=("--datapath", name))
    try:
        client.wait_until_connected()
        yield Running(lambda: family(client.pid), client)
    finally:
        client.stop()


@contextlib.contextmanager
def on_a_device(
    name: str, lab: Lab, server: Server, peer: Peer, *, routes: tuple[IPv4Address | IPv6Address, ...] = BEHIND
) -> Iterator[Running]:
    """Somebody else's WireGuard on a TUN device, with routes into it."""
    client = lab.start_wireguard_client(name, server.wireguard_config(peer), *peer.addresses)
    try:
        lab.client.ip(*(f"route add {address} dev {client.interface}" for address in routes))
        yield Running(lambda: family(client.pid))
    finally:
        client.stop()


@contextlib.contextmanager
def client_of(name: str, lab: Lab, server: Server, peer: Peer) -> Iterator[Running]:
    """The client called *name*, up and with a handshake."""
    with plain() if name == PLAIN else (ours if name in OURS else on_a_device)(name, lab, server, peer) as running:
        lab.client.run("ping", "-c", "1", "-W", "5", str(INTERNET.v4))
        yield running
