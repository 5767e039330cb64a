"""What the terminal and HTTP say of a text alike: its language, and its translation by a translator of the settings."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from penstock.errors import BadRequest, BadSetting, NotFound, Untranslated
from penstock.language.terms import Glossary, lost
from penstock.language.translating import same_language
from penstock.text.languages import SCRIPTS, identifier
from penstock.types import Translator

__all__ = ["Nobody", "Translating", "described", "known_languages", "language_tag", "named", "the_one"]

EXAMPLE = '[translators.local] with kind = "libretranslate" and base_url = "http://127.0.0.1:5000"'


def described(text: str, *, among: Sequence[str] = (), stretches: bool = False) -> dict[str, Any]:
    """The language of a text as JSON: `lang` ("" where there is nothing to go by), `confidence`, `script`, `sure`.

    stretches: `spans` too, where its language changes: [start, end, lang], in characters.
    """
    found = identifier().identify(text, among=among)
    said = {
        "lang": found.language,
        "confidence": round(found.confidence, 4),
        "script": found.script,
        "sure": found.sure,
    }
    if not stretches:
        return said
    return said | {"spans": [[s.start, s.end, s.language] for s in identifier().stretches(text, among=among)]}


def known_languages(codes: Sequence[str]) -> tuple[str, ...]:
    """Codes of languages that can be told. Raises BadRequest for another."""
    known = {*identifier().languages, *(language for language, _ in SCRIPTS.values() if language)}
    for code in codes:
        if code not in known:
            raise BadRequest(f"'{code}' is no language that can be told", hint=f"known: {', '.join(sorted(known))}")
    return tuple(codes)


def language_tag(code: str) -> str:
    """The code of a language, with a region perhaps. Raises BadRequest for anything else."""
    if not re.fullmatch(r"[a-z]{2,3}([-_][A-Za-z0-9]{2,8})*", code):
        raise BadRequest(f"{code!r} is no code of a language", hint="ISO 639-1, such as de or pt-BR")
    return code


def the_one(translators: Collection[str], wanted: str) -> str:
    """The translator that was asked for, or the only one there is; "" where there is none. Raises BadRequest, NotFound."""
    if wanted:
        return named("translators", translators, wanted)
    if len(translators) > 1:
        raise BadRequest(f"there are {len(translators)} translators: say by which", hint=", ".join(sorted(translators)))
    return next(iter(translators), "")


def named(table: str, names: Collection[str], wanted: str) -> str:
    """A name that a table of the settings has. Raises NotFound with those that there are."""
    if wanted not in names:
        what = {"translators": "translator", "glossaries": "glossary"}[table]
        hint = f"known: {', '.join(sorted(names))}" if names else f"add [{table}.{wanted}]"
        raise NotFound(f"there is no {what} '{wanted}'", hint=hint)
    return wanted


class Nobody:
    """Stands where nothing translates, and says what to do about it. Satisfies `Translator`."""

    name = "nobody"

    async def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[str]:
        raise BadSetting("nothing translates: the settings have no translator", hint=f"add {EXAMPLE}")


@dataclass(frozen=True, slots=True)
class Translating:
    """Texts into one language, with what was asked to stay in them."""

    translator: Translator
    glossary: Glossary
    target: str

    async def said(self, texts: Sequence[str], sources: Sequence[str]) -> list[dict[str, Any]]:
        """For each text in its language: `translation`, which is the text itself where it is in the wanted language already,
        and `lost` where something had to stay and did not, [{kind, text}].

        Raises Untranslated where the language of a text is not known (""), and what the engine raises.
        """
        said = dict[int, str]()
        for source in dict.fromkeys(sources):
            some = [n for n, one in enumerate(sources) if one == source]
            if not source and any(any(map(str.isalpha, texts[n])) for n in some):
                raise Untranslated("the language of a text cannot be told", hint="say from which it is translated")
            if not source or same_language(source, self.target):
                said |= {n: texts[n] for n in some}
                continue
            made = await self.translator.translate([texts[n] for n in some], source=source, target=self.target)
            said |= dict(zip(some, made, strict=True))
        return [self._with_losses(text, said[n]) for n, text in enumerate(texts)]

    def _with_losses(self, text: str, said: str) -> dict[str, Any]:
        missing = [] if text == said else lost(text, said, self.glossary, self.target)
        return {"translation": said} | ({"lost": [one._asdict() for one in missing]} if missing else {})
