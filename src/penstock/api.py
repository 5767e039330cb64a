"""The Python door: `p = Penstock.open("my/docs"); p.ask("…").citations`. Synchronous; the core beneath it is not."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from penstock.answer import whole
from penstock.config import Settings, load
from penstock.errors import NotFound
from penstock.types import Answer, Caller, Filter, Found, Message, Returned, Turn
from penstock.verify.rows import as_text

if TYPE_CHECKING:
    from penstock.assemble import House
    from penstock.documents.collection import Collection
    from penstock.documents.ingest import Progress, Report

T = TypeVar("T")

__all__ = ["Penstock", "one_thread_for_blas"]


class Penstock:
    """One collection of documents, opened. Use it in a `with` block, or call `close`."""

    def __init__(self, house: House, name: str) -> None:
        self.house, self.name = house, name

    @classmethod
    def open(
        cls,
        *places: str | Path,
        name: str | None = None,
        home: str | Path | None = None,
        settings: Settings | None = None,
        progress: Progress | None = None,
    ) -> Penstock:
        """Open files, folders or web pages to ask them. What is new or changed since the last time is indexed first.

        places: without any, the collection `name` as it is, or the only one there is.
        home: folder for the index, instead of the one the settings name.
        Raises NotFound for a place that does not exist, StorageError where the index cannot be written.
        """
        one_thread_for_blas()
        from penstock.assemble import assemble
        from penstock.documents.sources import existing

        given = existing([str(place) for place in places])  # before anything is made for them
        settings = settings or load(keys=False)
        if home:
            settings = replace(settings, home=str(Path(home).expanduser().resolve()))
        house = assemble(settings)
        if given:
            name = name or house.library.named_for(given)
            try:
                house.library.create(name, shared=False).add(given, progress=progress)
            except BaseException:
                house.close()
                raise
        elif name and name not in house.bots:
            house.library[name]  # raises NotFound, with the names there are
        return cls(house, name or _only(house))

    def ask(
        self,
        question: str,
        *,
        history: Sequence[Message] = (),
        caller: Caller | None = None,
        where: Filter | None = None,
        returned: Mapping[str, Any] | None = None,
        conversation: str = "",
    ) -> Answer:
        """Ask, and get the answer whole. history: the conversation so far, for follow-up questions. returned: the rows that your
        tools gave for the question, by the names of the tools, as JSON values or text; they come before the documents.
        conversation: with a bot, that of an answer before; its bot knows what was said."""
        given = tuple(Returned(name, as_text(rows)) for name, rows in (returned or {}).items())
        turn = Turn(question, caller or Caller(), tuple(history), where or {}, given, conversation=conversation)
        return _run(self._asked(turn))

    async def _asked(self, turn: Turn) -> Answer:
        try:
            return await whole(self.house.answerer(self.name).stream(turn))
        finally:
            self.house.clients.close()  # their loop ends here

    def search(self, question: str, *, k: int = 8, caller: Caller | None = None, where: Filter | None = None) -> Found:
        """The passages nearest to a question, with the scores of each part."""
        return self.documents.search(question, caller=caller or Caller(), k=k, where=where)

    @property
    def documents(self) -> Collection:
        """The collection itself: its documents and versions, and all that changes them."""
        return self.house.library[self.name]

    def sync(self, *, progress: Progress | None = None) -> Report:
        """Index what was added, changed, moved or deleted."""
        return self.documents.sync(progress=progress)

    def close(self) -> None:
        self.house.close()

    def __enter__(self) -> Penstock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Wait for a coroutine, in a thread of its own where a loop is running already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def _only(house: House) -> str:
    names = house.library.names()
    if len(names) == 1:
        return names[0]
    if not names:
        raise NotFound("nothing is indexed yet", hint="penstock docs add PATH, or penstock ask --in FOLDER")
    raise NotFound("there are several collections: say which", hint=", ".join(sorted(names)))


def one_thread_for_blas() -> None:
    """numpy's matrix library keeps idle threads spinning, which costs more than it gives for vectors of a few hundred numbers.

    Heeded only before numpy is loaded, and never against a choice that was made.
    """
    if "numpy" not in sys.modules:
        for library in ("OPENBLAS", "MKL", "OMP"):
            os.environ.setdefault(f"{library}_NUM_THREADS", "1")
