"""What a worker process does: list the constants, or run the tests with one of them changed."""

import io
from contextlib import redirect_stderr, redirect_stdout
from tempfile import TemporaryDirectory

import pytest

from tests.mutation.constants import Constant, Mutant, constants_of, install

# The quick and telling ones first; the others are collected only if those notice nothing.
TESTS = [["tests/vectors/test_vectors.py"], ["tests/unit/crypto"], ["tests/equivalents"]]
OPTIONS = [
    "-W",
    "ignore::pytest.PytestAssertRewriteWarning",
    "-x",
    "-q",
    "-p",
    "no:randomly",
    "-p",
    "no:cacheprovider",
    "-k",
    "not (test_vector and constants)",
]


def list_constants() -> list[Constant]:
    import wiresock_py.crypto

    return list(constants_of(wiresock_py.crypto))


def run_tests(mutant: Mutant | None) -> str:
    """The first test that fails with the mutant in place, or none."""
    if mutant is not None:
        install(mutant)
    for tests in TESTS:
        first = _FirstFailure()
        # A folder of its own: runs that share pytest's numbered ones remove them while the others read the list.
        with TemporaryDirectory() as folder, redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            code = pytest.main([*OPTIONS, f"--basetemp={folder}/pytest", *tests], plugins=[first])
        if code != pytest.ExitCode.OK:
            return first.name or f"pytest ended with {code!r}"
    return ""


class _FirstFailure:
    name = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.name:
            self.name = report.nodeid.removeprefix("tests/")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed and not self.name:
            self.name = f"the import of {report.nodeid}"
