"""``python -m tests.interop``: do other people's WireGuards and ours understand each other?

Our core on real sockets meets every program in both roles, in a namespace of its own; then a table of peer, role and
check. What a peer has no part in is marked and told; everything else must pass, else the exit code is 1. A peer that
cannot be had is skipped, with the reason; in CI that is a failure.
"""

import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

from tests.interop import checks, timers, witnesses
from tests.interop.end import Host
from tests.interop.programs import INITIATOR, RESPONDER, Instance, Program, find_programs
from wiresock_py.crypto import PresharedKey
from wiresock_py.lab import Namespace, clean, unavailable_reason
from wiresock_py.lab.namespaces import unique_label

CACHE = Path(__file__).parents[2] / ".cache"
ROLES = (RESPONDER, INITIATOR)
ATTEMPTS = 3
STOOD_STILL = 1.0
"""Seconds without a turn after which a failed run says nothing: virtual machines are paused. It is repeated then."""

Check = Callable[[Instance, str], str]
QUICK: dict[str, list[Check]] = {
    "handshake": [checks.handshake],
    "data": [checks.data],
    "psk": [checks.psk],
    "order": [checks.order],
}
"""One after the other."""
PATIENT: dict[str, list[Check]] = {
    "rekey": [timers.rekey],
    "keepalive": [timers.their_keepalive, timers.our_keepalive],
    "persistent": [timers.persistent],
    "silence": [timers.our_silence, timers.their_silence],
}
"""All at once: they wait."""
ROUGH: dict[str, list[Check]] = {"roaming": [checks.roaming], "cookie": [checks.cookie]}
"""One after the other, with an instance of the program that nothing else is measured on; last what overloads it, for it
wants cookies for a while after."""
COLUMNS = (*QUICK, *PATIENT, *ROUGH)

NOT_THEIRS = {
    "noiseprotocol": "a library of handshakes: no cookies, timers or transport",
    "tshark": "reads what we send and sends nothing",
}

Cell = tuple[str, str, str]
Results = dict[Cell, "list[Future[str]]"]


def main() -> int:
    if reason := unavailable_reason():
        print(f"interop cannot run: {reason}", file=sys.stderr)
        return 1
    clean()
    programs, missing = find_programs(CACHE)
    versions = {program.name: program.version for program in programs}
    versions |= {"noiseprotocol": version("noiseprotocol"), "tshark": _tshark_version()}
    for attempt in range(ATTEMPTS):
        started = time.monotonic()
        results, stalled = _meet(programs)
        code = _report(results, versions, missing, time.monotonic() - started)
        print(f"our end was kept from its turn for {stalled * 1000:.0f} ms at most")
        if not code:
            break
        if stalled >= STOOD_STILL:
            print("this machine stood still: no timer can be judged by that")
        elif attempt == 0 and os.environ.get("CI"):
            print("in CI a run that failed is repeated once: a fault fails twice")
        else:
            break
    return code


def _meet(programs: list[Program]) -> tuple[Results, float]:
    """Run all checks; their outcomes, and for how long this machine stood still."""
    results: Results = {}
    with ExitStack() as resources:
        folder = Path(resources.enter_context(tempfile.TemporaryDirectory()))
        namespace = Namespace(unique_label())
        resources.callback(namespace.delete)
        namespace.create()
        host = resources.enter_context(Host(namespace))
        pool = resources.enter_context(ThreadPoolExecutor(64))
        for program in programs:
            calm, rough = Instance(host, program, folder), Instance(host, program, folder)
            for instance in (calm, rough):
                resources.callback(instance.stop)
                instance.start()
            for role in ROLES:
                for name, several in PATIENT.items():
                    results[program.name, role, name] = [pool.submit(check, calm, role) for check in several]
            for instance, group in ((calm, QUICK), (rough, ROUGH)):
                _in_turn(pool, results, instance, group)
        for role in ROLES if programs else ():
            results["tshark", role, "data"] = [pool.submit(witnesses.dissect, calm, role, folder)]
        for role, check in ((RESPONDER, witnesses.noise_as_responder), (INITIATOR, witnesses.noise_as_initiator)):
            results["noiseprotocol", role, "handshake"] = [pool.submit(check, None)]
            results["noiseprotocol", role, "psk"] = [pool.submit(check, PresharedKey.generate())]
        for future in (future for futures in results.values() for future in futures):
            future.exception()
        return results, host.stalled


def _in_turn(pool: ThreadPoolExecutor, results: Results, instance: Instance, group: dict[str, list[Check]]) -> None:
    """Run *group* in both roles, one check after the other."""
    turns: list[tuple[Check, str, Future[str]]] = []
    for name, several in group.items():
        for role in ROLES:
            for check in several:
                turns.append((check, role, Future()))
                results.setdefault((instance.program.name, role, name), []).append(turns[-1][2])

    def run() -> None:
        for check, role, future in turns:
            try:
                future.set_result(check(instance, role))
            except BaseException as error:
                future.set_exception(error)

    pool.submit(run)


def _tshark_version() -> str:
    return subprocess.run(["tshark", "--version"], capture_output=True, text=True, check=True).stdout.split("\n")[0]


def _report(results: Results, versions: dict[str, str], missing: dict[str, str], seconds: float) -> int:
    failed = 0
    rows = dict.fromkeys((peer, role) for peer, role, _ in results)
    print(f"{'peer':<22} {'role':<10}" + "".join(f" {name:<10}" for name in COLUMNS))
    for peer, role in rows:
        cells = []
        for name in COLUMNS:
            futures = results.get((peer, role, name))
            errors = [error for future in futures or () if (error := future.exception()) is not None]
            failed += len(errors)
            cells.append("-" if futures is None else "FAIL" if errors else "pass")
        print(f"{peer:<22} {role:<10}" + "".join(f" {cell:<10}" for cell in cells))
    print("\nversions")
    for peer in dict.fromkeys(peer for peer, _ in rows):
        print(f"  {peer:<22} {versions[peer]}" + (f"; - : {NOT_THEIRS[peer]}" if peer in NOT_THEIRS else ""))
    print("\nseen")
    for (peer, role, name), futures in results.items():
        for future in futures:
            error = future.exception()
            said = future.result() if error is None else f"FAIL {type(error).__name__}: {error}"
            print(f"  {peer:<22} {role:<10} {name:<10} {said}")
    for futures in results.values():
        for future in futures:
            if (error := future.exception()) is not None and not isinstance(error, AssertionError):
                traceback.print_exception(error)
    for peer, reason in missing.items():
        print(f"\nSKIPPED {peer}: {reason}")
    forgotten = [
        (peer, role, name)
        for peer, role in rows
        for name in COLUMNS
        if peer not in NOT_THEIRS and (peer, role, name) not in results
    ]
    count = sum(map(len, results.values()))
    print(
        f"\n{count} checks, {failed} failed, {len(forgotten)} forgotten, {len(missing)} peers skipped, {seconds:.0f} s"
    )
    return 1 if failed or forgotten or (missing and os.environ.get("CI")) else 0


if __name__ == "__main__":
    sys.exit(main())
