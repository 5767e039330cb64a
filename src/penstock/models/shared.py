"""The counters of several processes on one machine: the same numbers as in memory, in a file that all of them have mapped.

Each process has a column for what it holds, so that what one held that died can be given back. A lock of the operating
system, which ends with its process, makes each step whole. Linux and macOS.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from penstock.errors import Overloaded
from penstock.models.limits import Booking, Counter, InMemory, Limit, Standing, Want, Window, window_at
from penstock.storage.files import storage_errors

if sys.platform != "win32":
    import fcntl

__all__ = ["Shared"]

SLOTS: Final = 1 << 17
TRIED: Final = 64  # neighbouring slots
IDLE_NS: Final = 120 * 10**9
_WINDOWS: Final[tuple[Window, ...]] = ("ever", "now", "minute", "day", "month")
_HEAD: Final = struct.Struct("<16sqqqq")  # digest of the name, kind of window, window, used, at_ns
_EMPTY: Final = bytes(16)


class Shared(InMemory):
    """Counters of several processes. Satisfies `Counters`."""

    def __init__(self, path: Path, *, worker: int, workers: int) -> None:
        """worker: from 0; each process has another."""
        super().__init__()
        self._worker, self._columns = worker, struct.Struct(f"<{workers}q")
        self._size = _HEAD.size + self._columns.size
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
            os.ftruncate(self._file, SLOTS * self._size)
            self._map = mmap.mmap(self._file, SLOTS * self._size)
        self._slots: dict[str, tuple[bytes, int]] = {}  # name -> digest, slot

    def hold(self, wants: Sequence[Want]) -> list[Booking]:
        with self._whole([want.limit for want in wants]):
            return super().hold(wants)

    def settle(self, wants: Sequence[Want], amounts: Sequence[int]) -> list[Booking]:
        with self._whole([want.limit for want in wants]):
            return super().settle(wants, amounts)

    def free(self, limit: Limit) -> int:
        with self._whole([limit]):
            return super().free(limit)

    def standing(self, limit: Limit) -> Standing:
        with self._whole([limit]):
            return super().standing(limit)

    def book(self, rows: Iterable[Booking]) -> None:
        for name, window, used in rows:
            kind: Window = "month" if name.endswith("_month") else "day" if window else "ever"
            with self._whole([Limit(name, "tokens", kind, 0)]):
                super().book([(name, window, used)])

    def forget(self) -> None:
        """Give back what this worker's column holds: the process that held it is gone."""
        at = _HEAD.size + 8 * self._worker
        with self._locked():
            for slot in range(SLOTS):
                place = slot * self._size
                if self._map[place : place + 16] != _EMPTY:
                    self._map[place + at : place + at + 8] = bytes(8)

    def close(self) -> None:
        self._map.close()
        os.close(self._file)

    # ---------------------------------------------------------------- slots

    @contextmanager
    def _whole(self, limits: Sequence[Limit]) -> Iterator[None]:
        """Read the counters, let them be changed, and write them back, with nobody in between."""
        with self._locked():
            places: list[tuple[Limit, int]] = []
            for limit in limits:
                places.append((limit, self._slot(limit, {slot: other.name for other, slot in places})))
            columns = []
            for limit, slot in places:
                place = slot * self._size
                name, _, window, used, at_ns = _HEAD.unpack_from(self._map, place)
                if name != self._slots[limit.name][0]:  # it is new here: what stands there has passed, or is nothing
                    window = used = at_ns = 0
                held = self._columns.unpack_from(self._map, place + _HEAD.size)
                columns.append(held)
                self._counters[limit.name] = Counter(window, used, sum(held), at_ns)
            yield
            for (limit, slot), held in zip(places, columns, strict=True):
                counter, place = self._counters[limit.name], slot * self._size
                digest = self._slots[limit.name][0]
                kind = _WINDOWS.index(limit.window)
                _HEAD.pack_into(self._map, place, digest, kind, counter.window, counter.used, counter.at_ns)
                own = held[self._worker] + counter.held - sum(held)
                struct.pack_into("<q", self._map, place + _HEAD.size + 8 * self._worker, own)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)

    def _slot(self, limit: Limit, taken: Mapping[int, str]) -> int:
        """Where a counter is. One that is new takes an empty slot, or one whose day has passed, as soon as it is written.

        Until then the slot stays as it is: one that is emptied would hide those behind it. taken: slot -> the name that it
        was given just now.
        """
        name, known = limit.name, self._slots.get(limit.name)
        if known and taken.get(known[1], name) == name and self._digest(known[1]) == known[0]:
            return known[1]
        digest = hashlib.blake2b(name.encode(), digest_size=16).digest()
        first, passed = int.from_bytes(digest[:8], "little"), -1
        for step in range(TRIED):
            slot = (first + step) % SLOTS
            found = self._digest(slot)
            if taken.get(slot, name) != name:
                continue
            if found == digest or slot in taken:
                break
            if found == _EMPTY:
                slot = slot if passed < 0 else passed
                break
            if passed < 0 and self._is_past(slot):
                passed = slot
        else:
            if passed < 0:
                raise Overloaded(
                    "too many budgets are counted at the same time", hint="fewer budgets per person, or one worker"
                )
            slot = passed
        self._slots[name] = (digest, slot)
        return slot

    def _digest(self, slot: int) -> bytes:
        """Of the name whose counter is there."""
        return self._map[slot * self._size : slot * self._size + 16]

    def _is_past(self, slot: int) -> bool:
        kind: int
        window: int
        at_ns: int
        _, kind, window, _, at_ns = _HEAD.unpack_from(self._map, slot * self._size)
        if any(self._columns.unpack_from(self._map, slot * self._size + _HEAD.size)):
            return False
        match _WINDOWS[kind]:
            case "minute":
                return time.monotonic_ns() - at_ns > IDLE_NS
            case "day" | "month" as named:
                return window < window_at(named, time.time())
            case "now":
                return True
        return False
