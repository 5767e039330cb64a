"""`penstock satisfaction`: which turns of conversations people would call unsatisfying."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, BinaryIO

import click

from penstock.cli.rows import Row, answer_rows
from penstock.errors import BadRequest
from penstock.observe.satisfaction import Satisfaction

__all__ = ["satisfaction"]


@click.command()
@click.option(
    "--jsonl", required=True, type=click.File("rb"), metavar="FILE",
    help="Rows with `messages`; `-` reads standard input.",
)  # fmt: skip
@click.option("--lang", default="", metavar="CODE", help="The language of the conversations, such as `de`.")
@click.option(
    "--words", is_flag=True, help="By word lists alone, without the encoder: many times as fast, and less right."
)
def satisfaction(jsonl: BinaryIO, lang: str, words: bool) -> None:
    """Say how likely people are to call each turn of a person unsatisfying, and what speaks for it.

    A row has `messages`, a list of {"role", "content"} as chat models take it, and may have `lang`. It comes back in order with
    `satisfaction`: for each turn of a person its place (`at`, from 0), the probability of a rating below 3 of 5 (`low`), and the
    signs that speak for it or against it (`why`, in log-odds). A conversation in a language without word lists has null there,
    and `unscored`. The mean of `low` over many turns is the share of unsatisfying ones to be expected.

    \b
    Examples:
      penstock satisfaction --jsonl conversations.jsonl > judged.jsonl
      penstock satisfaction --jsonl - --words < conversations.jsonl
    """
    judge = Satisfaction(encoder=None) if words else Satisfaction()
    answer_rows(jsonl, lambda row: _judged(judge, row, lang), unit="conversation")


def _judged(judge: Satisfaction, row: Row, language: str) -> Row:
    said = row.get("lang", language)
    if not isinstance(said, str):
        raise BadRequest("`lang` must be a text, such as `de`")
    found = judge.judge(_turns(row.get("messages")), language=said)
    if found.unscored:
        return row | {"satisfaction": None, "language": found.language, "unscored": found.unscored}
    turns = [{"at": turn.at, "low": round(turn.low, 4), "why": dict(turn.why)} for turn in found.turns]
    return row | {"satisfaction": turns, "language": found.language}


def _turns(messages: Any) -> list[tuple[str, str]]:
    if not isinstance(messages, list):
        raise BadRequest("a row must have `messages`, a list", hint='each as {"role": "user", "content": "…"}')
    turns = []
    for at, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        if not isinstance(role, str):
            raise BadRequest(f"message {at} has no `role`")
        turns.append((role, _text(message.get("content"), at)))
    return turns


def _text(content: Any, at: int) -> str:
    """A message's words; "" for a call of a tool, which has none. Of a list of parts, those that are text."""
    match content:
        case None:
            return ""
        case str():
            return content
        case list():
            return " ".join(_parts(content))
    raise BadRequest(f"the `content` of message {at} must be a text or a list of parts")


def _parts(parts: Sequence[Any]) -> list[str]:
    return [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
