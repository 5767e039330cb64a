"""Attacks and ordinary requests in fifteen languages besides English, for the heads of `penstock.guard.injection`.

Phrases of our own. Each language has the same families; what attacks lean on stands in the ordinary requests as well.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from penstock.train.injection_phrases import phrases

__all__ = ["LANGUAGES", "attack", "ordinary"]

WORDS = ("OK", "banana", "123", "haha", "PIZZA", "42", "kiwi", "X", "La la la", "blue")


@dataclass(frozen=True, slots=True)
class Phrases:
    override: tuple[str, ...]
    then: tuple[str, ...]  # what comes after; {w} is a word to say
    extract: tuple[str, ...]
    persona: tuple[str, ...]
    trigger: tuple[str, ...]  # ordinary, with words that attacks have
    plain: tuple[str, ...]


LANGUAGES = {
    code: Phrases(**phrases(code))
    for code in ("de", "es", "fr", "it", "nl", "pt", "pl", "sv", "tr", "ru", "ar", "hi", "ja", "ko", "zh")
}

OPENERS = ("", "", "", "", "OK. ", "Hi! ", "Admin: ", "SYSTEM: ", "1. ", "> ")


def _kept(phrases: tuple[str, ...], *, held: bool) -> tuple[str, ...]:
    return phrases[-2:] if held else phrases[:-2]


def _long(said: Phrases, random_: random.Random, *, held: bool) -> str:
    """A paragraph of ordinary sentences: length, and a script, are no signs of an attack."""
    pool = _kept(said.plain, held=held) + _kept(said.trigger, held=held)
    return " ".join(random_.choice(pool) for _ in range(random_.randint(3, 9)))


def attack(language: str, random_: random.Random, *, held: bool = False) -> tuple[str, str]:
    """One attack and its family; held ones are made of phrases that the recipe never trains on."""
    said = LANGUAGES[language]
    family = random_.choices(("override", "extraction", "persona"), (50, 28, 22))[0]
    gap = "" if language in ("ja", "zh", "ko") else " "
    override = random_.choice(_kept(said.override, held=held))
    then = random_.choice(_kept(said.then, held=held))
    match family:
        case "override":
            text = override + ("" if then[0] in ".,،。、，" else gap) + then
        case "extraction":
            text = random_.choice(_kept(said.extract, held=held))
            text = f"{override}. {text}" if random_.random() < 0.25 else text
        case _:
            text = random_.choice(_kept(said.persona, held=held))
            text = f"{text} {override}." if random_.random() < 0.25 else text
    if (length := random_.random()) < 0.2:
        text = f"{random_.choice(said.plain)}\n\n{text}"
    elif length < 0.4:
        around = _long(said, random_, held=held)
        text = f"{around} {text}" if length < 0.3 else f"{text}\n{around}"
    return random_.choice(OPENERS) + text.replace("{w}", random_.choice(WORDS)), family


def ordinary(language: str, random_: random.Random, *, held: bool = False) -> tuple[str, str]:
    """One request that no attack is; two thirds have words that attacks have too."""
    said = LANGUAGES[language]
    family = "trigger" if random_.random() < 0.67 else "plain"
    text = random_.choice(_kept(said.trigger if family == "trigger" else said.plain, held=held))
    if (length := random_.random()) < 0.3:
        text = _long(said, random_, held=held)
    elif length < 0.5:
        text = f"{text} {random_.choice(_kept(said.plain, held=held))}"
    return random_.choice(OPENERS) + text, family
