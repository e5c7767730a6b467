"""demo: the client at work, in a lab of network namespaces or in memory."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import click
from rich.console import Console

WIDTH = 120
"""Columns where there is no terminal to ask."""


@click.command(short_help="Show the client at work, with real programs.")
@click.option("--memory", is_flag=True, help="Play in memory also where the lab can be built.")
def demo(memory: bool) -> None:
    """Show what the client does, with real programs and a real WireGuard server.

    As root it all happens in network namespaces of its own; without root, or where there are no namespaces, in the
    memory of this process. Nothing else on this machine is touched. The exit code is 0 if everything was as it should
    be.

    Example: wiresock-py demo
    """
    # imported here: --help, for which every command is loaded, needs none of it
    from wiresock_py.demo import Stage, Story, perform, table
    from wiresock_py.demo.lab_stage import LabStage
    from wiresock_py.demo.memory import MemoryStage

    reason = None if memory else LabStage.unavailable_reason()
    if reason:
        click.echo(f"{reason}; meanwhile the same story on the memory backend", err=True)
    stage: Stage = MemoryStage() if memory or reason else LabStage()
    story = Story(_console(stderr=True), stage.said)
    with _interruptible():
        perform(stage, story)
    _console().print(table(story.evidence))
    click.get_current_context().exit(0 if story.ok else 1)


def _console(*, stderr: bool = False) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else WIDTH)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Turn the first signal that ends a program into KeyboardInterrupt; what follows does not disturb the cleanup."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    if sys.platform != "win32":
        numbers.append(signal.SIGHUP)

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    except KeyboardInterrupt:
        click.echo("interrupted: everything was taken down", err=True)
        raise
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
