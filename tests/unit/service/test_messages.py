"""One JSON object a line, and nonsense is the end of the conversation."""

import io

import pytest

from wiresock_py.service import messages


def test_what_is_sent_is_received_in_order() -> None:
    pipe = io.BytesIO()
    messages.send(pipe, "waiting", configurations=["[Interface]\nAddress = 10.0.0.2\n", "ü"])
    messages.send(pipe, "serving")
    pipe.seek(0)
    assert messages.receive(pipe) == {"kind": "waiting", "configurations": ["[Interface]\nAddress = 10.0.0.2\n", "ü"]}
    assert messages.receive(pipe) == {"kind": "serving"}
    assert messages.receive(pipe) is None


@pytest.mark.parametrize(
    "said",
    [b"", b"{}\n", b"no json\n", b"[]\n", b'{"kind": 1}\n', b'{"kind": "stop"}', b"\xff\n", b"[" * 100_000 + b"\n"],
)
def test_a_message_cut_off_or_of_another_shape_is_none(said: bytes) -> None:
    assert messages.receive(io.BytesIO(said)) is None
