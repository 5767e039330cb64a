"""`penstock eval …`: how good answers are, whoever gave them."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from penstock.cli import show
from penstock.cli.eval_log import log
from penstock.cli.spend import past
from penstock.config import EvaluationSettings, Settings, load
from penstock.errors import BadRequest, NotFound, PenstockError
from penstock.storage.files import new_file

if TYPE_CHECKING:
    from penstock.assemble import House
    from penstock.evaluate.compared import Comparison
    from penstock.evaluate.gate import Held
    from penstock.evaluate.kept import Followed, Runs, State
    from penstock.evaluate.result import Result
    from penstock.evaluation import Evaluation

__all__ = ["eval_"]

PARTIAL = "evaluation.partial.json"  # where an interrupted evaluation goes that has no other file
KINDS = (".html", ".md", ".xml", ".json")
F = TypeVar("F", bound=Callable[..., Any])


@click.group("eval")
def eval_() -> None:
    """Measure how good answers are: of an app, of a model, or given ones. Every figure comes with its interval.

    A case has a question and what a good answer holds. Answers are scored without a network, unless a model judges.
    """


def _file(exists: bool = True) -> click.Path:
    return click.Path(path_type=Path, dir_okay=False, exists=exists)


def _limits(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> dict[str, float]:
    found = {}
    for value in values:
        name, _, number = value.partition("=")
        try:
            found[name.strip()] = float(number)
        except ValueError as error:
            raise click.BadParameter(f"'{value}' is no NAME=NUMBER.", context, option) from error
    return found


def _names(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.strip() for value in values for name in value.split(",") if name.strip())


def _reports(context: click.Context, option: click.Parameter, values: tuple[Path, ...]) -> tuple[Path, ...]:
    for path in values:
        if path.suffix not in KINDS:
            raise click.BadParameter(f"'{path}' should end in {', '.join(KINDS)}.", context, option)
    return values


_report_option = click.option(
    "--report", "reports", multiple=True, type=_file(exists=False), callback=_reports, metavar="FILE",
    help="Write a report, by its ending: .html with pictures, .md for a pull request, .xml for CI (JUnit), .json. May be repeated.",
)  # fmt: skip
_OPTIONS = [
    click.option("--cases", "cases_file", type=_file(), metavar="FILE", help="Cases: JSON Lines, a JSON list or CSV."),
    click.option(
        "--scores", multiple=True, callback=_names, metavar="NAMES",
        help="Only these scores, with commas between them; without, all that the cases allow. `penstock eval scores` lists them.",
    ),
    click.option("--judge", metavar="MODEL", help="A model or route that grades each answer, or `offline`: a formula."),
    click.option("--judge-samples", type=click.IntRange(1, 25), help="How often the judge is asked in each order."),
    click.option("--rubric", type=_file(), metavar="FILE", help="What one to five points mean, a line for each."),
    click.option("--repeats", type=click.IntRange(1, 1000), help="Ask each case so often, past all caches."),
    click.option("--concurrent", type=click.IntRange(1, 1000), help="Ask so many at the same time. [default: 4]"),
    click.option("--seed", default=0, type=click.IntRange(0), metavar="N", help="For the intervals."),
    click.option("--logprobs", is_flag=True, help="Ask a model for the probabilities of its tokens, for the perplexity."),
    show.role_option,
    click.option(
        "--limit", "limits", multiple=True, callback=_limits, metavar="NAME=VALUE",
        help="End with an error where the mean of a score is worse than this; may be repeated.",
    ),
    click.option("--sure", is_flag=True, help="The one-sided 95 % interval must hold the limits, and not only the mean."),
    click.option(
        "--max-gap", type=click.FloatRange(0), metavar="VALUE",
        help="End with an error where a language is so much worse than English.",
    ),
    click.option(
        "--baseline", type=_file(), metavar="FILE", help="End with an error where a score of this earlier result is lost."
    ),
    click.option("--out", type=_file(exists=False), metavar="FILE", help="Write the whole result here."),
    click.option("--resume", type=_file(), metavar="FILE", help="Go on with an unfinished result; what failed is asked again."),
    _report_option,
    show.json_option,
]  # fmt: skip


def _with_options(command: F) -> F:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True)
class _Wanted:
    """What the options of `run` and `app` say together with the settings."""

    evaluation: EvaluationSettings
    limits: Mapping[str, float]
    sure: bool
    max_gap: float | None
    baseline: Path | None
    given: Mapping[str, Any]

    @property
    def gated(self) -> bool:
        return bool(self.limits) or self.max_gap is not None or self.baseline is not None


@eval_.command("run")
@click.option("--against", default="", metavar="NAME", help="Ask this app, collection, model or route first.")
@_with_options
@click.pass_obj
def run(file: str | None, /, against: str, cases_file: Path | None, **options: Any) -> None:
    """Score the answers that rows bring, or those of --against.

    A row has a `question`, and what it is to be measured by: `expected` (one answer or several), `must_contain`,
    `must_not_contain`, `sources` that should be found and cited, `format`. `lang`, `group` and `tags` say what it belongs to.
    A given answer is in `answer`; with it `context`, `cited`, `retrieved`, `latency_ms`, `cost_usd`, `input_tokens`,
    `output_tokens`, `human`. Without --against nothing but the file is read.

    \b
    Examples:
      penstock eval run --cases answers.jsonl
      penstock eval run --cases questions.csv --against small --judge offline --report report.html
      penstock eval run --cases answers.jsonl --limit token_f1=0.6 --limit grounded=0.9 --report junit.xml
    """
    if cases_file is None:
        raise click.UsageError("say which cases: --cases FILE.")
    judge = options["judge"] or ""
    settings = load(file, keys=False) if against or judge not in ("", "offline") else None
    wanted = _wanted(EvaluationSettings(against=against), options, gate=True, folder=Path())
    kept = _Kept(settings if against else None, against)
    try:
        _evaluate(settings, against, cases_file, wanted, kept)
    except PenstockError as error:
        kept.failed(error)
        raise
    finally:
        kept.close()


@eval_.command("app")
@click.argument("app")
@click.option("--gate", is_flag=True, help="Hold the result against the limits of the settings.")
@click.option("--evaluation", "name", default="", metavar="NAME", help="Of several evaluations of it, this one.")
@click.option("--run", "run_id", default="", hidden=True)  # begun by the console, which follows it
@click.option("--parent", default=0, hidden=True)  # the id of its process, without which the run ends
@_with_options
@click.pass_obj
def app_(
    file: str | None,
    /,
    app: str,
    gate: bool,
    name: str,
    run_id: str,
    parent: int,
    cases_file: Path | None,
    **options: Any,
) -> None:
    """Ask an APP, a model or a route all cases of its evaluation, as `[evaluations.NAME]` in the settings has it.

    Options stand above the settings. With --gate it ends with an error, and says why, where a limit does not hold.

    \b
    Examples:
      penstock eval app handbook --gate --report junit.xml
      penstock eval app handbook --cases new.jsonl --repeats 3 --out today.json
    """
    settings = load(file, keys=False)
    kept = _Kept(settings, app, run_id, parent)
    try:
        kept.name, found = _evaluation_of(settings, app, name, gate=gate)
        path = cases_file or (settings.folder / Path(found.cases).expanduser() if found.cases else None)
        if path is None:
            raise click.UsageError(f"say which cases: --cases FILE, or `cases` in [evaluations.{app}].")
        _evaluate(settings, app, path, _wanted(found, options, gate=gate, folder=settings.folder), kept)
    except (PenstockError, click.UsageError) as error:
        kept.failed(error)
        raise
    finally:
        kept.close()


def _evaluation_of(settings: Settings, app: str, name: str, *, gate: bool) -> tuple[str, EvaluationSettings]:
    """The evaluation of the settings that is meant, and its name. Without any, the defaults, unless a gate is asked for."""
    of_app = {key: one for key, one in settings.evaluations.items() if (one.against or key) == app}
    if name:
        if name not in of_app:
            raise NotFound(f"'{app}' has no evaluation '{name}'", hint=f"known: {', '.join(of_app) or 'none'}")
        return name, of_app[name]
    if len(of_app) > 1:
        raise BadRequest(f"'{app}' has several evaluations", hint=f"--evaluation with one of {', '.join(of_app)}")
    if gate and not any(one.gate or one.max_gap or one.baseline for one in of_app.values()):
        raise BadRequest(f"no limits are set for '{app}'", hint=f"gate = {{token_f1 = 0.6}} in [evaluations.{app}]")
    return next(iter(of_app.items()), ("", EvaluationSettings()))


def _wanted(found: EvaluationSettings, options: Mapping[str, Any], *, gate: bool, folder: Path) -> _Wanted:
    baseline = folder / Path(found.baseline).expanduser() if gate and found.baseline else None
    max_gap = options["max_gap"] if options["max_gap"] is not None else (found.max_gap or None) if gate else None
    return _Wanted(
        found, {**(found.gate if gate else {}), **options["limits"]}, found.sure or options["sure"], max_gap,
        options["baseline"] or baseline, options,
    )  # fmt: skip


# ---------------------------------------------------------------- one evaluation


class _Kept:
    """What is kept in the home of a run against something of its settings, for the console. That it cannot be kept ends nothing."""

    def __init__(self, settings: Settings | None, target: str, run_id: str = "", parent: int = 0) -> None:
        """run_id: of a run that the console has begun, in the process `parent`. Without settings nothing is kept."""
        self._settings, self._target, self.run_id, self._parent = settings, target, run_id, parent
        self.name = ""  # of the evaluation in the settings
        self.asked_by_console = bool(run_id)
        self._house: House | None = None
        if run_id and hasattr(os, "nice"):
            os.nice(10)  # whoever asks the server comes first

    @property
    def _runs(self) -> Runs | None:
        if self._settings is None:
            return None
        if self._house is None:
            from penstock.assemble import assemble

            self._house = assemble(self._settings)
        return self._house.runs

    def begin(self, planned: int) -> AbstractContextManager[Followed | None]:
        """The run goes on from here, followed by whoever looks."""
        from penstock.evaluate.kept import Followed
        from penstock.storage.audit import who

        runs = self._runs
        if runs is None:
            return nullcontext()
        try:
            self.run_id = self.run_id or runs.begin(
                "evaluation", target=self._target, by=who(), name=self.name, planned=planned
            )
        except PenstockError as error:
            self._cannot(error)
            return nullcontext()
        return Followed(runs, self.run_id, planned, parent=self._parent)

    def end(self, state: State, result: Result, holds: Sequence[Held] = (), error: str = "") -> None:
        """What came of it."""
        from penstock.evaluate.kept import told_of

        if (runs := self._runs) is not None and self.run_id:
            try:
                runs.end(self.run_id, state, told_of(result, holds) | {"error": error}, result.plain())
            except PenstockError as error:
                self._cannot(error)

    def failed(self, error: PenstockError | click.UsageError) -> None:
        """Nothing came of it. Who ran it in the terminal is told there; whoever looks at the console finds it in the run."""
        if (runs := self._runs) is not None and self.run_id:
            with suppress(PenstockError):
                told = {"error": error.message, "hint": getattr(error, "hint", "")}
                runs.end(self.run_id, "failed", told, only_running=True)
                if not self.asked_by_console and runs.find(self.run_id).state == "failed":
                    runs.remove(self.run_id)

    def close(self) -> None:
        if self._house is not None:
            self._house.close()

    def _cannot(self, error: PenstockError) -> None:
        self.run_id, self._settings = "", None
        click.echo(f"the result is not kept for the console: {error.message}", err=True)


def _evaluate(settings: Settings | None, against: str, path: Path, wanted: _Wanted, kept: _Kept) -> None:
    from penstock.evaluate import result as results
    from penstock.evaluate.cases import load as load_cases
    from penstock.evaluate.gate import Gate, held
    from penstock.evaluate.judged import RUBRIC
    from penstock.evaluation import Evaluation

    given, own = wanted.given, wanted.evaluation
    baseline = results.load(wanted.baseline) if wanted.baseline else None
    rubric = given["rubric"].read_text("utf-8") if given["rubric"] else RUBRIC
    scores = given["scores"] or own.scores
    if scores:
        scores = tuple(dict.fromkeys((*scores, *(name for name in wanted.limits if name != "judge"))))
    evaluation = Evaluation(
        cases=load_cases(path), settings=settings, against=against, scores=scores, judge=given["judge"] or own.judge,
        judge_samples=given["judge_samples"] or own.judge_samples, rubric=rubric, repeats=given["repeats"] or own.repeats,
        concurrent=given["concurrent"] or own.concurrent, seed=given["seed"], roles=given["roles"],
        logprobs=given["logprobs"], resume=results.load(given["resume"]) if given["resume"] else None,
    )  # fmt: skip
    out: Path | None = given["out"] or given["resume"]
    _run(evaluation, out, kept, quiet=given["as_json"])
    result = evaluation.result
    gate = Gate(limits=wanted.limits, sure=wanted.sure, max_gap=wanted.max_gap, baseline=baseline)
    holds: list[Held] = []
    try:
        holds = held(result, gate) if wanted.gated else []
    finally:  # a limit for what was not scored takes nothing away from what was
        kept.end("done", result, holds)
    if out:
        results.save(result, out)
    for report in given["reports"]:
        _write_report(report, result, holds)
    if given["as_json"]:
        show.as_json(result.plain() | {"limits": [one.plain() for one in holds]})
    else:
        _print(result, holds, len(evaluation.cases))
    if not all(one.holds for one in holds):
        raise SystemExit(1)


def _run(evaluation: Evaluation, out: Path | None, kept: _Kept, *, quiet: bool) -> None:
    """Run, with a progress bar where somebody looks. What an interrupt or an error leaves is written down."""
    from penstock.evaluate import result as results

    planned = sum(evaluation.left)
    try:
        with kept.begin(planned) as followed, show.progress(planned, "step", quiet=quiet) as tick:

            def ticked(what: str) -> None:
                tick()
                if followed is not None:
                    followed.tick()

            evaluation.run(ticked)
    except (KeyboardInterrupt, PenstockError) as error:
        result = evaluation.result
        why, told = ("broken off", error.message) if isinstance(error, PenstockError) else ("interrupted", "")
        if not told or result.asked:
            kept.end("unfinished", result, error=told)
        if kept.asked_by_console or not evaluation.against or not result.asked:
            raise
        path = out or Path(PARTIAL)
        results.save(result, path)
        click.echo(
            f"{why}: {result.asked} of {len(result.rows)} answers are in {path}; go on with --resume {path}", err=True
        )
        if isinstance(error, KeyboardInterrupt):
            raise SystemExit(130) from None
        raise


def _write_report(path: Path, result: Result, holds: Sequence[Held]) -> None:
    from penstock.evaluate.page import page
    from penstock.evaluate.report import junit, markdown

    match path.suffix:
        case ".html":
            text = page(result, holds)
        case ".md":
            text = markdown(result, holds)
        case ".xml":
            text = junit(result, holds)
        case _:
            text = json.dumps(result.plain() | {"limits": [one.plain() for one in holds]}, ensure_ascii=False, indent=1)
    _write(path, text)


def _write(path: Path, text: str) -> None:
    with new_file(path) as out:
        out.write(text.encode("utf-8", "replace"))


def _print(result: Result, holds: Sequence[Held], cases: int) -> None:
    from penstock.evaluate.report import headline, leading, number, ranged, worst

    summaries = result.summaries()
    click.echo(headline(result))
    if not result.target and (without := cases - len({row.case.id for row in result.rows})):
        click.echo(f"{without} of {cases} cases have no answer, and are left out", err=True)
    if result.cases.duplicates:
        click.echo(f"{len(result.cases.duplicates)} pairs of cases ask the same: penstock eval cases FILE", err=True)
    click.echo()
    show.table(
        [
            (
                f"{one.about.name}{'' if one.about.higher_is_better else ' ↓'}",
                number(one.all.mean if one.all.n else None, one.about), ranged(one.all, one.about), one.all.n,
                one.all.unscored or "",
            )
            for one in summaries
        ],
        ("score", "mean", "95 % interval", "cases", "unscored"),
    )  # fmt: skip
    repeated = [one for one in summaries if one.pass_at_k is not None and one.pass_hat_k is not None]
    if repeated:
        click.echo()
        rows = [
            (one.about.name, *(f"{part.mean:.3f} ({ranged(part, one.about)})" for part in (one.pass_at_k, one.pass_hat_k) if part))
            for one in repeated
        ]  # fmt: skip
        show.table(rows, ("score", f"pass@{repeated[0].k}", f"pass^{repeated[0].k}"))
    _print_languages(result)
    for same in result.agreements():
        click.echo(
            f"\nthe judge agrees with {same['with']}: kappa {same['kappa']:.2f} ({same['low']:.2f} to {same['high']:.2f})"
        )
    name = leading(result, summaries)
    if name and (found := worst(result, name, most=3)):
        click.echo(f"\nworst by {name}:")
        for value, row in found:
            click.echo(f"  {number(value, result.abouts[name])}  {show.clean(row.case.id)}  {_cut(row.case.question)}")
            click.echo(click.style(f"         said: {_cut(row.reply.text if row.reply else '')}", dim=True))
    if holds:
        click.echo()
        for one in holds:
            mark = click.style("holds", fg="green") if one.holds else click.style("FAILS", fg="red", bold=True)
            click.echo(f"{mark}  {show.clean(one.words)}", err=not one.holds)
    cost = f", {result.cost_usd:.4f} USD" if result.cost_usd else ""
    judge = f", judge {result.judge_cost_usd:.4f} USD" if result.judge_cost_usd else ""
    click.echo(f"\n{result.seconds:.0f} s{cost}{judge}; what each score does not show: penstock eval scores", err=True)


def _print_languages(result: Result) -> None:
    from penstock.evaluate.report import number

    summaries = [one for one in result.summaries() if one.gap is not None]
    languages = list(dict.fromkeys(language for one in summaries for language in one.by_language))
    if not summaries:
        return
    languages.sort(key=lambda name: (name != "en", name))
    click.echo()
    rows = []
    for one in summaries:
        cells = [
            number(part.mean if part.n else None, one.about) if (part := one.by_language.get(name)) else ""
            for name in languages
        ]
        rows.append((one.about.name, *cells, number(one.gap, one.about)))
    show.table(rows, ("by language", *languages, "gap to English"))


def _cut(text: str) -> str:
    plain = show.clean(" ".join(text.split()))
    return plain if len(plain) <= show.WIDTH else f"{plain[: show.WIDTH - 1]}…"


# ---------------------------------------------------------------- two results, cases, scores


@eval_.command("compare")
@click.argument("first", type=_file())
@click.argument("second", type=_file())
@click.option(
    "--scores",
    multiple=True,
    callback=_names,
    metavar="NAMES",
    help="Only these scores: the fewer are looked at, the surer is what is found.",
)
@click.option("--by", default="", metavar="SCORE", help="List the cases that this score moved; without it, the surest.")
@click.option("--judge", default="", metavar="MODEL", help="Have a judge prefer one of each two answers, or `offline`.")
@click.option("--judge-samples", default=1, type=click.IntRange(1, 25), help="How often it is asked in each order.")
@click.option("--fail", is_flag=True, help="End with an error where the second is worse in some score.")
@_report_option
@show.json_option
@click.pass_obj
def compare(
    file: str | None, first: Path, second: Path, scores: tuple[str, ...], by: str, judge: str, judge_samples: int, fail: bool,
    reports: tuple[Path, ...], as_json: bool,
) -> None:  # fmt: skip
    """Compare two results that `--out` wrote, case by case: what got better, what got worse, what chance may have done.

    \b
    Examples:
      penstock eval compare before.json after.json
      penstock eval compare before.json after.json --judge offline --report comment.md
    """
    from penstock.evaluate import result as results
    from penstock.evaluate.compared import compare as compared

    if any(path.suffix == ".xml" for path in reports):
        raise click.UsageError("a comparison is written as .html, .md or .json.")
    found = compared(results.load(first), results.load(second), scores=scores, by=by)
    if judge:
        found = _judged(file, found, judge, judge_samples)
    for path in reports:
        _write_comparison(path, found)
    if as_json:
        show.as_json(found.plain())
    else:
        _print_comparison(found)
    if fail and (lost := [one for one in found.differences if one.decision == "worse"]):
        click.echo("; ".join(one.words for one in lost), err=True)
        raise SystemExit(1)


def _judged(file: str | None, found: Comparison, judge: str, samples: int) -> Comparison:
    from dataclasses import replace

    from penstock.assemble import assemble
    from penstock.evaluate.compared import prefer
    from penstock.evaluation import OFFLINE, judge_of

    house = None if judge == OFFLINE else assemble(load(file, keys=False))

    async def asked() -> Any:
        try:
            return await prefer(found.first, found.second, judge_of(house, judge, samples=samples))
        finally:
            if house is not None:
                house.clients.close()

    try:
        return replace(found, preference=asyncio.run(asked()))
    finally:
        if house is not None:
            house.close()


def _write_comparison(path: Path, found: Comparison) -> None:
    from penstock.evaluate.page import compared_page
    from penstock.evaluate.report import compared_markdown

    match path.suffix:
        case ".html":
            text = compared_page(found)
        case ".md":
            text = compared_markdown(found)
        case _:
            text = json.dumps(found.plain(), ensure_ascii=False, indent=1)
    _write(path, text)


def _print_comparison(found: Comparison) -> None:
    from penstock.evaluate.report import number

    click.echo(f"{found.shared} cases that both answered")
    if found.first.cases.digest != found.second.cases.digest:
        click.echo("the two sets of cases differ; what is the same is compared", err=True)
    click.echo()
    rows = [
        (
            f"{one.about.name}{'' if one.about.higher_is_better else ' ↓'}",
            number(one.first, one.about), number(one.second, one.about),
            "-" if one.apart is None else f"{number(one.apart.low, one.about)} to {number(one.apart.high, one.about)}",
            f"{one.p_holm:.2g}", f"{one.wins} / {one.losses}", one.decision,
        )
        for one in found.differences
    ]  # fmt: skip
    heads = ("score", "before", "after", "difference, 95 %", "p (Holm)", "better / worse on", "decision")
    show.table(rows, heads)
    if (told := found.preference) is not None:
        share = f"{told.share.estimate:.0%} ({told.share.low:.0%} to {told.share.high:.0%})"
        click.echo(
            f"\n{told.judge} prefers the second on {told.second} cases, the first on {told.first}, neither on {told.ties}, "
            f"{told.unscored} not judged: {share}"
        )
    for title, moved in (("worse", found.losses), ("better", found.wins)):
        if moved:
            click.echo(f"\n{title} by {found.by}:")
        for one in moved[:5]:
            click.echo(f"  {one.first:.3g} to {one.second:.3g}  {show.clean(one.case.id)}  {_cut(one.case.question)}")


@eval_.command("cases")
@click.argument("path", required=False, type=_file(), metavar="[FILE]")
@click.option("--from-journal", "app", default="", metavar="APP", help="Make cases of what this app was asked in life.")
@click.option(
    "--since", default="7d", show_default=True, callback=past, metavar="TIME", help="From when on: 7d, 2027-01-31."
)
@click.option("--most", default=1000, show_default=True, type=click.IntRange(1), metavar="N", help="So many at most.")
@click.option("--out", type=_file(exists=False), metavar="FILE", help="Write them here, as JSON Lines.")
@show.json_option
@click.pass_obj
def cases(
    file: str | None, path: Path | None, app: str, since: float, most: int, out: Path | None, as_json: bool
) -> None:
    """Check a FILE of cases, or make one from the journal of an app that keeps its words (`keep_text`).

    What is read from the journal is written into the audit trail; what you do with the file is up to you. Reviewers' failures
    come as cases from `penstock review`, and are read as they are.

    \b
    Examples:
      penstock eval cases questions.csv
      penstock eval cases --from-journal handbook --since 7d --out asked.jsonl
    """
    from penstock.evaluate.cases import load as load_cases

    if (path is None) == (not app):
        raise click.UsageError("check a FILE, or make one with --from-journal APP.")
    if path is None:
        rows = _from_journal(file, app, since, most)
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        if out is None:
            click.echo(text, nl=False)
            return
        if out.exists():
            raise BadRequest(f"{out} is there already", hint="name another file, or take it away first")
        _write(out, text)
        click.echo(
            f"{len(rows)} cases are in {out}; they are people's words, and no longer guarded by the journal", err=True
        )
        return
    found = load_cases(path)
    languages = Counter(case.language for case in found.cases)
    told: dict[str, Any] = {
        "cases": len(found), "digest": found.digest, "answers": sum(map(len, found.given.values())),
        "languages": dict(languages.most_common()),
        "groups": len({case.cluster for case in found.cases}),
        "with": {name: count for name in ("expected", "must_contain", "sources", "context", "form", "tags")
                 if (count := sum(bool(getattr(case, name)) for case in found.cases))},
        "duplicates": [list(pair) for pair in found.duplicates],
    }  # fmt: skip
    if as_json:
        show.as_json(told)
        return
    click.echo(f"{told['cases']} cases, {told['answers']} answers, {told['groups']} groups; digest {found.digest[:12]}")
    click.echo(f"languages: {', '.join(f'{name} {count}' for name, count in languages.most_common())}")
    click.echo(f"with: {', '.join(f'{name} {count}' for name, count in told['with'].items()) or 'questions alone'}")
    for pair in found.duplicates[:20]:
        first, second = map(show.clean, pair)
        same = (
            f"'{first}' stands there twice, and counts once"
            if first == second
            else f"'{first}' and '{second}' ask the same: give them one `group`"
        )
        click.echo(same)


def _from_journal(file: str | None, app: str, since: float, most: int) -> list[dict[str, Any]]:
    from penstock.evaluation import from_journal

    return from_journal(load(file, keys=False), app, since=since, most=most)


@eval_.command("scores")
@show.json_option
def scores_(as_json: bool) -> None:
    """List every score: what it is, what it needs, and what it does not show."""
    from penstock.evaluate.judged import OfflineJudge
    from penstock.evaluate.scorers import known

    abouts = [*(scorer.about for scorer in known().values()), OfflineJudge.about]
    if as_json:
        show.as_json({about.name: about.plain() for about in abouts})
        return
    for about in abouts:
        click.echo(
            f"{click.style(about.name, bold=True)}{'' if about.higher_is_better else ' ↓'}  {about.what}; needs {about.needs}"
        )
        click.echo(click.style(f"    {about.note}", dim=True))
    click.echo("\n↓ lower is better", err=True)


eval_.add_command(log)
