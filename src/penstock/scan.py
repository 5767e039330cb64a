"""Folders and data sets through the guard: what is in each file, and a copy without it.

Tables and JSON are looked at value by value, each read after the name of its column, and stay what they are. Plain text
stays plain text; of everything else (PDF, Word, mail) the copy is the text that was read. One scope of stand-ins holds for
the whole folder: the same person has the same one in every file.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from penstock.documents.draft import Raw
from penstock.documents.ingest import Progress
from penstock.documents.read_text import read_plain
from penstock.documents.reading import READERS, Skipped, read, reads
from penstock.errors import BadRequest, Conflict, NotFound, PenstockError
from penstock.guard.crossing import lookalikes
from penstock.guard.guard import INJECTION, Guard, Seen
from penstock.guard.masking import Scope, masked
from penstock.guard.policy import TOPICS, Policy
from penstock.guard.reidentify import Risk, quasi_identifiers, risk
from penstock.storage.files import new_file
from penstock.types import Decision, Document, Finding

__all__ = ["Report", "Scanned", "scan"]

TABLES = {".csv": ",", ".tsv": "\t"}
LINES = (".jsonl", ".ndjson")
MOST_ROWS_SAMPLED = 200  # of a column, to tell what it holds
MOST_KNOWN = 10_000  # values whose findings are remembered
MOSTLY = 0.5  # of a column's values: then all of them are of that type
DECISIONS: tuple[Decision, ...] = ("allow", "mask", "review", "block")


@dataclass(slots=True)
class Scanned:
    """One file."""

    file: str  # relative to the folder
    found: Counter[str] = field(default_factory=Counter)  # type -> how often
    decision: Decision = "allow"  # the gravest of its texts
    risk: Risk | None = None  # of a table, in the copy
    copy: str = ""  # relative to the copy's folder
    skipped: str = ""  # why it could not be read

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self) | {"found": dict(sorted(self.found.items()))}


@dataclass(slots=True)
class Report:
    """A folder."""

    files: list[Scanned] = field(default_factory=list)

    @property
    def found(self) -> Counter[str]:
        return sum((scanned.found for scanned in self.files), Counter())

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {"found": dict(self.found.most_common()), "files": [scanned.plain() for scanned in self.files]}


def scan(
    place: Path, guard: Guard, policy: Policy, *, copy_to: Path | None = None, quasi: Sequence[str] = (),
    progress: Progress | None = None,
) -> Report:  # fmt: skip
    """Look at every file of a folder, or at one file. quasi: the columns of tables by which people might be found again.

    Raises NotFound for a place that is not there, Conflict where the copy's folder has something in it or lies in the place.
    """
    if not place.exists():
        raise NotFound(f"there is no {place}")
    if copy_to is not None:
        _check_target(place, copy_to)
    files = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
    base = place.parent if place.is_file() else place
    files = [
        path for path in files if reads(path.name) and not any(p.startswith(".") for p in path.relative_to(base).parts)
    ]
    looking = _Looking(guard, policy, Scope(), quasi)
    report = Report()
    if progress:
        progress.start(len(files))
    for path in files:
        name = path.relative_to(base).as_posix()
        scanned = Scanned(name)
        report.files.append(scanned)
        try:
            for part, data in _changed(path, name, looking, scanned):
                if copy_to is not None:
                    if (copy_to / part).exists():  # another file's copy has that name: a.pdf beside a.pdf.txt
                        part = f"{part}.{len(report.files)}.txt"
                    scanned.copy = part
                    with new_file(copy_to / part) as out:
                        out.write(data)
        except PenstockError as error:
            scanned.skipped = error.message
        except OSError as error:
            scanned.skipped = error.strerror or str(error)
        if progress:
            progress.file(name)
    return report


def _check_target(place: Path, copy_to: Path) -> None:
    if copy_to.resolve() == place.resolve() or place.resolve() in copy_to.resolve().parents:
        raise Conflict(f"{copy_to} lies in {place}", hint="name a folder elsewhere")
    if copy_to.exists() and (not copy_to.is_dir() or any(copy_to.iterdir())):
        raise Conflict(f"{copy_to} has something in it", hint="name a folder that is new or empty")


@dataclass(slots=True)
class _Looking:
    """What all files of one scan share."""

    guard: Guard
    policy: Policy
    scope: Scope
    quasi: Sequence[str]
    _known: dict[tuple[str, str], Seen] = field(default_factory=dict)

    def text(self, text: str, scanned: Scanned) -> str:
        """A text without what the policy changes, and the counts of what is in it."""
        seen = self.guard.look(text, self.policy, surface="document")
        _count(scanned, seen)
        return self._applied(text, seen)

    def value(self, name: str, value: str, scanned: Scanned) -> str:
        """A value of a table, read after the name of its column."""
        seen = self._after(name, value)
        _count(scanned, seen)
        return self._applied(value, seen)

    def whole(self, value: str, type_: str, scanned: Scanned) -> str:
        """A value of a column that holds nothing but this type."""
        if not value.strip() or self.policy.lets(value):
            return value
        ruling = self.policy.secrets() if type_.startswith("SECRET") else self.policy.personal(type_)
        finding = Finding(type_, 0, len(value), action=ruling.action, rule="most of its column is")
        seen = Seen((finding,), {}, ())
        _count(scanned, seen)
        return self._applied(value, seen)

    def _applied(self, text: str, seen: Seen) -> str:
        """The text as the policy wants it. Words that it stops are taken out: what is around them stays in a copy."""
        stops = (replace(stop, action="redact") for stop in seen.stops if stop.type not in (INJECTION, *TOPICS))
        findings = (*seen.changes, *stops)
        return masked(text, findings, self.scope, lookalike=lookalikes(self.policy, findings)).text

    def _after(self, name: str, value: str) -> Seen:
        """What is in a value that stands after a name."""
        if not value.strip():
            return Seen((), {}, ())
        if (name, value) not in self._known:
            before = f"{name}: "
            seen = self.guard.look(before + value, self.policy, surface="document")
            inside = tuple(_moved(f, -len(before)) for f in seen.findings if f.end > len(before))
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[name, value] = Seen(inside, seen.scores, ())
        return self._known[name, value]

    def column(self, name: str, values: Sequence[str]) -> str:
        """The type that most values of a column are as a whole, or ""."""
        sample = [value for value in values if value.strip()][:MOST_ROWS_SAMPLED]
        found: Counter[str] = Counter()
        for value in sample:
            seen = self._after(name, value)
            found.update(f.type for f in (*seen.changes, *seen.stops) if f.end - f.start == len(value))
        type_, count = found.most_common(1)[0] if found else ("", 0)
        return type_ if count > MOSTLY * len(sample) else ""


def _changed(path: Path, name: str, looking: _Looking, scanned: Scanned) -> Iterator[tuple[str, bytes]]:
    """The file as it goes into the copy: its name there, and its bytes."""
    data = path.read_bytes()
    kind = path.suffix.lower()
    if kind in TABLES:
        yield name, _table(_decoded(name, data), TABLES[kind], looking, scanned).encode()
    elif kind in LINES:
        yield name, _json_lines(_decoded(name, data), looking, scanned).encode()
    elif kind == ".json":
        tree = _parsed(_decoded(name, data))
        yield name, json.dumps(_walked("", tree, looking, scanned), ensure_ascii=False, indent=1).encode()
    elif READERS.get(kind) in (read_plain, None) or kind in (".md", ".markdown", ".html", ".htm", ".xml"):
        yield name, looking.text(_decoded(name, data), scanned).encode()
    else:
        texts = []
        for document in read(Raw(name, data)):
            if isinstance(document, Document):
                texts.append(looking.text(document.text, scanned))
            elif isinstance(document, Skipped):
                scanned.skipped = document.reason
        yield f"{name}.txt", "\n\n".join(texts).encode()


def _decoded(name: str, data: bytes) -> str:
    (document,) = read_plain(Raw(name, data, kind=".txt"))  # knows the encodings
    return document.text if "\x00" in document.text else _same(data, document.text)


def _same(data: bytes, text: str) -> str:
    """The bytes as they are where they are UTF-8: a reader trims what a copy should keep."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return text


