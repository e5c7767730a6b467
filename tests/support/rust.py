"""Builds of the compiled data path with what its tests ask of the compiler; stable Rust will do."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
TARGET = "x86_64-unknown-linux-gnu"
"""Named, so that build scripts and macros, which run inside the compiler, stay as they are."""
ADDRESS_SANITIZER = "-Zsanitizer=address"
SANITIZED = ROOT / ".cache" / "sanitize-build" / TARGET / "debug" / "lib_native.so"
"""The extension that tests/sanitize builds."""
COVERAGE = (
    "--cfg=fuzzing -Ccodegen-units=1 -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
    " -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
    " -Cllvm-args=-sanitizer-coverage-trace-compares"
)
"""What libFuzzer is guided by; as cargo-fuzz has it."""


def cargo(*arguments: str, manifest: str, flags: str, folder: Path) -> Path:
    """Run cargo in *folder* with *flags* for the code that is built; where it puts the results of each profile."""
    # the sanitizers' options are unstable, the sanitizers are not: their runtime comes with stable Rust
    environment = {**os.environ, "RUSTC_BOOTSTRAP": "1", "RUSTFLAGS": flags, "CARGO_TARGET_DIR": str(folder)}
    command = ["cargo", *arguments, "--locked", "--target", TARGET, "--manifest-path", str(ROOT / manifest)]
    subprocess.run(command, env=environment, check=True)
    return folder / TARGET
