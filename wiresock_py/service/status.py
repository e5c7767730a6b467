"""What a running client says of itself, as plain data."""

import os
from typing import Any

from wiresock_py.engine import Engine
from wiresock_py.engine.clock import now as clock
from wiresock_py.filters import Backend
from wiresock_py.service.options import RunOptions


def describe(engine: Engine, backend: Backend, options: RunOptions) -> dict[str, Any]:
    """Everything ``status`` shows, without a secret; times in seconds, sizes in bytes."""
    now = clock()
    tunnels = []
    for link in engine.links:
        peers = []
        for peer, configured, stats in link.stats(now):
            peers.append(
                {
                    "public_key": str(peer.public_key),
                    "configured_endpoint": str(configured.endpoint) if configured.endpoint else None,
                    "endpoint": str(peer.endpoint) if peer.endpoint else None,
                    "handshake_age": stats.handshake_age,
                    "handshake_rtt": stats.handshake_rtt,
                    "tx_bytes": stats.tx_bytes,
                    "rx_bytes": stats.rx_bytes,
                    "tx_packets": stats.tx_packets,
                    "rx_packets": stats.rx_packets,
                    "loss": stats.loss,
                    "staged": stats.staged,
                    "drops": {str(name): count for name, count in stats.drops.items()},
                }
            )
        tunnels.append(
            {
                "name": link.name,
                "file": link.config.file,
                "via": link.outer.name if link.outer else None,
                "mtu": link.mtu,
                "port": link.socket.port,
                "peers": peers,
                "socket": link.socket.statistics(),
                "drops": {str(name): count for name, count in link.drops().items()},
            }
        )
    return {
        "pid": os.getpid(),
        "supervisor": os.getppid(),
        "backend": backend.name,
        "datapath": engine.datapath.name,
        "kill_switch": options.kill_switch,
        "tunnels": tunnels,
        "flows": engine.flow_counts(),
        "drops": {str(name): count for name, count in engine.counters().items() if count},
        "capture": backend.statistics(),
    }
