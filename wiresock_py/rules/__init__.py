"""App matching, destination -> tunnel and peer, the capture plan. Pure: looks up no process and no network."""

from wiresock_py.rules.decision import Decision, Explanation, Reason
from wiresock_py.rules.names import Known, NameTable
from wiresock_py.rules.rules import Rules

__all__ = ["Decision", "Explanation", "Known", "NameTable", "Reason", "Rules"]
