"""Arguments and options that several commands share."""

from pathlib import Path

import click

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
