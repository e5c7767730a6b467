"""What a running client says of itself: plain data for ``status --json``, and one table for people."""

import os
from typing import Any

from rich.table import Table

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
        for peer, configured, stats in zip(link.peers, link.config.peers, link.stats(now), strict=True):
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


def table(status: dict[str, Any]) -> Table:
    """One row a peer."""
    flows = ", ".join(f"{count} {route}" for route, count in status["flows"].items())
    result = Table(
        title=f"wiresock-py, {status['backend']} backend, {status['datapath']} data path, "
        f"kill switch {status['kill_switch']}",
        caption=f"flows: {flows}",
        title_justify="left",
        caption_justify="left",
    )
    for heading in ("tunnel", "endpoint", "handshake", "received", "sent", "loss", "RTT"):
        result.add_column(heading)
    for tunnel in status["tunnels"]:
        for peer in tunnel["peers"]:
            age, rtt = peer["handshake_age"], peer["handshake_rtt"]
            result.add_row(
                tunnel["name"],
                peer["configured_endpoint"] or peer["endpoint"] or "(waits to be called)",
                "none yet" if age is None else f"{_duration(age)} ago",
                _size(peer["rx_bytes"]),
                _size(peer["tx_bytes"]),
                f"{peer['loss']:.1%}",
                "" if rtt is None else f"{rtt * 1000:.0f} ms",
            )
    return result


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
