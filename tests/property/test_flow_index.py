"""The compiled data path's index of flows beside a dict."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.datapaths import NOT_BUILT
from tests.support.traffic import IPV4
from wiresock_py.datapath import NATIVE, Flow
from wiresock_py.flow import Route

# few of many, so that they come again
KEYS = st.builds(lambda size, number: number.to_bytes(size, "big"), st.sampled_from([12, 36]), st.integers(0, 40))
STEPS = st.lists(st.tuples(st.sampled_from(["enter", "enter", "remove"]), KEYS), max_size=300)


@pytest.mark.skipif(NATIVE is None, reason=NOT_BUILT)
@given(STEPS)
def test_an_index_is_a_dict_of_wire_keys(steps: list[tuple[str, bytes]]) -> None:
    assert NATIVE is not None
    index, model = NATIVE.flow_table.index(), dict[bytes, Flow]()
    for step, key in steps:
        if step == "enter":
            index[key] = flow = NATIVE.flow_table.flow(IPV4.key(6), Route.DIRECT, 0.0)
            model[key] = flow
        elif key in model:
            del index[key]
            del model[key]
        else:
            with pytest.raises(KeyError):
                del index[key]
        assert index.get(key) is model.get(key)
        assert len(index) == len(model)
    for _, key in steps:
        assert index.get(key) is model.get(key)
