"""genkey, pubkey, genpsk: as wg's commands of the same names."""

import os
import stat
import sys

import click

from wiresock_py.crypto.keys import PresharedKey, PrivateKey
from wiresock_py.errors import ConfigError

# Longer than any key with blanks around; what is beyond is no key.
_MOST_INPUT = 4096


@click.command()
def genkey() -> None:
    """Print a new private key.

    Example: umask 077; wiresock-py genkey > wg0.key
    """
    _warn_if_others_can_read()
    click.echo(PrivateKey.generate().to_base64())


@click.command()
def pubkey() -> None:
    """Read a private key from stdin, print its public key.

    Example: wiresock-py pubkey < wg0.key
    """
    text = sys.stdin.buffer.read(_MOST_INPUT).decode("ascii", "replace").strip()
    try:
        key = PrivateKey.from_base64(text)
    except ValueError as error:
        raise ConfigError(f"standard input holds no private key: {error}", "wiresock-py genkey makes one") from None
    click.echo(key.public_key().to_base64())


@click.command()
def genpsk() -> None:
    """Print a new preshared key.

    Example: umask 077; wiresock-py genpsk > wg0.psk
    """
    _warn_if_others_can_read()
    click.echo(PresharedKey.generate().to_base64())


def _warn_if_others_can_read() -> None:
    """A key that goes to a file others may read is not secret any more."""
    try:
        mode = os.fstat(sys.stdout.fileno()).st_mode
    except (OSError, ValueError):  # no file behind stdout
        return
    if os.name == "posix" and stat.S_ISREG(mode) and mode & (stat.S_IRWXG | stat.S_IRWXO):
        warning = click.style("warning:", fg="yellow")
        click.echo(f"{warning} the key goes to a file that other users may read (run umask 077 first)", err=True)
