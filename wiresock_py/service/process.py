"""The worker as a process of its own."""

import subprocess
import sys

# -P: the folder the user happens to be in has no say in what root imports
WORKER = (sys.executable, "-P", "-m", "wiresock_py.service.worker")

if sys.platform == "win32":
    NEW_PROCESS_GROUP = subprocess.CREATE_NEW_PROCESS_GROUP
else:
    NEW_PROCESS_GROUP = 0


def start_worker() -> "subprocess.Popen[bytes]":
    """A new worker. It loads what it needs, then waits for its options; one that is told nothing ends by itself."""
    # its own process group: Ctrl+C is the supervisor's to receive
    return subprocess.Popen(
        WORKER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0, creationflags=NEW_PROCESS_GROUP
    )
