"""Batches as they are kept: what was asked, what has come of each line, and in the end two files of JSON Lines.

The result of a line is in the database before it counts as done. So a process that is killed loses no line, and only
those that were on their way are asked again.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Final, Literal, NamedTuple

import orjson

from penstock.errors import BadRequest, NotFound
from penstock.jobs.files import Files, Kept, insert, new_id
from penstock.storage.database import Database
from penstock.storage.files import new_file

__all__ = ["Batch", "Batches", "End", "Line", "Problem", "Result", "Status"]

Status = Literal[
    "validating", "in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled"
]  # fmt: skip
ENDED: Final = ("completed", "failed", "expired", "cancelled")
MOST_LINES = 50_000
MOST_PROBLEMS = 100  # that are told of one file

_COLUMNS = (
    "id, owner, endpoint, input, window, metadata, keep_s, status, created, expires, times, total, completed, failed, "
    "problems, output, errors"
)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a batch, or with a line of its file."""

    code: str
    message: str
    line: int | None = None  # counted from 1
    param: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Many requests of one key. Times are Unix times."""

    id: str
    owner: str  # the name of the key
    endpoint: str
    input_id: str
    window: str  # as it was asked for: "24h"
    metadata: Mapping[str, str]
    keep_s: float  # how long its output is kept; 0: for ever
    status: Status
    created: float
    expires: float
    times: Mapping[str, float] = field(default_factory=dict)  # when it came into a status
    total: int = 0
    completed: int = 0
    failed: int = 0
    problems: tuple[Problem, ...] = ()
    output_id: str = ""
    errors_id: str = ""


class Line(NamedTuple):
    """One request of a batch."""

    number: int  # counted from 1
    custom_id: str
    body: Mapping[str, Any]


class Result(NamedTuple):
    """What came of a line: a line of the output file, or of the errors."""

    line: int
    ok: bool
    data: bytes  # JSON without its line break


class End(NamedTuple):
    """How a batch ends, and what is said of the lines that nobody has asked."""

    status: Literal["completed", "failed", "expired", "cancelled"]
    code: str = ""
    message: str = ""


class Batches:
    """The batches of all keys. Raises NotFound for one of another key, as for one that is not there."""

    def __init__(self, database: Database, files: Files) -> None:
        self._database, self._files = database, files
        self.told: Callable[[], object] = lambda: None  # is called when there is a new batch

    # ---------------------------------------------------------------- for callers

    def create(
        self,
        owner: str,
        *,
        endpoint: str,
        input_id: str,
        window: str,
        window_s: float,
        metadata: Mapping[str, str],
        keep_s: float = 0.0,
    ) -> Batch:
        """Raises NotFound for an input file that the key has not, BadRequest for one that is for something else."""
        self._files.migrate()
        if self._files.get(input_id, owner).purpose != "batch":
            raise BadRequest(f"the file '{input_id}' is not for batches", hint="upload it with purpose=batch")
        now = time.time()
        batch = Batch(
            new_id("batch_"), owner, endpoint, input_id, window, metadata, keep_s, "validating", now, now + window_s
        )
        with self._database.write() as w:
            w.execute(
                f"insert into batches ({_COLUMNS}, ended) values ({', '.join('?' * 18)})",  # noqa: S608
                (
                    batch.id, owner, endpoint, input_id, window, _json(metadata), keep_s, batch.status, now,
                    batch.expires, "{}", 0, 0, 0, "[]", "", "", 0,
                ),
            )  # fmt: skip
        self.told()
        return batch

    def get(self, id: str, owner: str) -> Batch:  # noqa: A002  as it is called everywhere
        batch = self.find(id)
        if batch is None or batch.owner != owner:
            raise NotFound(f"there is no batch '{id}'")
        return batch

    def list(self, owner: str, *, after: str = "", limit: int = 20) -> tuple[list[Batch], bool]:
        """The latest first, and whether there are more. after: the id of the last one that was seen."""
        self._files.migrate()
        rows = self._database.read(
            f"select {_COLUMNS} from batches where owner = ?"  # noqa: S608
            " and (? = '' or rowid < (select rowid from batches where id = ?)) order by rowid desc limit ?",
            (owner, after, after, limit + 1),
        )
        return [_batch(row) for row in rows[:limit]], len(rows) > limit

    def latest(self, *, limit: int) -> Sequence[Batch]:
        """Those of all keys, the latest first."""
        self._files.migrate()
        rows = self._database.read(f"select {_COLUMNS} from batches order by rowid desc limit ?", (limit,))  # noqa: S608
        return [_batch(row) for row in rows]

    def cancel(self, id: str, owner: str) -> Batch:  # noqa: A002
        """Ask for the end of a batch. What is on its way is waited for. Raises BadRequest for one that has ended."""
        if (status := self.get(id, owner).status) in ENDED:
            raise BadRequest(f"the batch '{id}' has ended: it is {status}")
        self._move(id, "cancelling", only=("validating", "in_progress"))
        return self.get(id, owner)

    # ---------------------------------------------------------------- for whoever runs them

    def find(self, id: str) -> Batch | None:  # noqa: A002
        """A batch, whoever it belongs to."""
        self._files.migrate()
        rows = self._database.read(f"select {_COLUMNS} from batches where id = ?", (id,))  # noqa: S608
        return _batch(rows[0]) if rows else None

    def unfinished(self) -> Sequence[str]:
        """The ids of those that have not ended, the oldest first."""
        self._files.migrate()
        return [row[0] for row in self._database.read("select id from batches where ended = 0 order by rowid")]

    def check(self, batch: Batch) -> Batch:
        """Read the input file. The batch is in progress then, or failed, and says what is wrong with which line."""
        total, problems = _checked(self._input(batch), batch.endpoint)
        if problems:
            return self._end(batch, End("failed"), problems=problems)
        self._move(batch.id, "in_progress", only=("validating",), total=total)
        return self.find(batch.id) or batch

    def left(self, batch: Batch) -> Iterator[Line]:
        """The lines that have no result yet, read one after the other."""
        done = {row[0] for row in self._database.read("select line from batch_results where batch = ?", (batch.id,))}
        for line in _lines(self._input(batch)):
            if line.number not in done:
                yield line

    def record(self, id: str, results: Sequence[Result]) -> Status:  # noqa: A002
        """Keep results. When this returns they are on the disk, and counted. Returns the status of the batch by now."""
        with self._database.write() as w:
            for ok in (True, False):
                rows = [(id, result.line, ok, result.data) for result in results if result.ok is ok]
                kept = (
                    w.executemany("insert or ignore into batch_results values (?, ?, ?, ?)", rows).rowcount
                    if rows
                    else 0
                )
                column = "completed" if ok else "failed"
                if kept > 0:
                    w.execute(f"update batches set {column} = {column} + ? where id = ?", (kept, id))  # noqa: S608
            found: Status = w.execute("select status from batches where id = ?", (id,)).fetchone()[0]
        return found

    def finish(self, batch: Batch, end: End) -> Batch:
        """Write the output and the errors, and end the batch. Lines without a result are errors with the end's code."""
        if end.status == "completed":
            self._move(batch.id, "finalizing", only=("in_progress", "cancelling"))
        problems = (Problem(end.code, end.message),) if end.status == "failed" else ()
        return self._end(batch, end, problems=problems)

    def _end(self, batch: Batch, end: End, *, problems: Sequence[Problem]) -> Batch:
        now = time.time()
        output = Kept(
            new_id("file-"), batch.owner, f"{batch.id}_output.jsonl", "batch_output", 0, now,
            now + batch.keep_s if batch.keep_s else 0.0,
        )  # fmt: skip
        errors = replace(output, id=new_id("file-"), name=f"{batch.id}_error.jsonl")
        paths = [self._files.path(file.id) for file in (output, errors)]
        with new_file(paths[0]) as good, new_file(paths[1]) as bad:
            self._write(batch, end, good, bad)
        sizes = [path.stat().st_size for path in paths]
        with self._database.write() as w:
            ids = []
            for file, size in zip((output, errors), sizes, strict=True):
                ids.append(file.id if size else "")
                if size:
                    insert(w, replace(file, bytes=size))
            w.execute("delete from batch_results where batch = ?", (batch.id,))
            said = _json([_plain(problem) for problem in problems])
            w.execute(
                "update batches set problems = ?, output = ?, errors = ?, ended = 1 where id = ?",
                (said, *ids, batch.id),
            )
            _update_status(w, batch.id, end.status)
        for path, size in zip(paths, sizes, strict=True):
            if not size:
                path.unlink(missing_ok=True)
        return self.find(batch.id) or batch

    def _write(self, batch: Batch, end: End, output: IO[bytes], errors: IO[bytes]) -> None:
        """The lines that have a result, in their order; then, as errors, those that have none."""
        done: set[int] = set()
        last = 0
        while rows := self._database.read(
            "select line, ok, result from batch_results where batch = ? and line > ? order by line limit 500",
            (batch.id, last),
        ):
            for number, ok, result in rows:
                (output if ok else errors).write(result + b"\n")
                done.add(number)
                last = number
        if not end.code or not batch.total:
            return
        error = {"code": end.code, "message": end.message}
        for line in _lines(self._input(batch)):
            if line.number not in done:
                value = {"id": new_id("batch_req_"), "custom_id": line.custom_id, "response": None, "error": error}
                errors.write(orjson.dumps(value) + b"\n")

    def _move(self, id: str, status: Status, *, only: Sequence[str], total: int | None = None) -> None:  # noqa: A002
        with self._database.write() as w:
            (now,) = w.execute("select status from batches where id = ?", (id,)).fetchone()
            if now not in only:
                return
            if total is not None:
                w.execute("update batches set total = ? where id = ?", (total, id))
            _update_status(w, id, status)

    def _input(self, batch: Batch) -> Path:
        return self._files.path(batch.input_id)


