"""Private values out of a text before a model sees it, and back into what the model says, also while it is still speaking.

What is masked with pseudonyms is restored byte for byte. What a model did to a token is undone as far as it can be told: other
case, endings, markdown, escapes, spaces or line breaks in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import NamedTuple

from penstock.guard.pseudonyms import (
    BEHIND,
    KEEP_TOKENS,
    LABELS,
    LITERAL,
    Place,
    Shape,
    ends_there,
    fold,
    shape_of,
)
from penstock.guard.scope import Scope
from penstock.types import Action, Finding

__all__ = ["KEEP_TOKENS", "REDACTED", "Masked", "Restoring", "Scope", "masked", "restored", "restored_json"]

REDACTED = "████"  # always four: the length of what was there is no one's business either
CHANGING: frozenset[Action] = frozenset({"mask", "pseudonymise", "redact", "hash"})
ROUNDS = 5  # of looking again at a text with look-alikes in it


class Masked(NamedTuple):
    text: str
    findings: tuple[Finding, ...]  # with the action that was taken, and places in the text as it was


class _Piece(NamedTuple):
    text: str
    action: Action = "allow"
    kind: str = ""
    plain: bool = False  # its look-alike would be read wrongly where it stands: a token takes its place


def masked(
    text: str,
    findings: Sequence[Finding],
    scope: Scope,
    actions: Mapping[str, Action] | None = None,
    *,
    lookalike: AbstractSet[str] = frozenset(),
) -> Masked:
    """Replace what was found, as its action says: the one named here for its type, or the one it carries.

    pseudonymise: a token, or for the types in `lookalike` a value of the same form. Both are restored byte for byte, and so are
    words of the text that look like either. mask: `[EMAIL_ADDRESS]`. redact: four blocks. hash: a keyed hash. Any other action
    changes nothing here. Where findings overlap, all that they cover is replaced.
    """
    named = actions or {}
    taken = tuple(replace(finding, action=named.get(finding.type, finding.action)) for finding in findings)
    shape = shape_of(frozenset(LABELS), frozenset(scope.likes))
    pieces = [part for piece in _pieces(text, taken) for part in _escaped(piece, shape)]
    likes = {piece.kind for piece in pieces if piece.kind in lookalike}
    for _ in range(ROUNDS):
        said = _said(pieces, scope, likes, text)
        misread = _misread(pieces, said, scope) if likes or scope.likes else {}
        if not misread:
            return Masked("".join(said), taken)
        pieces = _corrected(pieces, misread)
    pieces = [piece if piece.action != "allow" else _Piece(piece.text, "pseudonymise", LITERAL) for piece in pieces]
    return Masked("".join(_said(pieces, scope, set(), text)), taken)


def _pieces(text: str, findings: Sequence[Finding]) -> Iterator[_Piece]:
    at = 0
    for finding in sorted(findings, key=lambda finding: (finding.start, -finding.end)):
        start, end = max(finding.start, at), min(finding.end, len(text))
        if finding.action in CHANGING and start < end:
            if at < start:
                yield _Piece(text[at:start])
            yield _Piece(text[start:end], finding.action, finding.type)
            at = end
    if at < len(text):
        yield _Piece(text[at:])


def _escaped(piece: _Piece, shape: Shape) -> Iterator[_Piece]:
    """A piece that stays, with whatever in it looks like a stand-in taken as a value of its own."""
    if piece.action != "allow":
        yield piece
        return
    folded, at, done = fold(piece.text), 0, 0
    while place := shape.find(folded, at):
        at = place.start + 1
        if place.firm or (place.letter and ends_there(folded, place.end)):
            if done < place.start:
                yield _Piece(piece.text[done : place.start])
            yield _Piece(piece.text[place.start : place.end], "pseudonymise", LITERAL)
            at = done = place.end
    if done < len(piece.text):
        yield _Piece(piece.text[done:])


def _said(pieces: Sequence[_Piece], scope: Scope, likes: AbstractSet[str], text: str) -> list[str]:
    """What stands in the place of each piece."""
    asked = [piece for piece in pieces if piece.action == "pseudonymise"]
    stand_ins: dict[tuple[str, str, bool], str] = {}
    for plain in (False, True):
        some = list(dict.fromkeys((piece.kind, piece.text) for piece in asked if piece.plain is plain))
        found = scope.stand_ins(some, like=frozenset() if plain else frozenset(likes), text=text) if some else []
        stand_ins |= {(*item, plain): stand_in for item, stand_in in zip(some, found, strict=True)}
    said = []
    for piece in pieces:
        match piece.action:
            case "pseudonymise":
                said.append(stand_ins[piece.kind, piece.text, piece.plain])
            case "mask":
                said.append(f"[{piece.kind}]")
            case "redact":
                said.append(REDACTED)
            case "hash":
                said.append(scope.hashed(piece.kind, piece.text))
            case _:
                said.append(piece.text)
    return said


def _found(folded: str, scope: Scope) -> Iterator[tuple[int, int, str]]:
    at, shape = 0, scope.shape
    while place := shape.find(folded, at):
        at = place.start + 1
        if meant := _meant(place, folded, scope, told=False):
            yield place.start, *meant
            at = meant[0]


def _misread(pieces: Sequence[_Piece], said: Sequence[str], scope: Scope) -> dict[int, tuple[int, int]]:
    """Which pieces would not be restored as they were, and what part of what is said for them is to blame."""
    folded = fold("".join(said))
    found = list(_found(folded, scope))
    wrong: dict[int, tuple[int, int]] = {}
    at, n = 0, 0
    for place, (piece, words) in enumerate(zip(pieces, said, strict=True)):
        end = at + len(words)
        while n and found[n - 1][1] > at:
            n -= 1
        touching = []
        while n < len(found) and found[n][0] < end:
            if found[n][1] > at:
                touching.append(found[n])
            n += 1
        if piece.action == "pseudonymise":
            if touching != [(at, end, piece.text)]:
                wrong[place] = 0, len(words)
        elif touching:
            wrong[place] = max(touching[0][0] - at, 0), min(touching[0][1], end) - at
        at = end
    return wrong


def _corrected(pieces: Sequence[_Piece], misread: Mapping[int, tuple[int, int]]) -> list[_Piece]:
    corrected = []
    for n, piece in enumerate(pieces):
        if n not in misread or piece.action not in ("allow", "pseudonymise"):
            corrected.append(piece)
        elif piece.action == "pseudonymise":
            corrected.append(piece._replace(plain=True))
        else:
            start, end = misread[n]
            parts = (
                _Piece(piece.text[:start]),
                _Piece(piece.text[start:end], "pseudonymise", LITERAL),
                _Piece(piece.text[end:]),
            )
            corrected += [part for part in parts if part.text]
    return corrected


# ---------------------------------------------------------------- and back


def restored(text: str, scope: Scope) -> str:
    """The text with the values back in it."""
    restoring = Restoring(scope)
    return restoring.feed(text) + restoring.close()


def restored_json(text: str, scope: Scope) -> str:
    """JSON, or a piece of it, with the values back in its strings, escaped as JSON wants it."""
    restoring = Restoring(scope, json=True)
    return restoring.feed(text) + restoring.close()


class Restoring:
    """Puts the values back into a text that comes in pieces. What it gives, put together, is what the whole would have given.

    It holds back what may yet become a stand-in: nothing in most pieces, about forty characters at most. json: the text is
    JSON, such as the arguments of a tool, and values are escaped for it.
    """

    def __init__(self, scope: Scope, *, json: bool = False) -> None:
        self._scope, self._json = scope, json
        self._shape: Shape | None = None
        self._text = self._folded = ""
        self._at = 0  # what stands before was said already, and is kept for what a word begins after

    def feed(self, text: str) -> str:
        self._text += text
        self._folded += fold(text)
        return self._given(last=False)

    def close(self) -> str:
        """What was held back."""
        return self._given(last=True)

    def _given(self, *, last: bool) -> str:
        scope, text, folded = self._scope, self._text, self._folded
        shape = self._shape = self._shape or scope.shape
        at = look = self._at
        given: list[str] = []
        hold = len(text) if last else shape.begun(folded, at)
        while (place := shape.find(folded, look)) and place.start < hold:
            if not (last or place.settled):
                hold = place.start
                break
            look = place.start + 1
            if meant := _meant(place, folded, scope):
                end, value = meant
                given += text[at : place.start], _in_json(value) if self._json else value
                at = look = end
                if end > hold:
                    hold = shape.begun(folded, end)
        given.append(text[at:hold])
        kept = max(hold - BEHIND, 0)
        self._text, self._folded, self._at = text[kept:], folded[kept:], hold - kept
        return "".join(given)


def _meant(place: Place, folded: str, scope: Scope, *, told: bool = True) -> tuple[int, str] | None:
    """Where a stand-in ends and what it means; None where it means nothing in this scope."""
    if not place.label:
        value = scope.likened(folded[place.start : place.end], told=told)
        return None if value is None else (place.end, value)
    if place.letter and (place.firm or ends_there(folded, place.end)):
        value = scope.meaning(place.label, place.number, place.letter, told=told)
        if value is not None:
            return place.end, value
        if scope.knows(place.number, place.letter):
            return None
    if place.firm:  # a model that wrote PERSON_1 means the person
        value = scope.meaning(place.label, place.number, "", told=told)
        if value is not None:
            return place.bare, value
    return None


def _in_json(value: str) -> str:
    surrogates = any("\ud800" <= letter <= "\udfff" for letter in value)  # JSON can only say them escaped
    return json.dumps(value, ensure_ascii=surrogates)[1:-1]
