"""Section "engine": a packet's cost without any network, beside one call of the encryption on as many bytes.

The data path by itself, as benchmarks/datapath.py has it, and the whole engine over the ndisapi backend with its driver
emulated, as benchmarks/ndisapi.py has it. The fastest of the rounds counts.
"""

from collections.abc import Iterator

from benchmarks import datapath, ndisapi
from benchmarks.results import Run
from wiresock_py.datapath import choose

SECTION = "engine"
COST, BARE = "cost", "bare"
"""The only case, and the figure of the encryption alone; the other figures are the data paths'. In microseconds."""


def measure(rounds: int, datapaths: list[str]) -> Iterator[Run]:
    """Every kind of packet out and in, through each of the data paths."""
    benches = {name: datapath.Bench(choose(name)) for name in datapaths}
    cases = datapath.cases()
    best: dict[str, dict[str, float]] = {}

    def note(subject: str, figure: str, measured: tuple[int, float]) -> None:
        packets, seconds = measured
        figures = best.setdefault(subject, {})
        figures[figure] = min(figures.get(figure, float("inf")), seconds / packets * 1e6)

    for _ in range(rounds):
        for name, (size, batches) in cases.items():
            for way, opening in (("out", False), ("in", True)):
                note(f"{way}: {name}", BARE, datapath.bare(size, opening=opening))
                for path, bench in benches.items():
                    measured = bench.into(batches) if opening else bench.from_batches(batches)
                    note(f"{way}: {name}", path, measured)
    for path in datapaths:
        for way, figures in ndisapi.measure(path, rounds).items():
            row = best.setdefault(f"{way}: TCP of {datapath.MTU}, ndisapi and engine", {})
            row[BARE] = min(row.get(BARE, float("inf")), figures["bare"] * 1e6)
            row[path] = figures["all"] * 1e6
    for way in ("out", "in"):
        for subject, costs in best.items():
            if subject.startswith(way):
                yield Run(SECTION, subject, COST, costs)
