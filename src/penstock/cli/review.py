"""`penstock review …`: what people say of answers, which ones reviewers look at, and what becomes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, BinaryIO, get_args

import click

from penstock.assemble import House, assemble
from penstock.cli import show
from penstock.cli.rows import Row
from penstock.cli.sampling import estimate, read_rows, sample
from penstock.cli.spend import cut, past
from penstock.config import iso, load, moment
from penstock.errors import BadRequest, PenstockError
from penstock.review.agreement import Agreement, by_pair, pi
from penstock.review.content import Content
from penstock.review.failures import Export, exported
from penstock.review.queue import SKIPS, Entry, Given, Task
from penstock.review.replies import Outcome, Waiting
from penstock.review.requests import By
from penstock.storage.audit import who
from penstock.storage.files import new_file
from penstock.types import new_id

__all__ = ["review"]


def _house(file: str | None) -> House:
    house = assemble(load(file, keys=False))
    click.get_current_context().call_on_close(house.close)
    return house


def _ahead(context: click.Context, option: click.Parameter, value: str | None) -> float:
    try:
        return moment(value, ahead=True) if value else 0.0
    except BadRequest as error:
        raise click.BadParameter(f"{error.message}: {error.hint}.", context, option) from error


as_option = click.option(
    "--as", "reviewer", default="", metavar="NAME", help="Who reviews; else the user of this machine."
)
item_option = click.option("--item", default="", metavar="ID", help="Of several that you hold, this one.")
since_option = click.option(
    "--since", default="7d", show_default=True, callback=past, metavar="TIME", help="From when on: 7d, 12h, 2027-01-31."
)
queue_option = click.option("--queue", default="answers", show_default=True, metavar="NAME", help="Into this queue.")
only_queue_option = click.option("--queue", default="", metavar="NAME", help="Of this queue alone.")
deadline_option = click.option(
    "--within", "deadline", callback=_ahead, metavar="TIME", help="To be judged within: 2d, 4h."
)
double_option = click.option(
    "--double", default=0.0, type=click.FloatRange(0, 1), metavar="SHARE", help="Share that two people judge blind."
)


@click.group()
def review() -> None:
    """Let people look at answers: samples with an honest estimate, queues, verdicts, approvals.

    \b
    Examples:
      penstock review sample answers.jsonl -n 200 --out sample.jsonl
      penstock review queue fill -n 100 --app handbook --double 0.2
      penstock review next
      penstock review judge wrong --correction "Within thirty days."
      penstock review agreement
      penstock review export --as preference pairs.jsonl
    """


review.add_command(sample)
review.add_command(estimate)


# ---------------------------------------------------------------- queues


@review.group("queue")
def queue_() -> None:
    """See what waits, and let more wait."""


@queue_.command("list")
@show.json_option
@click.pass_obj
def list_(file: str | None, as_json: bool) -> None:
    """Show the queues, and the samples that were drawn from the journal. Times are in UTC."""
    house = _house(file)
    queues, draws = house.review.queue.status(), house.review.requests.draws()
    if as_json:
        show.as_json({"queues": queues, "draws": [draw._asdict() | {"at": iso(draw.at)} for draw in draws]})
        return
    if not queues:
        click.echo("nothing waits: penstock review queue fill -n 100, or penstock review queue add FILE")
        return
    heads = ("queue", "open", "claimed", "disagreed", "done", "overdue", "skipped")
    show.table([[row[head] for head in heads] for row in queues], heads)
    if draws:
        click.echo()
        rows = [(draw.id, iso(draw.at), draw.about, f"{draw.items:,}", draw.drawn) for draw in draws[:20]]
        show.table(rows, ("sample", "drawn at", "of", "requests", "drawn"))


@queue_.command()
@click.argument("rows", type=click.File("rb"), metavar="FILE")
@queue_option
@double_option
@deadline_option
@show.json_option
@click.pass_obj
def add(file: str | None, rows: BinaryIO, queue: str, double: float, deadline: float, as_json: bool) -> None:
    """Put rows into a queue: JSON Lines or CSV with `question` and `answer`, and as you like `context`, `citations`, `history`.

    Their words are kept, since you gave them for that. A row whose `id` is in the queue already is passed over. Rows of
    `penstock review sample` stay a sample, which `penstock review estimate --draw` takes.

    \b
    Examples:
      penstock review queue add answers.jsonl --double 0.2 --within 2d
    """
    draw, entries = new_id(), []
    for line, row in read_rows(rows):
        try:
            entries.append(_entry(row, queue=queue, deadline=deadline, draw=draw))
        except PenstockError as error:
            raise type(error)(f"line {line}: {error.message}", hint=error.hint) from error
    made = _house(file).review.queue.add(entries, double=double, seed=int(draw[-8:], 16))
    sampled = draw if any(entry.draw for entry in entries) else None
    if as_json:
        show.as_json({"added": made, "there_already": len(entries) - len(made), "draw": sampled})
        return
    click.echo(
        f"{len(made)} added, {len(entries) - len(made)} were there already" + (f"; sample {sampled}" if sampled else "")
    )


def _entry(row: Row, *, queue: str, deadline: float, draw: str) -> Entry:
    content = Content.read({k: v for k, v in row.items() if v != ""})
    if not content.question and not content.answer:
        raise BadRequest("the row has neither a `question` nor an `answer`")
    numbers: dict[str, float] = {}
    for name in ("risk", "probability", "cell_size"):
        try:
            numbers[name] = float(row.get(name) or 0)
        except (TypeError, ValueError) as error:
            raise BadRequest(f"`{name}` must be a number") from error
    if not 0 <= numbers["risk"] <= 1 or not 0 <= numbers["probability"] <= 1 or not 0 <= numbers["cell_size"] < 1e15:
        raise BadRequest("`risk` and `probability` are from 0 to 1")
    sampled = numbers["probability"] > 0
    origin = row.get("id")
    named = isinstance(origin, str | int) and str(origin) != ""
    told = {name: _whole(row.get(name)) for name in ("request", "app", "stratum", "cell")}
    return Entry(
        origin=_whole(origin) if named else content.digest, content=content, queue=queue, request=told["request"],
        app=told["app"], stratum=told["stratum"], risk=numbers["risk"], draw=draw if sampled else "",
        probability=numbers["probability"], cell=told["cell"], cell_size=int(numbers["cell_size"]),
        priority=0.0 if sampled else numbers["risk"], deadline=deadline,
    )  # fmt: skip


def _whole(value: Any) -> str:
    """A value as text that can be stored: without halves of surrogate pairs."""
    return "" if value is None else str(value).encode("utf-8", "replace").decode()


@queue_.command()
@click.option("-n", "n", required=True, type=click.IntRange(1, 100_000), metavar="N", help="How many requests.")
@click.option("--app", default="", metavar="APP", help="Of this app alone.")
@click.option("--by", default="app", show_default=True, type=click.Choice(get_args(By)), help="What the strata are.")
@since_option
@queue_option
@double_option
@deadline_option
@click.option("--seed", type=int, help="Draw the same requests again; without it by chance.")
@show.json_option
@click.pass_obj
def fill(
    file: str | None, n: int, app: str, by: By, since: float, queue: str, double: float, deadline: float, seed: int | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Draw answered requests of the journal into a queue, those that are likelier wrong more often.

    Reviewers see words only of apps with `keep_text`. The estimate is `penstock review estimate --draw ID`.

    \b
    Examples:
      penstock review queue fill -n 100 --app handbook --since 30d --double 0.2
    """
    draw = _house(file).review.requests.draw(
        n, since=since, app=app, by=by, queue=queue, double=double, deadline=deadline, seed=seed
    )
    if as_json:
        show.as_json(draw._asdict() | {"at": iso(draw.at)})
    else:
        click.echo(f"{draw.drawn} of {draw.items:,} requests are in '{queue}': sample {draw.id}")


