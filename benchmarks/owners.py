"""What a new flow costs: from its five-tuple to its process, on a host with many processes and sockets.

    python benchmarks/owners.py [--processes 1000] [--sockets 10000] [--flows 300] [--busy]

Children (processes of their own, ended with this one) hold the sockets. Then, one at a time, a child opens a new flow
and the look-up under test finds its owner; every answer is checked against the child that did it. The kinds of flow:

    first     the first flows after the start, when no process has been looked at yet
    known     another flow of a socket seen before (UDP to another place)
    opened    a socket added in a process seen before
    replaced  a socket opened for one just closed, so that the number of descriptors stays the same, in a process that
              owned a recent flow
    cold      the same in any process, most of which are not remembered as owners: all are searched
    started   by a process that was just started
    unowned   no socket has it

``--busy`` runs a thread beside it that computes without pause, as the packet path does under load. ``--portable``
measures the psutil look-up instead.
"""

import sys

if sys.platform == "win32":
    raise SystemExit("this benchmark forks; run it on Linux")

import argparse
import os
import random
import select
import signal
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from wiresock_py.flow import FiveTuple
from wiresock_py.owners import SocketOwners
from wiresock_py.owners.portable import PortableOwners

LOOPBACK = socket.inet_aton("127.0.0.1")
ELSEWHERE = socket.inet_aton("198.51.100.7")
_MESSAGE = 4096
TARGET_P50_MS, TARGET_P99_MS = 5.0, 50.0

Flow = tuple[FiveTuple, int | None]
"""A flow and the pid of its owner."""


def bound() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock


class Child:
    """A process that holds sockets and opens or replaces one when told to."""

    def __init__(self, nursery: "Nursery", sockets: int) -> None:
        self._name, self.pid, self.ports = nursery.child(sockets)
        self._control = nursery.control

    def tell(self, command: str) -> int:
        """``open`` adds a socket, ``replace`` opens one for another just closed: its port."""
        self._control.sendto(command.encode(), self._name)
        return int(self._control.recv(_MESSAGE))


class Nursery:
    """A small process that forks the children: forks of this one would slow down what is measured."""

    def __init__(self) -> None:
        self.control = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.control.bind("")  # an abstract name of the kernel's choice
        self._name = self.control.getsockname()
        ours, theirs = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(theirs)
            self.control.close()
            os._exit(nurse(self._name, ours))
        os.close(ours)
        self._end = theirs
        self._address = self.control.recvfrom(_MESSAGE)[1]

    def child(self, sockets: int) -> tuple[bytes, int, list[int]]:
        self.control.sendto(b"%d" % sockets, self._address)
        message, name = self.control.recvfrom(_MESSAGE)
        pid, *ports = (int(word) for word in message.split())
        return name, pid, ports

    def stop(self) -> None:
        """End the nursery and every child it forked."""
        os.close(self._end)
        os.waitpid(self._pid, 0)
        self.control.close()


def nurse(parent: bytes, end: int) -> int:
    """The nursery's life: fork a child for every message, until the parent closes *end* or is gone."""
    control = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    control.bind("")
    control.sendto(b"here", parent)
    children: list[int] = []
    while True:
        ends: list[socket.socket | int] = [control, end]
        if end in select.select(ends, [], [])[0]:
            break
        count = int(control.recv(_MESSAGE))
        children.append(os.fork())
        if children[-1] == 0:
            os.close(end)
            control.close()
            serve(parent, count)
            return 0
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return 0


def serve(parent: bytes, count: int) -> None:
    """A child's life, ended by the nursery."""
    control = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    control.bind("")
    held = [bound() for _ in range(count)]
    ports = b" ".join(b"%d" % sock.getsockname()[1] for sock in held)
    control.sendto(b"%d " % os.getpid() + ports, parent)
    while command := control.recv(_MESSAGE):
        if command == b"replace":
            held.pop(random.randrange(len(held))).close()
        held.append(bound())
        control.sendto(b"%d" % held[-1].getsockname()[1], parent)


def udp(port: int, remote_port: int = 53) -> FiveTuple:
    return FiveTuple(socket.IPPROTO_UDP, LOOPBACK, port, ELSEWHERE, remote_port)


