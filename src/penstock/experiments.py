"""An experiment: the same cases, put to the settings as they are and to variants of them, and a decision with its record.

A file says it all, and goes into the repository beside what it decided about:

    cases = "cases.jsonl"
    against = "help"
    correct = "token_f1 >= 0.5"

    [variants.small.apps.help]           # laid over penstock.toml
    models = ["small"]

    [costs.small]
    once_usd = 400
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.config import Settings, check_name, load
from penstock.errors import BadRequest
from penstock.evaluate import cases as case_files
from penstock.evaluate import result as results
from penstock.evaluate.decision import MARGIN, Correct, Cost, Decision, decide
from penstock.evaluate.result import Result
from penstock.evaluation import Evaluation
from penstock.storage.files import new_file

__all__ = ["NOW", "Experiment", "read", "styles"]

NOW = "now"  # the settings as they are
KNOWN = (
    "cases", "against", "correct", "scores", "judge", "repeats", "concurrent", "margin", "baseline", "month_answers",
    "variants", "costs", "seed",
)  # fmt: skip
Said = Callable[[str, Evaluation], Callable[[str], object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """What is compared. variants: tables that are laid over the settings, by name; the baseline may be one of them."""

    cases: Path
    against: str
    correct: Correct
    variants: Mapping[str, Mapping[str, Any]]
    costs: Mapping[str, Cost] = field(default_factory=dict)
    scores: tuple[str, ...] = ()
    judge: str = ""
    repeats: int = 1
    concurrent: int = 4
    margin: float = MARGIN
    baseline: str = NOW
    month_answers: float = 0.0
    seed: int = 0

    def evaluation(self, name: str, settings_file: str | None, resume: Result | None = None) -> Evaluation:
        """One variant, to be run. Raises BadRequest, BadSetting or NotFound for what cannot be."""
        settings = load(settings_file, keys=False, over=self.variants[name])
        wanted = (*self.scores, *(() if self.correct.score in (*self.scores, "judge") else (self.correct.score,)))
        return Evaluation(
            cases=case_files.load(self.cases), settings=settings, against=self.against,
            scores=wanted if self.scores else (), judge=self.judge, repeats=self.repeats, concurrent=self.concurrent,
            seed=self.seed, resume=resume,
        )  # fmt: skip

    def run(
        self, folder: Path, settings_file: str | None = None, said: Said = lambda name, one: lambda what: None
    ) -> Decision:
        """Run every variant that is not done, and decide. Results are in the folder, one file each, and so is the decision, as JSON
        and Markdown. Interrupted, it goes on where it stopped."""
        folder.mkdir(parents=True, exist_ok=True)
        found: dict[str, Result] = {}
        for name in self.variants:
            path = folder / f"{name}.json"
            earlier = results.load(path) if path.is_file() else None
            evaluation = self.evaluation(name, settings_file, earlier)
            tick = said(name, evaluation)
            try:
                evaluation.run(tick)
            finally:
                results.save(evaluation.result, path)
            found[name] = evaluation.result
        return self.decided(found, folder)

    def decided(self, found: Mapping[str, Result], folder: Path) -> Decision:
        """The decision, written down."""
        decision = decide(
            found, baseline=self.baseline, correct=self.correct, margin=self.margin, costs=self.costs,
            month_answers=self.month_answers, seed=self.seed,
        )  # fmt: skip
        with new_file(folder / "decision.json") as out:
            out.write(json.dumps(decision.plain(), ensure_ascii=False, indent=1).encode() + b"\n")
        with new_file(folder / "decision.md") as out:
            out.write(decision.markdown().encode() + b"\n")
        return decision


def read(path: Path) -> Experiment:
    """An experiment from its file. Raises BadRequest, which names what is wrong."""
    try:
        tree = tomllib.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise BadRequest(f"the experiment {path} cannot be read: {error}") from error

    def wrong(what: str, hint: str = "") -> BadRequest:
        return BadRequest(f"{path.name}: {what}", hint=hint)

    for key in tree:
        if key not in KNOWN:
            near = difflib.get_close_matches(key, KNOWN, n=1)
            raise wrong(f"there is no '{key}'", f"did you mean '{near[0]}'?" if near else ", ".join(KNOWN))
    usual = {"cases": "", "against": "", "correct": "judge >= 0.75", "judge": "", "baseline": NOW}
    texts: dict[str, str] = {name: tree.get(name, text) for name, text in usual.items()}
    for name, text in texts.items():
        if not isinstance(text, str) or (not text and name != "judge"):
            raise wrong(f"{name} must be a text", 'cases = "cases.jsonl"' if name == "cases" else "")
    variants, costs = tree.get("variants", {}), tree.get("costs", {})
    if not isinstance(variants, Mapping) or not all(isinstance(one, Mapping) for one in variants.values()):
        raise wrong("variants must be tables", "[variants.small.apps.help]")
    if not variants:
        raise wrong("there is no variant", "[variants.small.apps.help]")
    for name in variants:
        check_name(name, what="a variant")
    every = variants if texts["baseline"] in variants else {NOW: {}, **variants}
    if texts["baseline"] not in every:
        raise wrong(f"the baseline '{texts['baseline']}' is no variant", f"known: {', '.join(every)}")
    numbers = {name: _number(tree, name, low, high, default, wrong) for name, low, high, default in
               (("repeats", 1, 100, 1), ("concurrent", 1, 256, 4), ("margin", 0, 1, MARGIN), ("month_answers", 0, 1e12, 0.0),
                ("seed", 0, 2**31, 0))}  # fmt: skip
    scores = tree.get("scores", [])
    if not isinstance(scores, list) or not all(isinstance(one, str) for one in scores):
        raise wrong("scores must be a list of names", "penstock eval scores")
    return Experiment(
        cases=path.parent / texts["cases"], against=texts["against"], correct=Correct.parse(texts["correct"]),
        variants=every, costs=_costs(costs, every, wrong), scores=tuple(scores),
        judge=texts["judge"] or ("offline" if Correct.parse(texts["correct"]).score == "judge" else ""),
        repeats=int(numbers["repeats"]), concurrent=int(numbers["concurrent"]), margin=numbers["margin"],
        baseline=texts["baseline"], month_answers=numbers["month_answers"], seed=int(numbers["seed"]),
    )  # fmt: skip


def styles(
    prompt: str, settings: Settings, *, cases: Path, against: str, correct: Correct, judge: str = ""
) -> Experiment:
    """The same prompt told without examples, with one, with several, and step by step."""
    if against not in settings.apps:
        raise BadRequest(f"'{against}' is no app", hint=f"known: {', '.join(settings.apps) or 'none yet'}")
    if settings.apps[against].prompt != prompt:
        raise BadRequest(f"the app '{against}' does not use the prompt '{prompt}'", hint=f'prompt = "{prompt}"')
    told: dict[str, dict[str, Any]] = {
        "zero": {"style": "zero"}, "one": {"style": "few", "shots": 1}, "few": {"style": "few"},
        "steps": {"style": "steps"},
    }  # fmt: skip
    variants = {name: {"prompts": {prompt: table}} for name, table in told.items()}
    return Experiment(cases=cases, against=against, correct=correct, variants=variants, baseline="zero", judge=judge)


def _costs(costs: Any, variants: Mapping[str, Any], wrong: Callable[..., BadRequest]) -> dict[str, Cost]:
    if not isinstance(costs, Mapping):
        raise wrong("costs must be tables", "[costs.small] once_usd = 400")
    found = {}
    for name, table in costs.items():
        if name not in variants:
            raise wrong(f"costs.{name} is of no variant", f"known: {', '.join(variants)}")
        if not isinstance(table, Mapping) or not table.keys() <= {"once_usd", "month_usd"}:
            raise wrong(f"costs.{name} has once_usd and month_usd")
        found[name] = Cost(*(_number(table, key, 0, 1e12, 0.0, wrong) for key in ("once_usd", "month_usd")))
    return found


def _number(
    table: Mapping[str, Any], name: str, low: float, high: float, default: float, wrong: Callable[..., BadRequest]
) -> float:
    value = table.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise wrong(f"{name} must be a number from {low:g} to {high:g}")
    return float(value)
