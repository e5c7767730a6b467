"""service: the client as a Windows service."""

from pathlib import Path

import click

from wiresock_py.cli.files import load_configs
from wiresock_py.cli.options import config_files, settings_file
from wiresock_py.config import load_settings
from wiresock_py.filters.registry import NAMES


@click.group(short_help="Run as a Windows service: install, uninstall, start, stop.")
def service() -> None:
    """Run the client as a Windows service, from boot on. Needs an administrator's rights and pywin32."""


@service.command()
@config_files
@click.option("--backend", type=click.Choice(NAMES), help="As for run.")
@click.option("--kill-switch", type=click.Choice(["app", "all", "off"]), help="As for run.")
@settings_file
def install(files: tuple[Path, ...], backend: str | None, kill_switch: str | None, settings_path: Path | None) -> None:
    """Have Windows run these configurations at every boot; `service start` starts it now.

    Example: wiresock-py service install wg0
    """
    from wiresock_py.service import windows_service
    from wiresock_py.service.options import RunOptions

    load_configs(files)  # what is wrong with them is told here, not in a log
    settings = load_settings(settings_path)
    options = RunOptions(
        files=tuple(str(file) for file in files),
        backend=backend or ("" if settings.backend == "auto" else settings.backend),
        kill_switch=kill_switch or settings.kill_switch,  # type: ignore[arg-type]  # click.Choice checked it
        connect_timeout=0.0,  # at boot the network may come late
        settings=str(settings_path.absolute()) if settings_path else "",
        log_level=settings.log_level,
    )
    windows_service.install(options)
    click.echo(f"installed; start it with `wiresock-py service start`, its log is {windows_service.log_file()}")


@service.command()
def uninstall() -> None:
    """Stop the service and have Windows forget it.

    Example: wiresock-py service uninstall
    """
    from wiresock_py.service import windows_service

    windows_service.uninstall()
    click.echo("uninstalled")


@service.command()
def start() -> None:
    """Start the installed service.

    Example: wiresock-py service start
    """
    from wiresock_py.service import windows_service

    windows_service.start()
    click.echo("started; see wiresock-py status")


@service.command()
def stop() -> None:
    """Stop the service, and wait until its rules are undone.

    Example: wiresock-py service stop
    """
    from wiresock_py.service import windows_service

    windows_service.stop()
    click.echo("stopped")
