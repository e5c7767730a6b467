"""What the demo shows, told once for every stage, and the table it ends with.

A stage is a small world with an applications' host, an isp, a WireGuard server and an internet host, in which the
client can be started. The story does something there, looks at what can be seen of it, and compares.
"""

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from wiresock_py.config import Config
from wiresock_py.demo.examples import example, rules_of
from wiresock_py.errors import WiresockError
from wiresock_py.lab import CLIENT, INTERNET, LAN_HOST, ROUTER, SERVER, TUNNEL_RESOLVER, Host

TRANSFER_SIZE = 100_000_000
LIMIT = 55.0
"""Seconds after which nothing new is begun; with what one step may take at most, the whole stays below 90."""

_WHO = {
    SERVER: "the server",
    CLIENT: "the client itself",
    TUNNEL_RESOLVER: "the tunnel's resolver",
    ROUTER: "the isp's resolver",
}
_NAMES = {host.of(family): name for host, name in _WHO.items() for family in (4, 6)}


class Seen(NamedTuple):
    """What was seen, in words, and whether it is what was to be seen."""

    text: str
    ok: bool


class Answer(NamedTuple):
    """An address that was the answer to a question, and how it was asked."""

    address: str
    outside: int
    """Packets of the question and its answer that the isp saw in the clear."""


class Pinged(NamedTuple):
    """Echo requests, and replies to them."""

    sent: int
    answered: int
    outside: int
    """As in :class:`Answer`."""


class Evidence(NamedTuple):
    """A row of the table."""

    done: str
    seen: Seen


Step = tuple[str, Callable[[], Seen]]
"""What is done, in words, and the doing."""


class Stage(Protocol):
    """The world the story plays in; built by entering it, taken down by leaving it.

    What cannot be done there raises WiresockError or OSError (TimeoutError is one), within 40 seconds.
    """

    @property
    def description(self) -> str:
        """What it is made of, in a line."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def start(self, config: Config) -> Seen:
        """Start the client with the rules of *config* and wait for its tunnel."""

    def call(self, app: str, host: Host, family: int) -> Answer:
        """Let *app* ask a web server which address it is called from."""

    def ask(self, app: str) -> Answer:
        """Let *app* ask the host's resolver which resolver answers."""

    def transfer(self, app: str, size: int) -> Seen:
        """Let *app* move *size* bytes and compare their hash."""

    def ping(self, family: int) -> Pinged:
        """Ping the internet host."""

    def loads(self) -> Sequence[Step]:
        """What the stage measures under load."""

    def interrupt(self) -> Seen:
        """Stop the client as Ctrl+C does, and look for what it left."""

    def said(self) -> list[str]:
        """What the client has told its user since the last time."""

    def remains(self) -> Seen:
        """What there still is of the stage, after leaving it."""


