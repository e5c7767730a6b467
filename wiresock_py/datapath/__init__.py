"""The data path: classify captured packets, seal them into datagrams, open datagrams into packets for the stack.

Batch functions over buffers and tables the caller owns. No sockets, no policy, no timers, and no protocol state beyond
the sessions' counters and replay windows: a compiled twin can stand beside it and be tested equal to it.
"""

from wiresock_py.datapath.batch import Classified, DatagramBuffer, Opened
from wiresock_py.datapath.classify import classify
from wiresock_py.datapath.drops import PacketDrop
from wiresock_py.datapath.flows import Flow, FlowTable
from wiresock_py.datapath.open import open_datagrams
from wiresock_py.datapath.seal import seal, translate_batch

__all__ = [
    "Classified",
    "DatagramBuffer",
    "Flow",
    "FlowTable",
    "Opened",
    "PacketDrop",
    "classify",
    "open_datagrams",
    "seal",
    "translate_batch",
]
