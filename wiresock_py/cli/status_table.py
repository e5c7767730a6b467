"""What a running client said of itself, for people."""

from typing import Any

from rich.table import Table


def table(status: dict[str, Any]) -> Table:
    """One row a peer."""
    flows = status["flows"]
    result = Table(
        title=f"wiresock-py, {status['backend']} backend, {status['datapath']} data path, "
        f"kill switch {status['kill_switch']}",
        caption=f"flows: {flows['direct']} direct, {flows['tunnel']} in the tunnel, {flows['block']} blocked",
        title_justify="left",
        caption_justify="left",
    )
    for heading in ("tunnel", "endpoint", "handshake", "received", "sent", "loss", "RTT"):
        result.add_column(heading, overflow="fold")  # in a narrow terminal an address is broken, not cut off
    for tunnel in status["tunnels"]:
        name = f"{tunnel['name']} via {tunnel['via']}" if tunnel["via"] else tunnel["name"]
        for peer in tunnel["peers"]:
            age, rtt = peer["handshake_age"], peer["handshake_rtt"]
            result.add_row(
                name,
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
