"""The program: its commands, and the one place where errors become a line on stderr and an exit code."""

from importlib import import_module
from typing import Any

import click

from wiresock_py import __version__
from wiresock_py.errors import WiresockError

# Where each is: a command takes the time and memory of its own imports only.
COMMANDS = {
    "apps": "apps:apps",
    "backends": "status:backends",
    "check": "check:check",
    "demo": "demo:demo",
    "explain": "explain:explain",
    "genkey": "keys:genkey",
    "genpsk": "keys:genpsk",
    "import": "store:import_file",
    "pubkey": "keys:pubkey",
    "reload": "reload:reload",
    "reset": "status:reset",
    "run": "run:run",
    "service": "service:service",
    "status": "status:status",
}


class Program(click.Group):
    """A group whose commands are imported when they are asked for, and may raise WiresockError."""

    def list_commands(self, _: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(f"wiresock_py.cli.{module}"), name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except WiresockError as error:
            report_error(error)
            ctx.exit(error.exit_code)


def report_error(error: WiresockError) -> None:
    """Tell an error, and the others found with it, on stderr: a line each, what and where, and the remedy."""
    for each in error.all():
        remedy = f" ({each.remedy})" if each.remedy else ""
        click.echo(f"{click.style('error:', fg='red')} {each}{remedy}", err=True)


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__, prog_name="wiresock-py")
def main() -> None:
    """A WireGuard client without a virtual adapter: the tunnel for chosen apps and networks only."""
