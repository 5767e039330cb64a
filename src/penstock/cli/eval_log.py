"""`penstock eval log`: how good a support bot's conversations were, from any log of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from penstock.cli import show
from penstock.errors import BadRequest
from penstock.storage.files import new_file

if TYPE_CHECKING:
    from penstock.support.conversations import Conversation
    from penstock.support.evaluating import Evaluation
    from penstock.support.keeping import Kept
    from penstock.support.reading import Log
    from penstock.support.report import Figure, Report
    from penstock.support.scored import Scored
    from penstock.support.scoring import Scorer

__all__ = ["log"]

KINDS = (".html", ".md", ".json")
SHOWN = 5  # findings, groups of a kind


def _file(*, exists: bool = True) -> click.Path:
    return click.Path(path_type=Path, dir_okay=False, exists=exists)


def _pairs(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for value in values:
        name, sign, other = value.partition("=")
        if not sign or not name.strip() or not other.strip():
            raise click.BadParameter(f"'{value}' is no FIELD=NAME.", context, option)
        found[name.strip()] = other.strip()
    return found


def _limits(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> dict[str, float]:
    from penstock.support.metrics import METRICS

    found = {}
    for name, value in _pairs(context, option, values).items():
        try:
            found[name] = float(value)
        except ValueError as error:
            raise click.BadParameter(f"'{value}' is no number.", context, option) from error
        if name not in METRICS or not METRICS[name].better:
            raise click.BadParameter(f"there is no figure '{name}' that has a limit.", context, option)
    return found


def _reports(context: click.Context, option: click.Parameter, values: tuple[Path, ...]) -> tuple[Path, ...]:
    for path in values:
        if path.suffix not in KINDS:
            raise click.BadParameter(f"'{path}' should end in {', '.join(KINDS)}.", context, option)
    return values


def _scale(context: click.Context, option: click.Parameter, value: str) -> tuple[float, float]:
    low, _, high = value.partition("-")
    try:
        return float(low), float(high)
    except ValueError as error:
        raise click.BadParameter(f"'{value}' is no scale, such as 1-5.", context, option) from error


def _releases(context: click.Context, option: click.Parameter, value: str | None) -> tuple[str, str] | None:
    if value is None:
        return None
    first, sign, second = (part.strip() for part in value.partition(","))
    if not (first and sign and second):
        raise click.BadParameter("say two releases with a comma between them, the earlier first.", context, option)
    return first, second


def _names(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    from penstock.support.metrics import METRICS

    found = tuple(name.strip() for value in values for name in value.split(",") if name.strip())
    for name in found:
        if name not in METRICS:
            raise click.BadParameter(f"there is no figure '{name}'; there are {', '.join(METRICS)}.", context, option)
    return found


def _day(context: click.Context, option: click.Parameter, value: str | None) -> float | None:
    from penstock.support.fields import as_time

    if value is None:
        return None
    if (found := as_time(value)) is None:
        raise click.BadParameter(f"'{value}' is no day, such as 2026-05-31.", context, option)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """The options."""

    mapping: Mapping[str, str]
    kind: str
    csat_scale: tuple[float, float]
    data: Path | None
    intents: Path | None
    words: bool
    keep_text: str
    against: Path | None
    between: tuple[str, str] | None
    watched: bool
    human: Path | None
    changes: Path | None
    until: float | None
    metrics: tuple[str, ...]
    out: Path | None
    resume: Path | None
    quiet: bool
    app: str


@click.command("log")
@click.argument("path", required=False, type=_file(), metavar="[FILE]")
@click.option(
    "--journal", is_flag=True, help="The conversations of this house instead of a file: its bots' and its apps'."
)
@click.option(
    "--app", default="", metavar="NAME", help="Of the journal, this app alone; and whom suggestions are about."
)
@click.option("--since", default=None, callback=_day, metavar="DAY", help="Of the journal, from this day on.")
@click.option(
    "--map",
    "mapping",
    multiple=True,
    callback=_pairs,
    metavar="FIELD=NAME",
    help="What the log calls a field: id, text, role, release, customer, …; may be repeated.",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["jsonl", "csv", "otlp"]),
    help="Of the file, where it cannot be told by what is in it.",
)
@click.option(
    "--csat-scale", default="1-5", callback=_scale, metavar="LOW-HIGH", help="The ratings' scale.  [default: 1-5]"
)
@click.option(
    "--data", type=_file(), metavar="FILE", help="An export of your data to check facts by: JSON, CSV or SQLite."
)
@click.option(
    "--intents",
    type=_file(),
    metavar="FILE",
    help="Examples of intents, JSON Lines or TOML; without, and where the log names none, they are found.",
)
@click.option("--words", is_flag=True, help="Without the encoder: many times as fast, no relevance, a coarser mood.")
@click.option(
    "--keep-text",
    type=click.Choice(["always", "never"]),
    default="always",
    show_default=True,
    help="Whether what is written down quotes what was said.",
)
@click.option(
    "--against", type=_file(), metavar="FILE", help="An earlier log, or a result of --out: what is surely worse since?"
)
@click.option(
    "--between", callback=_releases, metavar="OLD,NEW", help="Compare these releases of the log; without, the last two."
)
@click.option(
    "--watched",
    is_flag=True,
    help="The logs grow and are compared again and again: alarms hold at every look, and need more.",
)
@click.option("--human", type=_file(), metavar="FILE", help="Ratings of people, to stand beside the figures.")
@click.option(
    "--draw",
    type=click.IntRange(1, 100_000),
    metavar="N",
    help="Draw so many conversations for people, where it tells most.",
)
@click.option(
    "--drawn",
    type=_file(exists=False),
    metavar="FILE",
    help="Write what was drawn here, and not into the queue `support`.",
)
@click.option("--seed", default=0, type=click.IntRange(0), metavar="N", help="For what is drawn.")
@click.option(
    "--changes", type=_file(), metavar="FILE", help="What was changed when, a line each: `2026-05-03 new prompt`."
)
@click.option(
    "--until", default=None, callback=_day, metavar="DAY", help="When the log was closed; without, its last message."
)
@click.option(
    "--metrics", multiple=True, callback=_names, metavar="NAMES", help="Only these figures, with commas between them."
)
@click.option(
    "--limit",
    "limits",
    multiple=True,
    callback=_limits,
    metavar="NAME=VALUE",
    help="End with an error where a figure is worse; may be repeated.",
)
@click.option("--gate", is_flag=True, help="End with an error where something is surely worse than before.")
@click.option(
    "--out",
    type=_file(exists=False),
    metavar="FILE",
    help="Write each scored conversation here as it is done, to go on with and to compare with.",
)
@click.option("--resume", type=_file(), metavar="FILE", help="Go on with what --out wrote.")
@click.option(
    "--report",
    "reports",
    multiple=True,
    type=_file(exists=False),
    callback=_reports,
    metavar="FILE",
    help="Write a report: .html, .md or .json; may be repeated.",
)
@click.option(
    "--suggestions",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Write what may be tried as experiments.",
)
@show.json_option
@click.pass_obj
def log(
    file: str | None, /, path: Path | None, journal: bool, since: float | None, kind: str | None, draw: int | None,
    drawn: Path | None,
    seed: int, limits: dict[str, float], gate: bool, reports: tuple[Path, ...], suggestions: Path | None, as_json: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Say how good the conversations in a log were, each figure with its interval and what it does not show.

    FILE is JSON Lines, JSON, CSV or OpenTelemetry's traces: a conversation a row, or a message a row. Field names are told by
    what is usual, and shown. Nothing leaves this machine.

    Facts are checked against the rows that the log has beside an answer (`rows`, `facts`, results of tools), against --data, and
    against the texts that an answer rests on.

    \b
    Examples:
      penstock eval log chats.jsonl
      penstock eval log chats.csv --map text=body --map id=ticket --data shop.sqlite --report chats.html
      penstock eval log may.jsonl --against april.jsonl --gate
      penstock eval log --journal --app shop --human ratings.csv
    """
    if (path is None) == (not journal):
        raise click.UsageError("name a FILE, or say --journal.")
    wanted = _Wanted(kind=kind or "", quiet=as_json, **options)
    if wanted.out and wanted.resume and wanted.out != wanted.resume:
        raise click.UsageError("--resume goes on in its own file: leave --out away.")
    if drawn and not draw:
        raise click.UsageError("say how many: --draw N.")
    source = _journal(file, wanted.app, since) if journal else _log(path, wanted)
    scorer = _scorer(wanted)
    evaluation, interrupted = _scored(source, scorer, wanted)
    before = _before(scorer, wanted)
    report = _report(evaluation, source, wanted, before)
    for one in reports:
        _write_report(one, report)
    if suggestions:
        _write_suggestions(suggestions, report, quiet=as_json)
    failed = [words for name, limit in limits.items() if (words := _beyond(report.all.figure(name), name, limit))]
    if draw:
        _draw(file, path, evaluation.scored, draw, seed, drawn, wanted, quiet=as_json)
    if as_json:
        show.as_json(report.plain() | {"limits": failed})
    else:
        _print(report, failed, wanted)
    if interrupted:
        raise SystemExit(130)
    if failed or (gate and report.alarms):
        raise SystemExit(1)


