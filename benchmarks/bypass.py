"""Section "bypass": what an application that is not meant loses by our client running. It should be nothing.

The kernel shows our client the first packet of each of its connections and none after that.
"""

from collections.abc import Iterator

from benchmarks import clients, iperf
from benchmarks.clients import CACHE, PLAIN, Running, ours
from benchmarks.results import Results, Run
from benchmarks.tunnel import turns
from wiresock_py.lab import Lab

SECTION = "bypass"
CASES = ("tcp-4-up", "tcp-4-down", "tcp-1-up", "tcp-1-down", "udp-up")
MEANT = "chrome"
"""The application that is meant; iperf3 is not."""


def measure(results: Results, names: list[str], cases: list[str], rounds: int, seconds: float) -> Iterator[Run]:
    """iperf3 outside the tunnel: without any client, and beside each of ours among *names*."""
    subjects = [PLAIN, *(name for name in names if name in clients.OURS)]
    nobody = Running(list)
    with Lab(cache=CACHE) as lab:
        server = lab.start_server(clients.SERVER)
        peers = {name: server.add_peer(number=number) for number, name in enumerate(subjects, 2)}
        for name in turns(subjects, rounds):
            with results.excusing(f"{SECTION} {name}"):
                chosen = clients.plain() if name == PLAIN else ours(name, lab, server, peers[name], apps=MEANT)
                with chosen as running:
                    for case in cases:
                        figures = iperf.measure(lab.client, iperf.CASES[case], seconds, running, nobody)
                        yield Run(SECTION, name, case, figures)
