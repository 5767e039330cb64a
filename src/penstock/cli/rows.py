"""Rows of JSON Lines: one out for each one in, in order, however many are worked on at the same time."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any, BinaryIO

import click

from penstock.errors import BadRequest, PenstockError

__all__ = ["Row", "answer_rows", "parsed_rows", "text_of"]

Row = dict[str, Any]
AHEAD = 64  # rows that are worked on before the first of them is written


def answer_rows(rows: BinaryIO, work: Callable[[Row], Row], *, unit: str, threads: int = 1) -> None:
    """Write what becomes of each row. One that cannot be worked on comes back with an `error` and the number of its line, and
    does not stop the others. Empty lines are passed over."""
    bar: Any = nullcontext(rows)
    if sys.stderr.isatty() and rows is not sys.stdin.buffer:
        from tqdm import tqdm

        bar = tqdm(rows, unit=unit, leave=False)
    with bar as lines:
        numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
        for done in _each(lambda one: _answered(work, *one), numbered, threads):
            click.echo(json.dumps(done, ensure_ascii=False))


def parsed_rows(rows: BinaryIO) -> Iterator[tuple[int, Row]]:
    """(number of its line, row) for each. Raises BadRequest, which names the line, for what is no JSON object."""
    for number, line in enumerate(rows, 1):
        if line.strip():
            try:
                row = _parsed(line)
            except BadRequest as error:
                raise BadRequest(f"line {number}: {error.message}") from error
            if not isinstance(row, dict):
                raise BadRequest(f"line {number} is no JSON object")
            yield number, row


def text_of(row: Row, name: str, *, needed: bool = True) -> str:
    """A text of a row. Raises BadRequest where it is none, or is not there and is needed."""
    value = row.get(name)
    if value is None and not needed:
        return ""
    if not isinstance(value, str):
        raise BadRequest(f"a row must have a text `{name}`" if value is None else f"`{name}` must be a text")
    return value.encode("utf-8", "replace").decode()  # half of a surrogate pair is no character


def _answered(work: Callable[[Row], Row], number: int, line: bytes) -> Row:
    row: Any = None
    try:
        row = _parsed(line)
        if not isinstance(row, dict):
            raise BadRequest("a row must be a JSON object")
        return work(row)
    except PenstockError as error:
        return (row if isinstance(row, dict) else {}) | error.body() | {"line": number}


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:  # of which wrong bytes are one kind
        raise BadRequest("the line is not JSON") from error


def _each(work: Callable[[Any], Row], items: Iterable[Any], threads: int) -> Iterator[Row]:
    if threads == 1:
        yield from map(work, items)
        return
    waiting: deque[Future[Row]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) == AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()
