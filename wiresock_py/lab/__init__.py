"""The lab: network namespaces with a real WireGuard server, for the demo, the end-to-end tests and the benchmarks."""

from wiresock_py.lab.apps import App, ProbeResult
from wiresock_py.lab.capture import Capture, Frame, decode
from wiresock_py.lab.core_server import CoreServer
from wiresock_py.lab.lab import ECHO_PORT, Lab
from wiresock_py.lab.namespaces import LabError, Namespace, clean, leftovers, unavailable_reason
from wiresock_py.lab.topology import (
    CLIENT,
    CLIENT_OTHER,
    INNER_CLIENT,
    INNER_SERVER,
    INTERNET,
    LAN_HOST,
    OTHER_SITE,
    ROUTER,
    SERVER,
    TUNNEL_RESOLVER,
    Host,
)
from wiresock_py.lab.wireguard import Endpoint, KeyPair, Peer, PeerState, Server, WireGuard
from wiresock_py.lab.wiresock import Client

__all__ = [
    "CLIENT",
    "CLIENT_OTHER",
    "ECHO_PORT",
    "INNER_CLIENT",
    "INNER_SERVER",
    "INTERNET",
    "LAN_HOST",
    "OTHER_SITE",
    "ROUTER",
    "SERVER",
    "TUNNEL_RESOLVER",
    "App",
    "Capture",
    "Client",
    "CoreServer",
    "Endpoint",
    "Frame",
    "Host",
    "KeyPair",
    "Lab",
    "LabError",
    "Namespace",
    "Peer",
    "PeerState",
    "ProbeResult",
    "Server",
    "WireGuard",
    "clean",
    "decode",
    "leftovers",
    "unavailable_reason",
]
