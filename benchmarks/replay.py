"""Twenty days without a change bring no alarm, and a tenth of wrong facts is found within two hundred answers.

    python -m benchmarks.replay DATA

DATA holds retrieval/xquad. Answers are sentences of English passages that answer a question, so right ones; wrong ones have a
number, a year or a name changed for that of a passage that is not shown. Each is really checked, by words and by the checker,
against its passage and two others; what the check says of it is what the journal would have. Then days are drawn from these: three
hundred answers a day, with a daily season of length and time, and from some answer on a tenth with a wrong fact.
"""

from __future__ import annotations

import math
import random
import re
import statistics
import sys
from pathlib import Path
from typing import Any

import orjson

from benchmarks.faults import passages, questions
from benchmarks.measure import show, write
from penstock.observe.journal import Row
from penstock.observe.quality import FALSE_ALARMS, WARM_UP, Quality
from penstock.text.sentences import sentences_of
from penstock.types import Verdict
from penstock.verify.check import Tier, verifier

ANSWERS, PER_DAY, DAYS, REPLAYS, SHARE = 400, 300, 20, 40, 0.1
_FACT = re.compile(r"\b\d[\d,.]*\b|(?<=[a-z,] )[A-Z][a-z]+(?: [A-Z][a-z]+)*")


def pool(data: Path, tier: Tier, draw: random.Random) -> tuple[list[Verdict], list[Verdict]]:
    """Verdicts on right answers, and on the same with a fact changed."""
    texts = passages(data, "en")
    facts = [[found.group() for found in _FACT.finditer(text)] for text in texts]
    check = verifier(tier)
    right: list[Verdict] = []
    wrong: list[Verdict] = []
    for question, n in draw.sample(questions(data), len(questions(data))):
        spans = sentences_of(texts[n], "en")
        a, b = draw.choice(spans)
        said = texts[n][a:b]
        found = list(_FACT.finditer(said))
        if len(right) == ANSWERS or not found:
            continue
        donors = draw.sample([m for m in range(len(texts)) if m != n], 8)
        others = donors[:2]
        one = draw.choice(found)
        like = [
            fact
            for m in donors[2:]
            for fact in facts[m]
            if fact[0].isdigit() == one.group()[0].isdigit() and fact not in texts[n]
        ]
        if not like:
            continue
        changed = said[: one.start()] + draw.choice(like) + said[one.end() :]
        sources = [texts[m] for m in draw.sample([n, *others], 3)]
        right.append(check.check(said, sources, question=question, language="en"))
        wrong.append(check.check(changed, sources, question=question, language="en"))
    return right, wrong


def row(n: int, verdict: Verdict, draw: random.Random) -> Row:
    hour = n % PER_DAY / PER_DAY * 2 * math.pi
    claims: dict[str, int] = {}
    for claim in verdict.claims:
        claims[claim.label] = claims.get(claim.label, 0) + 1
    told: dict[str, Any] = {
        "status": "refused" if draw.random() < 0.02 else "answer",
        "confidence": round(draw.betavariate(6, 2), 4),
        "faults": [],
        "doubtful": sum(bool(claim.unsupported) for claim in verdict.claims),
        "characters": int(draw.lognormvariate(5.5 + 0.2 * math.sin(hour), 0.6)),
        "support": verdict.support,
        "claims": claims,
    }
    took = draw.lognormvariate(6.3 + 0.25 * math.sin(hour), 0.5)
    at = 1.79e9 + n * 86_400 / PER_DAY
    return Row(f"r{n}", "t", at, "k", "p", "t", "help", "help", "chat", True, 200, "ok", "", False, 50.0, took, 1000, 100, 0, 0,
               int(draw.lognormvariate(20, 0.4)), "", "", orjson.dumps(told).decode())  # fmt: skip


def replay(right: list[Verdict], wrong: list[Verdict], seed: int, *, answers: int, change: int) -> list[int]:
    """The answers at which something was said to have changed."""
    draw, quality, found = random.Random(seed), Quality(), []
    for n in range(answers):
        bad = n >= change and draw.random() < SHARE
        if quality.take(row(n, draw.choice(wrong if bad else right), draw)):
            found.append(n)
    return found


def measured(data: Path, tier: Tier) -> dict[str, Any]:
    right, wrong = pool(data, tier, random.Random(1))

    def flagged(verdicts: list[Verdict]) -> float:
        return sum(verdict.label != "supported" for verdict in verdicts) / len(verdicts)

    quiet = [len(replay(right, wrong, seed, answers=DAYS * PER_DAY, change=10**9)) for seed in range(REPLAYS)]
    delays, early = [], 0
    for seed in range(REPLAYS):
        change = 1500 + 37 * seed
        alarms = replay(right, wrong, 1000 + seed, answers=change + 1500, change=change)
        early += sum(n < change for n in alarms)
        delays.append(next((n - change + 1 for n in alarms if n >= change), 1500))
    return {
        "answers": len(right), "right_flagged": round(flagged(right), 3), "wrong_flagged": round(flagged(wrong), 3),
        "alarms_in_20_days_mean": round(statistics.mean(quiet), 3), "alarms_in_20_days_most": max(quiet),
        "replays_with_two_or_more": sum(count > 1 for count in quiet),
        "delay_median": statistics.median(delays), "delay_p90": sorted(delays)[int(0.9 * len(delays))],
        "found_within_200": round(sum(delay <= 200 for delay in delays) / len(delays), 3), "early": early,
    }  # fmt: skip


def main() -> None:
    data = Path(sys.argv[1])
    tiers: tuple[Tier, ...] = ("lexical", "checker")
    figures: dict[str, dict[str, Any]] = {tier: measured(data, tier) for tier in tiers}
    columns = {"right flagged": "right_flagged", "wrong flagged": "wrong_flagged", "alarms in 20 days": "alarms_in_20_days_mean",
               "most": "alarms_in_20_days_most", "found after, median": "delay_median", "p90": "delay_p90",
               "within 200": "found_within_200"}  # fmt: skip
    show("Replays", columns, figures)
    conditions = {"per_day": PER_DAY, "days": DAYS, "replays": REPLAYS, "share": SHARE, "false_alarms_per_10_000": FALSE_ALARMS,
                  "warm_up": WARM_UP}  # fmt: skip
    write(
        "replay",
        claim=__doc__,
        command="python -m benchmarks.replay DATA",
        figures={"conditions": conditions, "tiers": figures},
    )


if __name__ == "__main__":
    main()
