"""The lab by hand: ``python -m wiresock_py.lab up`` and ``… clean``."""

import contextlib
import signal
import threading

import click

from wiresock_py.lab import Lab, LabError, clean


@click.group(help=__doc__)
def main() -> None:
    pass


@main.command(help="Build the lab, say how to get into it, and keep it until Ctrl+C.")
@click.option("--server", default="debian", show_default=True, help="wireguard-go: debian, head, or a path.")
@click.option("--impair", is_flag=True, help="Make the access link of TAP devices, as the impairment tests do.")
def up(server: str, impair: bool) -> None:
    try:
        with Lab(impairment={} if impair else None) as lab:
            wireguard = lab.start_server(server)
            config = lab.folder / "wg0.conf"
            config.touch(mode=0o600)
            config.write_text(wireguard.client_config(wireguard.add_peer(), allowed_apps="chrome"))
            for namespace in lab.namespaces:
                click.echo(f"ip netns exec {namespace.name} bash")
            click.echo(f"a configuration for the client: {config}")
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            with contextlib.suppress(KeyboardInterrupt):
                threading.Event().wait()
    except LabError as error:
        raise click.ClickException(f"{error}; {error.remedy}" if error.remedy else str(error)) from None


@main.command("clean", help="Remove what killed runs left behind: their processes and namespaces.")
def clean_command() -> None:
    for name in clean():
        click.echo(f"removed {name}")


if __name__ == "__main__":
    main()
