"""The command line: results on stdout, talk on stderr, one exit code a kind of trouble."""

from wiresock_py.cli.program import main

__all__ = ["main"]
