"""``python -m tests.fuzz [TARGET]…``: coverage-guided fuzzing of all that reads hostile bytes, target by target.

Each target runs in a process of its own, instrumented, from the seeds that it makes and what earlier runs kept in
``.cache/fuzz``; with ``--runs`` from the seeds alone and by the same random numbers, so that runs differ by little more
than where things lie in memory.
What breaks an invariant is written to ``.cache/fuzz/TARGET.crash-…``, the exit code is 1, and
``python -m tests.fuzz TARGET --again FILE`` shows it once more. It goes to ``tests/fuzz/found`` with what mends it.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fuzz import native
from tests.fuzz.targets import NAMES, load

ROOT = Path(__file__).parents[2]
KEPT = ROOT / ".cache" / "fuzz"
LONGEST = 4096
"""Bytes of an input."""
SLOW = 20
"""Seconds after which an input counts as one that hangs."""
GROUPS = {"python": NAMES, "native": native.NAMES}


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    known = [*GROUPS, *NAMES, *native.NAMES]
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(known)}; all without any")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    parser.add_argument("--runs", type=int, default=0, help="inputs for each target instead, by fixed random numbers")
    parser.add_argument("--again", type=Path, metavar="FILE", help="run the target on this input only")
    parser.add_argument("--inside", metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if unknown := set(options.targets) - set(known):
        parser.error(f"there is no target {', '.join(sorted(unknown))}")
    targets = [name for each in options.targets or GROUPS for name in GROUPS.get(each, [each])]
    limits = [f"-runs={options.runs}", "-seed=1"] if options.runs else [f"-max_total_time={options.seconds}"]
    limits += [f"-max_len={LONGEST}", f"-timeout={SLOW}", "-rss_limit_mb=4096"]
    if options.inside:
        _fuzz(targets[0], [*limits, f"-artifact_prefix={KEPT}/{targets[0]}.", options.inside])
    if options.again and targets[0] in NAMES:
        load(targets[0]).run(options.again.read_bytes())
        return 0
    KEPT.mkdir(parents=True, exist_ok=True)
    built = native.build() if set(targets) & set(native.NAMES) else None

    def run(name: str) -> int:
        if built is None or name in NAMES:
            command = [sys.executable, "-m", "tests.fuzz", name]
            command += [f"--runs={options.runs}", f"--seconds={options.seconds}", "--inside"]
        else:
            command = [str(built / name.removeprefix(native.PREFIX)), *limits, f"-artifact_prefix={KEPT}/{name}."]
        if options.again:
            return subprocess.run([*command, str(options.again)], check=False).returncode
        with tempfile.TemporaryDirectory() as scratch:
            corpus = Path(scratch) if options.runs else KEPT / name
            corpus.mkdir(exist_ok=True)
            return _watch(name, [*command, str(corpus)])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        codes = list(pool.map(run, targets))
    broken = [name for name, code in zip(targets, codes, strict=True) if code]
    print(f"{len(targets)} targets, broken: {', '.join(broken) or 'none'}")
    return 1 if broken else 0


def _watch(name: str, command: Sequence[str]) -> int:
    """Run a fuzzer; tell how far it came, and all it says if it ended badly."""
    started = time.monotonic()
    # hashes of chance would make two runs differ; the interpreter of a compiled target is not taken down
    environment = {**os.environ, "PYTHONHASHSEED": "0", "ASAN_OPTIONS": "detect_leaks=0"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    lines = done.stdout.splitlines()
    figures = next((line for line in reversed(lines) if " cov: " in line), "").strip()
    state = "BROKEN" if done.returncode else "ok"
    print(f"{name:20} {time.monotonic() - started:5.1f} s  {state}  {figures}", flush=True)
    if done.returncode:
        print("\n".join(line for line in lines if not line.startswith(("#", "INFO", "WARNING"))))
    return done.returncode


def _fuzz(name: str, arguments: Sequence[str]) -> None:
    """Does not return: libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=["wiresock_py"]):  # they are imported only now
        target = load(name)
    for number, seed in enumerate(target.corpus()):
        Path(arguments[-1], f"seed-{number:03}").write_bytes(seed)
    atheris.Setup([name, *arguments], target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
