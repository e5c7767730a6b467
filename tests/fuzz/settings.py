"""settings.yaml of anybody: settings or a ConfigError, and no key in a message."""

from collections.abc import Iterator
from pathlib import Path

from wiresock_py.config.settings_parser import parse_settings
from wiresock_py.config.text import looks_like_key
from wiresock_py.errors import ConfigError

ROOT = Path(__file__).parents[2]


def run(data: bytes) -> None:
    text = data.decode(errors="replace").replace("\0", "")  # as read_text lets it through
    try:
        parse_settings(text, "settings.yaml")
    except ConfigError as error:
        shown = [str(each) for each in error.all()]
    else:
        shown = []
    assert not any(map(looks_like_key, shown)), shown


def seeds() -> Iterator[bytes]:
    yield b"backend: auto\nlog_level: info\nkill_switch: app\nforwarded: rules\ndns: tunnel\n"
    yield b"app_groups:\n  browsers: [chrome, firefox]\nrules:\n  - {apps: ssh, to: 10.0.0.0/8, action: tunnel work}\n"
    yield b"rules:\n  - apps: [a, b]\n    to: [10.0.0.0/8, example.org]\n    ports: tcp/80-90\n    action: block\n"
    for file in sorted((ROOT / "configs").glob("*.yaml")):
        yield file.read_bytes()
