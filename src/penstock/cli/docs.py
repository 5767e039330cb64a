"""`penstock docs …`: collections of documents, their versions, and how well they are found."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.cli import show
from penstock.cli.ask import parse_where
from penstock.config import check_name, load
from penstock.errors import BadRequest, Conflict, NotFound, WorseVersion
from penstock.storage.files import new_file
from penstock.types import Caller

if TYPE_CHECKING:
    from penstock.assemble import House
    from penstock.documents.collection import Collection

__all__ = ["docs"]

DEFAULT = "documents"
WATCH_S = 2.0
WATCH_PAGES_S = 300.0  # servers are asked less often than the disk

name_argument = click.argument("name", required=False)


@click.group()
def docs() -> None:
    """Add, list, search and version your documents."""


def _house(file: str | None) -> House:
    from penstock.assemble import assemble

    house = assemble(load(file, keys=False))
    click.get_current_context().call_on_close(house.close)
    return house


def _collection(house: House, name: str | None) -> Collection:
    """The collection that is meant: the named one, or the only one there is."""
    names = house.library.names()
    if name:
        return house.library[name]
    if len(names) == 1:
        return house.library[names[0]]
    if not names:
        raise NotFound("nothing is indexed yet", hint="penstock docs add PATH")
    raise BadRequest("there are several collections: say which", hint=", ".join(names))


@docs.command()
@click.argument("places", nargs=-1, required=True)
@click.option(
    "--to", "name", default=DEFAULT, show_default=True, metavar="NAME", help="Collection to add to; made if it is new."
)
@click.option(
    "--publish/--no-publish", default=True, help="Make the new version live, or only build it.", show_default=True
)
@show.json_option
@click.pass_obj
def add(file: str | None, places: tuple[str, ...], name: str, publish: bool, as_json: bool) -> None:
    """Add files, folders, web pages or sitemaps, and index them.

    \b
    Examples:
      penstock docs add handbook/ prices.xlsx
      penstock docs add https://example.com/sitemap.xml --to website
    """
    from penstock.documents.sources import existing

    check_name(name)
    existing(places)  # before anything is made for them
    house = _house(file)
    with show.Bar(quiet=as_json) as bar:
        report = house.library.create(name).add(places, progress=bar, publish=publish)
    show.as_json(report.plain()) if as_json else show.report(report, name=name)


@docs.command()
@name_argument
@click.option("--watch", is_flag=True, help="Go on looking for changes until Ctrl-C.")
@click.option(
    "--publish/--no-publish", default=True, help="Make the new version live, or only build it.", show_default=True
)
@show.json_option
@click.pass_obj
def sync(file: str | None, name: str | None, watch: bool, publish: bool, as_json: bool) -> None:
    """Index what was added, changed, moved or deleted."""
    house = _house(file)
    names = [name] if name else house.library.names()
    if not names:
        raise NotFound("nothing is indexed yet", hint="penstock docs add PATH")
    if watch:
        click.echo("watching; Ctrl-C ends", err=True)
    first, asked = True, time.monotonic()
    while first or watch:
        pages = first or time.monotonic() - asked > WATCH_PAGES_S
        asked = time.monotonic() if pages else asked
        for one in names:
            _sync(house, one, publish=publish, as_json=as_json, quiet=not first, pages=pages)
        first = False
        if watch:
            time.sleep(WATCH_S)


def _sync(house: House, name: str, *, publish: bool, as_json: bool, quiet: bool, pages: bool) -> None:
    try:
        with show.Bar(quiet=as_json or quiet) as bar:
            report = house.library[name].sync(progress=bar, publish=publish, pages=pages)
    except WorseVersion as error:
        if not quiet:
            raise
        click.echo(str(error), err=True)
        return
    except Conflict:
        if not quiet:  # while watching, another writer is waited for
            raise
        return
    if quiet and not report.differs:
        return
    if as_json:
        click.echo(json.dumps({"collection": name, **report.plain()}, ensure_ascii=False))
    else:
        show.report(report, name=name)


@docs.command("list")
@name_argument
@show.json_option
@click.pass_obj
def list_(file: str | None, name: str | None, as_json: bool) -> None:
    """List the documents, and the files that could not be read with their reasons."""
    house = _house(file)
    names = [name] if name else house.library.names()
    rows, failed = [], []
    for one in names:
        collection = house.library[one]
        rows += [(one, d) for d in collection.documents()]
        failed += [(one, s) for s in collection.skipped()]
    if as_json:
        indexed = [{"collection": one, "state": "indexed", **_public(asdict(d))} for one, d in rows]
        show.as_json(indexed + [{"collection": one, "state": "skipped", **_public(asdict(s))} for one, s in failed])
        return
    if not rows and not failed:
        click.echo("nothing is indexed yet: penstock docs add PATH")
        return
    heads = ("collection", "source", "state", "passages", "language", "date")
    cells = [(one, d.source, "indexed", d.passages, d.language, d.date) for one, d in rows]
    show.table(cells + [(one, s.source, "skipped", "", "", "") for one, s in failed], heads)
    for _, skipped in failed:
        click.echo(
            click.style(show.clean(f"  {skipped.reason}" + (f" ({skipped.hint})" if skipped.hint else "")), fg="yellow")
        )


def _public(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in ("content", "fingerprint")}


@docs.command()
@click.argument("query")
@click.option("--collection", "name", metavar="NAME", help="Collection to search; not needed where there is one.")
@click.option("-k", default=8, show_default=True, type=click.IntRange(1, 100), help="Passages to show.")
@show.where_option
@show.role_option
@show.json_option
@click.pass_obj
def search(
    file: str | None,
    query: str,
    name: str | None,
    k: int,
    where: tuple[str, ...],
    roles: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show the nearest passages with the scores of each part."""
    if not query.strip():
        raise click.UsageError("the query is empty.")
    found = _collection(_house(file), name).search(
        query, caller=Caller("anonymous", roles), k=k, where=parse_where(where)
    )
    if as_json:
        show.as_json(asdict(found))
        return
    heads = ("score", "bm25", "dense", "source", "section", "passage")
    rows = [
        (
            f"{hit.score:.3f}", f"{hit.parts['bm25']:.2f}", f"{hit.parts['dense']:.3f}", hit.passage.source,
            " > ".join(hit.passage.section)[-40:], " ".join(hit.passage.text.split())[:80],
        )
        for hit in found.hits
    ]  # fmt: skip
    show.table(rows, heads)
    click.echo(
        click.style(f"{found.searched} passages of {found.version}, dense weight {found.dense_weight:.2f}", dim=True)
    )


