"""The core has no eyes and no hands: it cannot even import sockets, threads or clocks."""

import subprocess
import sys
import textwrap
from pathlib import Path

PROBE = """
    import sys

    # Loaded by the interpreter or the cryptographic library for themselves; what matters is that we do not ask.
    import cryptography.hazmat.backends.openssl.backend
    import cryptography.hazmat.primitives.asymmetric.x25519
    import cryptography.hazmat.primitives.ciphers.aead
    import dataclasses, hashlib, hmac, ipaddress, random, typing

    for name in [name for name in sys.modules if name.partition(".")[0] in BLOCKED]:
        sys.modules[name] = None
    for name in BLOCKED:
        sys.modules[name] = None

    from wiresock_py.crypto import Device, PrivateKey, Tunnel

    a, b = (PrivateKey(bytes([n]) * 32) for n in (1, 2))
    wall = lambda: 1_750_000_000_000_000_000
    client = Tunnel(a, b.public_key(), wall_clock=wall, endpoint=("192.0.2.1", 1))
    server = Device(b, wall_clock=wall)
    server.add_peer(a.public_key())
    (initiation,) = client.force_handshake(0.0)
    (response,) = server.read(initiation.data, ("192.0.2.2", 2), 0.0).datagrams
    (keepalive,) = client.read(response.data, ("192.0.2.1", 1), 0.0).datagrams
    assert server.read(keepalive.data, ("192.0.2.2", 2), 0.0).drop is None
    print("done")
"""


def test_the_core_works_with_socket_threading_and_time_blocked() -> None:
    blocked = {"socket", "_socket", "select", "selectors", "asyncio", "threading", "time", "logging", "ssl"}
    probe = f"BLOCKED = {blocked!r}\n" + textwrap.dedent(PROBE)
    run = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert run.stdout == "done\n", run.stderr


def test_every_module_has_its_tests() -> None:
    root = Path(__file__).parents[3]
    without = {"__init__", "constants", "drops", "results"}  # no behaviour of their own
    modules = {path.stem for path in (root / "crypto").glob("*.py")} - without
    tested = {path.stem.removeprefix("test_") for path in Path(__file__).parent.glob("test_*.py")}
    assert modules <= tested
