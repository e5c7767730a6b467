"""benchmarks.iperf: what is run, and what its report says."""

from typing import Any

import pytest

from benchmarks import iperf
from wiresock_py.lab import LabError


def tcp(received: float, retransmits: int) -> dict[str, Any]:
    """A report of TCP, as iperf3 3.12 writes it, to what is read of it."""
    return {"end": {"sum_sent": {"retransmits": retransmits}, "sum_received": {"bits_per_second": received}}}


def udp(packets: int, lost: int) -> dict[str, Any]:
    total = {"packets": packets, "lost_packets": lost, "lost_percent": 100 * lost / packets, "seconds": 2.0}
    return {"start": {"test_start": {"blksize": 1000}}, "end": {"sum": total}}


def test_the_receivers_rate_counts() -> None:
    assert iperf.figures(tcp(2.5e9, 7)) == {"mbit": 2500, "retransmits": 7}


def test_of_datagrams_those_count_that_arrived() -> None:
    assert iperf.figures(udp(1000, 250)) == {"mbit": 3, "packets": 375, "lost": 25}


def test_nothing_arrived_is_no_figure() -> None:
    with pytest.raises(LabError, match="no datagram"):
        iperf.figures(udp(10, 10))


def test_each_case_says_where_how_long_and_which_way() -> None:
    assert iperf.CASES["tcp-4-up"].command(3.0) == ["iperf3", "-c", "203.0.113.10", "-t", "3", "-J", "-P", "4"]
    assert iperf.CASES["tcp-4-v6-down"].command(0.5)[2:] == ["2001:db8:3::10", "-t", "0.5", "-J", "-P", "4", "-R"]
    assert all(("-R" in case.command(1)) == name.endswith("down") for name, case in iperf.CASES.items())
