"""The story on a stage whose every observation the test chooses."""

import io
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import pytest
from rich.console import Console

from wiresock_py.config import Config
from wiresock_py.demo import Story, perform, table
from wiresock_py.demo.story import LIMIT, Answer, Pinged, Seen, Step
from wiresock_py.errors import NetworkError
from wiresock_py.lab import CLIENT, INTERNET, LAN_HOST, ROUTER, SERVER, TUNNEL_RESOLVER, Host

FINE = Seen("fine", ok=True)


class FakeStage:
    """All is as it should be, but for what *changes* says of a verb: its result, or an error to raise."""

    description = "a stage of the test"

    def __init__(self, **changes: Any) -> None:
        self._changes = changes
        self.running = ""
        """The file of the running client."""
        self.done: list[str] = []
        self.sizes: list[int] = []
        self.left = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.left += 1

    def _observe(self, verb: str, usual: Any) -> Any:
        self.done.append(verb)
        changed = self._changes.get(verb, usual)
        if isinstance(changed, BaseException):
            raise changed
        return changed

    def start(self, config: Config) -> Seen:
        self.running = config.file
        seen: Seen = self._observe(f"start {config.file}", FINE)
        return seen

    def call(self, app: str, host: Host, family: int) -> Answer:
        tunnelled = app == "chrome" and host is INTERNET and self.running == "configs/chrome.conf"
        usual = Answer(SERVER.of(family), 0) if tunnelled else Answer(CLIENT.of(family), 7)
        name = {INTERNET: "internet", LAN_HOST: "lan"}[host]
        answer: Answer = self._observe(f"{app} calls {name} by {family}", usual)
        return answer

    def ask(self, app: str) -> Answer:
        usual = Answer(TUNNEL_RESOLVER.of(4), 0) if app == "chrome" else Answer(ROUTER.of(4), 2)
        answer: Answer = self._observe(f"{app} asks", usual)
        return answer

    def transfer(self, app: str, size: int) -> Seen:
        self.sizes.append(size)
        seen: Seen = self._observe(f"{app} moves", FINE)
        return seen

    def ping(self, family: int) -> Pinged:
        pinged: Pinged = self._observe(f"ping {family}", Pinged(3, 3, 0))
        return pinged

    def loads(self) -> Sequence[Step]:
        def load() -> Seen:
            seen: Seen = self._observe("load", FINE)
            return seen

        return [("a load", load)]

    def interrupt(self) -> Seen:
        self.running = ""
        seen: Seen = self._observe("interrupt", FINE)
        return seen

    def said(self) -> list[str]:
        return []

    def remains(self) -> Seen:
        seen: Seen = self._observe("remains", FINE)
        return seen


def told(stage: FakeStage, *, clock: Callable[[], float] = lambda: 0.0, size: int = 1000) -> Story:
    story = Story(Console(file=io.StringIO()), stage.said, clock=clock)
    perform(stage, story, size=size)
    return story


def failed(story: Story) -> list[str]:
    return [row.done for row in story.evidence if not row.seen.ok]


def test_the_story_tells_of_both_configurations_and_of_the_end() -> None:
    stage = FakeStage()
    story = told(stage)
    assert story.ok
    assert stage.done == [
        "start configs/chrome.conf",
        "chrome calls internet by 4",
        "firefox calls internet by 4",
        "chrome calls internet by 6",
        "firefox calls internet by 6",
        "chrome calls lan by 4",
        "chrome asks",
        "firefox asks",
        "chrome moves",
        "interrupt",
        "chrome calls internet by 4",
        "start configs/all-apps.conf",
        "ping 4",
        "ping 6",
        "load",
        "interrupt",
        "remains",
    ]
    assert len(story.evidence) == len(stage.done)


def test_what_is_left_is_looked_for_after_leaving_the_stage() -> None:
    stage = FakeStage()
    left: list[int] = []
    stage.remains = lambda: (left.append(stage.left), FINE)[1]  # type: ignore[func-returns-value, method-assign]
    told(stage)
    assert left == [1]


