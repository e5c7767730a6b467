"""``python -m tests.soak``: the client at work in the lab for minutes, while everything around it changes.

Round by round two applications open and close flows of every kind, chrome through the tunnel and firefox outside, both
move files, and one thing happens: a bad link, other rules, a server that restarts, another address, a link that goes
down. Afterwards each round tells what must not be:

    a leak      a frame to the host that only chrome talks to, in the open on the access link
    a loss      on the calm link, a datagram of chrome's without an answer that no counter of the client's knows of
    a death     another worker than at the start
    growth      of descriptors and threads, and of memory beyond what the flows that are live now explain

Prints a line a round; the exit code is 1 if anything was found. Needs root.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from wiresock_py.lab import CLIENT, CLIENT_OTHER, ECHO_PORT, INTERNET, OTHER_SITE, ROUTER, App, Client, Lab, Server
from wiresock_py.lab.namespaces import LabError

CACHE = Path(__file__).parents[2] / ".cache"
RATE = 60.0
"""Probes a second of each application: about half of them are flows of their own."""
ECHOES = 200
"""Datagrams that are counted in each calm."""
PATIENCE = 45.0
"""Seconds in which a tunnel works again whatever happened: a silent server is called anew after 15."""
WARM_UP = 0.3
"""The part of the run after which nothing may grow any more."""
BYTES_PER_FLOW = 3 << 10
SPARE_BYTES = 4 << 20
ELSEWHERE = "192.168.1.120"
BAD = {"loss": 0.02, "duplicate": 0.02, "reorder": 0.02, "reorder_by": 0.005, "corrupt": 0.01, "delay": 0.01}
NO_LOSS = {"captured", "passed", "bypassed", "dropped", "injected", "sent"}
"""What the backend counts beside losses."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What the client's two processes hold."""

    flows: int
    memory: int
    descriptors: int
    threads: int


@dataclass(slots=True)
class Soak:
    """A running client, and what was found so far."""

    lab: Lab
    server: Server
    client: Client
    config: Path
    texts: tuple[str, str]
    chrome: App
    firefox: App
    worker: int = 0
    samples: list[Sample] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)

    # -- what happens --------------------------------------------------------------------------------------------------

    def nothing(self) -> None:
        time.sleep(3)

    def bad_link(self) -> None:
        self.lab.impair(up=BAD, down=BAD)
        time.sleep(6)
        self.lab.impair(up={}, down={})

    def other_rules(self) -> None:
        for text in self.texts[::-1]:
            self.config.write_text(text)
            self.client.reload()
            time.sleep(1)

    def server_restarts(self) -> None:
        self.server.stop()
        time.sleep(1)
        self.server.start()

    def other_address(self) -> None:
        ip = self.lab.client.ip
        own, other = f"{CLIENT.v4}/24", f"{CLIENT_OTHER.v4}/24"
        way = f"route add default via {ROUTER.v4} dev eth0"
        ip(f"address del {own} dev eth0", f"address add {ELSEWHERE}/24 dev eth0", way)
        time.sleep(3)
        ip(f"address del {ELSEWHERE}/24 dev eth0", f"address add {own} dev eth0", f"address add {other} dev eth0", way)

    def link_goes_down(self) -> None:
        self.lab.client.ip("link set eth0 down")
        time.sleep(2)
        ways = [f"route add default via {router}" for router in (ROUTER.v4, ROUTER.v6)]
        self.lab.client.ip("link set eth0 up", *ways)

    # -- a round -------------------------------------------------------------------------------------------------------

    def round(self, happening: Callable[[], None]) -> str:
        """Let it happen amid traffic; a line about what came of it."""
        with self.lab.capture() as capture:
            for app, target in ((self.chrome, INTERNET), (self.firefox, OTHER_SITE)):
                app.start_probes(self.lab.probe_ports(), targets=target, resolvers=ROUTER, port=ECHO_PORT, rate=RATE)
            time.sleep(2)
            happening()
            self._works_again()
            self._move_files()
            missing, losses = self._calm()
            if missing > losses.total():
                self.findings.append(f"{missing} datagrams lost in the calm, the client knows of {losses.total()}")
            probes = {app.name: app.stop_probes() for app in (self.chrome, self.firefox)}
        if capture.lost:
            self.findings.append(f"the capture lost {capture.lost} frames: it proves nothing")
        targets = {INTERNET.of(4), INTERNET.of(6)}
        leaked = [frame for frame in capture.frames if frame.target in targets and not frame.wireguard]
        if leaked:
            self.findings.append(f"{len(leaked)} frames to {leaked[0].target} in the open")
        if not any(frame.target == OTHER_SITE.of(4) for frame in capture.frames):
            self.findings.append("nothing of firefox's is on the capture: it proves nothing")
        self.samples.append(self._sample())
        answered = {name: sum(1 for one in found if one["answered"]) / len(found) for name, found in probes.items()}
        last = self.samples[-1]
        return (
            f"{last.flows:6} flows {last.memory / (1 << 20):7.1f} MiB {last.descriptors:4} descriptors"
            f" {last.threads:3} threads; answered: chrome {answered['chrome']:.0%}, firefox {answered['firefox']:.0%};"
            f" lost in the calm {missing}, counted {dict(losses)}; leaked {len(leaked)}"
        )

    def _works_again(self) -> None:
        until = time.monotonic() + PATIENCE
        for family in (4, 6):
            while not self.chrome.count_echoes(address=INTERNET.of(family), port=ECHO_PORT, count=1):
                if time.monotonic() > until:
                    self.findings.append(f"IPv{family} through the tunnel did not come back")
                    return

    def _move_files(self) -> None:
        for app, host in ((self.chrome, INTERNET), (self.firefox, OTHER_SITE)):
            for family in (4, 6):
                app.download(url=host.url(family, "/bytes/2000000"))
                if not app.upload(url=host.url(family), size=1_000_000)["intact"]:
                    self.findings.append(f"{app.name}'s upload was changed on its way")

    def _calm(self) -> tuple[int, Counter[str]]:
        """Of datagrams sent now: how many got no answer, and which losses the client counted meanwhile."""
        before = self._losses()
        families = (4, 6)
        answered = sum(
            self.chrome.count_echoes(address=INTERNET.of(family), port=ECHO_PORT, count=ECHOES) for family in families
        )
        return ECHOES * len(families) - answered, self._losses() - before

    def _losses(self) -> Counter[str]:
        """Everything the client counted as lost, dropped or refused."""
        status = self.client.status()
        losses = Counter({name: count for name, count in status["capture"].items() if name not in NO_LOSS})
        losses.update(status["drops"])
        for tunnel in status["tunnels"]:
            for counters in (tunnel["drops"], tunnel["socket"], *(peer["drops"] for peer in tunnel["peers"])):
                losses.update(counters)
        return losses

    def _sample(self) -> Sample:
        status: dict[str, Any] = self.client.status()
        worker = self.client.worker()
        if self.worker not in (0, worker):
            self.findings.append("the worker died")
        self.worker = worker
        processes = [psutil.Process(self.client.pid), psutil.Process(worker)]
        return Sample(
            sum(status["flows"].values()),
            sum(process.memory_info().rss for process in processes),
            sum(process.num_fds() for process in processes),
            sum(process.num_threads() for process in processes),
        )

    def grown(self) -> Iterator[str]:
        """What is more at the end than after the beginning."""
        warm = self.samples[int(len(self.samples) * WARM_UP)]
        last = self.samples[-1]
        explained = max(0, last.flows - warm.flows) * BYTES_PER_FLOW + SPARE_BYTES
        if last.memory - warm.memory > explained:
            yield f"memory: {last.memory - warm.memory} bytes more, {explained} explained"
        if last.descriptors > warm.descriptors:
            yield f"descriptors: {warm.descriptors}, at last {last.descriptors}"
        if last.threads > warm.threads:
            yield f"threads: {warm.threads}, at last {last.threads}"