@contextmanager
def busy_thread() -> Iterator[None]:
    stop = threading.Event()

    def compute() -> None:
        while not stop.is_set():
            sum(range(10_000))

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def measure(owners: SocketOwners | PortableOwners, flows: int, flow: Callable[[], Flow]) -> list[float]:
    """Milliseconds each of *flows* look-ups took; *flow* makes one and says whose it is."""
    times: list[float] = []
    for _ in range(flows):
        key, pid = flow()
        started = time.perf_counter()
        (app,) = owners.find([key])
        times.append((time.perf_counter() - started) * 1000)
        found = app.pid if app else None
        if found != pid:
            raise SystemExit(f"wrong owner: {key} belongs to {pid}, the look-up says {found}")
    return times


def kinds_of_flow(nursery: Nursery, children: list[Child]) -> dict[str, Callable[[], Flow]]:
    """By name, in the order to measure them in; each call makes one flow and says whose it is."""
    recent = children[:8]

    def known() -> Flow:
        child = random.choice(children)
        return udp(child.ports[0], random.randrange(1, 65_536)), child.pid

    def opened() -> Flow:
        child = random.choice(children)
        return udp(child.tell("open")), child.pid

    def started() -> Flow:
        child = Child(nursery, 1)
        return udp(child.ports[0]), child.pid

    def unowned() -> Flow:
        return FiveTuple(socket.IPPROTO_TCP, LOOPBACK, 1, ELSEWHERE, random.randrange(1, 65_536)), None

    def replaced() -> Flow:
        child = random.choice(recent)
        return udp(child.tell("replace")), child.pid

    def cold() -> Flow:
        child = random.choice(children)
        return udp(child.tell("replace")), child.pid

    makers = (known, opened, started, unowned, replaced, cold)
    return {maker.__name__: maker for maker in makers}


def run(arguments: argparse.Namespace) -> bool:
    """Measure and print; whether the targets are met."""
    each = max(1, arguments.sockets // arguments.processes)
    nursery = Nursery()
    try:
        children = [Child(nursery, each) for _ in range(arguments.processes)]
        print(f"{len(children)} processes hold {each * len(children)} sockets; {os.cpu_count()} CPUs", end=", ")
        print(f"load {os.getloadavg()[0]:.1f}{', beside a busy thread' if arguments.busy else ''}")
        owners = PortableOwners() if arguments.portable else SocketOwners()
        flows = kinds_of_flow(nursery, children)
        together: list[float] = []
        with busy_thread() if arguments.busy else nullcontext():
            report("first", measure(owners, max(1, arguments.flows // 10), flows["known"]))
            owners.find([udp(child.ports[0]) for child in children])  # now every process has been seen
            for name, flow in flows.items():
                if name == "replaced":  # the processes it takes owned the latest flows
                    owners.find([udp(child.tell("open")) for child in children[:8]])
                times = measure(owners, arguments.flows, flow)
                report(name, times)
                if name != "cold":
                    together += times
            report("all but first and cold", together)
        print(f"target: p50 <= {TARGET_P50_MS:g} ms, p99 <= {TARGET_P99_MS:g} ms")
        return quantile(together, 0.5) <= TARGET_P50_MS and quantile(together, 0.99) <= TARGET_P99_MS
    finally:
        nursery.stop()


def quantile(times: list[float], share: float) -> float:
    return sorted(times)[min(len(times) - 1, int(len(times) * share))]


def report(name: str, times: list[float]) -> None:
    print(
        f"{name:22} p50 {quantile(times, 0.5):7.2f} ms   p99 {quantile(times, 0.99):7.2f} ms"
        f"   max {max(times):7.2f} ms   mean {statistics.fmean(times):7.2f} ms   n {len(times)}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=1000)
    parser.add_argument("--sockets", type=int, default=10_000)
    parser.add_argument("--flows", type=int, default=300, help="flows of each kind")
    parser.add_argument("--busy", action="store_true", help="beside a thread that computes without pause")
    parser.add_argument("--portable", action="store_true", help="the psutil look-up")
    arguments = parser.parse_args()
    return 0 if run(arguments) else 1


if __name__ == "__main__":
    sys.exit(main())
