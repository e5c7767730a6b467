"""The results as pictures: one for each question a reader has, readable at a glance."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot
from matplotlib.axes import Axes

from benchmarks import growth, latency, tunnel
from benchmarks.clients import OURS, PLAIN, TITLES
from benchmarks.results import Results
from benchmarks.tables import THROUGHPUT, growth_of, growth_title, growths

COLOURS = {
    "python": "#f2a33c",
    "native": "#d1495b",
    "debian": "#9fb4c7",
    "head": "#4f7cac",
    "boringtun": "#7a9e7e",
    "gotatun": "#b8a1c9",
    PLAIN: "#d0d0d0",
}
STYLE: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "font.size": 10,
    "figure.dpi": 110,
}


def draw(results: Results, folder: Path) -> dict[str, Path]:
    """Write every picture there are figures for; their paths by name."""
    mpl.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    written: dict[str, Path] = {}
    with mpl.rc_context(STYLE):
        for name, drawing in {
            "throughput": throughput,
            "cpu": cpu,
            "round-trips": round_trips,
            "growth": costs_of_many,
        }.items():
            figure = pyplot.figure(layout="constrained")
            if drawing(results, figure.add_subplot()):
                written[name] = folder / f"{name}.png"
                figure.savefig(written[name])
            pyplot.close(figure)
    return written


def throughput(results: Results, axes: Axes) -> bool:
    """TCP through each client."""
    done = _bars(results, axes, "mbit", list(THROUGHPUT), ",.0f")
    axes.set_title("TCP through the tunnel, Mbit/s (more is better)")
    return done


def cpu(results: Results, axes: Axes) -> bool:
    """What each client spends on it."""
    done = _bars(results, axes, "client_seconds_per_gib", list(THROUGHPUT), ".1f")
    axes.set_title("CPU time of the client, seconds per GiB (less is better)")
    return done


def _bars(results: Results, axes: Axes, figure: str, cases: Sequence[str], form: str) -> bool:
    """Groups of bars, a group a case, a bar a client; False if there is nothing to draw."""
    cases = [case for case in cases if case in results.cases(tunnel.SECTION)]
    names = [name for name in results.subjects(tunnel.SECTION) if name != PLAIN]
    if not cases or not names:
        return False
    axes.figure.set_size_inches(9, 0.9 + len(cases) * (0.3 + 0.17 * len(names)))  # type: ignore[union-attr]
    height = 0.84 / len(names)
    for number, name in enumerate(names):
        values = [results.median(tunnel.SECTION, name, case, figure) or 0.0 for case in cases]
        places = [place + (number - (len(names) - 1) / 2) * height for place in range(len(cases))]
        bars = axes.barh(
            places, values, height * 0.92, color=COLOURS.get(name, "#777777"), label=TITLES.get(name, name)
        )
        weight = "bold" if name in OURS else "normal"
        axes.bar_label(bars, [f"{value:{form}}" for value in values], padding=3, fontsize=8, fontweight=weight)
    axes.set_yticks(range(len(cases)), [THROUGHPUT[case] for case in cases])
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8, frameon=False)
    return True


def round_trips(results: Results, axes: Axes) -> bool:
    """p50 and p99 of each client, as the ends of a line."""
    cases = [case for case in latency.CASES if case in results.cases(tunnel.SECTION)]
    names = results.subjects(tunnel.SECTION)
    if not cases:
        return False
    axes.figure.set_size_inches(9, 0.9 + len(cases) * (0.3 + 0.2 * len(names)))  # type: ignore[union-attr]
    height = 0.84 / len(names)
    for number, name in enumerate(names):
        for place, case in enumerate(cases):
            middle, high = (results.median(tunnel.SECTION, name, case, figure) for figure in ("p50", "p99"))
            if middle is None or high is None:
                continue
            y = place + (number - (len(names) - 1) / 2) * height
            colour = COLOURS.get(name, "#777777")
            axes.plot((middle, high), (y, y), color=colour, linewidth=3, solid_capstyle="round")
            axes.plot(middle, y, "o", color=colour, markersize=7, label=TITLES.get(name, name) if not place else None)
            axes.text(high * 1.08, y, f"{middle:,.0f} – {high:,.0f}", va="center", fontsize=8)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_yticks(range(len(cases)), [latency.TITLES[case].replace(" beside", "\nbeside") for case in cases])
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.grid(axis="x", alpha=0.3)
    axes.set_title("Round trips, µs: median (dot) to 99th percentile (less is better)")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8, frameon=False)
    return True


def costs_of_many(results: Results, axes: Axes) -> bool:
    """The cost of a packet relative to that with the fewest, for each thing that becomes many."""
    bounded = [(name, path) for name, path in growths(results) if name in growth.BOUNDED]
    if not bounded:
        return False
    axes.figure.set_size_inches(9, 4.2)  # type: ignore[union-attr]
    top = 0.0
    for name, path in bounded:
        costs = growth_of(results, name, path)
        relative = [cost / costs[0][1] for _, cost in costs]
        top = max(top, *relative)
        axes.plot([size for size, _ in costs], relative, "o-", label=growth_title(name, path))
    axes.axhspan(0, growth.BOUND, color="#7a9e7e", alpha=0.15, label=f"wanted: at most {growth.BOUND}")
    axes.set_xscale("log")
    axes.set_ylim(0, max(2.0, top * 1.1))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel("how many there are")
    axes.set_title("Cost of a packet, times that with the fewest")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8, frameon=False)
    return True
