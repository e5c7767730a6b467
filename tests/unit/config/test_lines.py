import pytest

from wiresock_py.config.lines import Header, Setting, read_lines
from wiresock_py.config.model import Notice
from wiresock_py.errors import ConfigError


def one(text: str) -> object:
    (line,) = read_lines(text, "f")
    return line


@pytest.mark.parametrize("text", ["", "  \t", "# comment", " ; comment", "#", "#@ws", "##@ws:A = b"])
def test_empty_lines_and_comments_say_nothing(text: str) -> None:
    assert [line for line in read_lines(text, "f") if not isinstance(line, Notice)] == []


@pytest.mark.parametrize("text", ["[Peer]", " [ Peer ] ", "[Peer] # the server"])
def test_a_header_is_a_name_in_brackets(text: str) -> None:
    line = one(text)
    assert isinstance(line, Header)
    assert line.name.text == "Peer"


@pytest.mark.parametrize("text", ["[Peer", "[Peer # the server", "[Peer] x"])
def test_a_header_without_end_or_with_more_behind_is_an_error_and_still_a_header(text: str) -> None:
    error, header = read_lines(text, "f")
    assert isinstance(error, ConfigError)
    assert isinstance(header, Header)
    assert header.name.text == "Peer"


@pytest.mark.parametrize(
    ("text", "key", "column", "value", "value_column"),
    [
        ("MTU=1420", "MTU", 1, "1420", 5),
        ("  Private Key =  x= ", "PrivateKey", 3, "x=", 18),
        ("#@ws:AllowedApps = a", "AllowedApps", 6, "a", 20),
        ("\t#@ws: AllowedApps = a", "AllowedApps", 8, "a", 22),
        ("A =", "A", 1, "", 4),
        ("A = b # c", "A", 1, "b # c", 5),
    ],
)
def test_a_setting_is_split_at_the_first_equals_sign(
    text: str, key: str, column: int, value: str, value_column: int
) -> None:
    line = one(text)
    assert isinstance(line, Setting)
    assert (line.key.text, line.key.column) == (key, column)
    assert (line.value.text, line.value.column) == (value, value_column)


@pytest.mark.parametrize("text", ["hello", "Table off", "A # = b", "= b", "A: b = c", "#@ws:[Peer]", "#@ws:"])
def test_other_lines_are_errors_at_their_place(text: str) -> None:
    error = one(f"{text}")
    assert isinstance(error, ConfigError)
    assert error.line == 1
    assert "expected 'Key = value'" in str(error)


@pytest.mark.parametrize("text", ["#@WS:AllowedApps = a", "#@ws AllowedApps = a", "# @ws:AllowedApps = a"])
def test_a_near_miss_of_the_prefix_is_a_comment_with_a_notice(text: str) -> None:
    notice = one(text)
    assert isinstance(notice, Notice)
    assert "#@ws:" in notice.remedy


@pytest.mark.parametrize("text", ["A = b#@ws:B = c", "[Peer] #@ws:B = c", "#@ws:A = b #@ws:B = c"])
def test_the_prefix_behind_something_else_is_a_comment_with_a_notice_at_its_place(text: str) -> None:
    notice, _line = read_lines(text, "f")
    assert isinstance(notice, Notice)
    assert (notice.column, notice.remedy) == (text.rindex("#") + 1, "put it on a line of its own")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_as_on_any_system(end: str) -> None:
    lines = list(read_lines(f"[Peer]{end}{end}A = b{end}", "f"))
    assert [type(line) for line in lines] == [Header, Setting]
    assert isinstance(lines[1], Setting)
    assert (lines[1].key.line, lines[1].value.text) == (3, "b")


def test_a_form_feed_or_line_separator_ends_no_line() -> None:
    assert len(list(read_lines("A = b\x0cc\u2028d", "f"))) == 1
