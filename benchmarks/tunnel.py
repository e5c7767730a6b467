"""Section "tunnel": the clients in turns at one server, each with iperf3 and with round trips, all within one lab.

Whatever else the machine does falls on all clients alike: in each round every client has its turn, and each round
begins with another one. What counts are medians, and ratios between clients.
"""

from collections.abc import Iterator

from benchmarks import clients, iperf, latency
from benchmarks.clients import CACHE, Running, client_of
from benchmarks.results import Results, Run
from wiresock_py.lab import Lab

SECTION = "tunnel"
CASES = (*iperf.CASES, *latency.CASES)
TITLES = {case.name: case.title for case in iperf.CASES.values()} | latency.TITLES


def turns(names: list[str], rounds: int) -> Iterator[str]:
    """The clients in the order of their turns; each round begins one further on."""
    for number in range(rounds):
        first = number % len(names)
        yield from names[first:] + names[:first]


def measure(results: Results, names: list[str], cases: list[str], rounds: int, seconds: float) -> Iterator[Run]:
    """All runs of the clients *names*, *seconds* for each case."""
    with Lab(cache=CACHE) as lab:
        server = lab.start_server(clients.SERVER)
        serving = Running(lambda: [server.wireguard.pid])
        peers = {name: server.add_peer(number=number) for number, name in enumerate(names, 2)}
        for name in turns(names, rounds):
            with results.excusing(f"{SECTION} {name}"), client_of(name, lab, server, peers[name]) as running:
                for case in cases:
                    with results.excusing(f"{SECTION} {name} {case}"):
                        if case in latency.CASES:
                            figures = latency.measure(lab, case, seconds)
                        else:
                            figures = iperf.measure(lab.client, iperf.CASES[case], seconds, running, serving)
                        yield Run(SECTION, name, case, figures)
                yield Run(SECTION, name, "memory", {"peak_mib": running.peak()})
