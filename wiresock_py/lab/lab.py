"""The lab: four network namespaces with everything that runs in them, from ``with`` to its end.

    with Lab() as lab:
        server = lab.start_server("debian")
        peer = server.add_peer()
        client = lab.start_client(server.client_config(peer, allowed_apps="chrome"))
        chrome = lab.app("chrome")
        assert chrome.http(url=INTERNET.url(4)) == str(SERVER.v4)

See topology.py for the picture. Nothing is made on the host's own network; everything is ended by id, also when the
block fails, at the interpreter's exit, and, after a kill -9, by the next lab (or ``python -m wiresock_py.lab clean``).
"""

import atexit
import contextlib
import itertools
import json
import os
import shutil
import sys
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from subprocess import PIPE
from types import TracebackType
from typing import Any, Self

import platformdirs

from wiresock_py.lab import builds, topology, wireguard
from wiresock_py.lab.apps import App, install, script
from wiresock_py.lab.capture import Capture
from wiresock_py.lab.core_server import CoreServer
from wiresock_py.lab.namespaces import SCRATCH, LabError, Namespace, Process, clean, unavailable_reason, unique_label
from wiresock_py.lab.wiresock import Client

PROBE_PORTS = range(2_000, 38_000)  # below what the client's kernel gives out by itself
PORTS_A_RUN = 3_000
ECHO_PORT, HTTP_PORT, IPERF_PORT = 7, 80, 5201
Address = IPv4Address | IPv6Address
PYTHON = os.path.realpath(sys.executable)


