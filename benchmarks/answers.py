"""The sentence that is quoted holds the answer, and silence is kept where there is none: on questions with known answers.

    python -m benchmarks.answers DATA

DATA holds reader/ and retrieval/xquad/ as `recipes/quote.py` expects them. Each question is asked of the real index three ways:
as it is, without the passage that answers (a near miss), and without the whole article (the topic is absent). The shipped
networks were trained on some of these sources; `held out` are those they never saw, and the card in weights/quote.json has what
networks reach on each source that was left out of their training.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import show, versions, write
from penstock.documents.quote import Network
from penstock.encoder import WEIGHTS, shipped
from recipes import quote as recipe

COLUMNS = {"held out": "held_out", "one sentence": "one", "two": "two", "three": "three",
           "AUROC topic absent": "auroc_absent", "near miss": "auroc_near"}  # fmt: skip


class Shipped:
    """A network from weights/quote.json, as the recipe's measures take one."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.score = Network.load(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data
    weights = json.loads((WEIGHTS / "quote.json").read_text("utf-8"))
    ranking: Any = Shipped(weights["ranking"])
    confidence: Any = Shipped(weights["confidence"])
    embedder, random = shipped(threads=2), np.random.default_rng(11)
    found: dict[str, Any] = {}
    sources = dict.fromkeys(recipe.READER, ("reader", False))
    sources |= {name: ("xquad", name in recipe.HELD_OUT) for name in (*recipe.LANGUAGES, *recipe.HELD_OUT)}
    for name, (kind, held_out) in sources.items():
        if kind == "reader":
            asked = recipe.squad(data / "reader", recipe.READER[name], whole_articles=name == "squad")
        else:
            asked = recipe.xquad(data / "retrieval" / "xquad" / name)
        rows = list(recipe.examples(*asked, embedder, random))
        found[name] = {"held_out": "yes" if held_out else "", **recipe.measure(rows, ranking, confidence)}
        print(f"{name}: {found[name]}", file=sys.stderr, flush=True)
    left_out = {name: {"held_out": "yes", **row} for name, row in
                weights["card"]["measured_without_training_on_the_source"].items()}  # fmt: skip
    show("shipped networks", COLUMNS, found)
    show("networks that never saw the source, from the card", COLUMNS, left_out)
    print(
        f"\nexpected calibration error, on rows that trained nothing: {weights['card']['expected_calibration_error']}"
    )
    write("answers", claim=__doc__, command="python -m benchmarks.answers DATA",
          figures={"versions": versions(("penstock", "numpy", "onnxruntime")), "shipped": found, "left_out": left_out,
                   "expected_calibration_error": weights["card"]["expected_calibration_error"]})  # fmt: skip


if __name__ == "__main__":
    main()