@contextmanager
def soaking() -> Iterator[Soak]:
    with Lab(impairment={"seed": 1}, cache=CACHE) as lab:
        lab.client.sysctl(net__ipv6__conf__eth0__keep_addr_on_down=1)
        server = lab.start_server()
        peer = server.add_peer()
        chrome, more = (server.client_config(peer, allowed_apps=apps) for apps in ("chrome", "chrome, thunderbird"))
        config = lab.folder / "soak.conf"
        config.touch(mode=0o600)
        config.write_text(chrome)
        client = lab.start_client(config)
        client.wait_until_connected()
        yield Soak(lab, server, client, config, (chrome, more), lab.app("chrome"), lab.app("firefox"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--minutes", type=float, default=10)
    minutes = parser.parse_args().minutes
    started = time.monotonic()
    with soaking() as soak:
        happenings = (
            soak.nothing,
            soak.bad_link,
            soak.other_rules,
            soak.server_restarts,
            soak.other_address,
            soak.link_goes_down,
        )
        number = 0
        while time.monotonic() - started < minutes * 60 or number < len(happenings):
            happening = happenings[number % len(happenings)]
            number += 1
            begun = len(soak.findings)
            line = soak.round(happening)
            print(f"{time.monotonic() - started:6.0f} s {happening.__name__:16} {line}", flush=True)
            for finding in soak.findings[begun:]:
                print(f"         FOUND {finding}", flush=True)
        soak.findings += soak.grown()
        if soak.findings:
            print(soak.client.log()[-4000:])
            print(soak.client.status())
        code = soak.client.stop()
        if code:
            soak.findings.append(f"the client ended with {code}")
    print(f"{number} rounds; found: {'; '.join(soak.findings) or 'nothing'}")
    return 1 if soak.findings else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        print(f"{error}; {error.remedy}" if error.remedy else str(error), file=sys.stderr)
        sys.exit(1)
