"""Which stand-in means which value, within one scope: a request, a conversation, or one that the vault keeps.

The same value has the same stand-in in a scope, and nothing in common in another. A `Scope` made by itself lives in memory and
is gone with the request; `vault.py` has scopes that stay.
"""

from __future__ import annotations

import hmac
import random
import secrets
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

from penstock.guard import lookalikes
from penstock.guard.pseudonyms import (
    LABELS,
    LETTERS,
    LITERAL,
    Name,
    Shape,
    fold,
    label_of,
    name_of,
    same,
    shape_of,
    token,
)

__all__ = ["Entry", "Rows", "Scope", "Words"]

COMMON = 64  # persons that share a word; beyond, it says too little about who is meant
LONGEST = 64  # characters of a value that gets a look-alike
TRIES = 60  # look-alikes that are made until one is free
PERSON = "PERSON"


@dataclass(frozen=True, slots=True)
class Entry:
    """One way of writing one value, and what stands for it."""

    number: int
    letter: str
    label: str
    value: str = field(repr=False)
    like: str = ""  # its look-alike, where it has one
    names: Mapping[str, str] = field(
        default_factory=dict, repr=False
    )  # of a person: each word, and that of the look-alike

    @property
    def token(self) -> str:
        return token(self.label, self.number, self.letter)


class Words(NamedTuple):
    """What is known of a person's name, as keys."""

    words: AbstractSet[Hashable]
    initials: AbstractSet[Hashable]
    genders: AbstractSet[Hashable]


class Rows(Protocol):
    """Where a scope's entries are kept. Values are looked up by keys that only this scope can make."""

    def key(self, *parts: str) -> Hashable:
        """What stands for some words: the same for the same, and without meaning elsewhere."""
        ...

    def writing(self) -> Any:
        """A context in which nobody else adds: all of it is kept, or nothing when an exception leaves it."""
        ...

    def exact(self, key: Hashable) -> tuple[int, str] | None: ...
    def entry(self, number: int, letter: str) -> Entry | None: ...
    def liked(self, key: Hashable) -> tuple[int, str] | None:
        """Who has this look-alike."""
        ...

    def numbers(self, key: Hashable) -> Sequence[int]:
        """Who has been written so, apart from case and spaces."""
        ...

    def letters(self, number: int) -> int:
        """In how many ways it has been written."""
        ...

    def sharing(self, word: Hashable, limit: int) -> Sequence[int]:
        """Persons with this word in their names, no more than the limit."""
        ...

    def words(self, numbers: Iterable[int]) -> dict[int, Words]: ...
    def next_number(self) -> int: ...
    def add(self, entry: Entry, exact: Hashable, alike: Hashable) -> None: ...
    def add_words(self, number: int, words: Words) -> None: ...
    def set_like(self, entry: Entry, key: Hashable) -> None: ...
    def labels(self) -> AbstractSet[str]: ...


