"""iperf3 from the client's namespace to the internet host's server: what is run, and what its report says."""

import json
from dataclasses import dataclass
from typing import Any

import psutil

from benchmarks.clients import Running
from wiresock_py.lab import INTERNET, Host, LabError, Namespace

GIB = 1 << 30
UDP_RATE = "200M"
"""Offered by the UDP cases: below what the slowest client carries, so that what is lost is lost to bursts."""
GRACE = 30.0


@dataclass(frozen=True, slots=True)
class Case:
    """One way to run iperf3; *options* beyond address, time and direction."""

    name: str
    title: str
    options: tuple[str, ...]
    version: int = 4
    """Of the inner packets' IP."""
    down: bool = False

    def command(self, seconds: float, host: Host = INTERNET) -> list[str]:
        """The command line, for *seconds* of traffic with *host*."""
        options = (*self.options, *(("-R",) if self.down else ()))
        return ["iperf3", "-c", host.of(self.version), "-t", f"{seconds:g}", "-J", *options]


def _both_ways(name: str, title: str, *options: str, version: int = 4) -> list[Case]:
    return [
        Case(f"{name}-{direction}", f"{title}, {direction}", options, version, direction == "down")
        for direction in ("up", "down")
    ]


CASES = {
    case.name: case
    for case in (
        *_both_ways("tcp-4", "TCP, 4 streams", "-P", "4"),
        *_both_ways("tcp-1", "TCP, 1 stream"),
        *_both_ways("tcp-4-v6", "TCP over IPv6, 4 streams", "-P", "4", version=6),
        *_both_ways("udp", f"UDP, {UDP_RATE}bit/s", "-u", "-l", "1372", "-b", UDP_RATE),
        *_both_ways("small", "UDP of 64 bytes, all that gets through", "-u", "-l", "64", "-b", "0"),
    )
}


def run(client: Namespace, case: Case, seconds: float, host: Host = INTERNET) -> dict[str, Any]:
    """Run iperf3 in the client's namespace; its report. Raises LabError with what it complains about."""
    report: dict[str, Any] = json.loads(client.run(*case.command(seconds, host), timeout=seconds + GRACE))
    if "error" in report:
        raise LabError(f"iperf3: {report['error']}")
    return report


def figures(report: dict[str, Any]) -> dict[str, float]:
    """Mbit/s and datagrams a second as the receiver saw them; what TCP sent again, or the percentage UDP lost.

    Raises LabError if nothing arrived: there is nothing to compare then.
    """
    end = report["end"]
    if "sum_sent" in end and "retransmits" in end["sum_sent"]:
        return {
            "mbit": end["sum_received"]["bits_per_second"] / 1e6,
            "retransmits": end["sum_sent"]["retransmits"],
        }
    total = end["sum"]
    arrived = total["packets"] - total["lost_packets"]
    if arrived <= 0:
        raise LabError("iperf3: no datagram arrived")
    return {
        "mbit": arrived * report["start"]["test_start"]["blksize"] * 8 / total["seconds"] / 1e6,
        "packets": arrived / total["seconds"],
        "lost": total["lost_percent"],
    }


def measure(
    client: Namespace, case: Case, seconds: float, running: Running, server: Running, host: Host = INTERNET
) -> dict[str, float]:
    """One run, with the CPU time that client, server and the whole machine spent meanwhile."""
    before = running.cpu_seconds(), server.cpu_seconds(), _machine_seconds()
    found = figures(run(client, case, seconds, host))
    after = running.cpu_seconds(), server.cpu_seconds(), _machine_seconds()
    used, serving, machine = (now - then for now, then in zip(after, before, strict=True))
    found |= {"client_cores": used / seconds, "server_cores": serving / seconds}
    if "packets" in found:
        return found | {"client_us_per_packet": used / (found["packets"] * seconds) * 1e6}
    gibibytes = found["mbit"] * 1e6 / 8 * seconds / GIB
    return found | {"client_seconds_per_gib": used / gibibytes, "machine_seconds_per_gib": machine / gibibytes}


def _machine_seconds() -> float:
    """CPU seconds that all processors together have been busy since the start."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)