@pytest.mark.parametrize(
    ("verb", "seen"),
    [
        ("chrome calls internet by 6", Answer(CLIENT.of(6), 0)),  # from the wrong address
        ("chrome calls internet by 6", Answer(SERVER.of(6), 1)),  # beside the tunnel as well
        ("firefox calls internet by 4", Answer(SERVER.of(4), 7)),
        ("firefox calls internet by 4", Answer(CLIENT.of(4), 0)),  # nowhere to be seen: how did it get there?
        ("chrome calls lan by 4", Answer(SERVER.of(4), 0)),
        ("chrome asks", Answer(ROUTER.of(4), 2)),
        ("firefox asks", Answer(TUNNEL_RESOLVER.of(4), 0)),
        ("ping 6", Pinged(3, 2, 0)),
        ("ping 6", Pinged(3, 3, 1)),
        ("ping 6", Pinged(0, 0, 0)),
        ("chrome moves", Seen("changed", ok=False)),
        ("load", Seen("nothing", ok=False)),
        ("remains", Seen("a process", ok=False)),
        ("chrome asks", TimeoutError("no answer")),
        ("chrome asks", NetworkError("no way", "make one")),
    ],
)
def test_one_wrong_observation_fails_its_row_and_the_whole(verb: str, seen: object) -> None:
    story = told(FakeStage(**{verb: seen}))
    assert not story.ok
    assert len(failed(story)) == 1
    assert len(story.evidence) == 17


def test_a_failed_row_says_what_was_expected() -> None:
    story = told(FakeStage(**{"firefox asks": Answer("192.0.2.99", 2)}))
    (row,) = [row for row in story.evidence if not row.seen.ok]
    assert (
        row.seen.text
        == "192.0.2.99, which nobody here has; the isp saw 2 packets of it; expected 192.168.1.1, in the clear"
    )


def test_an_error_becomes_its_first_line_and_its_remedy() -> None:
    story = told(FakeStage(remains=NetworkError("no way\nfrom here", "make one")))
    assert story.evidence[-1].seen == ("no way (make one)", False)


def test_nothing_is_done_with_a_client_that_did_not_start() -> None:
    stage = FakeStage(**{"start configs/chrome.conf": NetworkError("no answer")})
    story = told(stage)
    assert failed(story) == ["start the client (configs/chrome.conf)"]
    assert stage.done[:2] == ["start configs/chrome.conf", "start configs/all-apps.conf"]


def test_nothing_new_is_begun_when_the_time_is_up() -> None:
    stage = FakeStage()
    times = iter([0.0, 0.0, LIMIT, *[LIMIT + 1] * 50])
    story = told(stage, clock=lambda: next(times))
    assert stage.done == ["start configs/chrome.conf"]
    assert not story.ok
    assert story.evidence[-1].seen.text == "not done: no time left"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), AssertionError("a fault of ours")])
def test_what_is_no_observation_ends_the_story_and_leaves_the_stage(error: BaseException) -> None:
    stage = FakeStage(**{"chrome moves": error})
    with pytest.raises(type(error)):
        told(stage)
    assert stage.left == 1


def test_the_size_is_handed_on() -> None:
    stage = FakeStage()
    told(stage, size=123)
    assert stage.sizes == [123]


def test_the_clients_words_are_told_with_the_step_they_belong_to() -> None:
    output = io.StringIO()
    words = [["[INFO] chrome goes into the tunnel"], []]
    story = Story(Console(file=output, width=100), lambda: words.pop(0), clock=lambda: 0.0)
    story.show("chrome calls", lambda: Seen("[2001:db8::1] is calling", ok=True))
    story.show("chrome calls again", lambda: Seen("nothing", ok=False))
    assert output.getvalue().splitlines() == [
        "      | [INFO] chrome goes into the tunnel",
        "ok      chrome calls: [2001:db8::1] is calling",
        "FAILED  chrome calls again: nothing",
    ]


def test_the_table_has_every_row_as_it_was_seen() -> None:
    story = told(FakeStage(load=Seen("[2001:db8::1] fell over", ok=False)))
    output = io.StringIO()
    Console(file=output, width=200, legacy_windows=False).print(table(story.evidence))
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.getvalue().splitlines() if "│" in line]
    assert [row[0] for row in rows] == [row.done for row in story.evidence]
    assert [row for row in rows if row[2] != "ok"] == [["a load", "[2001:db8::1] fell over", "FAILED"]]
