"""The demo: what the client is for, done and seen, in the lab or, without rights, in memory."""

from wiresock_py.demo.story import Evidence, Stage, Story, perform, table

__all__ = ["Evidence", "Stage", "Story", "perform", "table"]
