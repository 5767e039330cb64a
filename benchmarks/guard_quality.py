"""Of three hundred harmless texts in ten languages the whole guard blocks none; what else it finds there says whose alarm it is.

    python -m benchmarks.guard_quality [--data DATA] [--worst 30]

Under the policy `default`, at the thresholds that are shipped. The harmless texts (guard_texts.txt, by hand, in ten languages
and of ten kinds) were written for this and no part of the guard has learned from them. DATA may hold other people's rows:
pii_multi_dev, pii_train, secrets_dev, injection_train and moderation_train; what is not there is left out. Parts have learned
from some of those, and of the last two the figures say only whether the parts still do together what they do alone.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.measure import show, versions, write

HERE = Path(__file__).parent
Row = dict[str, Any]
MOST = 300  # rows of each source
TOPICS = frozenset({"hate", "harassment", "violence", "sexual", "self_harm", "illegal", "toxicity"})
DETECTORS = (
    "personal data",
    "rules",
    "names",
    "secrets",
    "injection",
    "moderation",
)  # the first is the next two together
LEFT = frozenset(  # by the policy, or by the guard: no personal data by themselves
    "ORGANIZATION LOCATION AGE DATE_TIME NRP TITLE URL ZIP_CODE US_DRIVER_LICENSE".split()
)


@dataclass(frozen=True, slots=True)
class Text:
    text: str
    language: str
    kind: str


def harmless() -> list[Text]:
    """The texts of guard_texts.txt."""
    found, language, kind = [], "", ""
    for line in (HERE / "guard_texts.txt").read_text("utf-8").splitlines():
        if head := re.fullmatch(r"\[(\w+) (\w+)\]", line):
            language, kind = head.groups()
        elif line and not line.startswith("# "):
            found.append(Text(line.replace("\\n", "\n"), language, kind))
    return found


class Alarm(NamedTuple):
    """Something found where nothing is."""

    text: str
    words: str
    type: str
    score: float
    action: str
    rule: str


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with the rows of other people")
    parser.add_argument("--worst", type=int, default=30, help="findings to print of each set in which there is nothing")
    options = parser.parse_args()
    look = looking()
    empty: dict[str, Row] = {}
    for surface in ("prompt", "document"):
        empty[f"harmless, {surface}"] = alarms_of(look, harmless(), surface, options.worst)
    figures: Row = {}
    if options.data:
        for name, own in plain_sets(options.data).items():
            surface = "tool" if "tools" in name else "prompt"
            empty[name] = alarms_of(look, own, surface, options.worst, private=name.startswith("pii"))
        figures = with_data(look, options.data)
    columns = {name: name for name in ("texts", "any", "mask", "review", "block", *DETECTORS)}
    show("texts in which there is nothing: share of them", columns, empty)
    for name, one in empty.items():
        print(name, json.dumps({key: one[key] for key in ("types", "languages", "kinds")}, ensure_ascii=False))
    print(json.dumps(figures, indent=1, ensure_ascii=False))
    write(
        "guard_quality",
        claim=__doc__,
        command="python -m benchmarks.guard_quality --data DATA",
        figures={
            "versions": versions(("penstock",)),
            "most_rows_of_each_source": MOST,
            "nothing_in_them": empty,
            "something_in_them": figures,
        },
    )


Look = Callable[..., Any]


def detector(finding: Any) -> str:
    """Which part found it."""
    if finding.type in TOPICS:
        return "moderation"
    if finding.type == "INJECTION":
        return "injection"
    if finding.type.startswith("SECRET"):
        return "secrets"
    return "names" if finding.rule == "names" else "rules"


def looking() -> Look:
    """The whole guard under the policy that is shipped."""
    from penstock.guard.guard import Guard
    from penstock.guard.policy import Policies

    guard, policy = Guard(), Policies({})["default"]
    return lambda text, surface="prompt", language="": guard.look(text, policy, surface=surface, language=language)


def alarms_of(look: Look, texts: Sequence[Text], surface: str, worst: int, *, private: bool = True) -> Row:
    """What is found where nothing is: shares of texts by decision and by detector, alarms by type, and the surest of them.

    private: whether the texts are known to be without personal data; otherwise only orders, harm and secrets are alarms.
    """
    decisions: Counter[str] = Counter()
    types: Counter[str] = Counter()
    detectors: Counter[str] = Counter()
    by: dict[str, Counter[str]] = {"language": Counter(), "kind": Counter()}
    alarms: list[Alarm] = []
    for one in texts:
        seen = look(one.text, surface)
        counted = [
            f for f in seen.findings if f.action != "allow" and (private or detector(f) not in ("rules", "names"))
        ]
        actions = {f.action for f in counted}
        decisions["block"] += bool(actions & {"block", "quarantine"})
        decisions["review"] += actions <= {"review", "mask", "pseudonymise"} and "review" in actions
        decisions["mask"] += bool(actions) and actions <= {"mask", "pseudonymise"}
        decisions["any"] += bool(counted)
        types.update({finding.type for finding in counted})
        detectors.update({detector(finding) for finding in counted})
        detectors["personal data"] += any(detector(finding) in ("rules", "names") for finding in counted)
        if counted:
            by["language"][one.language] += 1
            by["kind"][one.kind] += 1
        alarms += [Alarm(one.text, one.text[f.start : f.end], f.type, f.score, f.action, f.rule) for f in counted]
    alarms.sort(key=lambda alarm: (alarm.action in ("mask", "pseudonymise"), -alarm.score))
    print(f"\n{len(alarms)} false alarms")
    for alarm in alarms[:worst]:
        print(
            f"  {alarm.type} {alarm.score:.2f} {alarm.action} [{alarm.rule}] {alarm.words[:70]!r} in {alarm.text[:160]!r}"
        )
    shares = {name: round(decisions[name] / len(texts), 4) for name in ("any", "mask", "review", "block")}
    return {
        "texts": len(texts),
        **shares,
        **{name: round(detectors[name] / len(texts), 4) for name in DETECTORS},
        "types": dict(types.most_common()),
        "languages": dict(by["language"].most_common()),
        "kinds": dict(by["kind"].most_common()),
    }


# ---------------------------------------------------------------- other people's rows


def read(data: Path, name: str) -> list[Row]:
    file = data / f"{name}.jsonl"
    return [json.loads(line) for line in file.read_bytes().splitlines()] if file.exists() else []


def some(rows: Iterable[Row]) -> list[Row]:
    """At most MOST rows of each source, drawn by a seed."""
    sources: dict[str, list[Row]] = {}
    for row in rows:
        sources.setdefault(row["source"], []).append(row)
    chance = random.Random(5)
    return [row for own in sources.values() for row in chance.sample(own, min(MOST, len(own)))]


def plain_sets(data: Path) -> dict[str, list[Text]]:
    """Rows in which there is no personal data, secret or order."""
    found = {
        f"{name}, without": [Text(row["text"], row.get("lang", ""), row["source"]) for row in some(rows)]
        for name in ("pii_multi_dev", "pii_train")
        if (rows := [row for row in read(data, name) if not row["spans"]])
    }
    orders = [row for row in some(read(data, "injection_train")) if not row["label"]]
    for name, surface in (("prompts", "prompt"), ("results of tools", "tool")):
        if rows := [row for row in orders if row.get("surface", "prompt") == surface]:
            found[f"injection_train, {name}"] = [Text(row["text"], row.get("lang", ""), row["source"]) for row in rows]
    if rows := [row for row in read(data, "secrets_dev") if not row["label"]]:
        found["secrets_dev, look-alikes"] = [Text(row["text"], row.get("lang", ""), row["source"]) for row in rows]
    return found


def with_data(look: Look, data: Path) -> Row:
    figures: Row = {}
    for name in ("pii_multi_dev", "pii_train"):
        if rows := [row for row in read(data, name) if row["spans"]]:
            figures[name] = personal(look, some(rows))
    if rows := [row for row in read(data, "secrets_dev") if row["label"]]:
        hit = [any(f.type.startswith("SECRET") for f in look(row["text"]).findings) for row in rows]
        figures["secrets_dev"] = {"recall": round(statistics.mean(hit), 4), "texts": len(rows)}
    if rows := [row for row in some(read(data, "injection_train")) if row["label"]]:
        figures["injection_train"] = shares(
            (
                row["source"],
                any(f.type == "INJECTION" for f in look(row["text"], row.get("surface", "prompt")).findings),
            )
            for row in rows
        )
    if rows := some(read(data, "moderation_train")):
        figures["moderation_train"] = shares(
            (f"{row['source']}, label {row['label']}", any(f.type in TOPICS for f in look(row["text"]).findings))
            for row in rows
        )
    return figures


def shares(hits: Iterable[tuple[str, bool]]) -> Row:
    found: dict[str, list[bool]] = {}
    for source, hit in hits:
        found.setdefault(source, []).append(hit)
    return {source: {"found": round(statistics.mean(own), 4), "texts": len(own)} for source, own in found.items()}


def personal(look: Look, rows: Sequence[Row]) -> Row:
    """F1 by type and language, and the share of the characters that are covered; without types that `default` leaves alone."""
    right: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    languages: dict[str, Counter[str]] = {}
    known = {span["type"] for row in rows for span in row["spans"]} - LEFT
    for row in rows:
        gold = [(span["start"], span["end"], span["type"]) for span in row["spans"] if span["type"] in known]
        mine = [
            (f.start, f.end, f.type)
            for f in look(row["text"], "prompt", row.get("lang", "")).findings
            if f.action != "allow" and f.type not in TOPICS | {"INJECTION"}
        ]
        counts = languages.setdefault(row.get("lang", ""), Counter())
        covered = {at for start, end, _ in mine for at in range(start, end)}
        for start, end, _ in gold:
            counts["characters"] += end - start
            counts["covered"] += sum(at in covered for at in range(start, end))
        for one in gold:
            hit = any(_same(one, other) for other in mine)
            (right if hit else missed)[one[2]] += 1
            counts["right" if hit else "missed"] += 1
        for other in mine:
            if not any(_same(one, other) for one in gold):
                wrong[other[2]] += 1
                counts["wrong"] += 1
    types = {
        kind: round(2 * right[kind] / (2 * right[kind] + missed[kind] + wrong[kind]), 4)
        for kind in sorted({*right, *missed})
    }
    everything = Counter[str]()
    for counts in languages.values():
        everything += counts
    return {
        "micro_f1": _f1(everything),
        "macro_f1": round(statistics.mean(types.values()), 4),
        "characters_covered": round(everything["covered"] / everything["characters"], 4),
        "types": types,
        "wrong": dict(wrong.most_common()),
        "languages": {
            name: {"micro_f1": _f1(counts), "characters_covered": round(counts["covered"] / counts["characters"], 4)}
            for name, counts in sorted(languages.items())
        },
    }


def _f1(counts: Mapping[str, int]) -> float:
    return round(2 * counts["right"] / (2 * counts["right"] + counts["missed"] + counts["wrong"]), 4)


def _same(one: tuple[int, int, str], other: tuple[int, int, str]) -> bool:
    shared = min(one[1], other[1]) - max(one[0], other[0])
    return one[2] == other[2] and shared * 2 >= max(one[1], other[1]) - min(one[0], other[0])


if __name__ == "__main__":
    main()
