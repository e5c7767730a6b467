"""wg0.conf and settings.yaml: parse, check, print. Resolves no name and touches no network."""

from wiresock_py.config.advice import advise_together
from wiresock_py.config.files import load
from wiresock_py.config.model import (
    Address,
    Config,
    Endpoint,
    Interface,
    InterfaceAddress,
    Network,
    Notice,
    Peer,
    Place,
    PortRange,
)
from wiresock_py.config.parser import parse
from wiresock_py.config.printer import format_config
from wiresock_py.config.settings import Rule, Settings
from wiresock_py.config.settings_file import load_settings

__all__ = [
    "Address",
    "Config",
    "Endpoint",
    "Interface",
    "InterfaceAddress",
    "Network",
    "Notice",
    "Peer",
    "Place",
    "PortRange",
    "Rule",
    "Settings",
    "advise_together",
    "format_config",
    "load",
    "load_settings",
    "parse",
]
