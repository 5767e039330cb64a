"""English attacks and ordinary requests for the heads of `penstock.guard.injection`: phrases of our own, combined at random.

Every word that an attack leans on ("ignore", "system prompt", "DAN", "secret") also stands in ordinary requests here, as often:
a head that sees it on one side only learns the word. Nothing is copied from a data set.
"""

from __future__ import annotations

import random

from penstock.train.injection_phrases import phrases

__all__ = ["attack", "ordinary"]

_PHRASES = phrases("en")
(
    VERBS,
    WHAT,
    JOINS,
    PAYLOADS,
    EXTRACTIONS,
    LEADS,
    TAILS,
    GAMES,
    PERSONAS,
    ASKS,
    STRUCTURES,
    BENIGN,
    PLAIN,
    APPS,
    WORDS,
    TOPICS,
    CITIES,
    PEOPLE,
    PRODUCTS,
    LANGUAGES,
    CODES,
    NAMES,
    CLAIMS,
    MAILS,
) = (
    _PHRASES[name]
    for name in (
        "verbs",
        "what",
        "joins",
        "payloads",
        "extractions",
        "leads",
        "tails",
        "games",
        "personas",
        "asks",
        "structures",
        "benign",
        "plain",
        "apps",
        "words",
        "topics",
        "cities",
        "people",
        "products",
        "languages",
        "codes",
        "names",
        "claims",
        "mails",
    )
)


def _filled(template: str, random_: random.Random) -> str:
    while "{" in template:
        start = template.find("{")
        end = template.find("}", start)
        name = template[start + 1 : end]
        match name:
            case "word":
                said = random_.choice(WORDS)
            case "topic" | "other":
                said = random_.choice(TOPICS)
            case "city":
                said = random_.choice(CITIES)
            case "person":
                said = random_.choice(PEOPLE)
            case "product":
                said = random_.choice(PRODUCTS)
            case "language":
                said = random_.choice(LANGUAGES)
            case "code":
                said = random_.choice(CODES)
            case "name":
                said = random_.choice(NAMES)
            case "claim":
                said = random_.choice(CLAIMS)
            case "mail":
                said = random_.choice(MAILS)
            case "payload":
                said = _filled(random_.choice(PAYLOADS), random_)
            case "ask":
                said = _filled(random_.choice(ASKS), random_)
            case "plain":
                said = _filled(random_.choice(PLAIN), random_)
            case _:
                said = name
        template = template[:start] + said.replace("{", "(").replace("}", ")") + template[end + 1 :]
    return template


def part(phrases: tuple[str, ...], *, held: bool) -> tuple[str, ...]:
    """The phrases that a recipe trains on, or every sixth, which it never sees and a benchmark asks about."""
    kept = tuple(phrase for place, phrase in enumerate(phrases) if (place % 6 == 5) == held)
    return kept or phrases


def _override(random_: random.Random, *, held: bool) -> str:
    verb, what = random_.choice(part(VERBS, held=held)), random_.choice(part(WHAT, held=held))
    payload = random_.choice(part(PAYLOADS, held=held))
    if random_.random() < 0.12:
        return f"{verb} {what}{random_.choice(('.', '!', '...', ''))}"
    return f"{verb} {what}{random_.choice(JOINS)}{payload}"


def attack(random_: random.Random, *, held: bool = False) -> tuple[str, str]:
    """One attack and its family."""
    family = random_.choices(("override", "extraction", "persona", "game", "structure"), (32, 24, 14, 8, 22))[0]
    match family:
        case "override":
            text = random_.choice(LEADS) + _override(random_, held=held) + random_.choice(TAILS)
        case "extraction":
            text = random_.choice(LEADS) + random_.choice(part(EXTRACTIONS, held=held)) + random_.choice(TAILS)
            if random_.random() < 0.2:
                text = _override(random_, held=held) + ". " + text
        case "persona":
            text = random_.choice(part(PERSONAS, held=held)).replace("{name}", random_.choice(NAMES))
            if random_.random() < 0.3:
                text = _override(random_, held=held) + ". " + text
        case "game":
            text = random_.choice(part(GAMES, held=held))
        case _:
            inner = (
                _override(random_, held=held)
                if random_.random() < 0.7
                else random_.choice(part(EXTRACTIONS, held=held))
            )
            shape = random_.choice(part(STRUCTURES, held=held))
            half = len(inner) // 2
            benign = random_.choice(PLAIN + BENIGN)
            for name, said in (("attack", inner), ("half1", inner[:half]), ("half2", inner[half:]), ("benign", benign)):
                shape = shape.replace("{" + name + "}", said)
            text = (
                shape.replace("{{", "(").replace("}}", ")")
                if "role" not in shape
                else shape.replace("{{", "").replace("}}", "")
            )
    text = _filled(text, random_)
    shout = random_.random()
    return (text.upper() if shout < 0.06 else text.lower() if shout < 0.16 else text), family


def ordinary(random_: random.Random, *, held: bool = False) -> tuple[str, str]:
    """One request that no attack is, and its family; most have words that attacks have too."""
    family = random_.choices(("trigger", "plain", "app", "two"), (55, 20, 12, 13))[0]
    match family:
        case "trigger":
            text = random_.choice(part(BENIGN, held=held))
        case "plain":
            text = random_.choice(part(PLAIN, held=held))
        case "app":
            text = random_.choice(part(APPS, held=held))
        case _:
            text = f"{random_.choice(part(BENIGN, held=held))}\n\n{random_.choice(PLAIN + BENIGN)}"
    lead = random_.choice(("", "", "", "Hi! ", "Thanks. ", "Please help: ", "Question: ", "Hello, ", "Quick one: "))
    text = lead + _filled(text, random_)
    return (text.upper() if (shout := random_.random()) < 0.03 else text.lower() if shout < 0.13 else text), family
