"""What an app's models are told besides the rules for sources: a library of prompts, in versions.

A prompt is a small TOML file with `role`, `task`, `context` and `format`, and examples of questions with good answers; parts may
differ by language. What is published is a version that never changes, and an app uses the one that is live; before the first, the
file as it is. Which examples are shown is chosen for each question: those most like it, and unlike each other.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from penstock.errors import BadRequest, NotFound
from penstock.storage.database import Database

__all__ = ["Example", "Prompt", "Prompts", "Style", "Version", "chosen", "parsed", "read_prompt", "styled"]

Style = Literal["zero", "few", "steps"]
PARTS = ("role", "task", "context", "format")
STYLES: tuple[Style, ...] = get_args(Style)
LONGEST = 20_000  # characters of a prompt without its examples
MOST_EXAMPLES = 2_000
MARKER = "Answer:"  # after which a model that thinks step by step says what is to be said
ALIKE = 0.5  # how much it counts against an example that it is like one that was chosen (maximal marginal relevance)

_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")

STEPS = [
    """
    create table prompts (
        name text not null, version integer not null, body text not null, hash text not null, at real not null,
        note text not null, live integer not null, primary key (name, version)
    ) strict
    """,
]


@dataclass(frozen=True, slots=True)
class Example:
    """A question, and an answer as it should be. lang: ISO 639-1; "": any."""

    question: str
    answer: str
    lang: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What a model is told. languages: parts in other words for a language."""

    role: str = ""
    task: str = ""
    context: str = ""
    format: str = ""
    style: Style = "few"
    shots: int = 3  # examples that are shown
    examples: tuple[Example, ...] = ()
    languages: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def told(self, language: str = "", shown: Sequence[Example] = ()) -> str:
        """The instructions in a language, with examples; parts that it has no words for are told as they are."""
        own = self.languages.get(language) or self.languages.get(language.partition("-")[0]) or {}
        said = [text.strip() for part in PARTS if (text := own.get(part) or getattr(self, part)).strip()]
        if shown:
            said.append(
                "Examples:\n\n" + "\n\n".join(f"Question: {one.question}\nAnswer: {one.answer}" for one in shown)
            )
        if self.style == "steps":
            said.append(
                f"Think step by step first. Then write '{MARKER}' on a line of its own, and after it the answer alone."
            )
        return "\n\n".join(said)

    def shown(self, question: str, language: str, embed: Callable[[Sequence[str]], Any]) -> list[Example]:
        """The examples for a question, the most alike last, where models look most closely. None with the style "zero"."""
        if self.style == "zero" or not self.shots:
            return []
        fitting = [one for one in self.examples if not one.lang or one.lang == language] or list(self.examples)
        return chosen(question, fitting, self.shots, embed)

    def body(self) -> str:
        """As JSON, the same for the same prompt."""
        values = {part: getattr(self, part) for part in (*PARTS, "style", "shots")}
        examples = [{"question": one.question, "answer": one.answer, "lang": one.lang} for one in self.examples]
        return json.dumps({**values, "examples": examples, "languages": {k: dict(v) for k, v in self.languages.items()}},
                          ensure_ascii=False, sort_keys=True)  # fmt: skip

    @property
    def hash(self) -> str:
        """Eight hexadecimal digits that stand for the content."""
        return hashlib.sha256(self.body().encode("utf-8", "surrogatepass")).hexdigest()[:8]

    def lines(self) -> list[str]:
        """For people, and for comparing."""
        found: list[str] = []
        for part in PARTS:
            if text := getattr(self, part):
                found += [f"{part}:", *(f"  {line}" for line in text.splitlines())]
        found += [f"style: {self.style}", f"shots: {self.shots}"]
        for language, own in sorted(self.languages.items()):
            for part, text in own.items():
                found += [f"{part} ({language}):", *(f"  {line}" for line in text.splitlines())]
        for one in self.examples:
            found += ["example:", f"  {one.question}", f"  → {one.answer}"]
        return found


def chosen(
    question: str, examples: Sequence[Example], count: int, embed: Callable[[Sequence[str]], Any]
) -> list[Example]:
    """The examples most like a question and least like each other (maximal marginal relevance, Carbonell and Goldstein 1998), the
    most alike last. embed: texts -> float (n, dim), unit rows."""
    if len(examples) <= count:
        return list(examples)
    vectors = embed([question, *(one.question for one in examples)])
    near = vectors[1:] @ vectors[0]
    between = vectors[1:] @ vectors[1:].T
    picked: list[int] = []
    while len(picked) < count:
        worth = near - ALIKE * (between[:, picked].max(1) if picked else 0.0)
        worth[picked] = -2.0
        picked.append(int(worth.argmax()))
    return [examples[n] for n in sorted(picked, key=lambda n: float(near[n]))]


# ---------------------------------------------------------------- files


def read_prompt(path: Path) -> Prompt:
    """A prompt from its TOML file. Raises BadRequest, which names what is wrong with it."""
    try:
        tree = tomllib.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise BadRequest(f"the prompt {path} cannot be read: {error}") from error
    examples = tree.get("examples", [])
    if isinstance(examples, str):
        tree["examples"] = _rows(path.parent / examples)
    return parsed(tree, str(path))


