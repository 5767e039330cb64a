"""Documents and tool results, clean or with an order hidden in them, for the document head of `penstock.guard.injection`.

Passages come from the data folder; e-mails, tables, notes, recipes, forum pages and results of tools are made of sentences of
our own. A good half of our own sentences are orders to a person, as documents are full of them: "Preheat the oven",
"Please send me the figures by Friday". What is hidden are orders to whoever reads the document for somebody else.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass

from penstock.train import injection_english, injection_languages
from penstock.train.injection_phrases import phrases

__all__ = ["Sheet", "order", "sheet"]

_PHRASES = phrases("documents")
(
    NAMES,
    FIRMS,
    THINGS,
    DAYS,
    SUBJECTS,
    MAIL,
    NOTES,
    STEPS,
    FACTS,
    COLUMNS,
    TITLES,
    CELLS,
    ORDERS,
    LEADS,
    HOSTS,
    DISHES,
    PETS,
) = (
    _PHRASES[name]
    for name in (
        "names",
        "firms",
        "things",
        "days",
        "subjects",
        "mail",
        "notes",
        "steps",
        "facts",
        "columns",
        "titles",
        "cells",
        "orders",
        "leads",
        "hosts",
        "dishes",
        "pets",
    )
)
TOPICS = injection_english.TOPICS


@dataclass(frozen=True, slots=True)
class Sheet:
    """A document, and the stretches of it that were put there by somebody else."""

    text: str
    hidden: tuple[tuple[int, int], ...]
    kind: str


def _filled(template: str, random_: random.Random) -> str:
    choices: dict[str, Sequence[str]] = {
        "name": NAMES, "firm": FIRMS, "thing": THINGS, "day": DAYS, "topic": TOPICS, "dish": DISHES, "pet": PETS, "host": HOSTS,
        "city": injection_english.CITIES, "language": injection_english.LANGUAGES, "word": injection_english.WORDS,
        "product": injection_english.PRODUCTS, "mail": injection_english.MAILS,
    }  # fmt: skip
    for name, values in choices.items():
        while "{" + name + "}" in template:
            template = template.replace("{" + name + "}", random_.choice(values), 1)
    while "{number}" in template:
        template = template.replace("{number}", str(random_.choice((2, 3, 5, 12, 40, 150, 2019, 1987, 220, 7))), 1)
    return template


def order(random_: random.Random, *, held: bool = False) -> str:
    """An order to whoever reads a document for somebody: mostly a plain request, sometimes an open override."""
    draw = random_.random()
    if draw < 0.14:
        return injection_english.attack(random_, held=held)[0]
    if draw < 0.19:
        return injection_languages.attack(random_.choice(list(injection_languages.LANGUAGES)), random_, held=held)[0]
    text = _filled(random_.choice(injection_english.part(ORDERS, held=held)), random_)
    if random_.random() < 0.2:
        text += " " + _filled(random_.choice(injection_english.part(ORDERS, held=held)), random_)
    lead = random_.choice(LEADS)
    if lead in ("Please ", "Then ", "By the way, ") and not text.startswith(
        ("Please", "What", "Who", "How", "Which", "The", "If", "AI")
    ):
        text = text[0].lower() + text[1:]
    return (text if text.startswith("Please") and lead == "Please " else lead + text) if lead else text


def _paragraph(pool: Sequence[str], random_: random.Random, count: int) -> list[str]:
    return [_filled(sentence, random_) for sentence in random_.sample(list(pool), min(count, len(pool)))]


def sheet(
    random_: random.Random, passages: Sequence[tuple[str, str]], *, poisoned: bool, held: bool = False, only: str = ""
) -> Sheet:
    """One document. passages are (kind, text) of other people; the kinds here are mail, table, forum, guide, page and tool."""
    kind = (
        only
        or random_.choices(("passage", "mail", "table", "forum", "guide", "page", "tool"), (40, 14, 14, 12, 6, 6, 8))[0]
    )
    said = order(random_, held=held) if poisoned else ""
    match kind:
        case "passage":
            kind, text = random_.choice(passages)
            parts, joint = _sentences(text), " "
        case "mail":
            body = _paragraph(MAIL, random_, random_.randint(2, 9))
            if passages and random_.random() < 0.3:
                body[1:1] = _sentences(random_.choice(passages)[1])[:4]
            greeting = random_.choice(
                (
                    f"Hi {random_.choice(NAMES)},",
                    "Dear all,",
                    f"Dear {random_.choice(NAMES)},",
                    "Hello,",
                    "Good morning,",
                )
            )
            closing = random_.choice(
                (
                    f"Best regards,\n{random_.choice(NAMES)}",
                    f"Thanks,\n{random_.choice(NAMES)}",
                    f"Cheers, {random_.choice(NAMES)}",
                    "Sincerely\nThe team",
                )
            )
            header = (
                f"SUBJECT: {random_.choice(SUBJECTS)}\nFROM: {random_.choice(NAMES).lower()}@{random_.choice(HOSTS)}\n"
                if random_.random() < 0.6
                else ""
            )
            parts, joint = (
                [header + greeting + "\n\n" + body[0], *body[1:-1], body[-1] + "\n\n" + closing],
                random_.choice((" ", "\n", "\n\n")),
            )
        case "table":
            return _table(random_, said)
        case "forum":
            parts, joint = _paragraph(NOTES, random_, random_.randint(3, 10)), random_.choice((" ", "\n", "\n\n"))
        case "guide":
            parts, joint = _paragraph(STEPS, random_, random_.randint(3, 10)), random_.choice((" ", "\n"))
            if random_.random() < 0.4:
                parts, joint = [f"{place}. {step}" for place, step in enumerate(parts, 1)], "\n"
        case "page":
            parts, joint = (
                _paragraph(FACTS + STEPS[:6], random_, random_.randint(3, 9)),
                random_.choice((" ", "\n", "\n\n")),
            )
        case _:
            return _tool(random_, said, passages)
    if not said:
        return Sheet(joint.join(parts), (), kind)
    if random_.random() < 0.06:
        said = f"<!-- {said} -->"
    place = random_.choice((0, len(parts), random_.randint(0, len(parts))))
    before = joint.join(parts[:place]) + (random_.choice((joint, "\n")) if place else "")
    after = (random_.choice((joint, "\n")) if place < len(parts) else "") + joint.join(parts[place:])
    return Sheet(before + said + after, ((len(before), len(before) + len(said)),), kind)


def _sentences(text: str) -> list[str]:
    parts, begin = [], 0
    for place in range(1, len(text) - 1):
        if text[place - 1] in ".!?" and text[place].isspace() and not text[place + 1].islower():
            parts.append(text[begin:place])
            begin = place + 1
    return [part for part in [*parts, text[begin:]] if part.strip()] or [text]


def _cell(random_: random.Random) -> str:
    return random_.choice(
        (
            random_.choice(CELLS),
            random_.choice(NAMES),
            random_.choice(TITLES),
            str(random_.randint(1, 2024)),
            random_.choice(injection_english.CITIES),
            _filled(random_.choice(FACTS), random_)[:60],
            random_.choice(DAYS),
        )
    )


def _table(random_: random.Random, said: str) -> Sheet:
    columns = random_.sample(COLUMNS, random_.randint(3, 6))
    rows = [columns, *([_cell(random_) for _ in columns] for _ in range(random_.randint(3, 12)))]
    style = random_.choice(("markdown", "csv", "pipes", "tabs"))
    edge, between = {"markdown": ("| ", " | "), "csv": ("", ","), "pipes": ("", " | "), "tabs": ("", "\t")}[style]
    lines = [edge + between.join(row) + (" |" if edge else "") for row in rows]
    if style == "markdown":
        lines.insert(1, "|" + "---|" * len(columns))
    if not said:
        return Sheet("\n".join(lines), (), "table")
    if random_.random() < 0.5:  # in a cell
        line = random_.randrange(2 if style == "markdown" else 1, len(lines))
        row = lines[line].split(between)
        column = random_.randrange(len(row) - 1) if len(row) > 1 else 0
        begin = sum(len(other) + 1 for other in lines[:line]) + sum(len(other) + len(between) for other in row[:column])
        row[column] = (edge if column == 0 else "") + said
        begin += len(edge) if column == 0 else 0
        lines[line] = between.join(row)
        return Sheet("\n".join(lines), ((begin, begin + len(said)),), "table")
    place = random_.choice((0, len(lines), random_.randint(1, len(lines))))
    before = "".join(line + "\n" for line in lines[:place])
    return Sheet(
        before + said + "".join("\n" + line for line in lines[place:]),
        ((len(before), len(before) + len(said)),),
        "table",
    )


def _tool(random_: random.Random, said: str, passages: Sequence[tuple[str, str]]) -> Sheet:
    def value() -> object:
        pool = random_.choice((MAIL, FACTS, NOTES, STEPS))
        text = " ".join(_paragraph(pool, random_, random_.randint(1, 3)))
        if passages and random_.random() < 0.2:
            text = " ".join(_sentences(random_.choice(passages)[1])[:2])
        return random_.choice(
            (text, text, random_.choice(NAMES), random_.randint(1, 5000), random_.choice(CELLS), True)
        )

    fields = random_.sample(
        (
            "id",
            "title",
            "body",
            "content",
            "description",
            "author",
            "from",
            "note",
            "rating",
            "status",
            "snippet",
            "date",
            "comment",
            "bio",
        ),
        random_.randint(3, 6),
    )
    results: list[dict[str, object]] = [{field: value() for field in fields} for _ in range(random_.randint(1, 4))]
    marker = "\ue000"
    if said:
        target, field = random_.choice(results), random_.choice(fields)
        before = f"{target[field]} " if isinstance(target[field], str) and random_.random() < 0.5 else ""
        target[field] = before + marker
    whole: object = random_.choice(
        (results, {"results": results}, results[0] if not said or marker in str(results[0]) else results)
    )
    style = random_.choice(("json", "python", "lines"))
    if style == "json":
        text, said = json.dumps(whole, ensure_ascii=False), json.dumps(said, ensure_ascii=False)[1:-1]
    elif style == "python":
        text, said = str(whole), said.replace("'", "").replace("\n", " ")
        text = text.replace("\\ue000", marker)
    else:
        text = "\n".join(f"{field}: {said_}" for result in results for field, said_ in result.items())
    place = text.find(marker)
    return Sheet(text.replace(marker, said), ((place, place + len(said)),) if place >= 0 and said else (), "tool")
