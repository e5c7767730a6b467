"""Arguments and options that several commands share."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from wiresock_py.config import Config, Notice, load
from wiresock_py.errors import ConfigError

# not checked here: whoever opens a file says better what is wrong with it, and with the right exit code
_FILE = click.Path(path_type=Path, readable=False)

config_files = click.argument("files", metavar="FILE...", nargs=-1, required=True, type=_FILE)
"""One or more wg0.conf."""

settings_file = click.option(
    "--settings",
    "settings_path",
    metavar="FILE",
    type=_FILE,
    help="A settings.yaml; without it the user's or the machine's is used where there is one.",
)

json_output = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

control_socket = click.option(
    "--control-socket",
    "control_path",
    metavar="PATH",
    envvar="WIRESOCK_PY_CONTROL",
    type=_FILE,
    help="Where the running client is asked; for one in another network namespace.",
)


def load_configs(files: Sequence[Path]) -> list[Config]:
    """Load every file. Raises ConfigError with the mistakes of all of them."""
    configs: list[Config] = []
    mistakes: list[ConfigError] = []
    for file in files:
        try:
            configs.append(load(file))
        except ConfigError as error:
            mistakes.append(error)
    if mistakes:
        raise ConfigError.of_many(mistakes)
    return configs


def tell_notices(notices: Iterable[Notice]) -> None:
    """Tell on stderr what files and rules make one wonder about."""
    for notice in notices:
        remedy = f" ({notice.remedy})" if notice.remedy else ""
        click.echo(f"{click.style('warning:', fg='yellow')} {notice}{remedy}", err=True)
