"""Wrong facts in one conversation of ten are an alarm with 200 conversations, at 1 false alarm in 20 at most, at 50 turns a second.

    python -m benchmarks.support [DATA]

On generated conversations (support_logs.py: a shop, a telephone company and a bank, in English and German), each seed with others:

- found: answers with a changed fact that are found, of all; and answers that are called wrong and are not;
- alarms: a later release with a wrong fact in a tenth of its conversations beside an earlier one, both of 50 to 200 conversations:
  how often factual accuracy or hallucination is told to be surely worse;
- replays: two draws of conversations of the same release, again and again: how often anything is told to be worse, or changed;
  and a log that is looked at ten times while it grows, with `--watched`;
- speed: turns scored a second, reading and the encoder included, on whatever else the machine does;
- relevance: how well the score tells an answer to its own question from one to another question of the log.

DATA is a folder with abcd_sample_dialogues.json: dialogues of people, on which relevance is measured as well.

What it does not show: these conversations are ours, and so are their mistakes. A bot errs in ways that no generator has.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.measure import show, versions, write
from benchmarks.support_logs import conversations
from penstock.encoder import shipped
from penstock.stats import auroc, wilson
from penstock.support.comparing import moved
from penstock.support.conversations import Conversation
from penstock.support.evaluating import Evaluation
from penstock.support.reading import open_log
from penstock.support.scored import Scored
from penstock.support.scoring import RELEVANT, Scorer

POOL = 250
SEEDS = 60  # replays and experiments of each size
SIZES = (50, 100, 150, 200)
KINDS = ("wrong_fact", "made_up", "wrong_name")


def main() -> None:
    data = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    scorer = Scorer(encoder=shipped(threads=2))
    results: dict[str, Any] = {"found": found(), "speed": speed()}
    good = scored(scorer, conversations(POOL, seed=101)[0])
    bad, injected = conversations(POOL, seed=102, wrong=1.0)
    wrong_ids = {one.conversation for one in injected}
    by_words = Scorer()  # which is all that facts need
    wrong = [one for one in scored(by_words, bad) if one.id in wrong_ids]
    right = scored(by_words, conversations(POOL, seed=101)[0])
    results["alarms"] = [alarms(right, wrong, n) for n in SIZES]
    results["replays"] = [replays(good, n) for n in SIZES]
    results["watched"] = watched(good)
    results["relevance"] = relevance(scorer, data)
    show("Wrong facts", {"found": "found", "of": "of", "share": "share", "called wrong and right": "false",
    "of answers": "of_answers"},
         {"changed facts": results["found"]})  # fmt: skip
    show(
        "A tenth of the conversations with a wrong fact",
        {"told": "told", "of": "of"},
        {str(one["conversations"]): one for one in results["alarms"]},
    )
    show("Nothing changed", {"false alarms": "false_alarms", "changed": "changed", "of": "of"},
         {str(one["conversations"]): one for one in results["replays"]})  # fmt: skip
    show(
        "Ten looks while a log grows",
        {"--watched": "watched", "without": "unwatched", "of": "of"},
        {"ever an alarm": results["watched"]},
    )
    show("Relevance", {"pairs": "pairs", "AUROC": "auroc", "own": "own", "another's": "other"}, results["relevance"])
    show(
        "Speed",
        {"turns": "turns", "turns a second": "per_s", "turns a processor second": "per_cpu_s"},
        {"with the encoder": results["speed"]},
    )
    command = "python -m benchmarks.support" + (" DATA" if data else "")
    write(
        "support", claim=__doc__, command=command, figures={**results, "versions": versions(["numpy", "onnxruntime"])}
    )


def scored(scorer: Scorer, some: Sequence[Conversation]) -> list[Scored]:
    evaluation = Evaluation(scorer)
    evaluation.run(some)
    return evaluation.scored


def found() -> dict[str, Any]:
    """Over five seeds, by words alone: facts need no encoder."""
    scorer = Scorer()
    right = all_ = false = answers = 0
    for seed in range(5):
        some, injected = conversations(200, seed=f"found {seed}", wrong=0.2, german=0.3)
        truth = {(one.conversation, one.turn) for one in injected}
        told = {
            (one.conversation, one.turn) for each in scorer.score(some) for one in each.findings if one.kind in KINDS
        }
        right, all_, false = right + len(told & truth), all_ + len(truth), false + len(told - truth)
        answers += sum(len(one.answers) for one in some)
    return {"found": right, "of": all_, "share": right / all_, "false": false, "of_answers": answers}


def drawn(pool: Sequence[Scored], n: int, chance: random.Random, name: str, *, again: bool = True) -> list[Scored]:
    """n of them, with replacement (`again`) or as they are, as those of other customers, two of each."""
    return [
        replace(one, id=f"{name}{k}", customer=f"{name}{k % (n // 2)}")
        for k, one in enumerate(chance.choices(pool, k=n) if again else pool)
    ]


def alarms(good: Sequence[Scored], wrong: Sequence[Scored], n: int) -> dict[str, Any]:
    chance, told = random.Random(n), 0
    for _ in range(SEEDS):
        old = drawn(good, n, chance, "a")
        mixed = [*chance.choices(good, k=n - n // 10), *chance.choices(wrong, k=n // 10)]
        new = drawn(chance.sample(mixed, n), n, chance, "b", again=False)
        told += any(one.sure and one.worse and one.metric in ("accuracy", "hallucination") for one in moved(old, new))
    return {"conversations": n, "told": told, "of": SEEDS, "share": told / SEEDS}


def replays(good: Sequence[Scored], n: int) -> dict[str, Any]:
    chance, worse, any_ = random.Random(n + 1), 0, 0
    for _ in range(SEEDS):
        sure = [one for one in moved(drawn(good, n, chance, "a"), drawn(good, n, chance, "b")) if one.sure]
        worse, any_ = worse + any(one.worse for one in sure), any_ + bool(sure)
    _, low, high, _ = wilson(worse, SEEDS)
    return {"conversations": n, "false_alarms": worse, "of": SEEDS, "low": low, "high": high, "changed": any_}


def watched(good: Sequence[Scored]) -> dict[str, Any]:
    """A log that is compared ten times while it grows to 200: how often it is ever told to be worse."""
    chance, once, always = random.Random(7), 0, 0
    for _ in range(SEEDS // 2):
        old, new = drawn(good, 200, chance, "a"), drawn(good, 200, chance, "b")
        looks = [new[:n] for n in range(20, 201, 20)]
        once += any(one.sure and one.worse for some in looks for one in moved(old, some))
        always += any(one.sure and one.worse for some in looks for one in moved(old, some, anytime=True))
    return {"watched": always, "unwatched": once, "of": SEEDS // 2}


def speed() -> dict[str, Any]:
    """From a file, with the encoder on two threads: wall time and processor time."""
    some, _ = conversations(300, seed="speed")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.jsonl"
        path.write_text("".join(json.dumps(one.plain()) + "\n" for one in some))
        scorer = Scorer(encoder=shipped(threads=2), find_intents=True)
        scorer.score(conversations(2, seed="warm")[0])
        began, cpu = time.perf_counter(), time.process_time()
        evaluation = Evaluation(scorer)
        evaluation.run(open_log(path))
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    turns = sum(one.turns for one in evaluation.scored)
    return {"turns": turns, "per_s": turns / wall, "per_cpu_s": turns / cpu}


def relevance(scorer: Scorer, data: Path | None) -> dict[str, dict[str, Any]]:
    logs = {"generated": conversations(300, seed="relevance", german=0.0, rude=0.0)[0]}
    if data is not None and (path := data / "abcd_sample_dialogues.json").is_file():
        logs["ABCD sample"] = list(open_log(path))
    rows = {}
    for name, some in logs.items():
        pairs = [pair for one in some for pair in questions(one)]
        chance = random.Random(5)
        own = [scorer.relevance(*pair) for pair in pairs]
        other = []
        for question, _ in pairs:
            swapped = [answer for asked, answer in pairs if asked.split()[:3] != question.split()[:3]]
            other.append(scorer.relevance(question, chance.choice(swapped)))
        area = auroc([*own, *other], [True] * len(own) + [False] * len(other))
        rows[name] = {
            "pairs": len(pairs), "auroc": area.estimate, "low": area.low, "high": area.high,
            "own": sum(one >= RELEVANT for one in own) / len(own), "other": sum(one >= RELEVANT for one in other) / len(other),
        }  # fmt: skip
    return rows


def questions(one: Conversation) -> list[tuple[str, str]]:
    """Each question of some words with the answer after it, where that does not ask back."""
    found = []
    for before, after in zip(one.turns, one.turns[1:], strict=False):
        if (
            before.role == "customer"
            and after.role == "bot"
            and len(before.text.split()) > 4
            and not after.text.rstrip().endswith("?")
        ):
            found.append((before.text, after.text))
    return found


if __name__ == "__main__":
    main()