class Scope:
    """Stand-ins for the values of one scope. Safe to use from several threads."""

    def __init__(
        self,
        rows: Rows | None = None,
        *,
        secret: bytes = b"",
        seen: Callable[[str], None] | None = None,
        whole: bool = True,
    ) -> None:
        """secret: for hashes that stay the same beyond this scope. seen: told each token whose value was asked for.

        whole: whether texts get back every value there is, or only those whose stand-ins this object has handed out.
        """
        self._rows = rows or _Memory()
        self._secret, self._seen = secret or secrets.token_bytes(32), seen
        self._issued: dict[str, tuple[str, str]] = {}  # look-alikes that were handed out here, folded -> value, token
        self._alike: dict[str, tuple[str, str]] = {}  # the same in lower case
        self._single: dict[str, tuple[str, str]] = {}  # the single words of names, in lower case
        self._handed: dict[int, str] | None = None if whole else {}  # number -> letters
        self._texts: set[str] = set()  # words of the texts that have look-alikes in them
        self._shape: tuple[Hashable, Shape] | None = None

    # ------------------------------------------------------------ a value -> what stands for it

    def token(self, kind: str, value: str) -> str:
        """What stands for a value of this type. Within the scope it is the same for the same value."""
        return self.stand_ins([(kind, value)])[0]

    def stand_ins(
        self, items: Sequence[tuple[str, str]], *, like: AbstractSet[str] = frozenset(), text: str = ""
    ) -> list[str]:
        """What stands for each (type, value), all of them in one step.

        like: types whose values get a look-alike where one can be made, which does not occur in the text nor in earlier ones.
        """
        rows = self._rows
        if like:
            self._texts.update(fold(text).lower().split())
            self._texts.update(lookalikes.words(text))
        labels = [label_of(kind) for kind, _ in items]
        keys = [rows.key("exact", label, value) for label, (_, value) in zip(labels, items, strict=True)]
        found = [self._known(key) for key in keys]
        wanted = [kind in like and label != LITERAL for label, (kind, _) in zip(labels, items, strict=True)]
        if any(entry is None or (wants and not entry.like) for entry, wants in zip(found, wanted, strict=True)):
            with rows.writing():
                for n, (label, (kind, value)) in enumerate(zip(labels, items, strict=True)):
                    known = found[n]
                    if known is None or (wanted[n] and not known.like):
                        known = self._known(keys[n]) or self._add(label, value, keys[n])  # it may have come meanwhile
                        found[n] = self._dressed(known, kind, text) if wanted[n] and not known.like else known
        stand_ins = []
        for entry, wants in zip(found, wanted, strict=True):
            assert entry is not None
            if self._handed is not None and entry.letter not in (letters := self._handed.get(entry.number, "")):
                self._handed[entry.number] = letters + entry.letter
            if wants and entry.like:
                self._issue(entry)
            stand_ins.append(entry.like if wants and entry.like else entry.token)
        return stand_ins

    def hashed(self, kind: str, value: str) -> str:
        """A short keyed hash: `EMAIL_ADDRESS:3f9c2a81d0b4`. The same value has the same one wherever the secret is the same."""
        words = f"{kind}\0{same(label_of(kind), value)}".encode("utf-8", "surrogatepass")
        return f"{kind}:{hmac.digest(self._secret, words, 'sha256').hex()[:12]}"

    def _known(self, key: Hashable) -> Entry | None:
        found = self._rows.exact(key)
        return self._rows.entry(*found) if found else None

    def _add(self, label: str, value: str, exact: Hashable) -> Entry:
        rows = self._rows
        name = name_of(value) if label == PERSON else Name((), "")
        alike = rows.key("same", label, "\0".join(name.words) or same(label, value))
        number = self._person(name, alike) if name.words else max(rows.numbers(alike), default=0)
        letters = rows.letters(number) if number else 0
        if not number or letters == len(LETTERS):
            number, letters = rows.next_number(), 0
        entry = Entry(number, LETTERS[letters], label, value)
        rows.add(entry, exact, alike)
        if name.words:
            rows.add_words(number, self._words(name))
        return entry

    def _words(self, name: Name) -> Words:
        key = self._rows.key
        genders = {key("gender", name.gender)} if name.gender else set()
        return Words({key("word", w) for w in name.words}, {key("word", letter) for letter in name.initials}, genders)

    def _person(self, name: Name, alike: Hashable) -> int:
        """The one known person who can be meant by a name; 0 where it is nobody, or could be several."""
        rows, said = self._rows, self._words(name)

        def fitting(numbers: Iterable[int], *, sure: bool) -> list[int]:
            known = rows.words(numbers)
            return [
                number
                for number, words in known.items()
                if not (said.genders and words.genders and said.genders.isdisjoint(words.genders))
                and (sure or said.words <= words.words | words.initials or words.words <= said.words | said.initials)
            ]

        if len(found := fitting(rows.numbers(alike), sure=True)) == 1:
            return found[0]
        if found:
            return 0
        pool: set[int] = set()
        for word in name.words:
            if len(word) > 1 and len(sharing := rows.sharing(rows.key("word", word), COMMON + 1)) <= COMMON:
                pool.update(sharing)
        found = fitting(sorted(pool), sure=False)
        return found[0] if len(found) == 1 else 0

    # ------------------------------------------------------------ look-alikes

    def _dressed(self, entry: Entry, kind: str, text: str) -> Entry:
        """The entry with a look-alike, where one of its kind can be made that nothing else has, and no text has said."""
        rows, plain_text = self._rows, f"{entry.value}\n{text}"
        chance = random.Random(secrets.token_bytes(16))  # noqa: S311  which look-alike it is protects nothing
        if len(entry.value) > LONGEST:
            return entry
        first = rows.entry(entry.number, LETTERS[0]) if entry.label == PERSON else None
        known = names = dict(first.names if first else entry.names)
        for _ in range(TRIES):
            if entry.label == PERSON:
                names = lookalikes.renamed(entry.value, known, chance)
                made = lookalikes.written(entry.value, names)
                fresh = [name.lower() for word, name in names.items() if known.get(word) != name]
            else:
                made, fresh = lookalikes.made(kind, entry.value, chance), []
            if not made:
                return entry
            plain = fold(made)
            if plain in plain_text or not self._texts.isdisjoint([plain.lower(), *fresh]):
                if entry.label != PERSON or fresh:
                    continue
                return entry
            keys = [rows.key("like", plain), *(rows.key("like", word) for word in fresh)]
            if all(rows.liked(key) is None for key in keys):
                dressed = replace(entry, like=made, names=names)
                rows.set_like(dressed, keys[0])
                return dressed
            if entry.label == PERSON and not fresh:
                return entry  # another way of writing the same name looks the same: it keeps its token
        return entry

    def _issue(self, entry: Entry) -> None:
        plain = fold(entry.like)
        if plain in self._issued:
            return
        self._issued[plain] = meant = entry.value, entry.token
        self._alike.setdefault(plain.lower(), meant)
        if entry.names:
            for start, end in lookalikes.spelled(entry.value):
                word = entry.value[start:end]
                if like := entry.names.get(word.casefold()):
                    self._single.setdefault(fold(like).lower(), (word, entry.token))
        self._shape = None

    # ------------------------------------------------------------ what stands for it -> the value

    def value(self, stand_in: str) -> str | None:
        """What a token or a look-alike stands for here; None where it stands for nothing."""
        label, _, rest = stand_in.rpartition("_")
        number, letter = rest[:-1], rest[-1:]
        if label in LABELS and letter in LETTERS and number.isascii() and number.isdigit() and len(number) < 10:
            return self._told(label, int(number), letter)
        found = self._rows.liked(self._rows.key("like", fold(stand_in)))
        entry = self._rows.entry(*found) if found else None
        if entry is None or entry.like != stand_in:
            return None
        self._tell(entry.token)
        return entry.value

    def meaning(self, label: str, number: int, letter: str, *, told: bool = True) -> str | None:
        """The value that a token in a text gets back; with no letter that of its first. told: that it was asked for.

        What a model makes up, or was talked into saying, is no token: a scope that several share keeps what others put in.
        """
        if self._handed is not None:
            handed = self._handed.get(number, "")
            if letter not in handed or not handed:
                return None
            letter = letter or handed[0]
        return self._told(label, number, letter or LETTERS[0], told=told)

    def knows(self, number: int, letter: str) -> bool:
        """Whether there is such a token at all, handed out here or not."""
        return self._rows.entry(number, letter) is not None

    def _told(self, label: str, number: int, letter: str, *, told: bool = True) -> str | None:
        entry = self._rows.entry(number, letter)
        if entry is None or entry.label != label:
            return None
        if told:
            self._tell(entry.token)
        return entry.value

    def likened(self, words: str, *, told: bool = True) -> str | None:
        """The value of a look-alike that was handed out here, or of a word of one, in any case of letters. words: folded."""
        meant = self._issued.get(words) or self._alike.get(words.lower())
        if meant is None and not words.islower():  # a robin is a bird
            meant = self._single.get(words.lower())
        if meant is None:
            return None
        if told:
            self._tell(meant[1])
        return meant[0]

    @property
    def shape(self) -> Shape:
        """Where this scope's stand-ins may be in a text, as far as they have been handed out here."""
        labels = frozenset(self._rows.labels())
        if self._shape is None or self._shape[0] != labels:
            self._shape = labels, shape_of(labels, frozenset(self.likes))
        return self._shape[1]

    @property
    def likes(self) -> AbstractSet[str]:
        """The look-alikes that have been handed out here, folded and in lower case."""
        return self._alike.keys() | self._single.keys()

    def _tell(self, said: str) -> None:
        if self._seen:
            self._seen(said)


