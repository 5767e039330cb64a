"""Train the heads of `penstock.observe.satisfaction`.

    python -m penstock.train.satisfaction --out DIR [--dialogues N] [--data DATA] [--check]

They learn from dialogues that satisfaction_rows.py makes: no rating of a real dialogue is fitted. (1) Make two sets of
dialogues, each in one half of the lines of satisfaction_phrases. (2) Fit two ridge regressions on the encoder's vectors: what a
turn of a person and one of an assistant do to satisfaction. (3) Try them on the other half of the lines, and there on kinds of
talk that they have not seen. (4) Scale them to three quarters of the spread of the signs, whose weights are set by hand. (5)
Calibrate the sum on rows whose lines the heads have not seen, as if one turn in five were low. The shipped heads then learn
from both halves.

DATA is a folder with files of rated dialogues (*.jsonl.gz with `turns`, and `satisfaction` in those of people): it is measured on,
and recorded in the card, and changes nothing.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from penstock.encoder import shipped
from penstock.observe import satisfaction
from penstock.observe.satisfaction import FOLDER, Felt, Satisfaction, signs, spoken
from penstock.stats import auroc, expected_calibration_error
from penstock.stats.comparing import ranks
from penstock.train.satisfaction_rows import FAMILIES, SYSTEM, USER, dialogues

Array = np.ndarray[Any, Any]
SEED = 20261129
EACH = 4000  # dialogues of each half
RIDGE = 100.0  # of unit vectors
ASSISTANT = 0.5  # of the assistant's tone, against the person's
TONE = 0.75  # standard deviations of the signs that the tones are scaled to
LOW = 0.2  # share of turns that are taken to be low


@dataclass(slots=True)
class Rows:
    """Turns of people, in columns."""

    family: Array
    low: Array  # bool
    effect: Array  # (n, 2): of the person's act and of the assistant's, in points of five
    signs: Array  # sums of log-odds
    person: Array  # (n, 384)
    assistant: Array  # (n, 384), zeros where it has not spoken

    def where(self, mask: Array) -> Rows:
        return Rows(*(getattr(self, name)[mask] for name in Rows.__slots__))

    @classmethod
    def joined(cls, parts: Sequence[Rows]) -> Rows:
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__slots__))


def made(count: int, half: int, encoder: Any) -> Rows:
    """Generated dialogues as rows."""
    lists = satisfaction.lists_of(FOLDER, "en")
    found = dialogues(count, seed=SEED + half, half=half)
    people = [spoken(dialogue.turns) for dialogue in found]
    texts = sorted({text for turns in people for turn in turns for text in (turn.text, turn.answered)} - {""})
    vectors = dict(zip(texts, encoder.embed(texts), strict=True))
    nothing = np.zeros(encoder.dim, np.float32)
    rated = [one for dialogue in found for one in dialogue.rated]
    return Rows(
        np.array([dialogue.family for dialogue in found for _ in dialogue.rated]),
        np.array([one.low for one in rated]),
        np.array([(USER[one.act], SYSTEM[one.system]) for one in rated]),
        np.array([sum(each.values()) for turns in people for each in signs(turns, lists)]),
        np.stack([vectors.get(turn.text, nothing) for turns in people for turn in turns]),
        np.stack([vectors.get(turn.answered, nothing) for turns in people for turn in turns]),
    )


@dataclass(frozen=True, slots=True)
class Tones:
    """Two directions; positive is less content."""

    person: Array
    person_bias: float
    assistant: Array
    assistant_bias: float

    def of(self, rows: Rows) -> Array:
        spoke = rows.assistant.any(1)
        read = rows.person @ self.person + self.person_bias
        return read + np.where(spoke, rows.assistant @ self.assistant + self.assistant_bias, 0.0)


def fitted(rows: Rows) -> Tones:
    """The tones of rows, scaled to TONE standard deviations of their signs."""
    spoke = rows.assistant.any(1)
    person, person_bias = _ridge(rows.person, -rows.effect[:, 0])
    assistant, assistant_bias = _ridge(rows.assistant[spoke], -rows.effect[spoke, 1])
    raw = Tones(person, person_bias, ASSISTANT * assistant, ASSISTANT * assistant_bias)
    scale = TONE * rows.signs.std() / raw.of(rows).std()
    return Tones(raw.person * scale, raw.person_bias * scale, raw.assistant * scale, raw.assistant_bias * scale)


def _ridge(inputs: Array, wanted: Array) -> tuple[Array, float]:
    """Weights, and the bias with which the mean of what they say of the inputs is 0."""
    x = inputs.astype(np.float64)
    middle = x.mean(0)
    centred = x - middle
    weights = np.linalg.solve(centred.T @ centred + RIDGE * np.eye(x.shape[1]), centred.T @ (wanted - wanted.mean()))
    return weights, -float(middle @ weights)


def calibrated(scores: Array, low: Array) -> tuple[float, float]:
    """Slope and offset of a logistic regression (Platt 1999), with rows weighed so that LOW of them are low."""
    weights = np.where(low, LOW / low.mean(), (1 - LOW) / (1 - low.mean()))
    inputs = np.stack([scores, np.ones_like(scores)], 1)
    found = np.zeros(2)
    for _ in range(50):  # Newton's steps
        said = 1 / (1 + np.exp(-inputs @ found))
        gradient = inputs.T @ (weights * (low - said))
        curvature = (inputs * (weights * said * (1 - said))[:, None]).T @ inputs
        step = np.linalg.solve(curvature, gradient)
        found += step
        if np.abs(step).max() < 1e-9:
            break
    return float(found[0]), float(found[1])


def train(out: Path, *, count: int = EACH, data: Path | None = None) -> Path:
    """Write heads.npz and card.json."""
    began = time.process_time()
    encoder = shipped()
    halves = [made(count, half, encoder) for half in (0, 1)]
    figures: dict[str, Any] = {"unseen lines": _unseen(halves), "unseen lines and kinds of talk": _unseen_kinds(halves)}
    rows = Rows.joined(halves)
    others = np.concatenate([fitted(halves[1]).of(halves[0]), fitted(halves[0]).of(halves[1])])
    calibration = (calibrated(rows.signs + others, rows.low), calibrated(rows.signs, rows.low))
    tones = fitted(rows)
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, person=tones.person.astype(np.float16), assistant=tones.assistant.astype(np.float16),
        biases=np.array([tones.person_bias, tones.assistant_bias], np.float32), calibration=np.array(calibration, np.float32),
    )  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    (out / "heads.npz").write_bytes(buffer.getvalue())
    words = (FOLDER / "words.txt").read_bytes()
    if out.resolve() != FOLDER.resolve():
        (out / "words.txt").write_bytes(words)
    card = {
        "name": "satisfaction",
        "does": "says how likely people are to call a turn of a conversation unsatisfying (mean of three ratings below 3 of 5)",
        "languages": {"word lists": list(satisfaction.LANGUAGES), "heads on the encoder": ["en"]},
        "licence": "Apache-2.0",
        "recipe": "python -m penstock.train.satisfaction --out DIR",
        "data": {"own dialogues": "penstock/train/satisfaction_rows.py and satisfaction_phrases: written for this"},
        "set by hand": (
            "The weights of the signs, in round numbers (observe/satisfaction.py), what each act does to satisfaction "
            "(train/satisfaction_rows.py), the share of the tones (TONE, ASSISTANT), and that one turn in five is low. Whoever set "
            "them had seen which signs go with low ratings in USS MWOZ and SGD, one by one and in regressions fitted there, and "
            "tried some two dozen variants on them: the figures on these two sources are optimistic. No weight was fitted on them."
        ),
        "trained": {
            "dialogues": 2 * count,
            "turns": len(rows.low),
            "low": round(float(rows.low.mean()), 3),
            "seed": SEED,
            "cpu_s": round(time.process_time() - began),
        },
        "made up rows": figures,
        "not for": "judging people who work in support, or single conversations without a look at them: it is right in the mean",
        "bytes": {"heads.npz": len(buffer.getvalue()), "words.txt": len(words)},
        "sha256": {
            "heads.npz": hashlib.sha256(buffer.getvalue()).hexdigest(),
            "words.txt": hashlib.sha256(words).hexdigest(),
        },
    }
    if data:
        card["measured"] = measured(data, out)
    (out / "card.json").write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return out


def _unseen(halves: Sequence[Rows]) -> dict[str, Any]:
    """Of rows in lines that the heads have not seen: the mean over both halves."""
    found = []
    for seen, rows in ((halves[0], halves[1]), (halves[1], halves[0])):
        tones = fitted(seen).of(rows)
        found.append([_auroc(one, rows.low) for one in (rows.signs, tones, rows.signs + tones)])
    return _named(found)


def _unseen_kinds(halves: Sequence[Rows]) -> dict[str, Any]:
    """By family: of rows in lines and of a family that the heads have not seen."""
    found = {}
    for family in FAMILIES:
        both = []
        for seen, rows in ((halves[0], halves[1]), (halves[1], halves[0])):
            own = rows.where(rows.family == family)
            tones = fitted(seen.where(seen.family != family)).of(own)
            both.append([_auroc(one, own.low) for one in (own.signs, tones, own.signs + tones)])
        found[family] = _named(both)
    return found


def _named(found: Sequence[Sequence[float]]) -> dict[str, float]:
    means = [round(statistics.mean(column), 4) for column in zip(*found, strict=True)]
    return dict(zip(("auroc_signs", "auroc_heads", "auroc"), means, strict=True))


def _auroc(scores: Array, low: Array) -> float:
    return auroc(scores, low).estimate


# ---------------------------------------------------------------- rated dialogues of others


def rated(file: Path) -> Iterator[tuple[list[tuple[str, str]], list[tuple[int, float]]]]:
    """For each dialogue its turns, and (place, mean rating) of those that people rated."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            turns = json.loads(line)["turns"]
            means = [(at, statistics.mean(t["satisfaction"])) for at, t in enumerate(turns) if t.get("satisfaction")]
            yield [(turn["role"], turn["text"]) for turn in turns], means


