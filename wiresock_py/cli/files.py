"""The files that commands are given: loaded, and what is to be told of them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from wiresock_py.config import Config, Notice, load
from wiresock_py.errors import ConfigError


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
