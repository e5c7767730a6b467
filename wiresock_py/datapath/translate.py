"""Translation of one packet that the fast path does not take: options, extension headers, fragments, rare protocols."""

from wiresock_py.datapath.flows import FIN_FLAG, RST_FLAG, SYN_FLAG, Flow, FlowTable
from wiresock_py.datapath.headers import Header
from wiresock_py.datapath.open import track_inbound
from wiresock_py.datapath.rewrite import ADDRESSES_ONLY, rewrite
from wiresock_py.filters.base import Buffer


def translate_inbound(packet: Buffer, header: Header, flow: Flow, flows: FlowTable, now: float) -> bytes:
    """A copy of *packet*, of which *header* was parsed, as *flow*'s application expects it.

    The caller has made sure that the packet came from the flow's own peer.
    """
    flow.last_in = now
    flow.packets_in += 1
    flow.bytes_in += header.length
    result = bytearray(memoryview(packet)[: header.length])
    if header.tcp_flags & (SYN_FLAG | FIN_FLAG | RST_FLAG):
        track_inbound(flows, flow, result, header.transport, header.tcp_flags)
    protocol = ADDRESSES_ONLY if header.is_later_fragment else header.protocol
    rewrite(result, 0, header.transport, protocol, flow.in_wire, flow.in_address_delta, flow.in_delta)
    return bytes(result)
