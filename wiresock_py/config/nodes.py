"""YAML nodes as pieces of a file that know their place."""

from collections.abc import Iterator

import yaml

from wiresock_py.config.text import Text, shown
from wiresock_py.errors import ConfigError


def text_of(node: yaml.Node, file: str) -> Text:
    """The text of a scalar, "" of anything else, where it stands."""
    mark = node.start_mark
    return Text(str(node.value) if isinstance(node, yaml.ScalarNode) else "", file, mark.line + 1, mark.column + 1)


def found(node: yaml.Node) -> str:
    """What the node is, for a message."""
    if isinstance(node, yaml.ScalarNode):
        return shown(node.value)
    kind = "list" if isinstance(node, yaml.SequenceNode) else "mapping"
    return f"a {kind}" if node.value else f"an empty {kind}"


def repeated(node: yaml.MappingNode, file: str) -> Iterator[ConfigError]:
    """The keys of a mapping that stand in it twice: YAML would quietly take the last."""
    lines: dict[str, int] = {}
    for key, _ in node.value:
        name = text_of(key, file)
        if name.text in lines:
            message = f"found {shown(name.text)}, which line {lines[name.text]} has already"
            yield name.error(message, "keep one of them")
        lines[name.text] = name.line
