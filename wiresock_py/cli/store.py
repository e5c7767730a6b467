"""import: keep a configuration encrypted (Windows)."""

from pathlib import Path, PureWindowsPath

import click

from wiresock_py.config import parse
from wiresock_py.config.files import read_text
from wiresock_py.config.store import save


@click.command(name="import", short_help="Keep a configuration encrypted (Windows).")
@click.argument("file", type=click.Path(path_type=Path, readable=False))
@click.option("--name", help="How it is called from now on; without it as the file, without .conf.")
def import_file(file: Path, name: str | None) -> None:
    """Keep FILE encrypted, for `wiresock-py run NAME`. The file itself stays where it is; delete it yourself.

    Windows only. Needs an administrator's rights.

    Example: wiresock-py import wg0.conf
    """
    text = read_text(file)
    parse(text, str(file))  # what could not be run is not kept
    name = file.name.removesuffix(".conf") if name is None else name
    if not name or PureWindowsPath(name).name != name:
        raise click.BadParameter(f"found {name!r}, expected a name without folders", param_hint="--name")
    kept = save(name, text.encode())
    click.echo(f"kept in {kept}: run it with `wiresock-py run {name}`, and delete {file}")
