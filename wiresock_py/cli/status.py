"""status, backends, reset: what runs, what could, and what an earlier run left behind."""

import json
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from wiresock_py.cli.options import control_socket, json_output
from wiresock_py.cli.status_table import table
from wiresock_py.errors import ControlError
from wiresock_py.filters.registry import available, backend_class, default_name


@click.command(short_help="Show the running client: its tunnels and traffic.")
@control_socket
@json_output
def status(control_path: Path | None, as_json: bool) -> None:
    """Show the running client: its tunnels and their traffic; with --json also what was dropped, and why.

    Example: wiresock-py status --json
    """
    from wiresock_py.service.control import DEFAULT_PATH, ask

    answer = ask(control_path or DEFAULT_PATH, {"command": "status"})
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    Console().print(table(answer))


@click.command(short_help="List the interception backends and data paths, and what works here.")
@json_output
def backends(as_json: bool) -> None:
    """List the interception backends and the data paths, and why each can or cannot be used here.

    Example: wiresock-py backends
    """
    from wiresock_py.datapath import choice

    reasons, paths = available(), choice.available()
    if as_json:
        click.echo(json.dumps({"backends": reasons, "datapaths": paths}, indent=2))
        return
    usable = [name for name, reason in reasons.items() if reason is None]
    default = default_name() if any(name != "memory" for name in usable) else ""
    listed = Table("backend", "here")
    for name, reason in reasons.items():
        listed.add_row(name, reason or ("used by default" if name == default else "can be used"))
    Console().print(listed)
    listed = Table("data path", "here")
    for name, reason in paths.items():
        listed.add_row(name, reason or ("used by default" if name == choice.DEFAULT.name else "can be used"))
    Console().print(listed)


@click.command(short_help="Remove what a killed client left behind.")
@click.option("--force", is_flag=True, help="Also while a client is running.")
@control_socket
def reset(force: bool, control_path: Path | None) -> None:
    """Remove what a killed client left on this machine: its rules, and with them the block on its plan.

    Example: wiresock-py reset
    """
    from wiresock_py.service.control import DEFAULT_PATH, is_present, is_served, remove_stale

    path = control_path or DEFAULT_PATH
    if is_served(path) and not force:
        raise ControlError(f"a client is running: it answers on {path}", "stop it with Ctrl+C, or use --force")
    if is_present(path) and not force:
        raise ControlError(
            f"a client is running: it has {path}, and its worker is being replaced",
            "stop it with Ctrl+C, or use --force",
        )
    default_name()  # without the right to look, nothing found is no good news: raises with the reason
    removed = [line for name, reason in available().items() if reason is None for line in backend_class(name).reset()]
    remove_stale(path)
    for line in removed or ["nothing was left behind"]:
        click.echo(line)
