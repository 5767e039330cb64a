"""The shipped encoder embeds a passage in at most 1/1.9 of the CPU time of sentence-transformers on torch.

The same texts, one process and one thread each, in turn. Passages of about 200 tokens go in together, questions one by one.
sentence-transformers runs with its own batches of 32, and with the batches of 4 that suit one thread best. How far the
vectors are from those of torch is reported as well.

    python -m benchmarks.embedding --peers PEERS_PYTHON --model MODEL_FOLDER
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import System, commit, in_turn, medians, show, write
from benchmarks.mixed_folder import DOMAINS, Writer
from penstock.encoder import shipped

PASSAGES, QUESTIONS = 60, 60
SHORTEST, LONGEST = 180, 220  # tokens of a passage
ASKED = (
    "how often is the {thing} {done}?", "who may {do} a {adj} {thing}?", "what does a {thing} cost?", "{thing} {place}",
    "can I {do} the {thing} before {month}?", "what happens if the {thing} is {adj}?", "where do I find the {other}?",
)  # fmt: skip
COLUMNS = {
    "passages / CPU-s": "passages_per_cpu_s", "question CPU-ms": "question_cpu_ms", "start CPU-s": "start_cpu_s",
    "peak MB": "peak_mb", "mean cosine": "mean_cosine", "least cosine": "least_cosine",
}  # fmt: skip


def texts(seed: int) -> dict[str, list[str]]:
    """Passages that have the wanted number of tokens, and short questions, from all departments in turn."""
    chance, count = random.Random(seed), shipped().count_tokens
    writers = [Writer(domain, chance) for domain in DOMAINS.values()]
    passages: list[str] = []
    while len(passages) < PASSAGES:
        text = ""
        while count([text]) < SHORTEST:
            text = f"{text} {writers[len(passages) % len(writers)].one('sentence')}".strip()
        if count([text]) <= LONGEST:
            passages.append(text)
    questions = [writers[n % len(writers)].fill(chance.choice(ASKED)) for n in range(QUESTIONS)]
    return {"passages": passages, "questions": questions}


def agreement(folder: Path, exact: str, name: str) -> dict[str, float]:
    """Cosine of an encoder's vectors to those of torch."""
    cosines = (np.load(folder / f"{exact}.npy") * np.load(folder / f"{name}.npy")).sum(1)
    return {"mean_cosine": round(float(cosines.mean()), 5), "least_cosine": round(float(cosines.min()), 5)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peers", required=True, metavar="PYTHON", help="of the peers' environment")
    parser.add_argument("--model", required=True, metavar="FOLDER", help="all-MiniLM-L6-v2 for sentence-transformers")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    started_from = commit()
    encoders = {
        "penstock int8": (sys.executable, "int8"),
        "penstock float32": (sys.executable, "float32"),
        "torch, 32 at a time": (options.peers, options.model),
        "torch, 4 at a time": (options.peers, options.model, "--batch", "4"),
    }
    peers = [name for name in encoders if name.startswith("torch")]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        file, wording = folder / "texts.json", texts(options.seed)
        file.write_text(json.dumps(wording), "utf-8")
        systems = [
            System(
                name,
                python,
                ("benchmarks.embedding_system", *what, str(file), "--vectors", str(folder / f"{name}.npy")),
            )
            for name, (python, *what) in encoders.items()
        ]
        rows = in_turn(systems, options.rounds)
        agrees = {name: agreement(folder, peers[0], name) for name in encoders}
    packages: dict[str, str] = {}
    for row in rows:
        packages |= row.pop("versions")
    middle = {name: {**figures, **agrees[name]} for name, figures in medians(rows).items()}
    title = f"{PASSAGES} passages of {SHORTEST} to {LONGEST} tokens, {QUESTIONS} questions"
    show(title, COLUMNS, middle)
    times = {
        f"{name} / {peer}": {
            "passages": round(middle[name]["passages_per_cpu_s"] / middle[peer]["passages_per_cpu_s"], 2),
            "questions": round(middle[peer]["question_cpu_ms"] / middle[name]["question_cpu_ms"], 2),
        }
        for name in encoders
        for peer in peers
        if name not in peers
    }
    print("\ntimes faster:", times)
    count = shipped().count_tokens
    conditions: dict[str, Any] = {
        "threads": 1,
        "passages": PASSAGES,
        "tokens_per_passage": round(count(wording["passages"]) / PASSAGES, 1),
        "questions": QUESTIONS,
        "tokens_per_question": round(count(wording["questions"]) / QUESTIONS, 1),
        "cosine": "to the vectors of sentence-transformers, over passages and questions",
    }
    figures = {"conditions": conditions, "versions": packages, "median": middle, "times_faster": times, "rounds": rows}
    command = "python -m benchmarks.embedding --peers PEERS_PYTHON --model MODEL_FOLDER"
    command += f" --seed {options.seed} --rounds {options.rounds}"
    print(write("embedding", claim=__doc__, command=command, figures=figures, commit_measured=started_from))


if __name__ == "__main__":
    main()