def measured(data: Path, folder: Path) -> dict[str, Any]:
    """By source: how well low turns are told from others, with and without the heads."""
    found: dict[str, Any] = {}
    readers = {"auroc": Satisfaction(folder), "auroc_signs": Satisfaction(folder, encoder=None)}
    for file in sorted(data.rglob("*.jsonl.gz")):
        figures: dict[str, Any] = {}
        for name, reader in readers.items():
            said, mean = judged(reader, file)
            low = mean < 3
            area = auroc(said, low)
            figures |= {"turns": len(low), "low": round(float(low.mean()), 3), name: round(area.estimate, 4)}
            if name == "auroc":
                figures |= {
                    "interval": [round(area.low, 4), round(area.high, 4)],
                    "spearman": round(spearman(-said, mean), 4),
                    "calibration_error": round(expected_calibration_error(said, low), 4),
                }
        found[file.name.removesuffix(".jsonl.gz")] = figures
    return found


def judged(reader: Satisfaction, file: Path) -> tuple[Array, Array]:
    """What the reader says of each rated turn, and the mean rating."""
    said, means = [], []
    for turns, ratings in rated(file):
        felt: dict[int, Felt] = {one.at: one for one in reader.of(turns, language="en")}
        for at, mean in ratings:
            said.append(felt[at].low)
            means.append(mean)
    return np.array(said), np.array(means)


def spearman(first: Array, second: Array) -> float:
    """The correlation of ranks."""
    return float(np.corrcoef(ranks(first), ranks(second))[0, 1])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=Path("satisfaction"), help="a folder for heads.npz, words.txt and card.json"
    )
    parser.add_argument("--dialogues", type=int, default=EACH, help="of each half")
    parser.add_argument("--data", type=Path, help="a folder with rated dialogues, to measure on")
    parser.add_argument("--check", action="store_true", help="a tiny run")
    given = parser.parse_args(arguments)
    print(train(given.out, count=120 if given.check else given.dialogues, data=given.data), file=sys.stdout)


if __name__ == "__main__":
    main()
