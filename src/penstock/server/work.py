"""Indexing in threads of its own: questions keep theirs, and a process that must end does not wait for it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any, TypeVar

from penstock.errors import NotReady

__all__ = ["Stoppable", "Work"]

T = TypeVar("T")
PAGES_EVERY_S = 0.1  # that somebody is told which page is read


class Work:
    """The threads that are indexing."""

    def __init__(self) -> None:
        self.stop = threading.Event()  # what is being indexed now is given up
        self._threads: list[threading.Thread] = []

    def start(self, function: Callable[[], object]) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        context = copy_context()  # who is acting, among other things
        thread = threading.Thread(target=lambda: context.run(function), daemon=True)
        self._threads.append(thread)
        thread.start()

    async def run(self, function: Callable[[], T]) -> T:
        """What the function returns or raises. It goes on when the one who waits for it is cancelled."""
        promise = Future[T]()
        promise.set_running_or_notify_cancel()

        def work() -> None:
            try:
                promise.set_result(function())
            except BaseException as error:  # handed to the one who waits
                promise.set_exception(error)

        self.start(work)
        return await asyncio.wrap_future(promise)

    def end(self, *, within_s: float) -> bool:
        """Ask all of it to stop. Returns whether it has: a slow web server or one long text can hold a thread."""
        self.stop.set()
        until = time.monotonic() + within_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        return not self.busy

    @property
    def busy(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)


class Stoppable:
    """Progress that nobody follows. It gives up the build once the server is stopping and has waited long enough."""

    def __init__(self, work: Work) -> None:
        self._stop, self._paged = work.stop, 0.0

    def start(self, files: int) -> None: ...

    def file(self, name: str) -> None:
        self.told(step="reading")

    def page(self, number: int, pages: int) -> None:
        if number in (1, pages) or time.monotonic() - self._paged >= PAGES_EVERY_S:
            self._paged = time.monotonic()
            self.told(step="reading", page=number, pages=pages)

    def passages(self, done: int) -> None:
        self.told(step="indexing", passages=done)

    def told(self, **values: Any) -> None:
        if self._stop.is_set():
            raise NotReady("the server is stopping and could not wait for this")
