"""Linux netfilter: NFQUEUE captures what applications send, raw sockets hand decrypted packets to the stack."""

import sys

assert sys.platform == "linux"

from wiresock_py.filters.netfilter.backend import NetfilterBackend
from wiresock_py.filters.netfilter.rules import Marks

__all__ = ["Marks", "NetfilterBackend"]
