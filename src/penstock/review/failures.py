"""What becomes of what people found: a regression case, something to mend in the documents, rows to train on.

Only what is confirmed becomes anything: an item that is done, with a verdict that is a failure. Each row says where it comes from
and has the hash of its content; what is said twice is there once; the order is that in which the items came.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import orjson
from filelock import FileLock, Timeout

from penstock.config import iso
from penstock.errors import BadRequest, Conflict, NotFound, StorageError
from penstock.review.queue import Item, Queue
from penstock.review.store import Store
from penstock.storage.audit import Audit
from penstock.storage.files import new_file, storage_errors
from penstock.types import new_id

__all__ = ["Export", "Failures", "exported"]

Row = dict[str, Any]
Export = Literal["cases", "sft", "preference"]
LOCK_S = 10.0
ROLES = ("system", "user", "assistant")


class Failures:
    """Acts on confirmed failures, each kind once for an item. cases: the file that regression cases go to."""

    def __init__(self, store: Store, queue: Queue, audit: Audit, *, cases: Path) -> None:
        self._store, self._queue, self._audit, self.cases = store, queue, audit, cases

    def add_case(self, id: str, reviewer: str, *, to: Path | None = None, tags: Iterable[str] = ()) -> Row:  # noqa: A002
        """Append the item to the file of cases, from where it guards against the same failure. Done twice, it is there once."""
        item = self._failure(id)
        row = _case(item, tags)
        path = to or self.cases
        self._act(item, "case", reviewer, {})
        _append(path, row)
        return row

    def add_fix(self, id: str, reviewer: str, *, note: str = "") -> Row:  # noqa: A002
        """Note that the documents need mending: which documents and passages the answer rested on, and what is wrong."""
        item = self._failure(id)
        content = item.entry.content
        places = [{k: c[k] for k in ("source", "document", "passage") if c.get(k)} for c in content.citations]
        words = {"question": content.question, "places": places, "note": note, "correction": item.correction}
        number = self._act(item, "index_fix", reviewer, words)
        return {"id": number, "item": item.id, "verdict": item.verdict, **words}

    def fixes(self, *, done: bool = False) -> list[Row]:
        """What is to be mended, or what was, in the order in which it was noted."""
        rows = self._store.read(
            "select id, item, reviewer, words, at, ended from review_actions where kind = 'index_fix' and state = ?"
            " order by at, id",
            ("done" if done else "open",),
        )
        return [
            {
                "id": number,
                "item": item,
                "by": by,
                "at": iso(at),
                "ended": iso(ended),
                **self._store.opened(words, of=number),
            }
            for number, item, by, words, at, ended in rows
        ]

    def close_fix(self, id: str) -> None:  # noqa: A002
        """Say that it is mended. Raises NotFound."""
        with self._store.write() as w:
            closed = w.execute(
                "update review_actions set state = 'done', ended = ? where id = ? and kind = 'index_fix' and state = 'open'",
                (time.time(), id),
            )
            if not closed.rowcount:
                raise NotFound(f"there is nothing to mend by the id '{id}'")

    def _failure(self, id: str) -> Item:  # noqa: A002
        item = self._queue.item(id)
        if item.state != "done":
            raise Conflict("nobody has confirmed yet that this is a failure", hint="penstock review next")
        if not self._queue.is_wrong(item.verdict):
            raise BadRequest(f"the verdict is '{item.verdict}', which is no failure")
        if not item.entry.content.question:
            raise BadRequest("the words of this item are not kept", hint="keep_text in [apps.NAME]")
        return item

    def _act(self, item: Item, kind: str, reviewer: str, words: Mapping[str, Any]) -> str:
        """Note that it was done. Returns the id of the note, that of the first time where it was done before."""
        number = new_id()
        sealed = self._store.sealed(words, of=number)
        rows = self._store.read("select id from review_actions where item = ? and kind = ?", (item.id, kind))
        if rows:
            return str(rows[0][0])
        with self._audit.changing("review.acted", actor=reviewer, target=item.id, action=kind) as w:
            w.execute(
                "insert into review_actions values (?, ?, ?, ?, 'open', ?, ?, 0.0) on conflict (item, kind) do nothing",
                (number, item.id, kind, reviewer, sealed, time.time()),
            )
        return number


def exported(queue: Queue, kind: Export) -> tuple[list[Row], int]:
    """Rows of all items that are done, and how many had to be left out since their words are not kept.

    cases: of every failure. sft: what was right, and corrections of what was not, in the chat format of fine-tuning.
    preference: each correction before the answer that it corrects.
    """
    if kind not in get_args(Export):
        raise BadRequest(f"'{kind}' is no export", hint=", ".join(get_args(Export)))
    make: Callable[[Item], Row | None] = {"cases": _case, "sft": _tuning, "preference": _preference}[kind]
    rows: dict[str, Row] = {}
    left_out = 0
    for item in queue.items(state="done"):
        wrong = queue.is_wrong(item.verdict)
        if wrong is None or (kind != "sft" and not wrong):
            continue
        if not item.entry.content.question or (kind != "cases" and not item.entry.content.answer):
            left_out += 1
            continue
        row = make(item) if kind != "sft" or wrong else _said(item, item.entry.content.answer)
        if row is not None:
            rows.setdefault(row["origin"]["hash"], row)
    return list(rows.values()), left_out


def _case(item: Item, tags: Iterable[str] = ()) -> Row:
    content = item.entry.content
    said = dict.fromkeys((*tags, *(tag for one in item.judgements for tag in one.tags), item.verdict))
    row: Row = {"id": f"review-{item.id}", "question": content.question}
    if item.correction:
        row["expected"] = item.correction
    row |= {"not_expected": content.answer} if content.answer else {}
    row |= {"context": list(content.context)} if content.context else {}
    row |= {"history": before} if (before := _before(item)) else {}
    row |= {"language": content.language} if content.language else {}
    return row | {"tags": list(said), "origin": _origin(item, content.question, item.correction, content.answer)}


def _tuning(item: Item) -> Row | None:
    return _said(item, item.correction) if item.correction else None


def _said(item: Item, answer: str) -> Row:
    content = item.entry.content
    row: Row = {"messages": [*_asked(item), {"role": "assistant", "content": answer}]}
    row |= {"context": list(content.context)} if content.context else {}
    return row | {"origin": _origin(item, content.question, answer)}


def _preference(item: Item) -> Row | None:
    content = item.entry.content
    if not item.correction or _plain(item.correction) == _plain(content.answer):
        return None
    chosen, rejected = ([{"role": "assistant", "content": text}] for text in (item.correction, content.answer))
    row: Row = {"prompt": _asked(item), "chosen": chosen, "rejected": rejected}
    row |= {"context": list(content.context)} if content.context else {}
    return row | {"origin": _origin(item, content.question, item.correction, content.answer)}


def _asked(item: Item) -> list[dict[str, str]]:
    return [*_before(item), {"role": "user", "content": item.entry.content.question}]


def _before(item: Item) -> list[dict[str, str]]:
    """The conversation before the question, as far as it is one between a person and a model."""
    said = item.entry.content.history
    return [{"role": m["role"], "content": m["content"]} for m in said if m.get("role") in ROLES and m.get("content")]


def _origin(item: Item, *texts: str) -> Row:
    """Where a row comes from: no reviewer is named, only how many there were."""
    content = item.entry.content
    said = [
        *map(_plain, texts),
        *map(_plain, content.context),
        *(_plain(m.get("content", "")) for m in content.history),
    ]
    return {
        "item": item.id, "request": item.entry.request or None, "app": item.entry.app or None, "verdict": item.verdict,
        "reviewers": len(item.judgements), "at": iso(item.ended), "hash": hashlib.sha256(orjson.dumps(said)).hexdigest(),
    }  # fmt: skip


def _plain(text: str) -> str:
    return " ".join(text.split())


def _append(path: Path, row: Row) -> None:
    """Add a line to a file, unless a line with its id is there. The file is whole at every moment, and one at a time writes it."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{path}.lock", timeout=LOCK_S):
            with storage_errors(path):
                before = path.read_bytes() if path.exists() else b""
            if any(_id_of(line) == row["id"] for line in before.splitlines()):
                return
            with new_file(path) as out:
                out.write(before + (b"" if not before or before.endswith(b"\n") else b"\n") + orjson.dumps(row) + b"\n")
    except Timeout as error:
        raise StorageError(f"another process has been writing {path} for {LOCK_S:.0f} s", hint="try again") from error


def _id_of(line: bytes) -> str:
    try:
        row = orjson.loads(line)
    except ValueError:
        return ""
    return str(row.get("id", "")) if isinstance(row, dict) else ""
