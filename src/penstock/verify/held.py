"""A text that is being written, held back sentence by sentence until each has been looked for in the sources.

What the sources do not support is marked, written once more, replaced by what the nearest source says, or left out.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from penstock.errors import PenstockError
from penstock.trace import log
from penstock.types import Claim, Evidence, Translator, Verdict, Verifier
from penstock.verify.claims import blanked, claims, first_unit, is_item

__all__ = ["Across", "Held", "Unsupported", "Words", "moved", "overall"]

Unsupported = Literal["mark", "rewrite", "quote", "drop"]
LONGEST = 4_000  # characters without the end of a sentence, after which they are looked at as they are
LONGEST_QUOTE = 400  # characters of a source that take the place of a sentence

_CITED = re.compile(r"(?:\s*\[\d{1,3}\])+")


@dataclass(frozen=True, slots=True)
class Words:
    """What is said beside a text, in the reader's language."""

    missing: str = "not in the sources"
    otherwise: str = "the sources say otherwise"
    says: str = "The source says:"


class Held:
    """One text on its way to a reader. What it gives, put together, is what is said.

    rewrite: gives a sentence that says no more than the sources, or "" where nothing is left of it. It is asked once for each
    sentence, and what it gives is checked like everything else.
    """

    def __init__(
        self,
        verifier: Verifier,
        sources: Sequence[str],
        *,
        question: str = "",
        language: str = "",
        unsupported: Unsupported = "mark",
        least: float = 0.0,
        rewrite: Callable[[str], Awaitable[str]] | None = None,
        words: Words | None = None,
    ) -> None:
        """least: the support that a sentence must have; 0: the verifier's own limit. language: that of the sources."""
        self._verifier, self._sources, self._question, self._language = verifier, sources, question, language
        self._policy, self._least, self._rewrite, self._words = unsupported, least, rewrite, words or Words()
        self._waiting = ""
        self._size = 0  # characters that were let go
        self._quoted: set[Evidence] = set()
        self._announced = ""  # the line above a list
        self.claims: list[Claim] = []  # of what was said: places are those in the whole of it
        self.written: list[Claim] = []  # of what the model wrote, before anything was done about it
        self.by = ""

    async def feed(self, text: str) -> str:
        """What may be said by now."""
        self._waiting += text
        out = ""
        while end := first_unit(self._waiting) or (len(self._waiting) if len(self._waiting) > LONGEST else 0):
            unit, self._waiting = self._waiting[:end], self._waiting[end:]
            out += await self._looked_at(unit)
        return out

    async def close(self) -> str:
        """What was held back."""
        rest, self._waiting = self._waiting, ""
        return await self._looked_at(rest) if rest else ""

    def verdict(self) -> Verdict:
        """On all that was said."""
        return overall(self.claims, self.by)

    async def _looked_at(self, piece: str) -> str:
        if not is_item(piece.lstrip("\n")):
            self._announced = piece.strip() if piece.rstrip().endswith((":", "：")) else ""
        if not claims(blanked(piece), self._language):
            return self._said(piece)
        out, at = "", 0
        for claim in await self._claims(piece, self._announced):
            self.written.append(claim)
            end = claim.end + (len(cited[0]) if (cited := _CITED.match(piece, claim.end)) else 0)
            out += self._said(piece[at : claim.start])
            out += await self._decided(piece, claim, end)
            at = end
        return out + self._said(piece[at:])

    async def _claims(self, piece: str, announced: str = "") -> list[Claim]:
        """The sentences of a piece. announced: the line above the list that it is an item of, which is read with it."""
        before = f"{announced}\n" if announced else ""
        verdict = await self._verifier.verify(
            before + piece, self._sources, question=self._question, language=self._language
        )
        self.by = verdict.by
        own = [moved(claim, -len(before)) for claim in verdict.claims if claim.start >= len(before)]
        return [
            replace(claim, label="not_found") if claim.label == "supported" and claim.support < self._least else claim
            for claim in own
        ]

    async def _decided(self, piece: str, claim: Claim, end: int) -> str:
        text = piece[claim.start : end]
        if claim.label in ("supported", "unscored") or self._policy == "mark":
            return self._kept(text, claim)
        if self._policy == "rewrite" and self._rewrite is not None:
            again = (await self._rewrite(text)).strip()
            checked = await self._claims(again) if again and claims(blanked(again), self._language) else []
            if checked and all(one.label == "supported" for one in checked):
                return self._kept(again, replace(checked[0], start=0, end=checked[-1].end))
            if not again:
                return ""
        if self._policy != "drop":
            return self._quote(claim)
        return ""

    def _kept(self, text: str, claim: Claim) -> str:
        """A sentence as it is, with a mark where it is not supported."""
        self.claims.append(moved(claim, self._size - claim.start))
        mark = ""
        if claim.label in ("contradicted", "not_found"):
            mark = f" [{self._words.otherwise if claim.label == 'contradicted' else self._words.missing}]"
        return self._said(text + mark)

    def _quote(self, claim: Claim) -> str:
        """What the nearest source says, once."""
        nearest = claim.evidence[0] if claim.evidence else None
        if nearest is None or nearest in self._quoted:
            return ""
        self._quoted.add(nearest)
        quote = " ".join(self._sources[nearest.source][nearest.start : nearest.end].split())
        if len(quote) > LONGEST_QUOTE:
            return ""
        said = f"{self._words.says} “{quote}” [{nearest.source + 1}]"
        self.claims.append(Claim(self._size, self._size + len(said), "supported", 1.0, (nearest,)))
        return self._said(said)

    def _said(self, text: str) -> str:
        if not self._size:
            text = text.lstrip()
        self._size += len(text)
        return text


