"""Embeddings of several callers in one call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import PenstockError, UpstreamBusy, UpstreamError, UpstreamRefused
from penstock.models.micro import Batched
from penstock.types import ModelEvent, ModelRequest, Record, Stopped, Usage, Wire


@dataclass
class Lengths:
    """An embedder whose vectors are the lengths of the texts, one token for each character."""

    pause_s: float = 0.0
    bad: str = "\0"
    error: PenstockError | None = None
    calls: list[Any] = field(default_factory=list)
    running: int = 0

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        given = request.body["input"]
        texts = [given] if isinstance(given, str) else given
        self.calls.append(texts)
        self.running += 1
        try:
            await asyncio.sleep(self.pause_s)
            if self.error:
                raise self.error
            if any(self.bad in text for text in texts):
                raise UpstreamRefused("a text that cannot be read")
            rows = [{"object": "embedding", "index": n, "embedding": [len(text)]} for n, text in enumerate(texts)]
            tokens = sum(map(len, texts))
            usage = {"prompt_tokens": tokens, "total_tokens": tokens}
            yield Wire(orjson.dumps({"object": "list", "model": "m", "data": rows[::-1], "usage": usage}))
            yield Stopped(Usage(tokens))
        finally:
            self.running -= 1


def ask(given: Any, **more: Any) -> ModelRequest:
    return ModelRequest(
        dialect="embeddings", model="m", body={"model": "m", "input": given, **more}, record=Record("t")
    )


async def vectors(model: Any, request: ModelRequest) -> list[int]:
    """The numbers of the answer, in order, having checked that it hangs together."""
    events = [event async for event in model.stream(request)]
    assert [type(event) for event in events] == [Wire, Stopped]
    answer = orjson.loads(events[0].data)
    assert answer["usage"]["prompt_tokens"] == events[1].usage.input_tokens
    assert sorted(row["index"] for row in answer["data"]) == list(range(len(answer["data"])))
    return [row["embedding"][0] for row in sorted(answer["data"], key=lambda row: row["index"])]


def test_requests_that_come_together_are_one_call_and_each_gets_its_own():
    async def run() -> None:
        inner = Lengths()
        model = Batched(inner)
        found = await asyncio.gather(*(vectors(model, ask(given)) for given in ("a", ["bb", "ccc"], "dddd")))

        assert found == [[1], [2, 3], [4]]
        assert inner.calls == [["a", "bb", "ccc", "dddd"]]
        assert model._lines == {}

    asyncio.run(run())


def test_what_comes_while_a_call_runs_goes_with_the_next():
    async def run() -> None:
        inner = Lengths(pause_s=0.02)
        model = Batched(inner)
        first = asyncio.create_task(vectors(model, ask("a")))
        await asyncio.sleep(0.01)
        others = [asyncio.create_task(vectors(model, ask("b" * n))) for n in (2, 3)]
        assert [await first, *await asyncio.gather(*others)] == [[1], [2], [3]]
        assert inner.calls == [["a"], ["bb", "bbb"]]

    asyncio.run(run())


def test_no_call_has_more_texts_than_allowed_save_that_of_one_request():
    async def run() -> None:
        inner = Lengths()
        model = Batched(inner, most=3)
        await asyncio.gather(*(vectors(model, ask(given)) for given in (["a"] * 5, "b", ["c"] * 2, "d")))

        assert sorted(map(len, inner.calls)) == [1, 3, 5]

    asyncio.run(run())


def test_requests_with_other_options_or_other_inputs_are_not_joined():
    async def run() -> None:
        inner = Lengths()
        model = Batched(inner)
        await asyncio.gather(
            vectors(model, ask("a")), vectors(model, ask("b", dimensions=2)), vectors(model, ask("c", user="somebody"))
        )
        assert sorted(inner.calls) == [["a", "c"], ["b"]]

    asyncio.run(run())


def test_one_bad_text_fails_only_its_own_request():
    async def run() -> None:
        inner = Lengths(bad="x")
        model = Batched(inner)
        found = await asyncio.gather(
            vectors(model, ask("a")), vectors(model, ask("x")), vectors(model, ask("bb")), return_exceptions=True
        )
        assert (found[0], found[2]) == ([1], [2])
        assert isinstance(found[1], UpstreamRefused)

    asyncio.run(run())


def test_a_server_that_has_too_much_to_do_is_not_asked_again_for_each():
    async def run() -> None:
        inner = Lengths(error=UpstreamBusy("wait"))
        model = Batched(inner)
        found = await asyncio.gather(*(vectors(model, ask("a")) for _ in range(4)), return_exceptions=True)
        assert all(isinstance(error, UpstreamBusy) for error in found)
        assert len(inner.calls) == 1

    asyncio.run(run())


@pytest.mark.parametrize("answer", [b"no", b"{}", b'{"data": []}', b'{"data": [{"index": 0}]}', b"[]", b'{"data": 3}'])
def test_an_answer_without_a_vector_for_each_text_is_an_error(answer: bytes):
    class Odd:
        async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
            if isinstance(request.body["input"], str):
                raise UpstreamError("alone")
            yield Wire(answer)
            yield Stopped(Usage())

    async def run() -> None:
        model = Batched(Odd())
        found = await asyncio.gather(vectors(model, ask("a")), vectors(model, ask("b")), return_exceptions=True)
        assert all(isinstance(error, UpstreamError) for error in found)

    asyncio.run(run())


def test_a_caller_who_leaves_takes_nothing_from_the_others():
    async def run() -> None:
        inner = Lengths(pause_s=0.01)
        model = Batched(inner)
        tasks = [asyncio.create_task(vectors(model, ask("a" * n))) for n in (1, 2)]
        await asyncio.sleep(0.006)
        tasks[0].cancel()
        assert await tasks[1] == [2]

    asyncio.run(run())


@pytest.mark.parametrize("moment_s", [0.0, 0.001, 0.004, 0.006, 0.01])
def test_when_all_have_left_nothing_runs_any_more(moment_s: float):
    async def run() -> None:
        inner = Lengths(pause_s=10)
        model = Batched(inner)
        tasks = [asyncio.create_task(vectors(model, ask("a"))) for _ in range(3)]
        await asyncio.sleep(moment_s)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

        assert inner.running == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert model._lines == {}

    asyncio.run(run())


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.lists(st.text("abc", max_size=5), min_size=1, max_size=4), min_size=1, max_size=8),
    st.integers(1, 6),
    st.integers(1, 3),
)
def test_joined_or_not_every_request_gets_its_vectors_and_the_shares_add_up(
    requests: list[list[str]], most: int, at_once: int
):
    async def run() -> None:
        inner = Lengths()
        model = Batched(inner, most=most, wait_s=0, at_once=at_once)
        used = 0

        async def one(texts: list[str]) -> list[int]:
            nonlocal used
            events = [event async for event in model.stream(ask(texts))]
            used += events[-1].usage.input_tokens
            rows = sorted(orjson.loads(events[0].data)["data"], key=lambda row: row["index"])
            return [row["embedding"][0] for row in rows]

        found = await asyncio.gather(*map(one, requests))
        assert found == [[len(text) for text in texts] for texts in requests]
        assert used == sum(len(text) for texts in requests for text in texts)

    asyncio.run(run())