def _table(text: str, delimiter: str, looking: _Looking, scanned: Scanned) -> str:
    sample = text[:8192]
    if delimiter == "," and sample.count(";") > sample.count(","):
        delimiter = ";"
    try:
        head, *rows = list(csv.reader(io.StringIO(text), delimiter=delimiter, strict=False)) or [[]]
    except csv.Error as error:
        raise BadRequest(f"it is no table: {error}") from error
    columns = [[row[n] if n < len(row) else "" for row in rows] for n in range(len(head))]
    types = [looking.column(name, values) for name, values in zip(head, columns, strict=True)]

    def cell(n: int, value: str) -> str:
        if n < len(types) and types[n]:
            return looking.whole(value, types[n], scanned)
        return looking.value(head[n] if n < len(head) else "", value, scanned)

    changed = [[cell(n, value) for n, value in enumerate(row)] for row in rows]
    head = [looking.value("", name, scanned) for name in head]  # where there is none, it is somebody's row
    _measure([dict(zip(head, row, strict=False)) for row in changed], looking, scanned)
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="\n").writerows([head, *changed])
    return out.getvalue()


def _json_lines(text: str, looking: _Looking, scanned: Scanned) -> str:
    rows = [_walked("", _parsed(line), looking, scanned) for line in text.split("\n") if line.strip()]
    flat = [
        {k: str(v) for k, v in row.items() if not isinstance(v, dict | list)} for row in rows if isinstance(row, dict)
    ]
    _measure(flat, looking, scanned)
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _walked(name: str, tree: Any, looking: _Looking, scanned: Scanned) -> Any:
    """The same tree with its texts changed. Numbers that are personal data become texts."""
    match tree:
        case dict():
            said: dict[str, Any] = {}
            for key, value in tree.items():
                name = changed = looking.value("", key, scanned)
                while name in said:  # two that are masked alike
                    name = f"{changed} {len(said)}"
                said[name] = _walked(key, value, looking, scanned)
            return said
        case list():
            return [_walked(name, value, looking, scanned) for value in tree]
        case str():
            return looking.value(name, tree, scanned)
        case int() if not isinstance(tree, bool) and abs(tree) > 9_999:
            changed = looking.value(name, str(tree), scanned)
            return tree if changed == str(tree) else changed
    return tree


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"it is not valid JSON: {error}") from error


def _measure(rows: Sequence[Mapping[str, str]], looking: _Looking, scanned: Scanned) -> None:
    columns = [name for name in looking.quasi if any(name in row for row in rows)] or quasi_identifiers(rows)
    if rows and columns:
        scanned.risk = risk(rows, columns)


def _count(scanned: Scanned, seen: Seen) -> None:
    scanned.found.update(finding.type for finding in seen.findings)
    scanned.decision = max(scanned.decision, seen.decision, key=DECISIONS.index)


def _moved(finding: Finding, by: int) -> Finding:
    return replace(finding, start=max(finding.start + by, 0), end=finding.end + by)
