"""``python -m tests.mutation``: is every constant of the WireGuard core held by a test of behaviour?

Each constant of ``wiresock_py.crypto`` is changed in turn, and the core's tests run until one fails. The section of the
vectors that compares constants with literals does not take part. A table tells which test noticed; the exit code is 1
if a change went unnoticed.

Every mutant runs in a process of its own, forked from a server that has pytest and the cryptographic library imported
already, and the core not yet.
"""

import argparse
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.mutation.constants import mutants_of
from tests.mutation.work import list_constants, run_tests

ROOT = Path(__file__).parents[2]
PRELOADED = [
    "pytest",
    "hypothesis",
    "scapy.layers.inet6",
    "cryptography.hazmat.backends.openssl.backend",
    "cryptography.hazmat.primitives.asymmetric.x25519",
    "cryptography.hazmat.primitives.ciphers.aead",
]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description="Change each constant of the core.")
    parser.add_argument("names", nargs="*", help="only constants whose name contains one of these")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="mutants at a time")
    options = parser.parse_args(arguments)
    os.chdir(ROOT)
    started = time.monotonic()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with ProcessPoolExecutor(options.jobs, context, max_tasks_per_child=1) as pool:
        mutants = [
            mutant
            for constant in pool.submit(list_constants).result()
            if any(name in str(constant) for name in options.names or [""])
            for mutant in mutants_of(constant)
        ]
        broken = pool.submit(run_tests, None).result()
        if broken or not mutants:
            print(f"nothing to be learnt: {broken or 'no constant has such a name'}", file=sys.stderr)
            return 1
        print(f"{'constant':34} {'value':>22} {'changed to':>22}  noticed by")
        survivors = 0
        for mutant, noticed_by in zip(mutants, pool.map(run_tests, mutants), strict=True):
            survivors += not noticed_by
            values = f"{_shown(mutant.constant.value):>22} {_shown(mutant.value):>22}"
            print(f"{mutant.constant!s:34} {values}  {noticed_by or 'NOBODY'}", flush=True)
    print(f"{len(mutants)} changes, {survivors} unnoticed, {time.monotonic() - started:.0f} s")
    return 1 if survivors else 0


def _shown(value: float | bytes) -> str:
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text if len(text) <= 22 else f"{text[:8]}…{text[-12:]}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
