"""The people who take over from a bot: the conversation is put before them, and what is said meanwhile follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from penstock.review.content import Content, newest
from penstock.review.replies import HandOvers, Outcome
from penstock.types import Message, Record, Turn

__all__ = ["TakingOver"]


@dataclass(frozen=True, slots=True)
class TakingOver:
    """For the bot of one app."""

    hand_overs: HandOvers
    app: str

    def take_over(self, turn: Turn, said: Sequence[Message], why: str, summary: str) -> str:
        before = [{"role": message.role, "content": message.content} for message in said[-100:]]
        values = {
            "question": turn.question,
            "history": list(newest(before)),
            "why": why,
            "summary": summary,
            "language": turn.language,
        }
        record = turn.record or Record("")
        return self.hand_overs.propose(
            Content.read(values), caller=turn.caller, person=record.person, app=self.app, request=record.id
        )

    def tell(self, number: str, said: str) -> None:
        self.hand_overs.add(number, said)

    def outcome(self, number: str) -> Outcome:
        return self.hand_overs.outcome(number)

    def give_back(self, number: str) -> None:
        self.hand_overs.give_back(number)