# ---------------------------------------------------------------- what is evaluated


def _log(path: Path | None, wanted: _Wanted) -> Log:
    from penstock.support.reading import open_log

    assert path is not None
    kind: Literal["", "jsonl", "csv", "otlp"] = wanted.kind  # type: ignore[assignment]  # of the option's choices
    return open_log(path, mapping=wanted.mapping, kind=kind, csat_scale=wanted.csat_scale)


def _journal(file: str | None, app: str, since: float | None) -> Log:
    from penstock.assemble import assemble
    from penstock.config import load

    return assemble(load(file, keys=False)).support_log(app=app, since=since or 0.0)


def _scorer(wanted: _Wanted) -> Scorer:
    from penstock.encoder import shipped
    from penstock.language.intents import Intents, read_examples
    from penstock.support.data import read_data
    from penstock.support.scoring import Scorer

    encoder = None if wanted.words else shipped(threads=2)
    intents = Intents(read_examples(wanted.intents), embedder=encoder) if wanted.intents else None
    data = read_data(wanted.data) if wanted.data else None
    return Scorer(
        encoder=encoder,
        intents=intents,
        data=data,
        keep_text=wanted.keep_text == "always",
        find_intents=intents is None,
    )


def _scored(source: Log, scorer: Scorer, wanted: _Wanted) -> tuple[Evaluation, bool]:
    """(what was scored, whether somebody interrupted it)"""
    from penstock.support.evaluating import Evaluation
    from penstock.support.keeping import read_kept, writing

    kept = read_kept(wanted.resume) if wanted.resume else None
    about = _about(source, wanted)
    if kept is not None:
        _check_same(kept, about)
    evaluation = Evaluation(scorer, {one.id: one for one in kept.scored} if kept else {})
    path = wanted.resume or wanted.out
    with writing(path, about, further=kept is not None) if path else nullcontext() as writer:
        evaluation.writer = writer
        try:
            with show.progress(None, " turns", quiet=wanted.quiet) as tick:
                evaluation.run(source, tick)
        except KeyboardInterrupt:
            if not evaluation.scored:
                raise
            where = f"; go on with --resume {path}" if path else "; with --out it could be gone on with"
            click.echo(f"interrupted: {len(evaluation.scored):,} conversations are scored{where}", err=True)
            return evaluation, True
        if writer is not None:
            writer.end(about)
    if not evaluation.scored:
        raise BadRequest(
            f"there is no conversation in {source.name}",
            hint="bots' and chats' conversations are kept; of other requests what [apps.NAME] keep_text says",
        )
    return evaluation, False


