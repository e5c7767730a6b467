"""Measure wiresock-py beside other user-mode WireGuards, on this machine, as root.

Each section can be run by itself; figures are medians of interleaved rounds, and machines and moments differ, so that
only what was taken in one run is compared.
"""

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from benchmarks import clients, machine, tunnel
from benchmarks.results import Results, Run
from wiresock_py.lab import LabError

CONSOLE = Console(width=120)


class Names(click.ParamType[list[str]]):
    """Comma-separated names, each one of a known set."""

    name = "NAME,…"

    def __init__(self, known: tuple[str, ...]) -> None:
        self._known = known

    def convert(self, value: object, param: click.Parameter | None, context: click.Context | None) -> list[str]:
        names = str(value).split(",")
        for name in names:
            if name not in self._known:
                self.fail(f"{name} is none of {', '.join(self._known)}", param, context)
        return names


def say(run: Run) -> None:
    """One line while measuring goes on."""
    figures = "  ".join(f"{name} {value:,.4g}" for name, value in run.figures.items())
    click.echo(f"{run.section:<8} {run.subject:<10} {run.case:<14} {figures}", err=True)


@click.group(help=__doc__)
def main() -> None:
    pass


@main.command("tunnel", help="iperf3 and round trips through each client, in turns.")
@click.option("--clients", "names", type=Names(clients.NAMES), default=",".join(clients.NAMES), show_default=True)
@click.option("--cases", type=Names(tunnel.CASES), default=",".join(tunnel.CASES), show_default=True)
@click.option("--rounds", default=3, show_default=True, help="Turns of each client.")
@click.option("--seconds", default=3.0, show_default=True, help="Length of each measurement.")
@click.option("--json", "path", type=click.Path(path_type=Path), help="Write every figure to this file.")
def tunnel_command(names: list[str], cases: list[str], rounds: int, seconds: float, path: Path | None) -> None:
    results = Results(machine.describe(), {"rounds": rounds, "seconds": seconds})
    results.versions, results.missing = clients.versions(names)
    names = [name for name in names if name not in results.missing]
    try:
        for run in results.add(tunnel.measure(names, cases, rounds, seconds)):
            say(run)
    except LabError as error:
        raise click.ClickException(f"{error}; {error.remedy}" if error.remedy else str(error)) from None
    finally:
        if path:
            results.save(path)
    show(results)


def show(results: Results) -> None:
    """The medians of a section, one row a client."""
    for case in results.cases(tunnel.SECTION):
        named = [run.figures for run in results.runs if run.case == case]
        columns = list(dict.fromkeys(name for figures in named for name in figures))
        table = Table("client", *columns, title=case, title_justify="left")
        for subject in results.subjects(tunnel.SECTION):
            medians = [results.median(tunnel.SECTION, subject, case, column) for column in columns]
            table.add_row(subject, *("" if value is None else f"{value:,.4g}" for value in medians))
        CONSOLE.print(table)
    for name, reason in results.missing.items():
        click.echo(f"not measured: {name}: {reason}")


if __name__ == "__main__":
    main()
