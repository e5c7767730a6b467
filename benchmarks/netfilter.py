"""How fast NFQUEUE brings packets into Python and verdicts back, without any tunnel (root; namespaces of its own).

    python -m benchmarks.netfilter [seconds]

`tcp` passes super-packets on to a sink at the other end of a veth pair, `udp` drops 1400-byte datagrams. CPU time is
this thread's, and includes what the kernel does inside its calls: copying, and for `tcp` the whole way to the sink.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from ipaddress import ip_network

from tests.backends.namespaces import Namespace, host_and_wire
from wiresock_py.filters import CapturePlan, Verdict
from wiresock_py.filters.netfilter import NetfilterBackend

INSIDE = "203.0.113.1"
PORT = 8000
SINK = f"""
import socket
listener = socket.create_server(("{INSIDE}", {PORT}))
print("ready", flush=True)
opened, _ = listener.accept()
buffer = bytearray(1 << 20)
while opened.recv_into(buffer): pass
"""
TCP_SOURCE = f"""
import socket, sys, time
opened = socket.create_connection(("{INSIDE}", {PORT}))
content, until = bytes(1 << 20), time.monotonic() + float(sys.argv[1])
while time.monotonic() < until: opened.sendall(content)
"""
UDP_SOURCE = f"""
import socket, sys, time
opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
content, until = bytes(1400), time.monotonic() + float(sys.argv[1])
while time.monotonic() < until:
    for _ in range(50): opened.sendto(content, ("{INSIDE}", {PORT}))
"""


def main() -> None:
    seconds = sys.argv[1] if len(sys.argv) > 1 else "4"
    with host_and_wire() as (host, wire):
        measure(host, "tcp", TCP_SOURCE, seconds, Verdict.PASS, lambda: start_sink(wire))
        measure(host, "udp", UDP_SOURCE, seconds, Verdict.DROP, lambda: None)


def start_sink(wire: Namespace) -> subprocess.Popen[str]:
    with wire.inside():
        sink = subprocess.Popen([sys.executable, "-c", SINK], stdout=subprocess.PIPE, text=True)
    assert sink.stdout is not None
    sink.stdout.readline()
    return sink


def measure(
    host: Namespace,
    name: str,
    source: str,
    seconds: str,
    verdict: Verdict,
    start: Callable[[], "subprocess.Popen[str] | None"],
) -> None:
    sink = start()
    backend = NetfilterBackend()
    packets = size = batches = 0
    with host.inside():
        backend.open(CapturePlan((ip_network("203.0.113.0/24"),)))
        sender = subprocess.Popen([sys.executable, "-c", source, seconds])
    began, cpu = time.monotonic(), time.thread_time()
    try:
        while sender.poll() is None:
            batch = backend.receive(0.1)
            if batch is None:
                continue
            packets += len(batch)
            size += sum(batch.length)
            batches += 1
            batch.verdict[:] = [int(verdict)] * len(batch)
            backend.finish(batch)
        elapsed, cpu = time.monotonic() - began, time.thread_time() - cpu
    finally:
        with host.inside():
            found = backend.statistics()
            backend.close()
        sender.kill()
        sender.wait()
        if sink is not None:
            sink.kill()
            sink.communicate()
    rate, lost = size * 8 / elapsed / 1e9, found["queue_full"] + found["reader_slow"]
    print(f"{name}: {rate:.2f} Gbit/s, {packets / elapsed:,.0f} packets/s of {size / packets:,.0f} bytes,", end=" ")
    print(f"{packets / batches:.1f} a batch, {cpu / packets * 1e6:.1f} µs each; lost {lost}")


if __name__ == "__main__":
    main()
