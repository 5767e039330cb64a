"""Train the model that text/languages.py runs: ten minutes of one core, one command.

    python -m penstock.train.languages [--data DIR] [--out DIR] [--check]

It learns from the words of each language by how often they are used (wordfreq, CC BY-SA 4.0), from what free software says in
many languages (packages.py), and from sentences written for this (language_lines/, tagger_sentences/, injection_phrases/).
DIR keeps the packages; missing ones are downloaded. What it sees are runs of one to twelve words; a line in twenty-five is for
fitting how sure it is. --check is a tiny run on the written sentences alone.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import random
import re
import sys
import tempfile
import time
import zipfile
import zlib
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from penstock.text.languages import SCRIPTS, WORD, grams
from penstock.train.packages import PACKAGES, cleaned, translations, wheels

__all__ = ["LANGUAGES", "train"]

LANGUAGES = {  # by script
    "Latin": "en de es fr it pt nl sv da no fi is et lv lt pl cs sk sl hr hu ro tr az sq eu ca gl eo id ms tl sw vi cy ga af lb "
    "uz ha yo".split(),
    "Cyrillic": "ru uk be bg mk sr kk ky mn tg tt".split(),
    "Arabic": "ar fa ur ug ckb".split(),
    "Devanagari": "hi mr ne".split(),
}
WORD_LISTS = {"no": "nb", "tl": "fil", "hr": "sh", "sr": ""}  # where wordfreq calls it otherwise, or means several
LOCALES = {"no": ("nb", "no"), "hr": ("hr", "bs", "sr-latn"), "tl": ("tl", "fil")}
LINES = (
    "Django wagtail django-allauth django-oscar apache-superset apache-airflow-core home-assistant-frontend homeassistant indico "
    "kolibri"
).split()
RUNS = (1, 2, 2, 3, 3, 3, 4, 4, 5, 6, 8, 12)  # words of an example
GRAMS, DIM, BATCH, RATE = 90_000, 24, 256, 1e-2
FREQUENT_WORDS = 500  # of each language, that are kept ready
FREQUENT = 0.95  # exponent of a word's frequency
SEED = 20261129


class Language:
    """What one language is learnt from."""

    def __init__(self, words: dict[str, float], lines: Sequence[str], own: Sequence[str], draw: random.Random) -> None:
        self._words, self._lines, self._own, self._draw = list(words), list(lines), list(own), draw
        share = np.array(list(words.values()) or [1.0]) ** FREQUENT
        self._until = np.cumsum(share / share.sum()).tolist()

    @property
    def weight(self) -> float:
        return 1.0 if self._words or len(self._lines) > 3_000 else 0.5

    def frequent(self, most: int) -> list[str]:
        """Its most frequent words."""
        if self._words:
            return self._words[:most]
        found = Counter(word.lower() for line in [*self._lines, *self._own] for word in WORD.findall(line))
        return [word for word, _ in found.most_common(most)]

    def example(self) -> list[str]:
        """Some words, lower-cased: drawn by how frequent they are, or as they stand in a line."""
        draw, count = self._draw, self._draw.choice(RUNS)
        if self._words and (not self._lines or draw.random() < 0.55):
            last = len(self._words) - 1
            return [self._words[min(last, bisect(self._until, draw.random()))] for _ in range(count)]
        written = self._own and (not self._lines or draw.random() < (0.2 if self._words else 0.45))
        line = draw.choice(self._own if written else self._lines)
        found = [word.lower() for word in WORD.findall(line)]
        first = draw.randint(0, max(0, len(found) - count))
        return found[first : first + count]


def languages(data: Path | None, draw: random.Random) -> dict[str, Language]:
    """All languages, with what there is of each. Without data: from the written sentences alone."""
    lines: dict[str, set[str]] = defaultdict(set)
    lists: zipfile.ZipFile | None = None
    if data is not None:
        files = wheels(data, [*LINES, "wordfreq"])
        lists = zipfile.ZipFile(files.pop("wordfreq"))
        for file in files.values():
            for said in translations(file):
                place = f"{said.language}-latn" if said.region.startswith("lat") else said.language
                lines[place].update(cleaned(said.text))
    found = {}
    for script, names in LANGUAGES.items():
        letters = re.compile(f"[{SCRIPTS[script][1]}]")
        for name in names:
            words = _frequencies(lists, WORD_LISTS.get(name, name), letters) if lists else {}
            own = [
                line for place in LOCALES.get(name, (name,)) for line in sorted(lines[place]) if _mostly(letters, line)
            ]
            written = _written(name)
            if words or own or written:
                found[name] = Language(words, [line for line in own if not kept_apart(line)], written, draw)
    return found


def _mostly(letters: re.Pattern[str], line: str) -> bool:
    return len(letters.findall(line)) > 0.6 * sum(map(str.isalpha, line))


def kept_apart(line: str) -> bool:
    """One line in twenty-five is for fitting how sure the model is."""
    return zlib.crc32(line.encode("utf-8", "replace")) % 25 == 3


def _frequencies(lists: zipfile.ZipFile, name: str, letters: re.Pattern[str]) -> dict[str, float]:
    """Word -> how often it is used. wordfreq keeps them in steps of a hundredth of a power of ten."""
    import msgpack

    place = f"wordfreq/data/small_{name}.msgpack.gz"
    if not name or place not in lists.namelist():
        return {}
    steps = msgpack.unpackb(gzip.decompress(lists.read(place)), raw=False)[1:]
    return {
        word: 10 ** (-n / 100)
        for n, words in enumerate(steps)
        for word in words
        if letters.search(word) and not re.search(r"[\d_]", word)
    }


def _written(name: str) -> list[str]:
    here, found = Path(__file__).parent, list[str]()
    for folder in ("language_lines", "tagger_sentences", "injection_phrases"):
        path = here / folder / f"{name}.txt"
        if path.is_file():
            lines = path.read_text("utf-8").splitlines()
            found += [
                re.sub(r"\{\w+\}|\\n", " ", line) for line in lines if line and not line.startswith(("[", "Phrases in"))
            ]
    return found


def known_words(known: dict[str, Language]) -> list[str]:
    """The most frequent words of each language: their vectors are kept ready."""
    return sorted({word for language in known.values() for word in language.frequent(FREQUENT_WORDS)})


def chosen_grams(known: dict[str, Language], most: int, examples: int) -> list[str]:
    """The n-grams that say most: frequent ones that stand in few languages."""
    names = list(known)
    counts: dict[str, Counter[int]] = defaultdict(Counter)
    for n, name in enumerate(names):
        for _ in range(examples):
            for word in known[name].example():
                for gram in grams(word[:40]):
                    counts[gram][n] += 1
    scored = []
    for gram, seen in counts.items():
        total = sum(seen.values())
        if total < 6 and examples > 1_000:
            continue
        share = np.array([*seen.values()]) + 0.3
        rest = 0.3 * (len(names) - len(seen))
        p = np.append(share, [0.3] * (len(names) - len(seen))) / (share.sum() + rest)
        scored.append((float(np.log1p(total) * (np.log(len(names)) + (p * np.log(p)).sum())), gram))
    return [gram for _, gram in sorted(scored, reverse=True)[:most]]


def fit(known: dict[str, Language], vocabulary: Sequence[str], steps: int, seed: int) -> tuple[Any, Any, Any, float]:
    """The vectors of the n-grams, the weights and biases of the languages, and the sharpness that makes probabilities of odds."""
    import torch

    torch.manual_seed(seed)
    draw, names = random.Random(seed), list(known)  # noqa: S311  draws, and no secrets
    place = {gram: n for n, gram in enumerate(vocabulary)}
    remembered: dict[str, list[int]] = {}

    def ids(words: Sequence[str]) -> list[int]:
        found = []
        for word in words:
            if word not in remembered:
                remembered[word] = [place[gram] for gram in grams(word[:40]) if gram in place]
            found += remembered[word]
        return found or [0]

    table = torch.nn.EmbeddingBag(len(vocabulary), DIM, mode="sum", sparse=True)
    torch.nn.init.normal_(table.weight, 0, 0.05)
    last = torch.nn.Linear(DIM, len(names))
    optimisers = [torch.optim.SparseAdam(table.parameters(), lr=RATE), torch.optim.Adam(last.parameters(), lr=RATE)]

    def odds(rows: list[list[int]]) -> Any:
        starts = torch.tensor(np.cumsum([0, *map(len, rows[:-1])]))
        sizes = torch.tensor([len(row) for row in rows]).float()
        return last(table(torch.tensor([n for row in rows for n in row]), starts) / sizes.sqrt()[:, None])

    began = time.time()
    for step in range(steps):
        chosen = draw.choices(range(len(names)), [known[name].weight for name in names], k=BATCH)
        rate = RATE * min(1.0, 1.5 * (1 - step / steps) + 0.01)
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate
        scores = odds([ids(known[names[n]].example()) for n in chosen])
        loss = torch.nn.functional.cross_entropy(scores, torch.tensor(chosen), label_smoothing=0.02)
        for optimiser in optimisers:
            optimiser.zero_grad()
        loss.backward()
        for optimiser in optimisers:
            optimiser.step()
        if step % 1_000 == 999:
            print(f"step {step + 1} of {steps}: loss {float(loss.detach()):.3f}, {time.time() - began:.0f} s",
                  file=sys.stderr, flush=True)  # fmt: skip
    with torch.no_grad():
        chosen = draw.choices(range(len(names)), k=4_000)
        scores, truth = odds([ids(known[names[n]].example()) for n in chosen]), torch.tensor(chosen)
        places = np.linspace(0.4, 2.0, 33)
        losses = [float(torch.nn.functional.cross_entropy(scores * place, truth)) for place in places]
    sharpness = float(places[int(np.argmin(losses))])
    return table.weight.detach().numpy(), last.weight.detach().numpy(), last.bias.detach().numpy(), sharpness


def train(data: Path | None, out: Path, *, steps: int = 15_000, seed: int = SEED) -> Path:
    """Train and write model.npz and card.json into out. Without data: a tiny run."""
    draw = random.Random(seed)  # noqa: S311  draws, and no secrets
    began = time.process_time()
    known = languages(data, draw)
    vocabulary = chosen_grams(known, GRAMS if data else 2_000, 4_000 if data else 20)
    table, weights, bias, sharpness = fit(known, vocabulary, steps if data else 40, seed)
    out.mkdir(parents=True, exist_ok=True)
    scale = float(np.quantile(np.abs(table), 0.9999)) / 127
    at = {gram: n for n, gram in enumerate(vocabulary)}
    rows = np.clip(np.round(table / scale), -127, 127).astype(np.int8)
    frequent = known_words(known)
    seen = [[place for gram in grams(word[:40]) if (place := at.get(gram)) is not None] for word in frequent]
    vectors = np.stack([rows[some].sum(0, dtype=np.float32) * np.float32(scale) for some in seen]).astype(np.float16)
    scripts = [next(script for script, names in LANGUAGES.items() if name in names) for name in known]
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, languages=json.dumps(list(known)), scripts=json.dumps(scripts), rows=rows, scale=np.float32(scale),
        grams=np.frombuffer("\n".join(vocabulary).encode(), np.uint8), weights=weights.astype(np.float16),
        bias=bias.astype(np.float16), sharpness=np.float32(sharpness), vectors=vectors,
        counts=np.array([min(255, len(some)) for some in seen], np.uint8),
        words=np.frombuffer("\n".join(frequent).encode(), np.uint8),
    )  # fmt: skip
    (out / "model.npz").write_bytes(buffer.getvalue())
    card = {
        "name": "languages",
        "does": "says which language a text is in",
        "languages": sorted({*known, *(own for own, _ in SCRIPTS.values() if own)}),
        "licence": "Apache-2.0, with attribution: word frequencies from wordfreq (Robyn Speer), CC BY-SA 4.0",
        "recipe": "python -m penstock.train.languages",
        "data": {name: ", ".join(PACKAGES[name]) for name in [*LINES, "wordfreq"]}
        | {"own sentences": "penstock/train/language_lines, tagger_sentences, injection_phrases: written for this"},
        "trained": {
            "steps": steps,
            "seed": seed,
            "cpu_s": round(time.process_time() - began),
            "grams": len(vocabulary),
        },
        "not for": "telling dialects apart, Bosnian, Croatian and Serbian in Latin letters (all are hr), texts of one name",
        "bytes": {"model.npz": len(buffer.getvalue())},
        "sha256": {"model.npz": hashlib.sha256(buffer.getvalue()).hexdigest()},
    }
    (out / "card.json").write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "penstock-packages")
    parser.add_argument("--out", type=Path, default=Path("languages"))
    parser.add_argument("--steps", type=int, default=15_000)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args(arguments)
    print(train(None if given.check else given.data, given.out, steps=given.steps))


if __name__ == "__main__":
    main()
