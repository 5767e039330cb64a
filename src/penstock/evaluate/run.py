"""Cases put to whoever answers, and the answers to the scorers: several at a time, in an order that is always the same.

First all cases are asked, once each before any is asked again; then all answers are scored, so that scoring slows no answer down
whose time is measured. What is done stays done: a run that is broken off can go on later.
"""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from penstock.errors import Blocked, BudgetSpent, NeedsKey, NotAllowed, NotFound, PenstockError
from penstock.evaluate.cases import Case, Cases, Reply
from penstock.evaluate.scored import Scored, Scorer, unscored

__all__ = ["Ask", "Row", "Tick", "planned", "run"]

Ask = Callable[[Case, int], Awaitable[Reply]]  # the second is the number of the trial, from 0; raises PenstockError
Tick = Callable[[str], object]  # told "asked" or "scored" after each

RETRIES: Final = 2  # of what may go better the next time
LONGEST_WAIT_S: Final = 30.0
FATAL: Final = (BudgetSpent, NeedsKey, NotAllowed, NotFound)  # no other case would fare better


@dataclass(slots=True)
class Row:
    """One case, asked once. Filled as a run goes on."""

    case: Case
    trial: int = 0
    reply: Reply | None = None
    scores: dict[str, Scored] = field(default_factory=dict)


def planned(cases: Cases, *, repeats: int = 1, ask: bool = True) -> list[Row]:
    """The rows of a run, all first trials before all second ones. Without `ask`, those of the answers that the rows bring."""
    if ask:
        return [Row(case, trial) for trial in range(repeats) for case in cases.cases]
    most = max(map(len, cases.given.values()), default=0)
    return [
        Row(case, trial, replies[trial])
        for trial in range(most)
        for case in cases.cases
        if len(replies := cases.given.get(case.id, ())) > trial
    ]


async def run(
    rows: Sequence[Row], scorers: Sequence[Scorer], ask: Ask | None = None, *, concurrent: int = 4, threads: int = 0,
    tick: Tick = lambda what: None,
) -> None:  # fmt: skip
    """Fill what the rows lack: replies first, scores then. threads: for scorers that compute; 0: one a core, eight at most.

    An error of one case is the reply to it. Raises what would befall all of them: no money left, no such target.
    """
    if ask is not None:
        await _each([row for row in rows if row.reply is None], lambda row: _ask(row, ask, tick), concurrent)
    waiting = [row for row in rows if row.reply is not None and any(s.about.name not in row.scores for s in scorers)]
    threads = threads or min(os.cpu_count() or 1, 8)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="score")
    try:
        await _each(waiting, lambda row: _score(row, scorers, pool, tick), max(concurrent, threads))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


async def _each(rows: Sequence[Row], work: Callable[[Row], Awaitable[None]], concurrent: int) -> None:
    """Work on rows, so many at a time, in their order. The first error ends it."""
    waiting: Iterator[Row] = iter(rows)

    async def worker() -> None:
        for row in waiting:
            await work(row)

    tasks = [asyncio.ensure_future(worker()) for _ in range(min(max(1, concurrent), len(rows)))]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _ask(row: Row, ask: Ask, tick: Tick) -> None:
    for again in range(RETRIES + 1):
        try:
            row.reply = await ask(row.case, row.trial)
            break
        except Blocked as error:
            row.reply = Reply(text=error.said, state="refused", error=error.code)
            break
        except FATAL:
            raise
        except PenstockError as error:
            if not error.retryable or again == RETRIES:
                row.reply = Reply(state="failed", error=error.code)
                break
            await asyncio.sleep(min(error.retry_after_s or 0.5 * 2**again, LONGEST_WAIT_S))
    tick("asked")


async def _score(row: Row, scorers: Sequence[Scorer], pool: ThreadPoolExecutor, tick: Tick) -> None:
    left = [scorer for scorer in scorers if scorer.about.name not in row.scores]
    first = await asyncio.get_running_loop().run_in_executor(pool, _scored, row, left)
    found: dict[str, Scored] = {}
    for scorer, one in zip(left, first, strict=True):
        if not isinstance(one, Scored):
            try:
                one = await one
            except Exception as error:  # whatever others' code raises: this score has no value
                one = _failed(error)
        found[scorer.about.name] = one
    row.scores = {**row.scores, **found}
    tick("scored")


def _scored(row: Row, scorers: Sequence[Scorer]) -> list[Scored | Awaitable[Scored]]:
    assert row.reply is not None, "asked before it is scored"
    found: list[Scored | Awaitable[Scored]] = []
    for scorer in scorers:
        try:
            one = scorer.score(row.case, row.reply)
            if not isinstance(one, Scored) and not inspect.isawaitable(one):
                raise TypeError(f"{scorer.about.name} gave {type(one).__name__} and no score")
        except Exception as error:  # whatever others' code raises: this score has no value
            one = _failed(error)
        found.append(one)
    return found


def _failed(error: Exception) -> Scored:
    return unscored(f"the scorer failed: {error.message if isinstance(error, PenstockError) else repr(error)}"[:500])
