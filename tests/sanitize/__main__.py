"""``python -m tests.sanitize``: the compiled data path under AddressSanitizer, by its own tests and by Python's.

It is built with debug assertions, too. Python's objects come from the sanitizer's allocator, one by one, so that a step
beyond any buffer that Python lends ends the run, as one beyond Rust's own does.
"""

import os
import subprocess
import sys

from tests.support.rust import ADDRESS_SANITIZER, ROOT, SANITIZED, cargo

TESTS = (
    "tests/unit/datapath",
    "tests/unit/engine/test_udp.py",
    "tests/unit/engine/test_udp_compiled.py",
    "tests/unit/filters/netfilter/test_injection.py",
    "tests/unit/filters/netfilter/test_queue.py",
    "tests/property/test_datapaths.py",
    "tests/property/test_flow_index.py",
    "tests/fuzz",
)


def main() -> int:
    os.environ["ASAN_OPTIONS"] = "detect_leaks=0:abort_on_error=1"  # an interpreter at its end has not freed everything
    folder = SANITIZED.parents[2]
    cargo("test", manifest="native/Cargo.toml", flags=ADDRESS_SANITIZER, folder=folder)
    cargo("build", "--lib", manifest="native/Cargo.toml", flags=ADDRESS_SANITIZER, folder=folder)
    # The library brings no runtime: it has to be there before any memory is given out. The compiler's own fits.
    runtime = subprocess.check_output(["cc", "-print-file-name=libasan.so"], text=True).strip()
    environment = {**os.environ, "LD_PRELOAD": runtime, "PYTHONMALLOC": "malloc"}
    # its report goes to the descriptor, which pytest must leave alone
    options = ("-q", "-n", "2", "-m", "not root", "--capture=sys", "-p", "tests.sanitize.plugin")
    command = [sys.executable, "-m", "pytest", *options, *TESTS]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
