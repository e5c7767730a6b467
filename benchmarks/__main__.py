"""Measure wiresock-py beside other user-mode WireGuards, on this machine, as root.

\b
    python -m benchmarks all --quick      every section, a few minutes; the results go to .cache/benchmarks
    python -m benchmarks all --publish    every section at length; the results go to docs/benchmarks and the documents

Or one section by itself, with what it is to measure. Only what was taken in one run is compared: the clients take
turns, and medians count.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks import both, bypass, clients, engine, growth, life, machine, micro, plots, publish, tables, tunnel
from benchmarks.results import Results, Run
from wiresock_py.lab import LabError

PUBLIC, PRIVATE = publish.ROOT / "docs" / "benchmarks", clients.CACHE / "benchmarks"
RESULTS = "results.json"


@dataclass(frozen=True, slots=True)
class Effort:
    """How much time the sections take for how steady a figure."""

    rounds: int
    seconds: float
    cases: tuple[str, ...]
    bypass_cases: tuple[str, ...]
    both_cases: tuple[str, ...]
    idle_seconds: float
    fast_rounds: int
    """Of what takes milliseconds, the fastest of which counts."""


FULL = Effort(3, 3.0, tunnel.CASES, bypass.CASES, both.CASES, 60.0, 20)
QUICK = Effort(
    1,
    1.0,
    ("tcp-4-up", "tcp-4-down", "tcp-1-up", "tcp-1-down", "udp-up", "rtt-idle", "rtt-up"),
    ("tcp-4-up", "tcp-4-down"),
    ("tcp-4-up",),
    5.0,
    5,
)


class Names(click.ParamType[list[str]]):
    """Comma-separated names, each one of a known set."""

    name = "NAME,…"

    def __init__(self, known: Iterable[str]) -> None:
        self._known = tuple(known)

    def convert(self, value: object, param: click.Parameter | None, context: click.Context | None) -> list[str]:
        names = str(value).split(",")
        for name in names:
            if name not in self._known:
                self.fail(f"{name} is none of {', '.join(self._known)}", param, context)
        return names


chosen_clients = click.option(
    "--clients", "names", type=Names(clients.NAMES), default=",".join(clients.NAMES), show_default=True
)
chosen_rounds = click.option("--rounds", default=3, show_default=True, help="Turns of each client.")
chosen_seconds = click.option("--seconds", default=3.0, show_default=True, help="Length of each measurement.")
to_json = click.option("--json", "path", type=click.Path(path_type=Path), help="Write every figure to this file.")


@click.group(help=__doc__)
def main() -> None:
    pass


@main.command("tunnel", help="iperf3 and round trips through each client, in turns.")
@chosen_clients
@click.option("--cases", type=Names(tunnel.CASES), default=",".join(tunnel.CASES), show_default=True)
@chosen_rounds
@chosen_seconds
@to_json
def tunnel_command(names: list[str], cases: list[str], rounds: int, seconds: float, path: Path | None) -> None:
    results = begin(names, rounds=rounds, seconds=seconds)
    take(results, tunnel.measure(results, present(results, names), cases, rounds, seconds))
    end(results, path)


@main.command("bypass", help="iperf3 outside the tunnel, beside our client and without it.")
@click.option("--cases", type=Names(bypass.CASES), default=",".join(bypass.CASES), show_default=True)
@chosen_rounds
@chosen_seconds
@to_json
def bypass_command(cases: list[str], rounds: int, seconds: float, path: Path | None) -> None:
    results = begin(list(clients.OURS), rounds=rounds, seconds=seconds)
    take(results, bypass.measure(results, present(results, list(clients.OURS)), cases, rounds, seconds))
    end(results, path)


@main.command("both", help="The same program at both ends of the tunnel.")
@click.option("--clients", "names", type=Names(clients.NAMES), default=",".join(both.NAMES), show_default=True)
@click.option("--cases", type=Names(both.CASES), default=",".join(both.CASES), show_default=True)
@chosen_rounds
@chosen_seconds
@to_json
def both_command(names: list[str], cases: list[str], rounds: int, seconds: float, path: Path | None) -> None:
    results = begin(names, rounds=rounds, seconds=seconds)
    take(results, both.measure(results, present(results, names), cases, rounds, seconds))
    end(results, path)


@main.command("life", help="Start, rest and memory of each client.")
@chosen_clients
@chosen_rounds
@click.option("--seconds", default=60.0, show_default=True, help="How long each one's idleness is watched.")
@to_json
def life_command(names: list[str], rounds: int, seconds: float, path: Path | None) -> None:
    results = begin(names, rounds=rounds, seconds=seconds)
    take(results, life.measure(results, present(results, names), rounds, seconds))
    end(results, path)


@main.command("engine", help="What a packet costs without any network, beside the bare encryption.")
@click.option("--rounds", default=20, show_default=True, help="Of which the fastest counts.")
@to_json
def engine_command(rounds: int, path: Path | None) -> None:
    results = begin(list(clients.OURS), rounds=rounds)
    take(results, engine.measure(rounds, present(results, list(clients.OURS))))
    end(results, path)


@main.command("growth", help="What a packet costs with many flows, peers, prefixes and rules.")
@click.option("--rounds", default=20, show_default=True, help="Of which the fastest counts.")
@to_json
def growth_command(rounds: int, path: Path | None) -> None:
    results = begin(list(clients.OURS), rounds=rounds)
    take(results, growth.measure(rounds, present(results, list(clients.OURS))))
    take(results, growth.measure_kernel(results, 1))
    end(results, path)


@main.command("micro", help="Single steps, by pytest-benchmark.")
@click.option("--seconds", default=1.0, show_default=True, help="At most for each step.")
@to_json
def micro_command(seconds: float, path: Path | None) -> None:
    results = begin([], seconds=seconds)
    take(results, micro.measure(seconds))
    end(results, path)


@main.command("all", help="Every section, then the JSON file, the tables and the pictures.")
@chosen_clients
@click.option("--quick", is_flag=True, help="A few minutes: short runs, fewer cases.")
@click.option("--publish", "public", is_flag=True, help=f"Put the results into {PUBLIC.name} and the documents.")
@click.option("--rounds", type=click.IntRange(min=1), help="Turns of each client.  [default: 3; 1 if quick]")
@click.option("--seconds", type=click.FloatRange(min=0.5), help="Length of a measurement.  [default: 3; 1 if quick]")
def all_command(names: list[str], quick: bool, public: bool, rounds: int | None, seconds: float | None) -> None:
    effort = QUICK if quick else FULL
    rounds, seconds = rounds or effort.rounds, seconds or effort.seconds
    folder = PUBLIC if public else PRIVATE
    results = begin(names, rounds=rounds, seconds=seconds)
    there = present(results, names)
    ours = [name for name in there if name in clients.OURS]
    for section in (
        tunnel.measure(results, there, list(effort.cases), rounds, seconds),
        bypass.measure(results, there, list(effort.bypass_cases), rounds, seconds),
        both.measure(results, [name for name in there if name in both.NAMES], list(effort.both_cases), rounds, seconds),
        life.measure(results, there, rounds, effort.idle_seconds),
        engine.measure(effort.fast_rounds, ours),
        growth.measure(effort.fast_rounds, ours),
        growth.measure_kernel(results, 1),
        micro.measure(seconds),
    ):
        take(results, section)
        results.save(folder / RESULTS)  # so that nothing is lost if a later section fails
    write(results, folder, public)


@main.command("render", help="Make the tables and pictures of a JSON file again.")
@click.argument("path", type=click.Path(path_type=Path, exists=True), default=PUBLIC / RESULTS)
@click.option("--publish", "public", is_flag=True, help=f"Put the results into {PUBLIC.name} and the documents.")
def render_command(path: Path, public: bool) -> None:
    results = Results.load(path)
    folder = PUBLIC if public else path.parent
    results.save(folder / RESULTS)
    write(results, folder, public)


def begin(names: list[str], **settings: float) -> Results:
    """Results to be, with what they are of; builds the clients that have to be built."""
    results = Results(machine.describe(), dict(settings))
    results.versions, results.missing = clients.versions(names)
    return results


def present(results: Results, names: list[str]) -> list[str]:
    """Those of the clients that can be had."""
    return [name for name in names if name not in results.missing]


def take(results: Results, runs: Iterable[Run]) -> None:
    """Measure, with one line for each run."""
    try:
        for run in results.add(runs):
            figures = "  ".join(f"{name} {value:,.4g}" for name, value in run.figures.items())
            click.echo(f"{run.section:<8} {run.subject:<14} {run.case:<14} {figures}", err=True)
    except LabError as error:
        raise click.ClickException(f"{error}; {error.remedy}" if error.remedy else str(error)) from None


def end(results: Results, path: Path | None) -> None:
    """Show what a section found, and keep it if it is wanted."""
    click.echo(tables.document(results, {}))
    if path:
        results.save(path)


def write(results: Results, folder: Path, public: bool) -> None:
    """Write tables and pictures beside the JSON file; *public*: also into the documents."""
    pictures = plots.draw(results, folder)
    folder.joinpath("results.md").write_text(
        tables.document(results, {name: path.name for name, path in pictures.items()})
    )
    if public:
        for document, make in ((publish.PERFORMANCE, tables.document), (publish.README, tables.summary)):
            shown = {name: path.relative_to(document.parent).as_posix() for name, path in pictures.items()}
            publish.put(document, publish.COMMAND, make(results, shown))
    click.echo(f"results in {folder}")


if __name__ == "__main__":
    main()
