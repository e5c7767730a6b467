"""apps: who talks now, and what the rules say about it."""

import json
from pathlib import Path

import click
from rich.console import Console
from rich.table import Column, Table

from wiresock_py.cli.files import load_configs
from wiresock_py.cli.options import config_files, json_output, settings_file
from wiresock_py.config import load_settings
from wiresock_py.flow import App, Route
from wiresock_py.network import on_link_networks
from wiresock_py.rules import Decision, Rules

WORDS = {Route.DIRECT: "direct", Route.TUNNEL: "tunnel", Route.BLOCK: "blocked"}


@click.command(short_help="Show who talks now, and where it would go.")
@config_files
@settings_file
@json_output
def apps(files: tuple[Path, ...], settings_path: Path | None, as_json: bool) -> None:
    """Show the apps with open connections and where the configurations would send them.

    Needs no running client. Root sees every process, others their own.

    Example: wiresock-py apps wg0.conf
    """
    from wiresock_py.owners import SocketOwners

    rules = Rules(load_configs(files), load_settings(settings_path), on_link=on_link_networks())
    owners = SocketOwners()
    found: dict[tuple[App, Route, str], int] = {}
    for key, app in owners.connections():
        ancestors = owners.ancestors(app) if rules.uses_ancestors else ()
        decision: Decision = rules.decide(app, key.remote, key.protocol, key.remote_port, ancestors=ancestors)
        row = (app, decision.route, decision.reason)
        found[row] = found.get(row, 0) + 1
    rows = sorted(found.items(), key=lambda item: (item[0][0].name.lower(), item[0][0].pid, item[0][1]))
    if as_json:
        click.echo(
            json.dumps(
                [
                    {
                        "app": app.name,
                        "path": app.path,
                        "pid": app.pid,
                        "route": WORDS[route],
                        "reason": reason,
                        "connections": count,
                    }
                    for (app, route, reason), count in rows
                ],
                indent=2,
            )
        )
        return
    if not rows:
        click.echo("no open connections (root sees every process, others their own)")
        return
    table = Table(*(Column(heading, overflow="fold") for heading in ("app", "pid", "connections", "goes", "because")))
    for (app, route, reason), count in rows:
        table.add_row(app.name, str(app.pid), str(count), WORDS[route], reason)
    Console().print(table)