def parsed(tree: Any, where: str) -> Prompt:
    """A prompt from plain values. Raises BadRequest."""

    def wrong(what: str, hint: str = "") -> BadRequest:
        return BadRequest(f"{where}: {what}", hint=hint)

    known = (*PARTS, "style", "shots", "examples", "languages")
    if not isinstance(tree, Mapping):
        raise wrong("a prompt is a table")
    for key in tree:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            raise wrong(f"there is no part '{key}'", f"did you mean '{near[0]}'?" if near else ", ".join(known))
    parts = {part: _text(tree.get(part, ""), part, wrong) for part in PARTS}
    if not any(parts.values()) and not tree.get("examples"):
        raise wrong("it says nothing", 'role = "You are …"')
    if sum(map(len, parts.values())) > LONGEST:
        raise wrong(f"it has more than {LONGEST:,} characters")
    style, shots = tree.get("style", "few"), tree.get("shots", 3)
    if style not in STYLES:
        raise wrong(f"style is {style!r}", f"one of {', '.join(STYLES)}")
    if type(shots) is not int or not 0 <= shots <= 50:
        raise wrong("shots must be a whole number from 0 to 50")
    rows = tree.get("examples", [])
    if not isinstance(rows, list) or len(rows) > MOST_EXAMPLES:
        raise wrong(f"examples must be a list of at most {MOST_EXAMPLES:,}, or the name of a file")
    languages = tree.get("languages", {})
    if not isinstance(languages, Mapping):
        raise wrong("languages must be tables: [languages.de]")
    for language, own in languages.items():
        if not _LANGUAGE.fullmatch(language) or not isinstance(own, Mapping) or not own.keys() <= set(PARTS):
            raise wrong(f"languages.{language} must be a table of {', '.join(PARTS)}", "[languages.de]")
    return Prompt(
        **parts, style=style, shots=shots, examples=tuple(_example(row, n, wrong) for n, row in enumerate(rows, 1)),
        languages={tag: {part: _text(own[part], part, wrong) for part in own} for tag, own in languages.items()},
    )  # fmt: skip


def _text(value: Any, part: str, wrong: Callable[[str], BadRequest]) -> str:
    if not isinstance(value, str):
        raise wrong(f"{part} must be text")
    return value


def _example(row: Any, number: int, wrong: Callable[[str], BadRequest]) -> Example:
    if isinstance(row, Mapping):
        match row.get("question"), row.get("answer"), row.get("lang", ""):
            case str(question), str(answer), str(language) if question and answer:
                return Example(question, answer, language)
    raise wrong(f"example {number} must have a question and an answer")


def _rows(path: Path) -> list[Any]:
    try:
        return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise BadRequest(f"the examples {path} cannot be read: {error}") from error


# ---------------------------------------------------------------- versions


@dataclass(frozen=True, slots=True)
class Version:
    """A prompt as it was published."""

    name: str
    number: int
    prompt: Prompt
    at: float  # Unix time
    note: str
    live: bool

    @property
    def label(self) -> str:
        """As the journal has it."""
        return f"{self.name}@v{self.number}"


class Prompts:
    """The versions of one home."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._migrated = False
        self._live: dict[str, Version] = {}

    def publish(self, name: str, prompt: Prompt, *, note: str = "") -> Version:
        """Make a version of it and make that live. The same content again is the same version."""
        self._migrate()
        with self._database.write() as w:
            rows = w.execute("select version, hash from prompts where name = ? order by version", (name,)).fetchall()
            same = [number for number, digest in rows if digest == prompt.hash]
            number = same[-1] if same else (rows[-1][0] if rows else 0) + 1
            w.execute("update prompts set live = 0 where name = ?", (name,))
            if same:
                w.execute("update prompts set live = 1 where name = ? and version = ?", (name, number))
            else:
                values = (name, number, prompt.body(), prompt.hash, time.time(), note, 1)
                w.execute("insert into prompts values (?, ?, ?, ?, ?, ?, ?)", values)
        return self.version(name, number)

    def roll_back(self, name: str, number: int = 0) -> Version:
        """Make an earlier version live; 0: the one before. Raises NotFound."""
        versions = self.versions(name)
        if not number:
            live = self.live(name)
            before = [one.number for one in versions if live and one.number < live.number]
            if not before:
                raise NotFound(f"'{name}' has no version before the one that is live")
            number = before[-1]
        self.version(name, number)
        with self._database.write() as w:
            w.execute("update prompts set live = (version = ?) where name = ?", (number, name))
        return self.version(name, number)

    def live(self, name: str) -> Version | None:
        """The version that apps use; None before the first. It is read anew only where another one is live."""
        self._migrate()
        rows = self._database.read("select version from prompts where name = ? and live = 1", (name,))
        if not rows:
            return None
        known = self._live.get(name)
        if known is None or known.number != rows[0][0]:
            known = self._live[name] = self.version(name, rows[0][0])
        return known

    def version(self, name: str, number: int) -> Version:
        """Raises NotFound, with the versions there are."""
        versions = {one.number: one for one in self.versions(name)}
        if number not in versions:
            known = ", ".join(f"v{one}" for one in versions) or "none yet"
            raise NotFound(f"'{name}' has no version v{number}", hint=f"known: {known}")
        return versions[number]

    def versions(self, name: str) -> list[Version]:
        """The oldest first."""
        self._migrate()
        rows = self._database.read(
            "select version, body, at, note, live from prompts where name = ? order by version", (name,)
        )
        return [
            Version(name, number, parsed(json.loads(body), name), at, note, bool(live))
            for number, body, at, note, live in rows
        ]

    def names(self) -> list[str]:
        self._migrate()
        return [name for (name,) in self._database.read("select distinct name from prompts order by name")]

    def _migrate(self) -> None:
        if not self._migrated:
            self._database.migrate("prompts", STEPS)
            self._migrated = True


def styled(prompt: Prompt, style: Style, shots: int | None = None) -> Prompt:
    """The same prompt told in another way."""
    return replace(prompt, style=style, shots=prompt.shots if shots is None else shots)