class _Memory:
    """The entries of a scope that is gone with its request. Keys are the words themselves."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._last = 0
        self._exact: dict[Hashable, tuple[int, str]] = {}
        self._entries: dict[tuple[int, str], Entry] = {}
        self._liked: dict[Hashable, tuple[int, str]] = {}
        self._numbers: dict[Hashable, list[int]] = {}
        self._letters: dict[int, int] = {}
        self._sharing: dict[Hashable, dict[int, None]] = {}
        self._words: dict[int, Words] = {}
        self._labels: set[str] = set()

    def key(self, *parts: str) -> Hashable:
        return parts

    @contextmanager
    def writing(self) -> Iterator[None]:
        with self._lock:
            yield

    def exact(self, key: Hashable) -> tuple[int, str] | None:
        return self._exact.get(key)

    def entry(self, number: int, letter: str) -> Entry | None:
        return self._entries.get((number, letter))

    def liked(self, key: Hashable) -> tuple[int, str] | None:
        return self._liked.get(key)

    def numbers(self, key: Hashable) -> Sequence[int]:
        return self._numbers.get(key, ())

    def letters(self, number: int) -> int:
        return self._letters.get(number, 0)

    def sharing(self, word: Hashable, limit: int) -> Sequence[int]:
        found = self._sharing.get(word, {})
        return list(found)[:limit] if len(found) < limit else range(limit)

    def words(self, numbers: Iterable[int]) -> dict[int, Words]:
        return {number: self._words[number] for number in numbers}

    def next_number(self) -> int:
        self._last += 1
        return self._last

    def add(self, entry: Entry, exact: Hashable, alike: Hashable) -> None:
        self._entries[entry.number, entry.letter] = entry
        self._exact[exact] = entry.number, entry.letter
        numbers = self._numbers.setdefault(alike, [])
        if entry.number not in numbers[-3:]:
            numbers.append(entry.number)
        self._letters[entry.number] = self._letters.get(entry.number, 0) + 1
        self._labels = self._labels | {entry.label}

    def add_words(self, number: int, words: Words) -> None:
        known = self._words.get(number, Words(frozenset(), frozenset(), frozenset()))
        self._words[number] = Words(*(a | b for a, b in zip(known, words, strict=True)))
        for word in words.words:
            self._sharing.setdefault(word, {})[number] = None

    def set_like(self, entry: Entry, key: Hashable) -> None:
        self._entries[entry.number, entry.letter] = entry
        self._liked[key] = entry.number, entry.letter
        if entry.names:
            first = self._entries[entry.number, LETTERS[0]]
            self._entries[entry.number, LETTERS[0]] = replace(first, names=entry.names)
            for word in entry.names.values():
                self._liked.setdefault(("like", fold(word).lower()), (entry.number, entry.letter))

    def labels(self) -> AbstractSet[str]:
        return self._labels
