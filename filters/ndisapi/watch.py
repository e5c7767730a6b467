"""A thread that acts whenever something may have changed."""

import threading
from collections.abc import Callable


class Watch:
    """Waits and acts in turns until it is stopped; what ``act`` raises ends it and is kept."""

    def __init__(self, name: str, wait: Callable[[], object], act: Callable[[], None]) -> None:
        """*wait* returns when it is time; whoever calls ``stop`` makes it return."""
        self.name = name
        self._wait = wait
        self._act = act
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.failure: BaseException | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self, wake: Callable[[], object]) -> None:
        """End the thread; *wake* ends its wait."""
        self._stopping = True
        wake()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        try:
            while True:
                self._wait()
                if self._stopping:
                    return
                self._act()
        except BaseException as error:
            self.failure = error
