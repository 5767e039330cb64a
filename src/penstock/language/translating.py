"""Translating with care: never within one language, what is remembered first, and nothing lost that has to stay.

After an engine has spoken, numbers, dates, codes, addresses and glossary terms of the original are looked for in what it said.
Where one is missing the text is translated again with marks in their place; where a mark is missing too, the pieces between them
are translated one by one, so that what has to stay stays, if not the grammar around it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from penstock.errors import PenstockError, Untranslated
from penstock.language.memory import Memory
from penstock.language.terms import Glossary, lost, marked, restored
from penstock.trace import log, span
from penstock.types import Translator

__all__ = ["Careful", "Chain", "same_language"]

LONGEST = 20_000  # characters of one text


def same_language(one: str, other: str) -> bool:
    """Whether two tags are of one language, whatever their regions: en-GB is not translated to en-US."""
    return one.replace("_", "-").partition("-")[0].lower() == other.replace("_", "-").partition("-")[0].lower()


class Careful:
    """An engine with memory and glossary around it. Satisfies `Translator`."""

    def __init__(self, inner: Translator, *, glossary: Glossary | None = None, memory: Memory | None = None) -> None:
        self._inner, self._glossary, self._memory = inner, glossary or Glossary(), memory

    @property
    def name(self) -> str:
        return self._inner.name

    async def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[str]:
        """Raises Untranslated for a text that is too long; what the engine raises for any other reason."""
        if same_language(source, target):
            return list(texts)
        if too_long := next((text for text in texts if len(text) > LONGEST), ""):
            raise Untranslated(f"a text of {len(too_long):,} characters: at most {LONGEST:,} are translated at once")
        wanted = list(dict.fromkeys(text for text in texts if any(map(str.isalpha, text))))
        found = await self._remembered(wanted, source, target)
        new = [text for text in wanted if text not in found]
        if new:
            with span("translate", engine=self.name, texts=len(new)):
                made = dict(zip(new, await self._made(new, source, target), strict=True))
            await self._remember(made, source, target)
            found |= made
        return [found.get(text, text) for text in texts]

    async def _made(self, texts: list[str], source: str, target: str) -> list[str]:
        said = await self._inner.translate(texts, source=source, target=target)
        bad = [n for n, text in enumerate(texts) if lost(text, said[n], self._glossary, target)]
        if not bad:
            return said
        marks = [marked(texts[n], self._glossary) for n in bad]
        again = await self._inner.translate([mark.text for mark in marks], source=source, target=target)
        for n, mark, text in zip(bad, marks, again, strict=True):
            back, whole = restored(text, mark.held)
            said[n] = (
                self._with_terms(texts[n], back, target) if whole else await self._in_pieces(texts[n], source, target)
            )
        return said

    async def _in_pieces(self, text: str, source: str, target: str) -> str:
        """What stands between the parts that have to stay, translated by itself."""
        mark = marked(text, self._glossary, days=True)
        pieces, rest = list[str](), mark.text
        for n in range(len(mark.held)):
            before, _, rest = rest.partition(f"[[{n}]]")
            pieces.append(before)
        pieces.append(rest)
        wanted = [piece for piece in pieces if any(map(str.isalpha, piece))]
        said = dict(zip(wanted, await self._inner.translate([p.strip() for p in wanted], source=source, target=target),
                        strict=True)) if wanted else {}  # fmt: skip
        log("translated in pieces", level="info", engine=self.name, parts=len(wanted))
        out = []
        for piece, kept in zip(pieces, [*mark.held, ""], strict=True):
            core = said.get(piece, piece.strip())
            lead, trail = piece[: len(piece) - len(piece.lstrip())], piece[len(piece.rstrip()) :]
            out.append((f"{lead}{core.strip()}{trail}" if piece.strip() else piece) + kept)
        return self._with_terms(text, "".join(out), target)

    def _with_terms(self, original: str, said: str, target: str) -> str:
        """Terms whose one translation the engine did not use are named after it, in brackets."""
        missing = [one.text for one in lost(original, said, self._glossary, target) if one.kind == "term"]
        known = dict(self._glossary.wanted(original, target))
        named = ", ".join(known[term] for term in missing if term in known)
        return f"{said} ({named})" if named else said

    async def _remembered(self, texts: Sequence[str], source: str, target: str) -> dict[str, str]:
        """Of what an engine said earlier only what keeps the glossary as it is today; what a person said holds."""
        if self._memory is None:
            return {}
        find = partial(self._memory.find, source=source, target=target)
        found = await asyncio.to_thread(find, texts)
        stale = [text for text, said in found.items() if lost(text, said, self._glossary, target)]
        if not stale:
            return found
        corrected = await asyncio.to_thread(find, stale, corrected=True)
        return {text: said for text, said in found.items() if text not in stale or text in corrected}

    async def _remember(self, made: dict[str, str], source: str, target: str) -> None:
        if self._memory is not None:
            await asyncio.to_thread(self._memory.keep, made, source=source, target=target, engine=self.name)


class Chain:
    """Several engines: the second where the first fails or does not know the languages. Satisfies `Translator`."""

    def __init__(self, engines: Sequence[Translator]) -> None:
        self._engines = list(engines)

    @property
    def name(self) -> str:
        return ">".join(engine.name for engine in self._engines)

    async def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[str]:
        """Raises what the last engine raised."""
        failed: PenstockError = Untranslated("there is no engine")
        for engine in self._engines:
            try:
                return await engine.translate(texts, source=source, target=target)
            except PenstockError as error:
                log("engine failed", level="warning", engine=engine.name, error=error.code)
                failed = error
        raise failed
