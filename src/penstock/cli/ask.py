"""`penstock ask`: one question, a conversation, or a file of questions."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any, BinaryIO

import click

from penstock.api import Penstock
from penstock.cli import show
from penstock.cli.rows import Row, answer_rows, text_of
from penstock.config import check_name, load
from penstock.errors import BadRequest, PenstockError
from penstock.types import Answer, Caller, Message

__all__ = ["ask"]


JSONL_HELP = "Rows with `question`, answered in order as JSON Lines; - reads standard input."


@click.command()
@click.argument("question", required=False)
@click.option(
    "--in",
    "places",
    multiple=True,
    metavar="PLACE",
    help="Folder, file or web page to ask; indexed when it is new or changed.",
)
@click.option(
    "--collection", metavar="NAME", help="Collection to ask, or an app with a bot; not needed where there is one."
)
@click.option("--conversation", metavar="ID", default="", help="Of an answer of a bot: go on with it.")
@click.option("--jsonl", type=click.File("rb"), metavar="FILE", help=JSONL_HELP)
@show.where_option
@show.role_option
@show.json_option
@click.pass_obj
def ask(
    file: str | None, question: str | None, places: tuple[str, ...], collection: str | None, conversation: str,
    jsonl: BinaryIO | None, where: tuple[str, ...], roles: tuple[str, ...], as_json: bool,
) -> None:  # fmt: skip
    """Ask your documents.

    Without QUESTION a conversation begins, in which follow-up questions are understood.

    \b
    Examples:
      penstock ask "How long can I return books?" --in handbook/
      penstock ask --jsonl questions.jsonl > answers.jsonl
    """
    if question and jsonl:
        raise click.UsageError("ask a QUESTION or the rows of --jsonl, not both.")
    if conversation and not question:
        raise click.UsageError("--conversation goes on with a QUESTION; penstock talk holds a whole one.")
    if places and collection:
        check_name(collection)
    conditions = parse_where(where)
    caller = Caller("anonymous", roles)
    with (
        show.Bar(quiet=as_json) as bar,
        Penstock.open(*places, name=collection, settings=load(file, keys=False), progress=bar) as penstock,
    ):
        bar.close()
        if jsonl:
            answer_rows(jsonl, lambda row: _answered(penstock, row, caller, conditions), unit="question")
        elif question:
            answer = penstock.ask(question, caller=caller, where=conditions, conversation=conversation)
            show.as_json(plain(answer)) if as_json else show.answer(answer, question)
            if places and not as_json:
                show.skipped(penstock.documents)
        else:
            _converse(penstock, caller, conditions)


def parse_where(pairs: tuple[str, ...]) -> dict[str, Any]:
    """NAME=VALUE pairs as a filter; a name that comes twice lets either value through."""
    conditions: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise click.UsageError(f"--where takes NAME=VALUE, not '{pair}'.")
        conditions[name] = [*conditions[name], value] if name in conditions else [value]
    return conditions


def plain(answer: Answer) -> dict[str, Any]:
    return asdict(answer)


def _answered(penstock: Penstock, row: Row, caller: Caller, where: dict[str, Any]) -> Row:
    question = text_of(row, "question")
    answer = penstock.ask(question, history=_history(row), caller=caller, where=where | _where(row))
    identity = {"id": row["id"]} if "id" in row else {}
    understood = {"question": row["question"], "answer": answer.text, "understood": answer.question}
    return identity | plain(answer) | understood


def _history(row: dict[str, Any]) -> list[Message]:
    said = row.get("history") or []
    if not isinstance(said, list) or not all(
        isinstance(m, dict) and m.get("role") in ("system", "user", "assistant") and isinstance(m.get("content"), str)
        for m in said
    ):
        raise BadRequest("`history` must be a list of {role, content}")
    return [Message(m["role"], m["content"]) for m in said]


def _where(row: dict[str, Any]) -> dict[str, Any]:
    where = row.get("where") or {}
    if not isinstance(where, dict) or any(
        isinstance(value, list | dict)
        for wanted in where.values()
        for value in ([wanted] if not isinstance(wanted, list) else wanted)
    ):
        raise BadRequest("`where` must be an object of values, or of lists of values")
    return where


def _converse(penstock: Penstock, caller: Caller, where: dict[str, Any]) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError('ask something: penstock ask "…"')
    click.echo(f"Asking {click.style(penstock.name, bold=True)}. An empty line ends the conversation.", err=True)
    history: list[Message] = []
    while question := _typed():
        try:
            answer = penstock.ask(question, history=history, caller=caller, where=where)
        except PenstockError as error:
            click.echo(str(error), err=True)
            continue
        show.answer(answer, question)
        click.echo()
        history += [Message("user", question), Message("assistant", answer.text)]


def _typed() -> str:
    """The next question; "" when Ctrl-C or the end of the input comes instead."""
    try:
        prompt = click.prompt(click.style("?", fg="cyan"), default="", show_default=False, prompt_suffix=" ")
    except click.Abort:
        return ""
    return str(prompt).strip()
