"""``python -m tests.windows [PART]…``: run the tests on Windows CPython under Wine.

    unit      the unit tests, the vectors, and both data paths beside each other, as far as they are for Windows
    driver    the bindings and the ndisapi backend against the driver double, which Windows loads
    tunnel    the client at work: a Windows process in the lab, whose adapter the double is wired to (needs root)

Prints the versions, what pytest says, and how many tests ran. A skip counts as a failure unless its reason begins with
"for other systems". Where Wine is missing nothing runs, with the reason, and where the compiled data path was not built
all runs without it; in CI either is a failure.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

from tests.support.datapaths import NOT_BUILT
from tests.windows import tunnel, wine
from tests.windows.environment import ROOT, Environment, build
from tests.windows.wine import Wine
from wiresock_py.lab import LabError

UNIT = ("tests/unit", "tests/vectors", "tests/property/test_datapaths.py")
DRIVER = ("tests/unit/filters/ndisapi", "tests/backends", "tests/windows/test_double.py")
TIMEOUT = 420.0
WORKERS = 2
EXCUSED = ("for other systems",)
# scapy writes its cache when it is first imported, which two workers at once cannot on Windows
SYSTEM = "import platform, sys, scapy.data; print(f'Windows {platform.version()}, CPython {sys.version}')"


def unit(environment: Environment, report: Path) -> int:
    """The tests that need no driver, each run in a fresh system."""
    with Wine() as windows:
        return pytest(windows, environment, report, *UNIT, "-n", str(WORKERS))


def driver(environment: Environment, report: Path) -> int:
    """The double has one state for the whole system: one test at a time."""
    with Wine() as windows:
        windows.install_driver(environment.driver)
        return pytest(windows, environment, report, *DRIVER, "-p", "tests.windows.plugin", "-k", "double")


def at_work(environment: Environment, _report: Path) -> int:
    """Not by pytest, which would be a third system in the middle: the checks are few, and told one by one."""
    return tunnel.run(environment)


def pytest(windows: Wine, environment: Environment, report: Path, *arguments: str) -> int:
    """pytest's exit code under Windows CPython. In *report* the tests' names begin with tests.windows."""
    print(f"{windows.run(environment.python, '-c', SYSTEM).strip()}, {wine.version()}", flush=True)
    return windows.show(
        *(environment.python, "-m", "pytest", "-q", "-m", "not slow and not root and not lab"),
        *(f"--junitxml=Z:{report}", "--junit-prefix=tests.windows", *arguments),
        timeout=TIMEOUT,
        cwd=ROOT,
    )


PARTS: dict[str, Callable[[Environment, Path], int]] = {"unit": unit, "driver": driver, "tunnel": at_work}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.windows")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all without any")
    parser.add_argument("--reports", type=Path, help="folder for pytest's reports in JUnit's format")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    if missing := wine.missing():
        print(f"SKIPPED windows: not installed: {', '.join(missing)}; as root: .ci/install windows")
        return 1 if os.environ.get("CI") else 0
    # a time limit ends us by SIGTERM: what was made is taken down then, too
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    with tempfile.TemporaryDirectory() as scratch:
        try:
            return _run(arguments.parts or list(PARTS), arguments.reports or Path(scratch))
        except LabError as error:
            print(f"{error}; {error.remedy}" if error.remedy else str(error), file=sys.stderr)
            return 1


def _run(parts: list[str], reports: Path) -> int:
    started = time.monotonic()
    environment = build()
    print(f"Windows CPython is at hand after {time.monotonic() - started:.0f} s: {environment.python}")
    print(f"data paths: {', '.join(environment.datapaths)}", flush=True)
    excused = EXCUSED if "native" in environment.datapaths or os.environ.get("CI") else (*EXCUSED, NOT_BUILT)
    failed = []
    executed = 0
    for part in parts:
        started = time.monotonic()
        report = reports / f"windows-{part}.xml"
        code = PARTS[part](environment, report)
        ran, unexcused = _count(report, excused) if report.exists() else (0, [])
        executed += ran
        tests = f"{ran} tests ran under Windows CPython, " if report.exists() else ""
        print(f"{part}: {tests}{time.monotonic() - started:.0f} s", flush=True)
        for line in unexcused:
            print(f"{part}: skipped without an excuse: {line}")
        if code or unexcused or (report.exists() and not ran):
            failed.append(part)
    print(f"{executed} tests under Windows CPython; failed: {', '.join(failed) or 'nothing'}")
    return 1 if failed else 0


def _count(report: Path, excused: tuple[str, ...]) -> tuple[int, list[str]]:
    """How many tests ran, and a line for each skip that has no excuse."""
    ran, unexcused = 0, []
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 - our own pytest wrote it
        skipped = case.find("skipped")
        if skipped is None:
            ran += 1
        else:
            reason = f"{skipped.get('message')}: {skipped.text}"  # the text: of whole modules
            if not any(excuse in reason for excuse in excused):
                unexcused.append(f"{case.get('classname')}::{case.get('name')}: {reason}")
    return ran, unexcused


if __name__ == "__main__":
    sys.exit(main())
