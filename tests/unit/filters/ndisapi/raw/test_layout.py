"""The raw floor against sizes, offsets and values taken from a compilation of the vendor's header."""

import json
from pathlib import Path
from typing import Any

import pytest

from wiresock_py.filters.ndisapi.raw.layout import layout

ABI: dict[str, Any] = json.loads((Path(__file__).parents[4] / "vectors" / "ndisapi-abi.json").read_text())
OURS = layout()


def test_every_structure_of_the_header_is_there_and_no_other() -> None:
    assert set(OURS["x64"]["structs"]) == set(ABI["x64"]["structs"])
    assert OURS["x64"]["pointer_size"] == ABI["x64"]["pointer_size"]


@pytest.mark.parametrize("name", ABI["x64"]["structs"])
def test_a_structure_has_the_headers_size_and_fields(name: str) -> None:
    expected = ABI["x64"]["structs"][name]
    fields = {field: {"offset": place["offset"], "size": place["size"]} for field, place in expected["fields"].items()}
    assert OURS["x64"]["structs"][name] == {"size": expected["size"], "fields": fields}


def test_every_constant_has_the_headers_value() -> None:
    assert OURS["constants"] == ABI["constants"]


@pytest.mark.parametrize("name", ABI["ioctls"])
def test_a_control_code_is_the_headers(name: str) -> None:
    ours = OURS["ioctls"][name]
    assert ours == {key: ABI["ioctls"][name][key] for key in ours}


def test_every_control_code_is_there_and_no_other() -> None:
    assert set(OURS["ioctls"]) == set(ABI["ioctls"])
