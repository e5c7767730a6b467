"""check: is a configuration right, and what does it amount to."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import click

from wiresock_py.cli.files import load_configs, tell_notices
from wiresock_py.cli.options import config_files, json_output, settings_file
from wiresock_py.config import Config, Notice, Peer, Settings, advise_together, load_settings
from wiresock_py.filters.registry import backend_class
from wiresock_py.network import on_link_networks, shared_resolver
from wiresock_py.rules import Rules

MOST_SHOWN = 12


@click.command()
@config_files
@settings_file
@json_output
def check(files: tuple[Path, ...], settings_path: Path | None, as_json: bool) -> None:
    """Check configurations and show what they amount to.

    Every mistake of every file is told, each with its line. The JSON is the effective configuration, without secrets.

    Example: wiresock-py check wg0.conf
    """
    configs = load_configs(files)
    settings = load_settings(settings_path)
    if settings.backend != "auto":
        backend_class(settings.backend)  # says so if there is none of that name
    rules = Rules(configs, settings, on_link=on_link_networks())
    together = (*advise_together(configs), *rules.notices(shared_resolver()))
    tell_notices((*(notice for config in configs for notice in config.notices), *together))
    if as_json:
        click.echo(json.dumps(_as_json(configs, settings, rules, together), indent=2))
        return
    for index, config in enumerate(configs):
        click.echo(f"{config.file}: ok")
        for line in _summary(config, rules.blocked_versions(index)):
            click.echo(f"  {line}")
    if settings.rules:
        click.echo("rules of settings.yaml, before these:")
        for rule in settings.rules:
            click.echo(f"  {rule}")


def _summary(config: Config, blocked: Iterable[int]) -> Iterator[str]:
    interface = config.interface
    yield f"tunnel {config.name}: {_join(interface.addresses)}" + (
        f", DNS {_join(interface.dns)}" if interface.dns else ""
    )
    for peer in config.peers:
        yield f"peer {peer.endpoint or peer.public_key}: {_join(peer.allowed_ips) or 'nothing'}{_exceptions(peer)}"
        yield f"  for {_apps(peer)}"
        if peer.allowed_domains or peer.disallowed_domains:
            yield f"  {_domains(peer)}"
        if peer.allow_inbound:
            yield f"  which may open {_join(peer.allow_inbound)} here"
    if interface.via:
        yield f"through the tunnel {interface.via}"
    if interface.bypass_lan:
        yield "private networks, and those this machine is connected to, stay outside"
    for version in blocked:
        yield f"IPv{version}: the tunnel has no address, so these apps' IPv{version} internet traffic is blocked"


def _exceptions(peer: Peer) -> str:
    return f" but not {_join(peer.disallowed_ips)}" if peer.disallowed_ips else ""


def _apps(peer: Peer) -> str:
    allowed = (*peer.allowed_apps, *_trees(peer.allowed_app_trees))
    disallowed = (*peer.disallowed_apps, *_trees(peer.disallowed_app_trees))
    if allowed:
        return _join(allowed)
    return f"every app but {_join(disallowed)}" if disallowed else "every app"


def _trees(entries: Iterable[str]) -> Iterator[str]:
    return (f"{entry} and what it starts" for entry in entries)


def _domains(peer: Peer) -> str:
    if peer.allowed_domains:
        return f"to {_join(peer.allowed_domains)}"
    return f"to every name but {_join(peer.disallowed_domains)}"


def _as_json(
    configs: Sequence[Config], settings: Settings, rules: Rules, together: Iterable[Notice]
) -> dict[str, object]:
    plan = rules.plan()
    return {
        "tunnels": [_tunnel(config, rules.blocked_versions(index)) for index, config in enumerate(configs)],
        "settings": {**asdict(settings), "rules": _texts(settings.rules)},
        "plan": {"capture": _texts(plan.capture), "leave": _texts(plan.leave), "dns": plan.dns},
        "warnings": [asdict(notice) for notice in together],
    }


def _tunnel(config: Config, blocked: Iterable[int]) -> dict[str, object]:
    interface = config.interface
    return {
        "name": config.name,
        "file": config.file,
        "public_key": str(interface.private_key.public_key()),
        "addresses": _texts(interface.addresses),
        "dns": _texts(interface.dns),
        "dns_search": list(interface.dns_search),
        "mtu": interface.mtu,
        "listen_port": interface.listen_port,
        "via": interface.via or None,
        "bypass_lan": interface.bypass_lan,
        "blocked_ip_versions": list(blocked),
        "peers": [_peer(peer) for peer in config.peers],
        "warnings": [asdict(notice) for notice in config.notices],
    }


def _peer(peer: Peer) -> dict[str, object]:
    return {
        "public_key": str(peer.public_key),
        "has_preshared_key": peer.preshared_key is not None,
        "endpoint": str(peer.endpoint) if peer.endpoint else None,
        "persistent_keepalive": peer.persistent_keepalive,
        "allowed_ips": _texts(peer.allowed_ips),
        "disallowed_ips": _texts(peer.disallowed_ips),
        "allowed_apps": list(peer.allowed_apps),
        "disallowed_apps": list(peer.disallowed_apps),
        "allowed_app_trees": list(peer.allowed_app_trees),
        "disallowed_app_trees": list(peer.disallowed_app_trees),
        "allowed_domains": list(peer.allowed_domains),
        "disallowed_domains": list(peer.disallowed_domains),
        "allow_inbound": _texts(peer.allow_inbound),
    }


def _texts(items: Iterable[object]) -> list[str]:
    return [str(item) for item in items]


def _join(items: Iterable[object]) -> str:
    """For people, who read no list of thousands; the JSON has them all."""
    texts = _texts(items)
    left_out = len(texts) - MOST_SHOWN
    return ", ".join(texts[:MOST_SHOWN]) + (f" and {left_out} more" if left_out > 0 else "")