@queue_.command()
@since_option
@deadline_option
@show.json_option
@click.pass_obj
def complaints(file: str | None, since: float, deadline: float, as_json: bool) -> None:
    """Put the answers that somebody complained about into the queue `complaints`. They are no sample."""
    made = _house(file).review.requests.complaints(since=since, deadline=deadline)
    show.as_json({"added": made}) if as_json else click.echo(f"{len(made)} added")


# ---------------------------------------------------------------- judging


@review.command("next")
@only_queue_option
@as_option
@show.json_option
@click.pass_obj
def next_(file: str | None, queue: str, reviewer: str, as_json: bool) -> None:
    """Claim the next item, or show the one you hold. Others do not get it until `review.lease` is over."""
    house = _house(file)
    task = house.review.queue.claim(reviewer or who(), queue)
    if as_json:
        show.as_json(task.plain() if task else None)
    elif task is None:
        click.echo("nothing waits for you")
    else:
        _print_task(task)
        click.echo(f"\npenstock review judge {'|'.join(house.review.queue.labels)}", err=True)


def _print_task(task: Task) -> None:
    click.echo(click.style(task.id, bold=True) + f"  {task.queue}, yours until {iso(task.until)}")
    _print_content(task.content)
    for n, said in enumerate(task.verdicts, 1):
        told = " ".join(filter(None, (said["note"], said["correction"] and f"Correction: {said['correction']}")))
        click.echo(click.style(f"\nreviewer {n} said: {said['verdict']}", fg="yellow") + show.clean(f"  {told}"))
    if task.verdicts:
        click.echo("They differ: what you say is what it is.")


