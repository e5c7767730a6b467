"""Backends by name."""

import sys

import pytest

from wiresock_py.errors import BackendError
from wiresock_py.filters import registry
from wiresock_py.filters.memory import MemoryBackend


def test_an_unknown_name_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(BackendError, match="no backend 'netfliter'") as caught:
        registry.create("netfliter")
    assert caught.value.remedy == "use one of: ndisapi, windivert, netfilter, memory"


def test_a_backend_is_made_by_name_with_its_options() -> None:
    backend = registry.create("memory", queue_length=1)
    assert isinstance(backend, MemoryBackend)
    assert backend.name == "memory"


def test_every_known_backend_says_whether_it_works_here() -> None:
    found = registry.available()
    assert tuple(found) == registry.NAMES
    assert found["memory"] is None


def test_memory_is_never_chosen_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(BackendError, match=r"works on Windows only, this is darwin.*works on Linux only"):
        registry.default_name()


@pytest.mark.skipif(sys.platform != "linux", reason="for other systems: netfilter is Linux's")
def test_what_is_not_for_this_system_is_no_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.backend_class("netfilter"), "unavailable_reason", lambda: "run as root")
    with pytest.raises(BackendError, match=r"^no interception backend works here: netfilter: run as root$"):
        registry.default_name()


def test_a_backend_of_another_system_is_known_but_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr("importlib.import_module", lambda _name: pytest.fail("imported"))
    with pytest.raises(BackendError, match="the netfilter backend works on Linux only, this is Windows"):
        registry.backend_class("netfilter")


def test_a_backend_that_cannot_work_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryBackend, "unavailable_reason", lambda: "the memory is full; empty it")
    with pytest.raises(BackendError, match="the memory backend cannot work here: the memory is full; empty it"):
        registry.create("memory")


@pytest.mark.skipif(sys.platform != "linux", reason="for other systems: netfilter is Linux's")
def test_linux_prefers_netfilter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.backend_class("netfilter"), "unavailable_reason", lambda: None)
    assert registry.default_name() == "netfilter"
    assert registry.create().name == "netfilter"