def _about(source: Log, wanted: _Wanted) -> dict[str, Any]:
    return {
        "log": source.name,
        "keep_text": wanted.keep_text,
        "words": wanted.words,
        "data": wanted.data.name if wanted.data else "",
    }


def _check_same(kept: Kept, about: Mapping[str, Any]) -> None:
    for name, value in about.items():
        if kept.about.get(name, value) != value:
            raise BadRequest(
                f"what is to be gone on with was begun with {name} = {kept.about[name]!r}, and this is {value!r}",
                hint="the same log and the same options, or begin anew with --out",
            )


def _before(scorer: Scorer, wanted: _Wanted) -> tuple[Sequence[Scored], str]:
    """The earlier log, scored the same way or as it was kept."""
    from penstock.support.evaluating import Evaluation
    from penstock.support.keeping import is_kept, read_kept

    if wanted.against is None:
        return (), ""
    if is_kept(wanted.against):
        kept = read_kept(wanted.against)
        if not kept.scored:
            raise BadRequest(f"there is no conversation in {wanted.against}")
        if bool(kept.about.get("words")) != wanted.words:
            raise BadRequest(
                f"{wanted.against} was scored {'without' if kept.about.get('words') else 'with'} the encoder, and this is not",
                hint="--words for both, or for neither",
            )
        return kept.scored, str(kept.about.get("log") or wanted.against.name)
    earlier = _log(wanted.against, wanted)
    evaluation = Evaluation(scorer)
    with show.progress(None, " turns before", quiet=wanted.quiet) as tick:
        evaluation.run(earlier, tick)
    return evaluation.scored, wanted.against.name


