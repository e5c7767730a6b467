import pytest

from wiresock_py.config import Settings
from wiresock_py.config.settings_parser import parse_settings
from wiresock_py.errors import ConfigError


def fails(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse_settings(text, "s.yaml")
    return caught.value


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_an_empty_file_means_the_defaults(text: str) -> None:
    assert parse_settings(text, "s.yaml") == Settings()
    assert Settings().kill_switch == "app"
    assert Settings().existing == "reset"
    assert Settings().forwarded == "rules"


def test_every_setting_is_read() -> None:
    text = "backend: memory\nlog_level: debug\nkill_switch: all\ndns: system\n"
    text += "app_groups: {web: [chrome, 'C:\\a, b\\c.exe']}"
    assert parse_settings(text, "s.yaml") == Settings(
        backend="memory",
        log_level="debug",
        kill_switch="all",
        dns="system",
        app_groups={"web": ("chrome", "C:\\a, b\\c.exe")},
    )


def test_words_that_yaml_takes_for_something_else_stay_words() -> None:
    given = parse_settings("kill_switch: off\napp_groups: {on: [no, 7.10, 0x10]}", "s.yaml")
    assert given.kill_switch == "off"
    assert given.app_groups == {"on": ("no", "7.10", "0x10")}


@pytest.mark.parametrize(
    ("text", "line", "column", "expected", "remedy"),
    [
        ("a: b: c", 1, 5, "mapping values are not allowed", "quote"),
        ("backend: auto\n\tdns: x", 2, 1, "'\\t'", "indent with blanks"),
        ("backend: [1", 1, 12, "expected ',' or ']'", "quote"),
        ("backend: auto\nkilswitch: all", 2, 1, "found 'kilswitch', expected one of backend", "kill_switch"),
        ("\nkill_switch: ap", 2, 14, "kill_switch: found 'ap', expected 'app', 'all' or 'off'", "app"),
        ("backend:", 1, 9, "auto or a backend's name", ""),
        ("backend: [a]", 1, 10, "backend: found a list, expected auto or a backend's name", ""),
        ("app_groups: [a]", 1, 13, "found a list, expected lines such as", ""),
        ("app_groups: &x\n  web: [*x]", 1, 13, "found a mapping, expected one word", ""),
        ("app_groups:\n  web: []", 2, 8, "found an empty list, expected at least one app", ""),
        ("app_groups:\n  web: chrome", 2, 8, "found 'chrome', expected a list of apps", ""),
        ("app_groups:\n  web: [a, {b: c}]", 2, 12, "found a mapping, expected one word", ""),
        ("app_groups:\n  web: [a, '@b']", 2, 12, "a group cannot hold another", ""),
        ("app_groups:\n  web: [a, 'b*']", 2, 12, "wildcards are not known", "write"),
        ("app_groups:\n  'a, b': [a]", 2, 3, "as a group's name", ""),
        ("backend: auto\nbackend: auto", 2, 1, "which line 1 has already", "keep one"),
        ("app_groups: {a: [b], a: [c]}", 1, 22, "which line 1 has already", "keep one"),
        ("- a", 1, 1, "expected lines such as backend", ""),
        ("? [a]\n: b", 1, 3, "found a list, expected one of backend", ""),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, line: int, column: int, expected: str, remedy: str) -> None:
    error = fails(text)
    assert expected in str(error)
    assert (error.line, error.column) == (line, column)
    assert remedy in error.remedy


@pytest.mark.parametrize("text", ["\x01", "[" * 5000, "a: &x [*x]", "a: !!python/object/apply:os.system [x]"])
def test_text_that_is_no_plain_yaml_is_an_error(text: str) -> None:
    assert str(fails(text)).startswith("s.yaml")


def test_every_mistake_is_told() -> None:
    error = fails("dns: x\nlog_level: y")
    assert [e.line for e in (error, *error.others)] == [1, 2]
