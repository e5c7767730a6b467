"""run: capture, tunnel, until told to stop."""

import logging
from pathlib import Path

import click

from wiresock_py.cli.options import config_files, control_socket, settings_file
from wiresock_py.filters.registry import NAMES
from wiresock_py.service.process import start_worker

log = logging.getLogger(__name__)


@click.command(short_help="Tunnel what the configurations name, until Ctrl+C.")
@config_files
@click.option(
    "--backend", type=click.Choice(NAMES), help="How packets are intercepted; without it the best that works."
)
@click.option(
    "--datapath",
    type=click.Choice(["python", "native"]),
    help="What packets are cut, encrypted and merged by; without it native, where it was built.",
)
@click.option(
    "--kill-switch",
    type=click.Choice(["app", "all", "off"]),
    help="What may not leave while there is no tunnel: what belongs in it, the whole plan, or nothing.  "
    "[default: app, or as settings.yaml says]",
)
@click.option(
    "--connect-timeout",
    type=click.FloatRange(0, 86400),
    default=30.0,
    metavar="SECONDS",
    help="Give up if no peer answers at first; 0 keeps trying.",
)
@click.option("--log-level", type=click.Choice(["error", "warning", "info", "debug"]), help="How much to tell.")
@settings_file
@control_socket
def run(
    files: tuple[Path, ...],
    backend: str | None,
    datapath: str | None,
    kill_switch: str | None,
    connect_timeout: float,
    log_level: str | None,
    settings_path: Path | None,
    control_path: Path | None,
) -> None:
    """Tunnel the apps and networks that the configurations name, until Ctrl+C.

    Several files run side by side; where they overlap the first match wins. Everything else on this machine goes its
    usual way.

    Example: wiresock-py run wg0.conf
    """
    with start_worker() as first:
        # imported here: the worker loads at the same time
        from wiresock_py.config import load_settings
        from wiresock_py.datapath import choose
        from wiresock_py.service.options import RunOptions
        from wiresock_py.service.supervisor import Supervisor
        from wiresock_py.service.talk import set_up_logging

        settings = load_settings(settings_path)
        options = RunOptions(
            files=tuple(str(file) for file in files),
            backend=backend or ("" if settings.backend == "auto" else settings.backend),
            kill_switch=kill_switch or settings.kill_switch,  # type: ignore[arg-type]  # click.Choice checked it
            connect_timeout=connect_timeout,
            control_socket=str(control_path or ""),
            settings=str(settings_path or ""),
            log_level=log_level or settings.log_level,
            datapath=choose(datapath).name if datapath else "",
        )
        set_up_logging(options.log_level)
        if options.backend == "memory":
            log.warning("the memory backend carries nothing of this machine's traffic; it is for tests and the demo")
        exit_code = Supervisor(options, first).run()
    click.get_current_context().exit(exit_code)
