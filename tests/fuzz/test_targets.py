"""The fuzz targets on their seeds and on what broke something once; and that they do notice."""

import pytest

from tests.fuzz import targets
from tests.fuzz.reader import Reader, block
from tests.support.datapaths import NOT_BUILT
from wiresock_py.datapath import NATIVE

BOTH_DATA_PATHS = {"outbound", "inbound", "queue_messages"}


@pytest.mark.parametrize("name", targets.NAMES)
def test_the_corpus_breaks_nothing(name: str) -> None:
    if NATIVE is None and name in BOTH_DATA_PATHS:
        pytest.skip(NOT_BUILT)
    corpus = targets.load(name).corpus()
    assert len(set(corpus)) > 2
    for data in corpus:
        targets.load(name).run(data)


def test_any_bytes_are_a_case() -> None:
    reader = Reader(b"\1\2")
    assert (reader.number(), reader.number(2), reader.take(3), bool(reader)) == (1, 0x200, b"\0\0\0", False)
    assert Reader(block(b"abc") + b"d").block() == b"abc"
    assert Reader(b"\xff\xffab").block() == b"ab"
