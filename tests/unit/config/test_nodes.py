import yaml

from wiresock_py.config.nodes import child, found, repeated, text_of


def compose(text: str) -> yaml.Node:
    node = yaml.compose(text, Loader=yaml.BaseLoader)
    assert node is not None
    return node


ROOT = compose("a: 1\nb: [x, y]\na: {}\n")


def test_a_node_knows_its_place() -> None:
    value = child(ROOT, "b")
    assert value is not None
    second = child(value, 1)
    assert second is not None
    assert text_of(second, "f") == ("y", "f", 2, 8, "")
    assert text_of(value, "f").text == ""
    assert child(value, 2) is None
    assert child(ROOT, "c") is None


def test_what_a_node_is_can_be_said() -> None:
    said = [found(compose(text)) for text in ("x", "[]", "[x]", "{}", "{a: b}")]
    assert said == ["'x'", "an empty list", "a list", "an empty mapping", "a mapping"]


def test_a_key_that_stands_twice_is_a_mistake() -> None:
    (mistake,) = repeated(ROOT, "f")
    assert str(mistake) == "f:3:1: found 'a', which line 1 has already"
    assert list(repeated(child(ROOT, "b"), "f")) == list(repeated(None, "f")) == []