def _report(evaluation: Evaluation, source: Log, wanted: _Wanted, before: tuple[Sequence[Scored], str]) -> Report:
    from penstock.support.evaluating import report_of
    from penstock.support.human import read_ratings
    from penstock.support.trends import read_changes

    return report_of(
        evaluation.scored, name=source.name, app=wanted.app or "APP", against=before[0], against_name=before[1],
        between=wanted.between,
        watched=wanted.watched,
        ratings=read_ratings(wanted.human) if wanted.human else (), changes=read_changes(wanted.changes) if wanted.changes else (),
        notes=source.problems.told(), fields=source.fields, metrics=wanted.metrics, until=wanted.until,
        complete=evaluation.complete,
        seconds=evaluation.seconds, texts_kept=wanted.keep_text == "always",
    )  # fmt: skip


def _beyond(figure: Figure | None, name: str, limit: float) -> str:
    """Why a limit does not hold; "" where it does. A figure that is not there holds none."""
    from penstock.support.metrics import METRICS, said

    about = METRICS[name]
    if figure is None or figure.value is None:
        return f"{about.label} could not be told, and its limit is {said(limit, about.unit)}"
    worse = figure.value < limit if about.better == "higher" else figure.value > limit
    return (
        f"{about.label} is {said(figure.value, about.unit)}, and its limit is {said(limit, about.unit)}"
        if worse
        else ""
    )


# ---------------------------------------------------------------- for people


