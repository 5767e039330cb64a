"""With the smallest real model, checking each sentence takes most of what is not in the sources out of its answers.

    penstock models pull smollm2
    python -m benchmarks.grounded --write ANSWERS.jsonl     # asks the model, some minutes
    python -m benchmarks.grounded --labels LABELS.jsonl     # reads answers and labels that people made

SmolLM2-135M-Instruct in four bits answers fixed questions over Penstock's own documentation, from the passages that an app shows
it. Each sentence it wrote is labelled twice, by annotators who did not see each other's labels or the checker's: whether the
shown passages support all of it. The same answers then pass each policy of an app, and what is left is counted again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import show, versions, write
from penstock.answer import Quoted, Written
from penstock.api import Penstock
from penstock.assemble import SAMPLE, assemble, samples
from penstock.config import Settings, load
from penstock.types import ANYBODY, Finished, Turn
from penstock.verify.check import Tier, verifier
from penstock.verify.claims import blanked, claims
from penstock.verify.held import Held, Unsupported

RESULTS = Path(__file__).parent / "results"
ANSWERS = RESULTS / "grounded_answers.jsonl"
TIERS: tuple[Tier, ...] = ("lexical", "checker")
POLICIES: tuple[Unsupported, ...] = ("mark", "quote", "drop")
QUESTIONS = (
    "How do I go back to an earlier version of the index?",
    "Which file formats can be read?",
    "What happens to a document that is past its time?",
    "How are API keys rotated?",
    "What does the guard do with personal data?",
    "How long does Penstock keep the journal by default?",
    "What is a vault for?",
    "How can I restrict who may read a document?",
    "What happens when a model fails before its first piece?",
    "How do I run a batch of requests?",
    "What does penstock doctor do?",
    "How are follow-up questions understood?",
    "What is the semantic cache?",
    "How is the audit trail protected against changes?",
    "How do I erase a person?",
    "Which languages does the tagger for names know?",
    "What does a budget limit?",
    "How are passages that give orders to the model treated?",
    "What is quoted when the documents do not answer?",
    "How much memory does a running server need?",
    "Can Penstock read scanned pages?",
    "What is a golden question?",
    "How does search treat questions in other languages?",
    "What does the output gate remove?",
    "How do I make a backup?",
    "Which providers can the gateway call?",
    "What is hedging?",
    "How do I measure a model on my own questions?",
    "What can be sealed with AES-256-GCM?",
    "How do I log in with OpenID Connect?",
)


def asked(model: str) -> list[dict[str, Any]]:
    """The model's answers as it wrote them, each with the passages that it was shown."""
    rows = []
    gateway = assemble(load(None)).gateway
    with tempfile.TemporaryDirectory() as home:
        sample = Penstock.open(samples(), name=SAMPLE, settings=Settings(home=home))
        index = sample.house.library[sample.name]
        answerer = Written(Quoted(index, sample.house.quotes), {model: gateway.models[model]})

        async def one(question: str) -> dict[str, Any] | None:
            async for event in answerer.stream(Turn(question)):
                if isinstance(event, Finished) and event.answer.written_by:
                    answer = event.answer
                    found = index.search(question, caller=ANYBODY)
                    texts = {hit.passage.id: hit.passage.text for hit in found.hits}
                    sources = [texts.get(c.passage_id, c.quote) for c in answer.citations]
                    return {"question": question, "answer": answer.text, "sources": sources}
            return None

        async def all_() -> None:
            for question in QUESTIONS:
                if row := await one(question):
                    rows.append(row)
                    print(f"{question}  {row['answer'][:80]!r}", flush=True)

        asyncio.run(all_())
    return rows


def sentences_of(row: dict[str, Any]) -> list[str]:
    return [row["answer"][a:b] for a, b in claims(blanked(row["answer"]))]


def kappa(one: Sequence[bool], other: Sequence[bool]) -> float:
    """Cohen's kappa."""
    agree = sum(a == b for a, b in zip(one, other, strict=True)) / len(one)
    a, b = sum(one) / len(one), sum(other) / len(other)
    chance = a * b + (1 - a) * (1 - b)
    return (agree - chance) / (1 - chance) if chance < 1 else 1.0


