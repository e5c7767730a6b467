"""Network namespaces without a name: they and all in them are gone when the last descriptor of the test closes.

host namespace                                  wire namespace
apps, the backend ── eth0 10.77.0.2/24 ─────── far0 10.77.0.1/24     the rest of the world: 203.0.113.1, 2001:db8::1
                          fd77::2/64           fd77::1/64
                  ── side0 10.78.0.2/24 ────── beside0 10.78.0.1/24  an adapter without a default route
"""

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

assert sys.platform == "linux"

CLONE_NEWNET = 0x4000_0000
_libc = ctypes.CDLL(None, use_errno=True)
_CURRENT = Path("/proc/thread-self/ns/net")


def _check(result: int) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


class Namespace:
    """A new network namespace; empty but for a loopback device that is up."""

    def __init__(self) -> None:
        before = os.open(_CURRENT, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _check(_libc.unshare(CLONE_NEWNET))
            self._descriptor = os.open(_CURRENT, os.O_RDONLY | os.O_CLOEXEC)
        finally:
            _check(_libc.setns(before, CLONE_NEWNET))
            os.close(before)
        self.ip("link", "set", "lo", "up")

    @property
    def path(self) -> str:
        """How another process reaches it while this one lives."""
        return f"/proc/{os.getpid()}/fd/{self._descriptor}"

    @contextmanager
    def inside(self) -> Iterator[None]:
        """The calling thread, the threads and processes it starts and the sockets it opens are in the namespace."""
        before = os.open(_CURRENT, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _check(_libc.setns(self._descriptor, CLONE_NEWNET))
            yield
        finally:
            _check(_libc.setns(before, CLONE_NEWNET))
            os.close(before)

    def run(self, *command: str, text: str = "") -> str:
        """Run a command inside, and return what it prints."""
        with self.inside():
            done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def ip(self, *arguments: str) -> str:
        return self.run("ip", *arguments)

    def close(self) -> None:
        os.close(self._descriptor)


def join(host: Namespace, name: str, wire: Namespace, far: str, subnet: int) -> None:
    """A veth pair: .2 on the host's side, .1 on the wire's, without the delay of duplicate address detection.

    Each end knows the other: no packet waits for another's address resolution, so that the order on the wire is the
    order of sending, also between IPv4 and IPv6.
    """
    hardware = {last: f"02:00:00:00:{subnet}:0{last}" for last in (1, 2)}
    veth = ("link", "add", name, "address", hardware[2], "type", "veth")
    host.ip(*veth, "peer", "name", far, "address", hardware[1], "netns", wire.path)
    for namespace, device, own, other in ((host, name, 2, 1), (wire, far, 1, 2)):
        namespace.ip("link", "set", device, "up")
        namespace.ip("addr", "add", f"10.{subnet}.0.{own}/24", "dev", device)
        namespace.ip("addr", "add", f"fd{subnet}::{own}/64", "dev", device, "nodad")
        for neighbour in (f"10.{subnet}.0.{other}", f"fd{subnet}::{other}"):
            namespace.ip("neigh", "add", neighbour, "lladdr", hardware[other], "dev", device, "nud", "permanent")


@contextmanager
def host_and_wire() -> Iterator[tuple[Namespace, Namespace]]:
    """The two namespaces of the picture above."""
    host, wire = Namespace(), Namespace()
    try:
        join(host, "eth0", wire, "far0", 77)
        join(host, "side0", wire, "beside0", 78)
        # nobody is there, but packets for it get as far as the adapter
        host.ip("neigh", "add", "10.78.0.7", "lladdr", "02:00:00:00:78:07", "dev", "side0", "nud", "permanent")
        host.ip("route", "add", "default", "via", "10.77.0.1")
        host.ip("-6", "route", "add", "default", "via", "fd77::1")
        for address in ("203.0.113.1/32", "2001:db8::1/128"):
            wire.ip("addr", "add", address, "dev", "lo", *(["nodad"] if ":" in address else []))
        yield host, wire
    finally:
        host.close()
        wire.close()
