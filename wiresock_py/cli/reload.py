"""reload: let the running client read its files again."""

from pathlib import Path

import click

from wiresock_py.cli.options import control_socket
from wiresock_py.errors import ConfigError

TIMEOUT = 60.0
"""Seconds: the names of new endpoints may have to be looked up."""


@click.command(short_help="Let the running client read its configurations again.")
@control_socket
def reload(control_path: Path | None) -> None:
    """Let the running client read its configurations and settings again.

    Peers that stay keep their sessions; connections that now go another way are reset, so that their apps connect anew.
    With a mistake in a file nothing changes. SIGHUP does the same, and tells mistakes in the client's own log.

    Example: wiresock-py reload
    """
    from wiresock_py.service.control import DEFAULT_PATH, ask

    answer = ask(control_path or DEFAULT_PATH, {"command": "reload"}, timeout=TIMEOUT)
    if "refused" in answer:
        refusal = ConfigError.of_many(ConfigError(message, remedy) for message, remedy in answer["refused"])
        refusal.exit_code = answer["exit_code"]
        raise refusal
    click.echo(f"reloaded {', '.join(answer['reloaded'])}")
