import yaml

from wiresock_py.config.nodes import found, repeated, text_of


def compose(text: str) -> yaml.Node:
    node = yaml.compose(text, Loader=yaml.BaseLoader)
    assert node is not None
    return node


def test_a_node_knows_its_place() -> None:
    root = compose("a: 1\nb: [x, y]\n")
    ((_, _), (_, value)) = root.value
    assert text_of(value.value[1], "f") == ("y", "f", 2, 8, "")
    assert text_of(value, "f").text == ""


def test_what_a_node_is_can_be_said() -> None:
    said = [found(compose(text)) for text in ("x", "[]", "[x]", "{}", "{a: b}")]
    assert said == ["'x'", "an empty list", "a list", "an empty mapping", "a mapping"]


def test_a_key_that_stands_twice_is_a_mistake() -> None:
    root = compose("a: 1\nb: {a: 1}\na: {}\n")
    assert isinstance(root, yaml.MappingNode)
    (mistake,) = repeated(root, "f")
    assert str(mistake) == "f:3:1: found 'a', which line 1 has already"