def _draw(
    file: str | None, path: Path | None, scored: Sequence[Scored], n: int, seed: int, drawn: Path | None, wanted: _Wanted, *,
    quiet: bool
) -> None:  # fmt: skip
    """Draw, read the log once more for the words, and put them into the review queue or a file."""
    from penstock.support.human import drawn as draw_some

    found = {one.item.id: one for one in draw_some(scored, n, seed=seed)}
    again: Iterable[Conversation] = _journal(file, wanted.app, None) if path is None else _log(path, wanted)
    rows = [
        _to_judge(one) | {"risk": round(found[one.id].item.risk, 3), "probability": found[one.id].probability}
        for one in again
        if one.id in found
    ]
    if drawn is not None:
        _write(drawn, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        where = f"{drawn}: penstock review queue add {drawn}"
    else:
        from penstock.assemble import assemble
        from penstock.config import load
        from penstock.review.content import Content
        from penstock.review.queue import Entry

        house = assemble(load(file, keys=False))
        entries = []
        for row in rows:
            one = found[row["id"]]
            entries.append(
                Entry(
                    origin=f"support/{row['id']}", content=Content.read(row), queue="support", stratum=one.item.stratum,
                    risk=one.item.risk,
                    draw=f"support-{seed}", probability=one.probability, cell=one.cell, cell_size=one.cell_size,
                )
            )  # fmt: skip
        made = house.review.queue.add(entries, seed=seed)
        where = f"the queue `support`, {len(made)} of them new: penstock review next --queue support"
    if not quiet:
        click.echo(f"{len(rows)} conversations are drawn into {where}", err=True)


def _to_judge(one: Conversation) -> dict[str, Any]:
    """A conversation as something to be judged: its last answer, with what was said before it."""
    last = max(one.answers, default=len(one.turns) - 1)
    roles = {"customer": "user", "bot": "assistant", "person": "assistant"}
    asked = max((n for n in range(last) if one.turns[n].role == "customer"), default=-1)
    history = [
        {"role": roles[turn.role], "content": turn.text}
        for n, turn in enumerate(one.turns[:last])
        if turn.role in roles and n != asked and turn.text
    ]
    found: dict[str, Any] = {
        "id": one.id, "conversation": one.id, "question": one.turns[asked].text if asked >= 0 else "",
        "answer": one.turns[last].text,
        "history": history[-100:], "context": [text for turn in one.turns for text in turn.sources][:20],
    }  # fmt: skip
    return found | ({"lang": one.language} if one.language else {})


# ---------------------------------------------------------------- what is told


def _write(path: Path, text: str) -> None:
    with new_file(path) as out:
        out.write(text.encode("utf-8", "replace"))


def _write_report(path: Path, report: Report) -> None:
    from penstock.support.page import page
    from penstock.support.words import markdown

    match path.suffix:
        case ".html":
            text = page(report)
        case ".md":
            text = markdown(report)
        case _:
            text = json.dumps(report.plain(), ensure_ascii=False, indent=1)
    _write(path, text)


def _write_suggestions(folder: Path, report: Report, *, quiet: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for one in report.suggestions:
        name = one.settings.split('"', 2)[1]
        if one.cases:
            _write(folder / name, one.cases)
        _write(folder / Path(name).with_suffix(".toml").name, f"# {one.title}\n# {one.why}\n{one.settings}")
    if not quiet:
        click.echo(f"{len(report.suggestions)} experiments are in {folder}", err=True)


def _print(report: Report, failed: Sequence[str], wanted: _Wanted) -> None:
    from penstock.support import words
    from penstock.support.metrics import METRICS, said
    from penstock.support.report import FEWEST

    if report.fields:
        click.echo(
            click.style(
                f"read as: {show.clean(', '.join(f'{ours} from {theirs}' for ours, theirs in report.fields.items()))}",
                dim=True,
            ),
            err=True,
        )
    for note in report.notes:
        click.echo(show.clean(note), err=True)
    click.echo(show.clean(words.headline(report)))
    click.echo()
    people = {one.metric: one for one in report.agreed if one.between == "people"}
    rows = []
    for figure in (one for one in report.all.figures if one.value is not None):
        text = said(figure.value, figure.about.unit)
        value = text if figure.tells or figure.value is None else f"({text})"
        row = [
            f"{figure.about.label}{words.arrow(figure.metric)}",
            value,
            words.interval(figure),
            f"{figure.n:,}",
            f"{figure.units:,}",
        ]
        if people:
            theirs = people.get(figure.metric)
            row.append(f"{theirs.kappa:.2f}, n = {theirs.n}" if theirs and theirs.kappa is not None else "")
        rows.append(row)
    show.table(rows, ("figure", "value", "95 % interval", "n", "from", *(["kappa with people"] if people else [])))
    click.echo(
        click.style(
            f"↓ lower is better; n: what is counted; from: customers, or conversations; (in brackets) from fewer than {FEWEST}, "
            f"which tells nothing; what each does not show: --report FILE.html",
            dim=True,
        )
    )
    if missing := words.not_told(report.all.figures):
        click.echo(click.style(f"could not be told: {show.clean(missing)}", dim=True))
    if report.moved:
        click.echo(click.style(f"\nagainst {show.clean(report.against)}", bold=True))
        for one in (one for one in report.moved if one.sure):
            colour = "red" if one.worse else "green"
            click.echo(f"  {click.style(show.clean(words.moved_words(one, report.against)), fg=colour)}")
        if not any(one.sure for one in report.moved):
            click.echo(f"  nothing surely changed, of {len(report.moved)} figures")
    for by in ("release", "intent", "language"):
        for group in report.of(by)[:50]:
            for one in (one for one in group.apart if one.worse):
                unit = METRICS[one.metric].unit
                click.echo(
                    f"  {by} {show.clean(group.name)}: {METRICS[one.metric].label} {said(one.after, unit)}, others "
                    f"{said(one.before, unit)}"
                )
    for beside in report.agreed:
        click.echo(f"  {show.clean(words.agreement_words(beside))}")
    if report.findings:
        click.echo(
            click.style(f"\n{len(report.findings):,} finding{'' if len(report.findings) == 1 else 's'}", bold=True)
        )
        for finding in report.findings[:SHOWN]:
            click.echo(f"  {finding.kind}  {show.clean(words.place(finding))}: {show.clean(finding.why)}")
            if finding.text:
                click.echo(click.style(f"      {show.clean(' '.join(finding.text.split()))[:200]}", dim=True))
    if report.suggestions:
        click.echo(click.style("\nwhat to try", bold=True))
        for suggestion in report.suggestions[:3]:
            click.echo(f"  {show.clean(suggestion.title)}. {show.clean(suggestion.why)}")
    for text in failed:
        click.echo(click.style(text, fg="red"), err=True)
