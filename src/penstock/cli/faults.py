"""`penstock faults`: what is wrong with answers, by name."""

from __future__ import annotations

from functools import cache
from typing import Any, BinaryIO, cast, get_args

import click

from penstock.cli import show
from penstock.cli.rows import Row, answer_rows, text_of
from penstock.errors import BadRequest

__all__ = ["faults"]


@click.command()
@click.argument("text", required=False)
@click.option("--question", default="", metavar="TEXT", help="What was asked: whether the answer is about it.")
@click.option("--lang", default="", metavar="CODE", help="The language that the answer should be in.")
@click.option("--form", default="", metavar="FORM", help="What it should be: json, list, number or yes_or_no.")
@click.option("--jsonl", type=click.File("rb"), metavar="FILE", help="Rows with `answer`; `-` reads standard input.")
@show.json_option
def faults(text: str | None, question: str, lang: str, form: str, jsonl: BinaryIO | None, as_json: bool) -> None:
    """Name what is wrong with an answer.

    The names are refusal, truncated, wrong_language, repeating, wrong_format, off_topic, ungrounded, toxic and empty. Rows may have
    `question`, `lang`, `form`, `context` (a text or a list: whether it supports the answer) and `finish_reason`. They come back in
    order with `faults`. An app's journal has them for every answer.

    \b
    Examples:
      penstock faults "I'm sorry, but I can't help with that."
      penstock faults --jsonl answers.jsonl > named.jsonl
    """
    if jsonl:
        if text is not None:
            raise click.UsageError("name the faults of a TEXT or of the rows of --jsonl, not both.")
        answer_rows(jsonl, lambda row: _named({"question": question, "lang": lang, "form": form} | row), unit="answer")
        return
    if text is None:
        raise click.UsageError("say what to look at: TEXT, or --jsonl FILE.")
    found = _named({"answer": text, "question": question, "lang": lang, "form": form})["faults"]
    if as_json:
        show.as_json({"faults": found})
    else:
        click.echo(", ".join(found) or "none that is known here")


def _named(row: Row) -> Row:
    from penstock.observe.faults import Checks, Form, faults_of

    answer, question, lang, form = (
        text_of(row, name, needed=name == "answer") for name in ("answer", "question", "lang", "form")
    )
    if form not in get_args(Form):
        raise BadRequest(f"`form` is '{form}'", hint=f"one of {', '.join(filter(None, get_args(Form)))}")
    context = row.get("context")
    sources = [context] if isinstance(context, str) else context
    if sources is not None and not (isinstance(sources, list) and all(isinstance(one, str) for one in sources)):
        raise BadRequest("`context` must be a text or a list of texts")
    checks = Checks(
        supported=(lambda said: _verifier().check(said, sources, question=question).label == "supported")
        if sources
        else None,
        relation=_relation if question else None,
        harm=_harm,
    )
    reason = row.get("finish_reason")
    cut = None if reason is None else reason == "length"
    found = faults_of(answer, question=question, language=lang, form=cast(Form, form), cut=cut, checks=checks)
    return row | {"faults": found}


@cache
def _verifier() -> Any:
    from penstock.verify.check import verifier

    return verifier()


@cache
def _encoder() -> Any:
    from penstock import encoder

    return encoder.shipped(threads=1)


def _relation(question: str, answer: str) -> float:
    """Cosine of the question and the nearest sentence."""
    from penstock.text.sentences import sentences_of

    spans = sentences_of(answer[:4000], "en") or [(0, len(answer))]
    vectors = _encoder().embed([question, *(answer[a:b] for a, b in spans)])
    return float((vectors[1:] @ vectors[0]).max())


def _harm(answer: str) -> float:
    return max(_moderation().scores(answer).values(), default=0.0)


@cache
def _moderation() -> Any:
    from penstock.guard.moderation import Moderation

    return Moderation()