class Story:
    """The rows so far; each is told on *console* as it comes."""

    def __init__(
        self, console: Console, said: Callable[[], list[str]], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """*said* are the client's own words since the last time."""
        self.evidence: list[Evidence] = []
        self._console = console
        self._said = said
        self._clock = clock
        self._end = clock() + LIMIT

    @property
    def ok(self) -> bool:
        """Whether all that was shown is as it should be."""
        return all(row.seen.ok for row in self.evidence)

    def say(self, text: str) -> None:
        self._console.print(f"\n{escape(text)}", style="bold", soft_wrap=True)

    def show(self, done: str, see: Callable[[], Seen]) -> bool:
        """Do it, and keep what was seen; False if that is not what was to be seen."""
        try:
            seen = see() if self._clock() < self._end else Seen("not done: no time left", ok=False)
        except (WiresockError, OSError) as error:  # TimeoutError is an OSError
            remedy = error.remedy if isinstance(error, WiresockError) else ""
            reason = str(error).partition("\n")[0] or type(error).__name__
            seen = Seen(f"{reason} ({remedy})" if remedy else reason, ok=False)
        self.evidence.append(Evidence(done, seen))
        for line in self._said():
            self._console.print(f"      | {escape(line)}", style="dim", soft_wrap=True)
        mark = "[green]ok[/]    " if seen.ok else "[red]FAILED[/]"
        self._console.print(f"{mark}  {escape(done)}: {escape(seen.text)}", soft_wrap=True, highlight=False)
        return seen.ok


def perform(stage: Stage, story: Story, *, size: int = TRANSFER_SIZE) -> None:
    """The whole story; the stage is left in any case, also by an exception."""
    story.say(stage.description)
    with stage:
        _chosen_app(stage, story, size)
        _all_apps(stage, story)
    story.say("Everything is taken down")
    story.show("look for what is left of the demo", stage.remains)


def _chosen_app(stage: Stage, story: Story, size: int) -> None:
    """One application through the tunnel, the others and one network not."""
    config = example("chrome")
    story.say(f"wiresock-py run with the rules of {config.file}: {rules_of(config)}")
    if not story.show(f"start the client ({config.file})", lambda: stage.start(config)):
        return
    for family in (4, 6):
        _calls(stage, story, "chrome", INTERNET, family, SERVER)
        _calls(stage, story, "firefox", INTERNET, family, CLIENT)
    _calls(stage, story, "chrome", LAN_HOST, 4, CLIENT, " (DisallowedIPs)")
    _asks(stage, story, "chrome", TUNNEL_RESOLVER)
    _asks(stage, story, "firefox", ROUTER)
    story.show(f"chrome moves {size / 1e6:g} MB, checked by SHA-256", lambda: stage.transfer("chrome", size))
    story.show("stop the client, as Ctrl+C does", stage.interrupt)
    _calls(stage, story, "chrome", INTERNET, 4, CLIENT, " again")


def _all_apps(stage: Stage, story: Story) -> None:
    """Everything through the tunnel."""
    config = example("all-apps")
    story.say(f"wiresock-py run with the rules of {config.file}: {rules_of(config)}")
    if not story.show(f"start the client ({config.file})", lambda: stage.start(config)):
        return
    for family in (4, 6):
        story.show(f"ping {INTERNET.of(family)}", lambda family=family: _pinged(stage.ping(family)))  # type: ignore[misc]
    for done, see in stage.loads():
        story.show(done, see)
    story.show("stop the client, as Ctrl+C does", stage.interrupt)


def _calls(stage: Stage, story: Story, app: str, host: Host, family: int, expected: Host, note: str = "") -> None:
    done = f"{app} asks {host.of(family)}{note} who is calling"
    story.show(done, lambda: _compared(stage.call(app, host, family), expected.of(family), outside=expected is CLIENT))


def _asks(stage: Stage, story: Story, app: str, expected: Host) -> None:
    done = f"{app} asks the host's resolver, {ROUTER.v4}, who answers it"
    story.show(done, lambda: _compared(stage.ask(app), expected.of(4), outside=expected is ROUTER))


def _compared(answer: Answer, expected: str, *, outside: bool) -> Seen:
    """*outside*: whether the isp should have seen it."""
    ok = answer.address == expected and (answer.outside > 0) == outside
    text = f"{answer.address}, {_NAMES.get(answer.address, 'which nobody here has')}; {_isp(answer.outside)}"
    return Seen(text if ok else f"{text}; expected {expected}, {'in the clear' if outside else 'tunnelled'}", ok)


def _pinged(pinged: Pinged) -> Seen:
    text = f"{pinged.answered} of {pinged.sent} answered; {_isp(pinged.outside)}"
    return Seen(text, pinged.sent > 0 and pinged.answered == pinged.sent and not pinged.outside)


def _isp(packets: int) -> str:
    return f"the isp saw {packets} packets of it" if packets else "the isp saw nothing of it"


def table(evidence: Sequence[Evidence]) -> Table:
    """What was shown."""
    result = Table("what was done", "what was seen", "", title="What the demo has shown", title_justify="left")
    for row in evidence:
        result.add_row(
            escape(row.done), escape(row.seen.text), "[green]ok[/]" if row.seen.ok else "[bold red]FAILED[/]"
        )
    return result
