"""wg0.conf and settings.yaml: parse, check, print. Resolves no name and touches no network."""

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
)
from wiresock_py.config.settings import Settings, load_settings

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
    "Settings",
    "load_settings",
]