@docs.command()
@name_argument
@show.json_option
@click.pass_obj
def versions(file: str | None, name: str | None, as_json: bool) -> None:
    """List the versions that are kept; any of them can be made live."""
    rows = _collection(_house(file), name).versions()
    if as_json:
        show.as_json([asdict(row) | {"name": row.name} for row in rows])
        return
    heads = ("", "version", "state", "documents", "passages", "created", "note")
    show.table(
        [
            ("*" if r.live else "", r.name, "live" if r.live else r.state, r.documents, r.passages, r.created, r.note)
            for r in rows
        ],
        heads,
    )


@docs.command()
@click.argument("version")
@click.argument("name", required=False)
@show.json_option
@click.pass_obj
def use(file: str | None, version: str, name: str | None, as_json: bool) -> None:
    """Make a version live: v3, `previous` to roll back, `newest` to go forward."""
    row = _collection(_house(file), name).use(version)
    show.as_json(asdict(row) | {"name": row.name}) if as_json else click.echo(
        f"{row.name} is live: {row.documents} documents"
    )


@docs.command()
@click.argument("one", default="previous")
@click.argument("other", default="live")
@click.option("--collection", "name", metavar="NAME", help="Collection; not needed where there is one.")
@show.json_option
@click.pass_obj
def diff(file: str | None, one: str, other: str, name: str | None, as_json: bool) -> None:
    """Show what version OTHER says beyond version ONE and the other way round, passage by passage."""
    found = _collection(_house(file), name).difference(one, other)
    if as_json:
        show.as_json(asdict(found))
        return
    for sign, colour, passages in (("-", "red", found.removed), ("+", "green", found.added)):
        for source, text in passages:
            click.echo(click.style(show.clean(f"{sign} {source}: {' '.join(text.split())[:200]}"), fg=colour))
    click.echo(f"{len(found.added)} passages more, {len(found.removed)} less, {found.same} the same")


