"""explain: why an app's traffic to a destination is tunnelled or not."""

import json
import re
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import click

from wiresock_py.cli.files import load_configs, tell_notices
from wiresock_py.cli.options import config_files, json_output, settings_file
from wiresock_py.config import Config, load_settings
from wiresock_py.flow import SYSTEM, App, Route
from wiresock_py.network import on_link_networks
from wiresock_py.rules import Explanation, Rules

_PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "icmp": socket.IPPROTO_ICMP}
_HTTPS = 443
NAMES_UNSEEN = (
    "rules about domains go by the DNS answers seen while the client runs, not by DNS over HTTPS or TLS, nor by what a "
    "program remembers from before (--name says by which name)"
)
_TARGET = re.compile(r"(?:(?P<v4>[0-9.]+)|\[(?P<v6>[0-9A-Fa-f:.]+)\])(?::(?P<port>[0-9]{1,5}))?")


def _read_target(_: click.Context, __: click.Parameter, text: str) -> tuple[IPv4Address | IPv6Address, int]:
    """``1.2.3.4``, ``1.2.3.4:53``, ``2001:db8::1`` or ``[2001:db8::1]:53``."""
    match = _TARGET.fullmatch(text)
    host, port = (match["v4"] or match["v6"], int(match["port"] or _HTTPS)) if match else (text, _HTTPS)
    try:
        address = ip_address(host)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is no IP address, such as 1.2.3.4, 1.2.3.4:53 or [2001:db8::1]:53"
        ) from None
    if port > 65535:
        raise click.BadParameter(f"{port} is no port, expected 0 to 65535")
    return address, port


@click.command()
@config_files
@click.option("--app", "app_name", required=True, metavar="NAME", help="A program's name or path; SYSTEM: no program.")
@click.option(
    "--to",
    "target",
    required=True,
    callback=_read_target,
    metavar="ADDRESS[:PORT]",
    help="Where it connects to.  [port: 443]",
)
@click.option(
    "--name", "names", metavar="DOMAIN", multiple=True, help="A name it found the address by, for rules about domains."
)
@click.option(
    "--child-of", "parents", metavar="NAME", multiple=True, help="A program that started it, for rules about app trees."
)
@click.option("--protocol", type=click.Choice(list(_PROTOCOLS)), default="tcp")
@settings_file
@json_output
def explain(
    files: tuple[Path, ...],
    app_name: str,
    target: tuple[IPv4Address | IPv6Address, int],
    names: tuple[str, ...],
    parents: tuple[str, ...],
    protocol: str,
    settings_path: Path | None,
    as_json: bool,
) -> None:
    """Say where an app's traffic goes, and why.

    Example: wiresock-py explain wg0.conf --app chrome --to 1.2.3.4
    """
    configs = load_configs(files)
    rules = Rules(configs, load_settings(settings_path), on_link=on_link_networks())
    tell_notices(rules.notices())
    app = SYSTEM if app_name == "SYSTEM" else App(0, 0, app_name)
    address, port = target
    number = socket.IPPROTO_ICMPV6 if protocol == "icmp" and address.version == 6 else _PROTOCOLS[protocol]
    answer = rules.explain(
        app,
        address.packed,
        number,
        0 if protocol == "icmp" else port,
        ancestors=tuple(App(0, 0, parent) for parent in parents),
        names=tuple(name.lower().removesuffix(".") for name in names),
    )
    if as_json:
        click.echo(json.dumps(_as_json(configs, answer), indent=2))
        return
    click.echo(_verdict(configs, answer))
    for reason in answer.reasons:
        click.echo(f"  {reason}")
    if rules.uses_domains and not names:
        click.echo(f"  {NAMES_UNSEEN}")


def _verdict(configs: Sequence[Config], answer: Explanation) -> str:
    decision = answer.decision
    if decision.route is Route.DIRECT:
        return "direct"
    if decision.tunnel < 0:
        return "blocked"
    config = configs[decision.tunnel]
    if decision.route is Route.BLOCK:
        return f"blocked by {config.name}"
    peer = config.peers[decision.peer]
    end = ", to its DNS server" if decision.dns else ""
    end += "; direct while the tunnel is down" if decision.or_direct else ""
    return f"tunnel {config.name}, peer {peer.endpoint or peer.public_key}{end}"


def _as_json(configs: Sequence[Config], answer: Explanation) -> dict[str, object]:
    decision = answer.decision
    tunnel = configs[decision.tunnel] if decision.tunnel >= 0 else None
    return {
        "route": decision.route.name.lower(),
        "tunnel": tunnel.name if tunnel else None,
        "peer": str(tunnel.peers[decision.peer].public_key) if tunnel and decision.peer >= 0 else None,
        "dns": decision.dns,
        "or_direct": decision.or_direct,
        "reasons": [{"text": reason.text, "file": reason.file, "line": reason.line} for reason in answer.reasons],
    }