def after(
    rows: Sequence[dict[str, Any]], truth: dict[tuple[int, str], bool], policy: Unsupported, tier: Tier
) -> dict[str, float]:
    """What is left of unsupported sentences, unmarked, when the answers have passed a policy; and of supported ones. Each is
    counted as often as it was written."""

    async def passed(row: dict[str, Any]) -> list[str]:
        held = Held(verifier(tier), row["sources"], question=row["question"], unsupported=policy)
        text = await held.feed(row["answer"]) + await held.close()
        return [text[claim.start : claim.end] for claim in held.claims if claim.label == "supported"]

    bad = good = said = 0
    for n, row in enumerate(rows):
        for sentence in asyncio.run(passed(row)):
            said += 1
            right = truth.get((n, sentence), True)  # a quotation is in the sources
            bad += not right
            good += right and (n, sentence) in truth
    total = sum(
        truth[n, sentence] for n, row in enumerate(rows) for sentence in sentences_of(row) if (n, sentence) in truth
    )
    return {
        "unsupported_unmarked": bad, "share_of_what_is_said": bad / said if said else 0.0,
        "supported_kept": good / total if total else 0.0,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="ask the model, and write its answers here")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--answers", type=Path, default=ANSWERS)
    parser.add_argument("--labels", type=Path, default=RESULTS / "grounded_labels.jsonl")
    given = parser.parse_args()
    if given.write:
        rows = asked(given.model)
        given.write.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
        return
    rows = [json.loads(line) for line in given.answers.read_text("utf-8").splitlines()]
    labels = [json.loads(line) for line in given.labels.read_text("utf-8").splitlines()]
    claimed = {(n, sentence) for n, row in enumerate(rows) for sentence in sentences_of(row)}
    labels = [label for label in labels if (label["answer"], label["sentence"]) in claimed]
    names = [(label["answer"], label["sentence"]) for label in labels]
    first, second = ([bool(label[who]) for label in labels] for who in ("first", "second"))
    raw = {
        "unsupported_unmarked": first.count(False),
        "share_of_what_is_said": first.count(False) / len(first),
        "supported_kept": 1.0,
    }
    figures: dict[str, Any] = {
        "model": given.model, "answers": len(rows), "sentences": len(labels), "kappa_of_the_two": kappa(first, second),
        "unsupported": [first.count(False) / len(first), second.count(False) / len(second)], "raw": raw, "tiers": {},
        "versions": versions(["xllamacpp"]),
    }  # fmt: skip
    table = {"raw": raw}
    for tier in TIERS:
        by_tier = {}
        for n, row in enumerate(rows):
            for claim in verifier(tier).check(row["answer"], row["sources"], question=row["question"]).claims:
                by_tier[n, row["answer"][claim.start : claim.end]] = claim.label == "supported"
        said = [by_tier[name] for name in names]
        policies = {
            who: {policy: after(rows, dict(zip(names, values, strict=True)), policy, tier) for policy in POLICIES}
            for who, values in (("first", first), ("second", second))
        }
        figures["tiers"][tier] = {
            "unsupported": said.count(False) / len(said), "kappa": [kappa(said, first), kappa(said, second)], "policies": policies,
        }  # fmt: skip
        table |= {f"{tier}: {policy}": values for policy, values in policies["first"].items()}
    columns = {
        "unsupported, unmarked": "unsupported_unmarked",
        "share": "share_of_what_is_said",
        "kept": "supported_kept",
    }
    show("SmolLM2-135M over the documentation, by the first labels", columns, table)
    print(f"kappa of the two: {figures['kappa_of_the_two']:.3f}; with the tiers:")
    print({tier: [round(one, 3) for one in found["kappa"]] for tier, found in figures["tiers"].items()})
    print(write("grounded", claim=__doc__, command="python -m benchmarks.grounded", figures=figures))


if __name__ == "__main__":
    main()
