"""Round trips through a client: with nothing else to do, and beside four TCP streams."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import iperf
from wiresock_py.lab import ECHO_PORT, INTERNET, Lab, LabError
from wiresock_py.lab.apps import install

METER = Path(__file__).with_name("meter.py")
GAP = 0.002
"""Seconds between two round trips: the client has come to rest again."""
SETTLE = 0.5
"""Seconds that the streams run before the first and after the last round trip."""

CASES = {"rtt-idle": "", "rtt-up": "tcp-4-up", "rtt-down": "tcp-4-down"}
"""The iperf3 case that runs meanwhile."""
TITLES = {
    "rtt-idle": "round trip, idle",
    "rtt-up": "round trip beside 4 streams up",
    "rtt-down": "round trip beside 4 streams down",
}


def quantile(values: list[float], share: float) -> float:
    """The smallest value that at least *share* of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def figures(times: list[float | None]) -> dict[str, float]:
    """p50 and p99 in microseconds, and the percentage without an answer. Raises LabError if none came."""
    answered = [time for time in times if time is not None]
    if not answered:
        raise LabError("no round trip was answered")
    return {
        "p50": quantile(answered, 0.5),
        "p99": quantile(answered, 0.99),
        "lost": 100 * (len(times) - len(answered)) / len(times),
    }


def round_trips(lab: Lab, seconds: float) -> list[float | None]:
    """Round trips between the client's namespace and the internet host, in microseconds, for *seconds*."""
    meter = install("meter", lab.folder / "apps")
    command = [str(meter), "-E", "-s", "-S", str(METER), str(INTERNET.v4), str(ECHO_PORT), f"{seconds}", f"{GAP}"]
    times: list[float | None] = json.loads(lab.client.run(*command, timeout=seconds + iperf.GRACE))
    return times


def measure(lab: Lab, case: str, seconds: float) -> dict[str, float]:
    """The round trips of one case, over *seconds*."""
    load = CASES[case]
    if not load:
        return figures(round_trips(lab, seconds))
    with ThreadPoolExecutor(1) as pool:
        streams = pool.submit(iperf.run, lab.client, iperf.CASES[load], seconds + 2 * SETTLE)
        time.sleep(SETTLE)
        found = figures(round_trips(lab, seconds))
        streams.result()
    return found
