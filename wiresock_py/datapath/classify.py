"""Sort a captured batch: what goes past the tunnel, what into it, what needs a closer look."""

import struct

from wiresock_py.datapath.batch import Classified
from wiresock_py.datapath.drops import PacketDrop
from wiresock_py.datapath.flows import ACK_FLAG, SYN_FLAG, TCP, Flow, FlowTable
from wiresock_py.datapath.headers import ECHO_REQUESTS, parse, plain
from wiresock_py.filters.base import PacketBatch, PacketFlag, Verdict
from wiresock_py.flow import Route

_TRUNCATED = int(PacketFlag.TRUNCATED)
_PASS, _BYPASS = int(Verdict.PASS), int(Verdict.BYPASS)

_SEQUENCE = struct.Struct(">I")


def classify(batch: PacketBatch, flows: FlowTable, now: float, out: Classified) -> None:
    """Find each packet's flow and sort the batch into *out*, which is cleared first.

    Packets of direct flows get the verdict BYPASS, or PASS while the flow is too young for it; verdicts of all others
    stay as they are. A datagram of a flow that was idle has to be asked about anew and is *slow*. A packet listed in
    ``out.tunnel`` is a whole TCP, UDP or ICMP echo packet with plain headers, whose lengths were checked: ``seal``
    takes only such.
    """
    out.clear()
    data, verdict = batch.data, batch.verdict
    for i, (start, length, flags) in enumerate(zip(batch.offset, batch.length, batch.flags, strict=True)):
        found = PacketDrop.TRUNCATED if flags & _TRUNCATED else _find(data, start, length, flows, now)
        if isinstance(found, Flow):
            out.flow.append(found)
            if found.route is Route.TUNNEL:
                try:
                    out.tunnel[found.peer].append(i)
                except KeyError:
                    out.tunnel[found.peer] = [i]
                continue
            found.last_out = now
            found.packets_out += 1
            found.bytes_out += length
            if found.route is Route.DIRECT:
                verdict[i] = _BYPASS if found.may_bypass else _PASS
            else:
                out.blocked.append(i)
                out.drops[PacketDrop.BLOCKED] += 1
            continue
        out.flow.append(None)
        if found is None:
            out.slow.append(i)
        else:
            out.drops[found] += 1


def _find(data: memoryview, start: int, length: int, flows: FlowTable, now: float) -> Flow | PacketDrop | None:
    """The flow of a plain packet; None for the slow path."""
    found = plain(data, start, length, ECHO_REQUESTS)
    if found is None:
        header = parse(data[start : start + length])
        return header if isinstance(header, PacketDrop) else None
    protocol, transport, _, key = found
    flow = (flows.outbound4 if data[start] < 0x50 else flows.outbound6)[protocol].get(key)
    if flow is not None and protocol == TCP and data[transport + 13] & (SYN_FLAG | ACK_FLAG) == SYN_FLAG:
        (sequence,) = _SEQUENCE.unpack_from(data, transport + 4)
        if not flow.begins(sequence):
            return None
    elif flow is not None and flow.is_stale(now):
        return None
    return flow