class Lab:
    """The namespaces ``client``, ``isp``, ``server`` and ``internet``, their links and services.

    *impairment* makes the access link an impaired one (programs/link.py has the words); None is a plain veth cable.
    *cache* is where WireGuards that are not packaged are built.
    """

    def __init__(
        self,
        *,
        impairment: Mapping[str, object] | None = None,
        mtu: int = 1500,
        resolvers: tuple[str, ...] = (str(topology.ROUTER.v4),),
        cache: Path | None = None,
    ) -> None:
        self.label = unique_label()
        self.client, self.isp, self.server, self.internet = (
            Namespace(f"{self.label}-{role}") for role in topology.ROLES
        )
        self.namespaces = (self.client, self.isp, self.server, self.internet)
        self.folder = SCRATCH / self.label
        self._impairment = impairment
        self._mtu = mtu
        self._resolvers = resolvers
        self._cache = cache or platformdirs.user_cache_path("wiresock-py")
        self._numbers = itertools.count()
        self._ports = itertools.cycle(range(PROBE_PORTS.start, PROBE_PORTS.stop, PORTS_A_RUN))
        self._link: Process | None = None
        self._parts = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """Build everything. Raises LabError, one line with the remedy, where that cannot be; leaves nothing then."""
        if reason := unavailable_reason():
            message, _, remedy = reason.partition("; ")
            raise LabError(message, remedy)
        clean()
        atexit.register(self.close)
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End every process and remove every namespace and file of this lab. May be repeated."""
        try:
            self._parts.close()
        finally:
            for namespace in self.namespaces:
                namespace.delete()
            shutil.rmtree(self.folder, ignore_errors=True)
            atexit.unregister(self.close)

    # -- what runs in it -----------------------------------------------------------------------------------------------

    def start_server(self, kind: str = "debian", *, site: int = 0) -> wireguard.Server:
        """A WireGuard of builds.py (or a path) in ``server``. Another *site* is another port and inner network."""
        number = next(self._numbers)
        executable = builds.program(kind, self._cache)
        log = self._log("server", number)
        server = wireguard.Server(self.server, executable, self._interface(number), log, site)
        self._parts.callback(server.stop)
        server.start()
        return server

    def start_wireguard_client(self, kind: str, settings: str, *addresses: str) -> wireguard.WireGuard:
        """The same as client, on a TUN device in ``client``; the routes are the caller's business."""
        number = next(self._numbers)
        executable = builds.program(kind, self._cache)
        client = wireguard.WireGuard(self.client, executable, self._interface(number), self._log("peer", number))
        self._parts.callback(client.stop)
        client.start(settings, *addresses)
        return client

    def start_core_server(self, **options: Any) -> CoreServer:
        """A server on our own core in ``server``; see :class:`CoreServer` for the options."""
        server = CoreServer(self.server, **options)
        self._parts.callback(server.stop)
        return server

    def start_client(
        self,
        *configs: str | Path,
        options: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
        wait: bool = True,
    ) -> Client:
        """Our own client in ``client``, with wg0.conf texts or files; waits until it says it is up."""
        number = next(self._numbers)
        files = []
        for position, config in enumerate(configs):
            if isinstance(config, Path):
                files.append(config)
                continue
            path = self.folder / f"wg{number}-{position}.conf"
            path.touch(mode=0o600)
            path.write_text(config)
            files.append(path)
        client = Client(self.client, files, options, environment or {}, self._log("client", number))
        self._parts.callback(client.stop)
        if wait:
            client.wait_until_up()
        return client

    def app(self, name: str, *, namespace: Namespace | None = None, folder: Path | None = None) -> App:
        """An application whose executable's name is *name*, by default in ``client``."""
        program = install(name, folder or self.folder / "apps")
        app = App(name, namespace or self.client, program, self._log(name, next(self._numbers)))
        self._parts.callback(app.stop)
        return app

    def start_loopback_resolver(self, address: str = "127.0.0.53") -> Process:
        """A resolver on the client's own loopback, as many systems have one; it ends with the lab or by ``stop``."""
        return self._start_services(self.client, [], [IPv4Address(address)])

    def capture(self, *, whole: bool = False) -> Capture:
        """A capture of the access link, taken at the isp's end; *whole* keeps all of each frame for a pcap file."""
        capture = Capture(self.isp, "lan0", whole=whole)
        self._parts.callback(capture.stop)
        return capture

    def capture_inner(self, server: wireguard.Server) -> Capture:
        """A capture of what comes out of the tunnel, and goes into it, at the server."""
        capture = Capture(self.server, server.wireguard.interface, tun=True)
        self._parts.callback(capture.stop)
        return capture

    def impair(self, **settings: object) -> dict[str, dict[str, int]]:
        """Change the impaired link (``up={"loss": 0.1}``); with nothing to change, its counters so far."""
        if self._link is None:
            raise LabError("the access link of this lab is a plain one", "make it with Lab(impairment={})")
        stdin, stdout = self._link.popen.stdin, self._link.popen.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(settings).encode() + b"\n")
        stdin.flush()
        counters: dict[str, dict[str, int]] = json.loads(stdout.readline())
        return counters

    def probe_ports(self) -> range:
        """A range of client-side ports for one run of probes; the same one comes again only after a dozen others."""
        start = next(self._ports)
        return range(start, start + PORTS_A_RUN)

    # -- building ------------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        self.folder.mkdir(parents=True)
        self.folder.chmod(0o755)  # applications of other users live below
        self.client.create({"resolv.conf": topology.resolv_conf(*self._resolvers)})
        for namespace in (self.isp, self.server, self.internet):
            namespace.create()
        for namespace in self.namespaces:
            # without these, IPv6 stands still for the first second or two of every link
            namespace.sysctl(
                net__ipv6__conf__all__accept_dad=0,
                net__ipv6__conf__default__accept_dad=0,
                net__ipv6__conf__default__dad_transmits=0,
                net__ipv6__conf__default__router_solicitations=0,
            )
        topology.connect(self.isp, self.server, self.internet)
        if self._impairment is None:
            topology.veth(self.isp, "lan0", self.client, "eth0")
        else:
            self._start_link(self._impairment)
        topology.address_access_link(self.client, self.isp, mtu=self._mtu)
        self.client.sysctl(
            net__ipv4__ping_group_range="0 2147483647",
            net__ipv4__ip_local_port_range=f"{PROBE_PORTS.stop} 60999",
            net__ipv4__conf__all__rp_filter=1,  # strict, as some distributions have it: injection must live with it
        )
        lan: list[Address] = [
            address for host in (topology.ROUTER, topology.LAN_HOST) for address in (host.v4, host.v6)
        ]
        wide: list[Address] = [
            address for host in (topology.INTERNET, topology.OTHER_SITE) for address in (host.v4, host.v6)
        ]
        self._start_services(self.isp, lan, [topology.ROUTER.v4, topology.ROUTER.v6])
        self._start_services(self.internet, wide, [topology.TUNNEL_RESOLVER.v4, topology.TUNNEL_RESOLVER.v6, *wide])
        iperf = self._start(self.internet, ["iperf3", "-s", "-p", str(IPERF_PORT), "--forceflush"], "iperf3")
        iperf.wait_for(lambda: "listening" in iperf.log(), "serving as iperf3")

    def _start(self, namespace: Namespace | None, command: list[str], name: str, **pipes: int) -> Process:
        """Start a process of the lab itself; it ends with the lab."""
        process = Process(
            namespace.command(*command) if namespace else command, log=self._log(name, next(self._numbers)), **pipes
        )
        self._parts.callback(process.stop)
        return process

    def _log(self, name: str, number: int) -> Path:
        return self.folder / f"{name}-{number}.log"

    def _interface(self, number: int) -> str:
        """The name of a TUN device; unique on the machine, and within the kernel's 15 characters."""
        _, pid, _, lab = self.label.rsplit("-", 3)
        return f"wg{pid}-{lab}-{number}"

    def _start_link(self, impairment: Mapping[str, object]) -> None:
        ends = (self.client.name, "eth0", self.isp.name, "lan0")
        self._link = self._start(
            None, script(PYTHON, "link.py", *ends, json.dumps(dict(impairment))), "link", stdin=PIPE, stdout=PIPE
        )
        pipe = self._link.popen.stdout
        assert pipe is not None
        if pipe.readline() != b"ready\n":
            raise LabError(f"the impaired link does not come up: {self._link.log()[-500:]}")

    def _start_services(self, namespace: Namespace, addresses: list[Address], resolvers: list[Address]) -> Process:
        wanted = {
            "addresses": list(map(str, addresses)),
            "http": HTTP_PORT,
            "echo": ECHO_PORT,
            "dns": list(map(str, resolvers)),
            "names": {name: [str(host.v4), str(host.v6)] for name, host in topology.NAMES.items()},
        }
        name = namespace.name.rpartition("-")[2]
        services = self._start(namespace, script(PYTHON, "services.py", json.dumps(wanted)), name)
        services.wait_for(lambda: "ready" in services.log(), f"serving in {name}")
        return services
