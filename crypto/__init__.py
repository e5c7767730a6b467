"""The WireGuard core: a complete peer in both roles, without sockets, threads, clocks or files.

Given the same calls, times and random bytes it does the same. Datagrams and packets go in and come out as bytes; what
arrives from the network never raises and never answers before it is authentic: it is dropped, named and counted.
"""

from wiresock_py.crypto.ciphers import CRYPTOGRAPHY, Ciphers
from wiresock_py.crypto.device import Device
from wiresock_py.crypto.drops import Drop
from wiresock_py.crypto.keys import Key, PresharedKey, PrivateKey, PublicKey
from wiresock_py.crypto.replay import ReplayWindow
from wiresock_py.crypto.results import Address, Datagram, Event, Received, Stats, Ticked
from wiresock_py.crypto.session import Session
from wiresock_py.crypto.tunnel import Tunnel

__all__ = [
    "CRYPTOGRAPHY",
    "Address",
    "Ciphers",
    "Datagram",
    "Device",
    "Drop",
    "Event",
    "Key",
    "PresharedKey",
    "PrivateKey",
    "PublicKey",
    "Received",
    "ReplayWindow",
    "Session",
    "Stats",
    "Ticked",
    "Tunnel",
]
