"""Section "bypass": what an application that is not meant loses by our client running. It should be nothing.

The kernel shows our client the first packet of each of its connections and none after that. What that costs is less
than the throughput of such a machine wanders within seconds, so measurements come in pairs, with and without the
client, one right after the other, and the median of the pairs' ratios counts.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager

from benchmarks import clients, iperf
from benchmarks.clients import CACHE, PLAIN, Running, ours
from benchmarks.results import Results, Run
from wiresock_py.lab import Lab, Peer

SECTION = "bypass"
CASES = ("tcp-4-up", "tcp-4-down", "tcp-1-up", "tcp-1-down", "udp-up")
MEANT = "chrome"
"""The application that is meant; iperf3 is not."""
SHARE = "share"
"""The figure of throughput as a multiple of that without our client a moment before or after."""
PAIRS = 2
"""In each round, of each client."""


def measure(results: Results, names: list[str], cases: list[str], rounds: int, seconds: float) -> Iterator[Run]:
    """iperf3 outside the tunnel: without any client, and beside each of ours among *names*."""
    subjects = [name for name in names if name in clients.OURS]
    with Lab(cache=CACHE) as lab:
        server = lab.start_server(clients.SERVER)
        peers = {name: server.add_peer(number=number) for number, name in enumerate(subjects, 2)}

        def client(name: str, peer: Peer) -> AbstractContextManager[Running]:
            return clients.plain() if name == PLAIN else ours(name, lab, server, peer, apps=MEANT)

        for number in range(rounds * PAIRS):
            for name in subjects:
                with results.excusing(f"{SECTION} {name}"):
                    found: dict[str, dict[str, dict[str, float]]] = {}
                    for subject in (name, PLAIN) if number % 2 else (PLAIN, name):
                        with client(subject, peers[name]) as running:
                            found[subject] = {
                                case: iperf.measure(lab.client, iperf.CASES[case], seconds, running, Running(list))
                                for case in cases
                            }
                    for case in cases:
                        without, beside = found[PLAIN][case], found[name][case]
                        yield Run(SECTION, PLAIN, case, without)
                        yield Run(SECTION, name, case, {**beside, SHARE: beside["mbit"] / without["mbit"]})
