"""Pages of PDF files for a server: drawn one at a time, in a process of its own that is ended when a page takes too long."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock, Timer
from typing import Any, Final

from penstock.documents.catalog import DocumentRow
from penstock.documents.printed import Asked, Printed
from penstock.errors import NotFound, NotReady, Unreadable

__all__ = ["Printer"]

LIMIT_S: Final = 5.0  # for one page
START_S: Final = 30.0  # for the process
RESTS_S: Final = 600.0  # how long a page that took too long is not tried again
CACHE_BYTES: Final = 32 << 20
MOST_PNG: Final = 64 << 20
AROUND: Final = 2_000  # characters before and after a quote that tell which of several places is meant
LONGEST: Final = 20_000  # characters of a quote that are marked; no passage is longer
MOST_TEXT: Final = 10_000_000  # characters of a document whose words are compared
PROGRAM: Final = "from penstock.documents.printed import draw_for_others; draw_for_others()"
KEPT: Final = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT")  # of the environment: no keys of others

Key = tuple[int, bytes, int, int, int]  # the document and what was in its file, the page, the quote


class Printer:
    """One process, from the first page on until `close`. It ends by itself when this one does, however that ends."""

    def __init__(self) -> None:
        self._drawing, self._keeping = Lock(), Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._kept: OrderedDict[Key, Printed] = OrderedDict()
        self._bytes = 0
        self._refused: dict[tuple[int, int], tuple[float, Unreadable]] = {}  # document and page -> until when, why

    def page(
        self,
        row: DocumentRow,
        text: str,
        number: int,
        *,
        start: int = 0,
        end: int = 0,
        unchanged: Callable[[bytes], bool] | None = None,
    ) -> Printed:
        """A page of a document with some of its characters marked. The caller has seen to it that its reader may read it.

        unchanged: whether a file with this digest is the one that was indexed; without it the words of the page have to be among
        those of the document. Raises NotFound for what is not there or has changed, Unreadable for a page that takes too long or
        ends the process, and NotReady, at once, while another page is drawn.
        """
        start, end = (start, min(end, start + LONGEST)) if end > start else (0, 0)
        key = row.id, row.content, number, start, end
        if found := self._cached(key):
            return found
        if unchanged is None and len(text) > MOST_TEXT:
            raise NotFound("nobody can tell whether the file has changed since it was read", hint="penstock docs sync")
        asked = Asked(
            row.file, number, text[start:end], text[max(0, start - AROUND) : start], text[end : end + AROUND],
            text if unchanged is None else None,
        )  # fmt: skip
        until, why = self._refused.get((row.id, number), (0.0, None))
        if why and time.monotonic() < until:
            raise Unreadable(why.message)
        if not self._drawing.acquire(blocking=False):
            raise NotReady("another page is being drawn", hint="try again in a moment", retry_after_s=1.0)
        try:
            found = self._drawn(asked)
        except Unreadable as error:
            now = time.monotonic()
            self._refused = {one: kept for one, kept in self._refused.items() if kept[0] > now}
            self._refused[row.id, number] = now + RESTS_S, error
            raise
        finally:
            self._drawing.release()
        if unchanged and not unchanged(found.content):
            raise NotFound("the file has changed since it was read", hint="penstock docs sync")
        self._keep(key, found)
        return found

    def close(self) -> None:
        """End the process, also in the middle of a page."""
        if process := self._process:
            process.kill()
        with self._drawing:
            self._end()

    def _drawn(self, asked: Asked) -> Printed:
        if self._process is None or self._process.poll() is not None:
            self._end()
            self._process = _started()
        process, began = self._process, time.monotonic()
        timer = Timer(LIMIT_S, process.kill)
        timer.start()
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(json.dumps(asked._asdict()).encode() + b"\n")
            process.stdin.flush()
            said: dict[str, Any] = json.loads(process.stdout.readline(10_000))
            if "error" in said:
                raise NotFound(said["error"], hint=said["hint"])
            size = min(int(said["bytes"]), MOST_PNG)
            png = process.stdout.read(size)
            if len(png) < size:
                raise EOFError
            return Printed(png, said["marked"], bytes.fromhex(said["content"]))
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            self._end()
            if time.monotonic() - began >= LIMIT_S:
                raise Unreadable(f"page {asked.page} takes longer than {LIMIT_S:g} s to draw") from error
            raise Unreadable(f"page {asked.page} cannot be drawn: what draws it broke down") from error
        finally:
            timer.cancel()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):  # what was not written any more
                    pipe.close()

    def _cached(self, key: Key) -> Printed | None:
        with self._keeping:
            if found := self._kept.get(key):
                self._kept.move_to_end(key)
            return found

    def _keep(self, key: Key, found: Printed) -> None:
        with self._keeping:
            if key not in self._kept:
                self._kept[key] = found
                self._bytes += len(found.png)
            while self._bytes > CACHE_BYTES:
                self._bytes -= len(self._kept.popitem(last=False)[1].png)


def _started() -> subprocess.Popen[bytes]:
    """Raises NotReady."""
    paths = os.pathsep.join(str(Path(path).absolute()) for path in sys.path if path)
    environment = {name: os.environ[name] for name in KEPT if name in os.environ}
    environment |= {
        "PYTHONPATH": paths,
        "OPENBLAS_NUM_THREADS": "1",
    }  # each of its threads takes memory, and none has work
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", PROGRAM], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except OSError as error:
        raise NotReady(f"what draws pages cannot be started: {error.strerror}", retry_after_s=5.0) from error
    timer = Timer(START_S, process.kill)
    timer.start()
    assert process.stdin
    assert process.stdout
    try:
        if process.stdout.readline(100) == b"ready\n":
            return process
    finally:
        timer.cancel()
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()
    raise NotReady("what draws pages cannot be started", hint="try again in a moment", retry_after_s=5.0)