def _print_content(content: Content) -> None:
    if not content.plain():
        click.echo("\nThe words of this request are not kept: keep_text in [apps.NAME].")
    for name, text in (
        ("question", content.question), ("answer", content.answer), ("summary", content.summary), ("why", content.why),
        ("suggestion", content.suggestion), *(("context", text) for text in content.context),
        *(("cites", " ".join(filter(None, (c.get("source"), c.get("quote"))))) for c in content.citations),
    ):  # fmt: skip
        if text:
            click.echo(click.style(f"\n{name}", fg="cyan") + f"\n{show.clean(text)}")


@review.command()
@click.argument("verdict")
@click.option("--note", default="", metavar="TEXT", help="Why.")
@click.option("--correction", default="", metavar="TEXT", help="How it should have been answered.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="May be repeated.")
@item_option
@as_option
@show.json_option
@click.pass_obj
def judge(
    file: str | None,
    verdict: str,
    note: str,
    correction: str,
    tags: tuple[str, ...],
    item: str,
    reviewer: str,
    as_json: bool,
) -> None:
    """Say what the item that you hold is: correct, wrong, or what else `review.labels` has.

    \b
    Examples:
      penstock review judge correct
      penstock review judge wrong --correction "Within thirty days." --tag returns
    """
    queue, name = _house(file).review.queue, reviewer or who()
    number = item or queue.held(name)
    state = queue.judge(number, name, Given(verdict, note, correction, tags))
    words = {"open": "waits for a second reviewer", "disagreed": "waits for a third, since two differ", "done": "done"}
    show.as_json({"id": number, "state": state}) if as_json else click.echo(f"{verdict}: {words[state]}")


@review.command()
@click.argument("reason", type=click.Choice(SKIPS))
@item_option
@as_option
@click.pass_obj
def skip(file: str | None, reason: str, item: str, reviewer: str) -> None:
    """Give the item that you hold back and never see it again; others will."""
    queue, name = _house(file).review.queue, reviewer or who()
    queue.skip(item or queue.held(name), name, reason)
    click.echo("skipped")


@review.command()
@as_option
@show.json_option
@click.pass_obj
def undo(file: str | None, reviewer: str, as_json: bool) -> None:
    """Take back your last verdict, and hold its item again."""
    task = _house(file).review.queue.undo(reviewer or who())
    show.as_json(task.plain()) if as_json else _print_task(task)


@review.command("show")
@click.argument("item")
@show.json_option
@click.pass_obj
def show_(file: str | None, item: str, as_json: bool) -> None:
    """Show an item with all that was said of it. Do not look before you judge it."""
    found = _house(file).review.queue.item(item)
    if as_json:
        show.as_json(found.plain())
        return
    click.echo(f"{click.style(found.id, bold=True)}  {found.entry.queue}, {found.state} {found.verdict}")
    _print_content(found.entry.content)
    for one in found.judgements:
        said = " ".join(filter(None, (one.note, one.correction and f"Correction: {one.correction}")))
        click.echo(f"\n{show.clean(one.reviewer)}: {one.verdict}  {show.clean(said)}")


@review.command()
@only_queue_option
@show.json_option
@click.pass_obj
def agreement(file: str | None, queue: str, as_json: bool) -> None:
    """Show how far those agree who judged the same items blind, with 95 % intervals."""
    pairs = _house(file).review.queue.pairs(queue=queue)
    whole = pi([(one.verdict, other.verdict) for one, other in pairs])
    named = by_pair([((one.reviewer, one.verdict), (other.reviewer, other.verdict)) for one, other in pairs])
    if as_json:
        show.as_json({"all": whole.plain(), "pairs": [each.plain() for each in named]})
        return
    show.table([_agreed(one) for one in (*named, whole)], ("reviewers", "items", "agreed", "kappa", "interval"))
    for one, other, count in whole.confusions[:5]:
        click.echo(f"  {count} times {one} against {other}")


def _agreed(one: Agreement) -> tuple[Any, ...]:
    plain = one.plain()
    low, high = plain["interval"]
    interval = "" if low is None else f"{low:.2f}-{high:.2f}"
    value = "" if plain["coefficient"] is None else f"{one.coefficient:.2f}"
    return one.name, one.items, f"{one.agreed:.0%}", value, interval


# ---------------------------------------------------------------- what becomes of it


@review.command()
@click.option("--queue", default="", metavar="NAME", help="Of this queue alone.")
@click.option("--failed", is_flag=True, help="Only confirmed failures.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 100_000), help="Most items to show.")
@show.json_option
@click.pass_obj
def items(file: str | None, queue: str, failed: bool, limit: int, as_json: bool) -> None:
    """Show the items that are done, with their verdicts, in the order in which they came."""
    house = _house(file)
    verdicts = house.review.queue.failures if failed else ()
    found = house.review.queue.items(queue=queue, state="done", verdicts=verdicts, limit=limit)
    if as_json:
        show.as_json([item.plain() for item in found])
        return
    rows = [
        (item.id, item.entry.queue, item.verdict, len(item.judgements), cut(item.entry.content.question, 48))
        for item in found
    ]
    show.table(rows, ("id", "queue", "verdict", "reviewers", "question"))


@review.command()
@click.argument("action", type=click.Choice(["case", "index_fix"]))
@click.option("--item", default="", metavar="ID", help="Which failure; else the item that you judged last.")
@click.option(
    "--to", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Of cases; else `review.cases`."
)
@click.option("--note", default="", metavar="TEXT", help="What to mend.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Of the case; may be repeated.")
@as_option
@show.json_option
@click.pass_obj
def act(
    file: str | None,
    action: str,
    item: str,
    to: Path | None,
    note: str,
    tags: tuple[str, ...],
    reviewer: str,
    as_json: bool,
) -> None:
    """Make a regression case, or something to mend in the documents, of a confirmed failure.

    \b
    Examples:
      penstock review act case
      penstock review act index_fix --note "the receipt is missing"
    """
    house, name = _house(file), reviewer or who()
    failures, number = house.review.failures, item or house.review.queue.last(name)
    if action == "case":
        row = failures.add_case(number, name, to=to, tags=tags)
        said = f"{row['id']} is in {to or failures.cases}"
    else:
        row = failures.add_fix(number, name, note=note)
        said = f"{row['id']} is to be mended: penstock review fixes"
    show.as_json(row) if as_json else click.echo(said)


@review.command()
@click.option("--done", "finished", metavar="ID", help="Say that this one is mended.")
@show.json_option
@click.pass_obj
def fixes(file: str | None, finished: str | None, as_json: bool) -> None:
    """Show what is to be mended in the documents."""
    failures = _house(file).review.failures
    if finished:
        failures.close_fix(finished)
        click.echo("mended")
        return
    found = failures.fixes()
    if as_json:
        show.as_json(found)
        return
    rows = [
        (
            row["id"], row["at"], ", ".join(dict.fromkeys(p.get("source", "") for p in row.get("places", ()))),
            cut(row.get("note") or row.get("question", ""), 48),
        )
        for row in found
    ]  # fmt: skip
    show.table(rows, ("id", "noted at", "documents", "what"))


@review.command()
@click.option("--as", "kind", required=True, type=click.Choice(get_args(Export)), help="What for.")
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE")
@show.json_option
@click.pass_obj
def export(file: str | None, kind: Export, out: Path, as_json: bool) -> None:
    """Write what was judged as JSON Lines: `cases` for tests, `sft` for fine-tuning, `preference` pairs.

    Each row has its origin: the item, the verdict, how many reviewers there were, and a hash of its content. The same row is
    there once, in the order in which the items came. Items whose words are not kept are left out and counted.
    """
    house = _house(file)
    rows, left_out = exported(house.review.queue, kind)
    with new_file(out) as target:
        for row in rows:
            target.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
    house.audit.write("review.exported", target=kind, rows=len(rows))
    if as_json:
        show.as_json({"rows": len(rows), "left_out": left_out, "file": str(out)})
        return
    click.echo(f"{len(rows)} rows in {out}")
    if left_out:
        click.echo(f"{left_out} items were left out: their words are not kept", err=True)


@review.command()
@since_option
@click.option("--bad", is_flag=True, help="Only complaints.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 10_000), help="Most opinions to show.")
@show.json_option
@click.pass_obj
def feedback(file: str | None, since: float, bad: bool, limit: int, as_json: bool) -> None:
    """Show what people said of answers. It is the word of those who cared to say something, and no rate of anything."""
    opinions = _house(file).review.feedback
    found, apps = opinions.latest(since=since, bad=bad, limit=limit), opinions.satisfaction(since=since)
    if as_json:
        show.as_json({"feedback": [one.plain() for one in found], "apps": [app._asdict() for app in apps]})
        return
    rows = [
        (app.name or "(models)", app.opinions, app.up, app.down, f"{app.mean_csat:.1f}" if app.rated else "", app.rated)
        for app in apps
    ]
    show.table(rows, ("app", "opinions", "up", "down", "mean of 5", "rated"))
    if found:
        click.echo()
        told = [
            (iso(one.changed), one.about.request, one.thumb, one.csat or "", ", ".join(one.reasons), cut(one.text, 40))
            for one in found
        ]
        show.table(told, ("at", "request", "thumb", "of 5", "reasons", "text"))


# ---------------------------------------------------------------- replies that wait


@review.command()
@click.option("--hand-overs", is_flag=True, help="Questions that were handed over, instead of proposed replies.")
@show.json_option
@click.pass_obj
def waiting(file: str | None, hand_overs: bool, as_json: bool) -> None:
    """Show the proposed replies, or the questions, that wait for a person."""
    house = _house(file)
    found = (house.review.hand_overs if hand_overs else house.review.approvals).pending()
    if as_json:
        show.as_json([one.plain() for one in found])
        return
    rows = [
        (one.id, one.app, cut(one.content.question, 40), cut(one.content.answer or one.content.summary, 40), iso(one.expires),
         one.claimed_by)
        for one in found
    ]  # fmt: skip
    show.table(rows, ("id", "app", "question", "proposed" if not hand_overs else "summary", "expires", "claimed by"))


@review.command()
@click.argument("reply")
@click.option("--text", default="", metavar="TEXT", help="Say this instead.")
@as_option
@show.json_option
@click.pass_obj
def approve(file: str | None, reply: str, text: str, reviewer: str, as_json: bool) -> None:
    """Let a proposed reply leave, as it is or as --text has it."""
    _told(_house(file).review.approvals.approve(reply, reviewer or who(), text=text), as_json=as_json)


@review.command()
@click.argument("reply")
@click.option("--reason", default="", metavar="TEXT", help="Why.")
@as_option
@show.json_option
@click.pass_obj
def reject(file: str | None, reply: str, reason: str, reviewer: str, as_json: bool) -> None:
    """Keep a proposed reply from leaving."""
    _told(_house(file).review.approvals.reject(reply, reviewer or who(), reason=reason), as_json=as_json)


@review.command()
@click.argument("reply", required=False, default="")
@as_option
@show.json_option
@click.pass_obj
def take(file: str | None, reply: str, reviewer: str, as_json: bool) -> None:
    """Take a question that was handed over, or the most urgent one, so that nobody else works on it."""
    found = _house(file).review.hand_overs.claim(reviewer or who(), reply)
    if as_json:
        show.as_json(found.plain() if found else None)
    elif found is None:
        click.echo("nobody waits")
    else:
        _print_waiting(found)


@review.command()
@click.argument("reply")
@click.argument("text", required=False, default="")
@click.option("--close", is_flag=True, help="End it without a text: it was answered elsewhere, or needs no answer.")
@click.option("--reason", default="", metavar="TEXT", help="Why it is closed.")
@as_option
@show.json_option
@click.pass_obj
def answer(file: str | None, reply: str, text: str, close: bool, reason: str, reviewer: str, as_json: bool) -> None:
    """Answer a question that was handed over with TEXT, or --close it."""
    if close == bool(text):
        raise click.UsageError("answer with a TEXT, or --close it.")
    hand_overs, name = _house(file).review.hand_overs, reviewer or who()
    ended = hand_overs.close(reply, name, reason=reason) if close else hand_overs.reply(reply, name, text)
    _told(ended, as_json=as_json)


def _told(outcome: Outcome, *, as_json: bool) -> None:
    show.as_json(outcome.plain(named=True)) if as_json else click.echo(outcome.state)


def _print_waiting(one: Waiting) -> None:
    click.echo(click.style(one.id, bold=True) + f"  yours until {iso(one.until)}")
    for message in one.content.history:
        click.echo(f"\n{message.get('role', '')}: {show.clean(message.get('content', ''))}")
    _print_content(one.content)
    click.echo(f'\npenstock review answer {one.id} "…"', err=True)
