"""The program: its commands, and the one place where errors become a line on stderr and an exit code."""

from typing import Any

import click

from wiresock_py import __version__
from wiresock_py.cli.apps import apps
from wiresock_py.cli.check import check
from wiresock_py.cli.demo import demo
from wiresock_py.cli.explain import explain
from wiresock_py.cli.keys import genkey, genpsk, pubkey
from wiresock_py.cli.reload import reload
from wiresock_py.cli.run import run
from wiresock_py.cli.service import service
from wiresock_py.cli.status import backends, reset, status
from wiresock_py.cli.store import import_file
from wiresock_py.errors import WiresockError


class Program(click.Group):
    """A group whose commands may raise WiresockError."""

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


for command in (
    run,
    check,
    explain,
    status,
    reload,
    apps,
    backends,
    reset,
    genkey,
    pubkey,
    genpsk,
    import_file,
    service,
    demo,
):
    main.add_command(command)