def moved(claim: Claim, by: int) -> Claim:
    """A sentence whose text has moved."""
    spans = tuple((start + by, end + by) for start, end in claim.unsupported)
    return replace(claim, start=claim.start + by, end=claim.end + by, unsupported=spans)


def overall(claims: Sequence[Claim], by: str) -> Verdict:
    """The verdict on a text from those on its sentences: it is as good as the worst that was scored."""
    scored = [claim for claim in claims if claim.label != "unscored"]
    if not scored:
        return Verdict("unscored" if claims else "supported", 0.0 if claims else 1.0, tuple(claims), by)
    worst = min(scored, key=lambda claim: (claim.label == "supported", claim.support))
    return Verdict(worst.label, worst.support, tuple(claims), by)


class Across:
    """A check of texts that may be in another language than their sources. Satisfies `Verifier`.

    Such a text is translated first, where something translates; what is unsupported is then the whole of a sentence. Where
    nothing does, it is unscored: words of two languages cannot be compared.
    """

    def __init__(
        self,
        inner: Verifier,
        languages: Sequence[str],
        *,
        language_of: Callable[[str], str],
        translator: Translator | None = None,
    ) -> None:
        """languages: those that the sources are in, the first of them the one to translate into."""
        self._inner, self._languages, self._language_of, self._translator = inner, languages, language_of, translator

    async def verify(self, text: str, sources: Sequence[str], *, question: str = "", language: str = "") -> Verdict:
        own = self._language_of(text)
        if not own or own in self._languages:
            return await self._inner.verify(text, sources, question=question, language=own or language)
        spans = claims(text, own)
        if self._translator is None:
            return overall([Claim(start, end, "unscored", 0.0) for start, end in spans], "")
        target = self._languages[0]
        try:
            said = await self._translator.translate(
                [blanked(text[start:end]).strip() for start, end in spans], source=own, target=target
            )
        except PenstockError as error:
            log("answer not translated for its check", level="warning", error=error.code)
            return overall([Claim(start, end, "unscored", 0.0) for start, end in spans], "")
        found, by = [], ""
        for (start, end), sentence in zip(spans, said, strict=True):
            verdict = await self._inner.verify(sentence, sources, language=target)
            by = verdict.by
            marks = () if verdict.label == "supported" else ((start, end),)
            evidence = verdict.claims[0].evidence if verdict.claims else ()
            why = tuple(reason for claim in verdict.claims for reason in claim.why)
            found.append(Claim(start, end, verdict.label, verdict.support, evidence, marks, why))
        return overall(found, by)
