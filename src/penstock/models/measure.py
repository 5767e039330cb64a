"""How fast a model is, as a caller feels it: first piece, tokens per second, errors and money. Asked for real."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from penstock.errors import PenstockError
from penstock.models.translate import read
from penstock.text.languages import gap, language_of
from penstock.types import Model, ModelRequest, Record, Stopped, TextDelta, Usage

__all__ = ["Case", "Measured", "measure"]

QUESTION = "Name three things that a good manual has, and say in one sentence for each why it has it."


@dataclass(frozen=True, slots=True)
class Measured:
    """What a number of requests showed. Times in milliseconds; a percentile of nothing is 0."""

    model: str
    requests: int
    concurrent: int
    errors: Mapping[str, int] = field(default_factory=dict)  # code -> how many
    first_ms: tuple[float, float, float] = (0.0, 0.0, 0.0)  # median, 95th percentile, longest
    total_ms: tuple[float, float, float] = (0.0, 0.0, 0.0)
    tokens_per_s: float = 0.0  # of one answer, median
    all_tokens_per_s: float = 0.0  # of all that ran at the same time
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    right: int | None = None  # answers that hold what was expected; None where nobody said what
    escalated: int = 0  # answers of a cascade that the strong model had to give
    by_language: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # (right, answered), where right was said

    @property
    def gap(self) -> float:
        """How much lower the share of right answers is in the worst language than in English. 0 to 1."""
        return gap({language: right / max(1, asked) for language, (right, asked) in self.by_language.items()})


@dataclass(frozen=True, slots=True)
class Case:
    """A question, and words that a right answer holds; "" where any answer will do."""

    question: str
    expected: str = ""
    lang: str = ""  # ISO 639-1; "": told from the words of the question

    @property
    def language(self) -> str:
        return self.lang or language_of(self.question) or "en"


async def measure(
    name: str,
    model: Model,
    *,
    requests: int = 10,
    concurrent: int = 1,
    max_tokens: int = 128,
    cases: Sequence[Case] = (Case(QUESTION),),
    done: Callable[[], None] = lambda: None,
) -> Measured:
    """Ask a model so many times, streamed, one case after the other and then from the first again.

    An answer is right that holds what was expected, letter case and spaces aside. Raises nothing that the model raises:
    errors are counted by their code.
    """
    firsts: list[float] = []
    totals: list[float] = []
    speeds: list[float] = []
    errors: Counter[str] = Counter()
    usages: list[Usage] = []
    languages: dict[str, tuple[int, int]] = {}
    cost = right = escalated = 0
    waiting = iter(range(requests))

    async def ask(case: Case) -> None:
        nonlocal cost, right, escalated
        record, said = Record("measure"), []
        began, first, usage = time.perf_counter(), 0.0, Usage()
        try:
            request = _request(name, case.question, max_tokens, record)
            async with aclosing(read(model.stream(request), request)) as events:
                async for event in events:
                    first = first or time.perf_counter()
                    if isinstance(event, Stopped):
                        usage = event.usage
                    elif isinstance(event, TextDelta):
                        said.append(event.text)
        except PenstockError as error:
            errors[error.code] += 1
            return
        finally:
            cost += sum(call.cost_pico_usd for call in record.calls)
            escalated += record.escalated
        ended = time.perf_counter()
        firsts.append((first - began) * 1000)
        totals.append((ended - began) * 1000)
        usages.append(usage)
        is_right = _plain(case.expected) in _plain("".join(said))
        right += is_right
        if case.expected:
            known, answered = languages.get(case.language, (0, 0))
            languages[case.language] = known + is_right, answered + 1
        if usage.output_tokens > 1 and ended > first:
            speeds.append((usage.output_tokens - 1) / (ended - first))

    async def work() -> None:
        for n in waiting:
            await ask(cases[n % len(cases)])
            done()

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(min(concurrent, requests))))
    took_s = time.perf_counter() - began
    made = sum(usage.output_tokens for usage in usages)
    return Measured(
        name,
        requests,
        concurrent,
        dict(errors),
        _spread(firsts),
        _spread(totals),
        round(statistics.median(speeds), 1) if speeds else 0.0,
        round(made / took_s, 1) if took_s else 0.0,
        sum(usage.input_tokens for usage in usages),
        made,
        cost / 1e12,
        right if any(case.expected for case in cases) else None,
        escalated,
        dict(sorted(languages.items(), key=lambda one: (one[0] != "en", one[0]))),
    )


def _request(name: str, question: str, max_tokens: int, record: Record) -> ModelRequest:
    messages = [{"role": "user", "content": question}]
    body: dict[str, Any] = {"model": name, "messages": messages, "max_tokens": max_tokens, "stream": True}
    return ModelRequest(dialect="chat", model=name, body=body, stream=True, record=record)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _spread(values: list[float]) -> tuple[float, float, float]:
    if not values:
        return 0.0, 0.0, 0.0
    ordered = sorted(values)
    high = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    return round(statistics.median(ordered), 1), round(high, 1), round(ordered[-1], 1)