@docs.command("eval")
@name_argument
@click.option(
    "--golden",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Questions as JSON Lines; without it, the file the settings name, and what was added in the console.",
)
@click.option("--version", default="live", show_default=True, help="Version to measure.")
@show.json_option
@click.pass_obj
def eval_(file: str | None, name: str | None, golden: Path | None, version: str, as_json: bool) -> None:
    """Measure how well a version finds what its golden questions ask for."""
    from penstock.documents.golden import load as load_golden

    house = _house(file)
    collection = _collection(house, name)
    questions = load_golden(golden) if golden else collection.golden_questions()
    if not questions:
        raise BadRequest(
            f"'{collection.name}' has no golden questions", hint='--golden FILE, or golden = "FILE" in its settings'
        )
    number = collection.version(version).number
    scores = collection.evaluate(questions, number)
    if as_json:
        show.as_json(asdict(scores) | {"version": f"v{number}", "gap": scores.gap})
        return
    click.echo(
        f"v{number} on {scores.questions} questions: recall@5 {scores.recall_at_5:.3f}, nDCG@10 {scores.ndcg_at_10:.3f}"
    )
    if scores.by_language:
        best = scores.by_language.get("en") or max(scores.by_language.values(), key=lambda own: own.recall_at_5)
        rows = [
            (
                language,
                own.questions,
                f"{own.recall_at_5:.3f}",
                f"{own.ndcg_at_10:.3f}",
                f"{best.recall_at_5 - own.recall_at_5:+.3f}",
            )
            for language, own in scores.by_language.items()
        ]
        show.table(rows, ("language", "questions", "recall@5", "nDCG@10", "gap"))
    for question in scores.missed[:20]:
        click.echo(click.style(show.clean(f"  missed: {question}"), fg="yellow"))


@docs.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--run",
    "run_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the rankings: JSON, or TREC's six columns for a name that ends in .trec.",
)
@show.json_option
@click.pass_obj
def bench(file: str | None, folder: Path, run_file: Path | None, as_json: bool) -> None:
    """Measure search on a data set in BEIR's layout: corpus.jsonl, queries.jsonl, qrels.tsv, gzip allowed."""
    import tempfile
    from dataclasses import replace

    from penstock.assemble import assemble
    from penstock.documents.bench import bench as run_bench

    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as home:
        house = assemble(replace(load(file, keys=False), home=home, documents={}))
        try:
            with show.Bar(quiet=as_json) as bar:
                scores, runs = run_bench(folder, house.library, progress=bar)
        finally:
            house.close()
    if run_file:
        _write_run(run_file, runs)
    if as_json:
        show.as_json(scores)
        return
    names = list(scores["hybrid"])
    show.table(
        [(part, *(f"{scores[part][name]:.4f}" for name in names)) for part in ("bm25", "dense", "hybrid")], ("", *names)
    )
    click.echo(click.style(", ".join(f"{key} {value}" for key, value in scores["timings"].items()), dim=True))


def _write_run(path: Path, runs: dict[str, Any]) -> None:
    text = json.dumps(runs, ensure_ascii=False)
    if path.suffix == ".trec":
        lines = [
            f"{query} Q0 {document} {rank} {1 / rank:.6f} penstock"
            for query, documents in runs["hybrid"].items()
            for rank, document in enumerate(documents, 1)
        ]
        text = "".join(f"{line}\n" for line in lines)
    with new_file(path) as out:
        out.write(text.encode())


@docs.command()
@click.argument("what", required=False)
@click.option("--from", "name", metavar="NAME", help="Collection; not needed where there is one.")
@click.option("--everything", "whole", is_flag=True, help="Remove the collection itself, with all its versions.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@show.json_option
@click.pass_obj
def remove(file: str | None, what: str | None, name: str | None, whole: bool, yes: bool, as_json: bool) -> None:
    """Remove a place (folder, file, address), an uploaded document, or with --everything the whole collection.

    Files on your disk are never touched, uploads excepted.
    """
    if whole and what and name not in (None, what):
        raise click.UsageError(f"'{what}' is to be removed from '{name}', and --everything removes a whole one.")
    house = _house(file)
    collection = _collection(house, what if whole and what else name)  # `remove --everything NAME` means that one
    if whole:
        if not yes:
            click.confirm(f"Forget '{collection.name}' with all its versions and uploads?", abort=True)
        house.library.remove(collection.name)
        show.as_json({"removed": collection.name}) if as_json else click.echo(f"{collection.name} is forgotten")
        return
    if not what:
        raise click.UsageError("say what to remove, or --everything.")
    report = collection.remove(what)
    show.as_json(report.plain()) if as_json else show.report(report, name=collection.name)
