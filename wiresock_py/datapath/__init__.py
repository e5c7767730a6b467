"""The data path: classify captured packets, seal them into datagrams, open datagrams into packets for the stack.

Batch functions over buffers and tables the caller owns. No sockets, no policy, no timers, and no protocol state beyond
the sessions' counters and replay windows: a compiled twin can stand beside it and be tested equal to it.
"""

from wiresock_py.datapath.batch import Classified, DatagramBuffer, Opened
from wiresock_py.datapath.choice import DEFAULT, NATIVE, choose
from wiresock_py.datapath.classify import classify
from wiresock_py.datapath.drops import PacketDrop
from wiresock_py.datapath.face import PYTHON, DataPath
from wiresock_py.datapath.flows import Flow, FlowTable, PythonFlow
from wiresock_py.datapath.fragments import Fragments
from wiresock_py.datapath.headers import Header, parse
from wiresock_py.datapath.icmp import icmp_too_big, icmp_unreachable, parse_embedded, translate_error
from wiresock_py.datapath.ip import fragment, fragment_at_source
from wiresock_py.datapath.open import may_arrive, open_datagrams
from wiresock_py.datapath.seal import seal, translate_batch
from wiresock_py.datapath.tcp import abort, provoke, tcp_reset
from wiresock_py.datapath.translate import translate_inbound

__all__ = [
    "DEFAULT",
    "NATIVE",
    "PYTHON",
    "Classified",
    "DataPath",
    "DatagramBuffer",
    "Flow",
    "FlowTable",
    "Fragments",
    "Header",
    "Opened",
    "PacketDrop",
    "PythonFlow",
    "abort",
    "choose",
    "classify",
    "fragment",
    "fragment_at_source",
    "icmp_too_big",
    "icmp_unreachable",
    "may_arrive",
    "open_datagrams",
    "parse",
    "parse_embedded",
    "provoke",
    "seal",
    "tcp_reset",
    "translate_batch",
    "translate_error",
    "translate_inbound",
]
