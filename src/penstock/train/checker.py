"""Train the checker that verify/checker.py runs: `penstock train checker --data DIR`; an hour or two on two cores.

DIR holds verify/nli and verify/grounding (gzipped JSON Lines of claims with contexts) and reader (files of questions in SQuAD's
format). Which sets are learnt from, under which licences, stands in checker_rows.py; other files in those folders are left
alone. A tenth of the contexts of each set teaches the network nothing: with them the regression is fitted that turns what the
network and the words say into a probability, and the card's figures are measured.

The network is all-MiniLM-L6-v2, read as a pair encoder: [CLS] (question [SEP]) claim [SEP] evidence [SEP], evidence as the
second segment. Five heads on its last states: does the evidence support, leave open or contradict the claim; which pieces of
the claim are unsupported; does it answer the question, and where. Words and positions stay as they are, so that the encoder's
table serves both.

    python -m penstock.train.checker --data DIR --out OUT [--steps N] [--threads N] [--resume FILE] [--check]
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from penstock.train import checker_rows, checker_support
from penstock.train.checker_rows import SETS, Example
from penstock.train.graph import Arithmetic, Graph, largest_activations
from penstock.train.minilm import downloaded
from penstock.verify.checker import Pair, packed
from penstock.verify.evidence import Reader

__all__ = ["export", "fit", "train"]

LAYERS, DIM, HEADS = 6, 384, 12
SEED = 20261129
HELD = 10  # of a hundred folds, which teach the network nothing
TOKENS = 2_048  # in a step
ROUND = 8  # a pass over the sets is made in so many rounds, each with an eighth of each set
RATE, HEAD_RATE, FALL = 2e-4, 8e-4, 0.9  # of the last layer, of the heads; each layer below learns more slowly by FALL
WARM, DECAY = 200, 0.5  # steps; the share of the steps in which the rate falls to nothing
DROPOUT, SMOOTHING = 0.1, 0.03
MARKS, SPANS = 0.3, 0.5  # weights beside the relation of claim and evidence


# ---------------------------------------------------------------- the network


def network(weights: dict[str, Any]) -> Any:
    """The encoder with its five heads, in torch. weights: all-MiniLM-L6-v2, by Hugging Face's names."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Layer(nn.Module):  # type: ignore[misc]
        def __init__(self, prefix: str) -> None:
            super().__init__()

            def linear(name: str, ins: int, outs: int) -> Any:
                made = nn.Linear(ins, outs)
                made.weight.data, made.bias.data = weights[f"{prefix}{name}.weight"], weights[f"{prefix}{name}.bias"]
                return made

            def norm(name: str) -> Any:
                made = nn.LayerNorm(DIM, 1e-12)
                made.weight.data, made.bias.data = weights[f"{prefix}{name}.weight"], weights[f"{prefix}{name}.bias"]
                return made

            self.query, self.key, self.value = (
                linear(f"attention.self.{name}", DIM, DIM) for name in ("query", "key", "value")
            )
            self.out, self.attended = linear("attention.output.dense", DIM, DIM), norm("attention.output.LayerNorm")
            self.up, self.down = linear("intermediate.dense", DIM, 4 * DIM), linear("output.dense", 4 * DIM, DIM)
            self.done = norm("output.LayerNorm")

        def forward(self, x: Any, mask: Any) -> Any:  # x: (rows, tokens, 384)
            rows, tokens, _ = x.shape
            q, k, v = (
                part(x).view(rows, tokens, HEADS, DIM // HEADS).transpose(1, 2)
                for part in (self.query, self.key, self.value)
            )
            seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).reshape(rows, tokens, DIM)
            x = self.attended(x + F.dropout(self.out(seen), DROPOUT, self.training))
            return self.done(x + F.dropout(self.down(F.gelu(self.up(x))), DROPOUT, self.training))

    class Network(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            fixed = {name: weights[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position")}
            self.word, self.position = (nn.Embedding.from_pretrained(fixed[name], freeze=True) for name in fixed)
            self.segment = nn.Embedding.from_pretrained(
                weights["embeddings.token_type_embeddings.weight"], freeze=False
            )
            self.norm = nn.LayerNorm(DIM, 1e-12)
            self.norm.weight.data = weights["embeddings.LayerNorm.weight"]
            self.norm.bias.data = weights["embeddings.LayerNorm.bias"]
            self.layers = nn.ModuleList(Layer(f"encoder.layer.{n}.") for n in range(LAYERS))
            self.support, self.answers = nn.Linear(3 * DIM, 3), nn.Linear(3 * DIM, 1)
            self.unsupported, self.span = nn.Linear(DIM, 1), nn.Linear(DIM, 2)

        def forward(self, ids: Any, claim: Any, evidence: Any, there: Any) -> tuple[Any, Any, Any, Any]:
            """ids, claim, evidence, there: (rows, tokens); the last three say which tokens are of what."""
            places = torch.arange(ids.shape[1])
            x = self.word(ids) + self.position(places)[None] + self.segment(evidence.long())
            x = F.dropout(self.norm(x), DROPOUT, self.training)
            mask = torch.zeros(there.shape).masked_fill(~there, -1e4)[:, None, None, :]
            for layer in self.layers:
                x = layer(x, mask)
            pooled = torch.cat([x[:, 0], _mean(x, claim), _mean(x, evidence)], 1)
            return self.support(pooled), self.answers(pooled)[:, 0], self.unsupported(x)[..., 0], self.span(x)

    def _mean(x: Any, where: Any) -> Any:
        weight = where.float()[..., None]
        return (x * weight).sum(1) / weight.sum(1).clamp(min=1)

    return Network()


def together(examples: Sequence[Example]) -> tuple[Any, Any, Any, Any, list[tuple[slice, slice]]]:
    """Examples as tensors (rows, tokens): ids, which tokens are the claim, which the evidence, which are there; and where."""
    import torch

    read = [packed(Pair(e.claim, e.evidence, e.question)) for e in examples]
    longest = max(len(ids) for ids, _, _ in read)
    ids = torch.zeros(len(read), longest, dtype=torch.long)
    claim, evidence, there = (torch.zeros(len(read), longest, dtype=torch.bool) for _ in range(3))
    for n, (tokens, one, other) in enumerate(read):
        ids[n, : len(tokens)] = torch.tensor(tokens)
        there[n, : len(tokens)], claim[n, one], evidence[n, other] = True, True, True
    return ids, claim, evidence, there, [(one, other) for _, one, other in read]


def loss_of(model: Any, examples: Sequence[Example]) -> Any:
    """The mean loss. Where a set says supported or not and no more, open and contradicted are one."""
    import torch
    from torch.nn import functional as F

    ids, claim, evidence, there, where = together(examples)
    support, answers, unsupported, span = model(ids, claim, evidence, there)
    logs = F.log_softmax(support, -1)
    total = torch.zeros(())
    for n, example in enumerate(examples):
        own, passage = where[n]
        if example.supported >= 0:
            yes, no = logs[n, 0], torch.logsumexp(logs[n, 1:], 0)
            if example.relation >= 0:
                total = total - (1 - SMOOTHING) * logs[n, example.relation] - SMOOTHING * logs[n].mean()
            else:
                total = total - (1 - SMOOTHING) * (yes if example.supported else no) - SMOOTHING * 0.5 * (yes + no)
            total = total + MARKS * _marks_loss(unsupported[n, own], example)
        if example.answers >= 0:
            wanted = torch.tensor(float(example.answers))
            total = total + F.binary_cross_entropy_with_logits(answers[n], wanted)
            if 0 <= example.start <= example.end < passage.stop - passage.start:
                ends = torch.tensor([example.start, example.end])
                total = total + SPANS * F.cross_entropy(span[n, passage].T, ends)
    return total / len(examples)


def _marks_loss(odds: Any, example: Example) -> Any:
    """Of a supported claim no piece is unsupported; of another those that are known, or at least one."""
    import torch
    from torch.nn import functional as F

    if example.supported:
        return 0.5 * F.softplus(odds).mean()
    if example.marks is not None and any(example.marks[: len(odds)]):
        return F.binary_cross_entropy_with_logits(odds, torch.tensor(example.marks[: len(odds)], dtype=odds.dtype))
    return 0.2 * F.softplus(-odds.max())


# ---------------------------------------------------------------- training


def batches(examples: Sequence[Example], seed: int) -> Iterator[list[Example]]:
    """Without end: of each set its share, in steps of about TOKENS tokens, rows of like length together."""
    draw = random.Random(seed)  # noqa: S311  draws, and no secrets
    by_set = defaultdict(list)
    for example in examples:
        by_set[example.source].append(example)
    left: dict[str, list[Example]] = {name: [] for name in by_set}
    while True:
        some: list[Example] = []
        for name, own in by_set.items():
            for _ in range(max(1, SETS[name].a_pass // ROUND)):
                if not left[name]:
                    left[name] = draw.sample(own, len(own))
                some.append(left[name].pop())
        draw.shuffle(some)
        steps: list[list[Example]] = []
        for at in range(0, len(some), 2_000):
            step: list[Example] = []
            longest = 0
            for example in sorted(some[at : at + 2_000], key=_length):
                longest = max(longest, _length(example))
                if step and longest * (len(step) + 1) > TOKENS:
                    steps.append(step)
                    step, longest = [], _length(example)
                step.append(example)
            steps.append(step)
        draw.shuffle(steps)
        yield from steps


def _length(example: Example) -> int:
    return len(example.question) + len(example.claim) + len(example.evidence) + 4


def fit(
    model: Any, examples: Sequence[Example], *, steps: int, seed: int, resume: Path | None, kept: Path
) -> dict[str, Any]:
    """Train, with a moving average of the weights, which is what is returned. State is kept every 200 steps, to go on from."""
    import torch

    groups = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        depth = int(name.split(".")[1]) if name.startswith("layers.") else -1
        below = name.startswith(("norm", "segment"))
        rate = RATE * FALL ** (LAYERS - 1 - depth) if depth >= 0 or below else HEAD_RATE
        decay = 0.01 if parameter.ndim > 1 else 0.0
        groups.append({"params": [parameter], "lr": rate, "base": rate, "weight_decay": decay})
    optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.98))
    average = {name: value.clone() for name, value in model.state_dict().items()}
    done = 0
    if resume is not None:
        state = torch.load(resume, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        average, done = state["average"], state["step"]
    began, sum_, seen = time.time(), 0.0, 0
    model.train()
    for step, batch in enumerate(batches(examples, seed + done), done + 1):
        if step > steps:
            break
        rest = (1 - step / steps) / DECAY
        for group in optimiser.param_groups:
            group["lr"] = group["base"] * min(1.0, step / WARM, max(rest, 0.02))
        loss = loss_of(model, batch)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        sum_, seen = sum_ + float(loss.detach()), seen + len(batch)
        share = min(0.998, step / (step + 20))
        with torch.no_grad():
            for name, value in model.state_dict().items():
                if not name.startswith(("word", "position")):
                    average[name].mul_(share).add_(value, alpha=1 - share)
        if step % 200 == 0 or step == steps:
            state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "average": average, "step": step}
            torch.save(state, kept.with_suffix(".new"))
            kept.with_suffix(".new").replace(kept)
            print(f"step {step} of {steps}: loss {sum_ / 200:.3f}, {seen} rows, {time.time() - began:.0f} s",
                  file=sys.stderr, flush=True)  # fmt: skip
            sum_ = 0.0
    return average


# ---------------------------------------------------------------- the files


def export(state: dict[str, Any], examples: Sequence[Example], out: Path) -> None:
    """Write layers.int8.onnx, layers.float32.onnx, layers.bin and heads.npz. examples: to find channels with outliers."""
    from onnx import TensorProto, helper

    tensors = {name: value.detach().numpy() for name, value in state.items()}
    weights: dict[str, Any] = {}
    names = {
        "query": "attention.self.query", "key": "attention.self.key", "value": "attention.self.value",
        "out": "attention.output.dense", "attended": "attention.output.LayerNorm", "up": "intermediate.dense",
        "down": "output.dense", "done": "output.LayerNorm",
    }  # fmt: skip
    for n in range(LAYERS):
        for own, theirs in names.items():
            for part in ("weight", "bias"):
                weights[f"encoder.layer.{n}.{theirs}.{part}"] = tensors[f"layers.{n}.{own}.{part}"]
    for part in ("weight", "bias"):
        weights[f"embeddings.LayerNorm.{part}"] = tensors[f"norm.{part}"]

    def build(arithmetic: Arithmetic, largest: dict[str, Any], path: Path) -> None:
        graph = Graph(weights, arithmetic, largest)
        states = graph.layers(graph.embeddings_norm("embedded"), LAYERS)
        graph.op("Identity", [states], "states")
        shape = ["batch", "tokens"]
        inputs = [
            helper.make_tensor_value_info("embedded", TensorProto.FLOAT, [*shape, DIM]),
            helper.make_tensor_value_info("mask", TensorProto.INT32, shape),
        ]
        outputs = [helper.make_tensor_value_info("states", TensorProto.FLOAT, [*shape, DIM])]
        graph.save(path, inputs=inputs, outputs=outputs, location="layers.bin")

    second = tensors["segment.weight"][1] - tensors["segment.weight"][0]
    first = tensors["segment.weight"][0] - _segment_of_table(tensors)

    def feeds() -> Iterator[dict[str, Any]]:
        for example in random.Random(SEED).sample(list(examples), min(400, len(examples))):  # noqa: S311
            ids, _, evidence = packed(Pair(example.claim, example.evidence, example.question))
            x = tensors["word.weight"][ids] + tensors["position.weight"][: len(ids)] + tensors["segment.weight"][0]
            x[evidence] += second
            yield {"embedded": x[None].astype(np.float32), "mask": np.ones((1, len(ids)), np.int32)}

    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        largest = largest_activations(lambda path: build("probe", {}, path), feeds(), folder)
        arithmetics: tuple[Arithmetic, ...] = ("float32", "int8")
        for arithmetic in arithmetics:
            (folder / arithmetic).mkdir()
            build(arithmetic, largest, folder / arithmetic / "graph.onnx")
            (out / f"layers.{arithmetic}.onnx").write_bytes((folder / arithmetic / "graph.onnx").read_bytes())
        tensors_of = [(folder / arithmetic / "layers.bin").read_bytes() for arithmetic in arithmetics]
        if tensors_of[0] != tensors_of[1]:
            raise SystemExit("the two graphs do not share their tensors")
        (out / "layers.bin").write_bytes(tensors_of[0])
    heads = {f"{name}.w": tensors[f"{name}.weight"].T for name in ("support", "answers", "unsupported", "span")}
    heads |= {f"{name}.b": tensors[f"{name}.bias"] for name in ("support", "answers", "unsupported", "span")}
    np.savez(out / "heads.npz", first=first, second=second, **{n: v.astype(np.float32) for n, v in heads.items()})


def _segment_of_table(tensors: dict[str, Any]) -> Any:
    """The first segment's vector that the encoder's table of positions has in it already."""
    table = Reader().table.positions(1)[0]
    return table - tensors["position.weight"][0]


def train(
    data: Path,
    out: Path,
    *,
    steps: int,
    threads: int,
    seed: int = SEED,
    resume: Path | None = None,
    check: bool = False,
) -> Path:
    """Train and write the checker's files into out. check: a tiny run that shows that everything works."""
    import torch
    from safetensors.torch import load_file

    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    reader = Reader()
    made = checker_rows.examples(data, reader, seed)
    print(f"{len(made)} examples", file=sys.stderr, flush=True)
    learnt = [example for example in made if example.fold >= HELD]
    with tempfile.TemporaryDirectory() as folder:
        model = network(load_file(downloaded(Path(folder)) / "model.safetensors"))
    began = time.process_time()
    state = fit(model, learnt, steps=20 if check else steps, seed=seed, resume=resume, kept=out / "state.pt")
    export(state, learnt, out)
    facts = {"steps": steps, "seed": seed, "cpu_s": round(time.process_time() - began), "examples": len(learnt)}
    checker_support.write(data, out, facts=facts, most=20 if check else 400)
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("checker"))
    parser.add_argument("--steps", type=int, default=2_200)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--resume", type=Path)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args(arguments)
    found = train(
        given.data, given.out, steps=given.steps, threads=given.threads, seed=given.seed, resume=given.resume,
        check=given.check,
    )  # fmt: skip
    print(found)


if __name__ == "__main__":
    main()