def _update_status(w: sqlite3.Connection, id: str, status: Status) -> None:  # noqa: A002
    w.execute(
        "update batches set status = ?, times = json_set(times, ?, ?) where id = ?",
        (status, f"$.{status}_at", time.time(), id),
    )


def _batch(row: Sequence[Any]) -> Batch:
    (
        id_, owner, endpoint, input_id, window, metadata, keep_s, status, created, expires, times, total, completed, failed,
        problems, output, errors,
    ) = row  # fmt: skip
    return Batch(
        id_, owner, endpoint, input_id, window, orjson.loads(metadata), keep_s, status, created, expires, orjson.loads(times),
        total, completed, failed, tuple(Problem(**problem) for problem in orjson.loads(problems)), output, errors,
    )  # fmt: skip


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _plain(problem: Problem) -> dict[str, Any]:
    return {"code": problem.code, "message": problem.message, "line": problem.line, "param": problem.param}


# ---------------------------------------------------------------- the input file


def _rows(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        for number, data in enumerate(file, 1):
            if data.strip():
                yield number, data


def _lines(path: Path) -> Iterator[Line]:
    """Of a file that was checked."""
    for number, data in _rows(path):
        value = orjson.loads(data)
        yield Line(number, value["custom_id"], value["body"])


def _checked(path: Path, endpoint: str) -> tuple[int, list[Problem]]:
    """How many lines there are, and what is wrong with them."""
    seen: set[str] = set()
    problems: list[Problem] = []
    total = 0
    for number, data in _rows(path):
        total += 1
        if total > MOST_LINES:
            problems.append(Problem("too_many_lines", f"the file has more than {MOST_LINES} requests"))
            break
        if problem := _problem(number, data, endpoint, seen):
            problems.append(problem)
            if len(problems) == MOST_PROBLEMS:
                break
    if not total:
        problems.append(Problem("empty_file", "the file has no requests"))
    return total, problems


def _problem(number: int, data: bytes, endpoint: str, seen: set[str]) -> Problem | None:
    """What is wrong with a line. Its custom_id is added to those seen."""
    try:
        value = orjson.loads(data)
    except ValueError:
        return Problem("invalid_json_line", "this line is not valid JSON", number)
    if not isinstance(value, dict):
        return Problem("invalid_json_line", "this line is not a JSON object", number)
    custom_id, body = value.get("custom_id"), value.get("body")
    if not isinstance(custom_id, str) or not custom_id:
        return Problem("missing_required_parameter", "'custom_id' must be a text", number, "custom_id")
    if custom_id in seen:
        return Problem("duplicate_custom_id", "another line has this 'custom_id' already", number, "custom_id")
    seen.add(custom_id)
    if value.get("method") != "POST":
        return Problem("invalid_method", "'method' must be POST", number, "method")
    if value.get("url") != endpoint:
        return Problem("invalid_url", f"'url' must be the batch's endpoint, {endpoint}", number, "url")
    if not isinstance(body, dict):
        return Problem("missing_required_parameter", "'body' must be an object", number, "body")
    if not isinstance(body.get("model"), str):
        return Problem("missing_required_parameter", "'body.model' must name a model", number, "body.model")
    if body.get("stream"):
        return Problem("invalid_request", "a batch has no streams: leave out 'stream'", number, "body.stream")
    return None
