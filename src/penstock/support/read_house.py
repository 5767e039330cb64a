"""A house's own conversations as a log: those of its bots, those of its chat page, and what its journal kept of other requests;
with what people said of them, and where a person took over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from penstock.agents.talks import Row
from penstock.storage.database import Tables
from penstock.support.conversations import Conversation, Spoken
from penstock.types import Status
from penstock.writing import TOOL

if TYPE_CHECKING:
    from penstock.agents.kept_talks import Kept, KeptTalks, Said
    from penstock.conversations import Conversation as Chat
    from penstock.conversations import Conversations
    from penstock.review.feedback import Feedback

__all__ = ["House"]

AT_ONCE = 500
NEAR_S = 3.0  # between the end of a request and a bot's turn that is written down
USD = 10**12  # picodollars


class _Request(NamedTuple):
    """What the journal has of one request."""

    id: str
    trace: str
    at: float
    person: str
    model: str
    app: str
    duration_ms: float
    first_ms: float
    input_tokens: int
    output_tokens: int
    cost_pico_usd: int
    said: str

    @property
    def end(self) -> float:
        return self.at + self.duration_ms / 1000


_COLUMNS = (
    "id, trace_id, at, person, model, app, duration_ms, first_ms, input_tokens, output_tokens, cost_pico_usd, said"
)


@dataclass(frozen=True)
class House:
    """read: what the journal kept of a request's words, as its column `said` has it."""

    talks: KeptTalks
    chats: Conversations
    journal: Tables
    feedback: Feedback
    read: Callable[[str], Mapping[str, Any]]

    def conversations(self, *, app: str = "", since: float = 0.0) -> Iterator[Conversation]:
        """All of an app, or of all apps, that began at or after a Unix time. One conversation is in memory at a time."""
        bots: set[str] = set()
        for kept, said in self.talks.everything(app=app, since=since):
            bots.add(kept.app)
            yield self._of_talk(kept, said)
        seen: set[str] = set()
        for chat in self.chats.everything(asked=app, since=since):
            seen |= {turn.request for turn in chat.turns if turn.request}
            yield self._of_chat(chat)
        yield from self._of_requests(app, since, bots, seen)

    # ------------------------------------------------------------ bots

    def _of_talk(self, kept: Kept, said: Sequence[Said]) -> Conversation:
        requests = self._near(kept.app, said)
        opinions = self._csat([one.id for one in requests if one is not None])
        turns: list[Spoken] = []
        handed_over = False
        for one, request in zip(said, requests, strict=True):
            began = request.at if request is not None else one.at
            turns.append(Spoken(role="customer", text=one.text, at=began))
            status = one.reply.get("status")
            waiting = status == Status.HANDED_OVER
            rows, sources = _cited(one.reply.get("citations") or ())
            turns.append(_answer(str(one.reply.get("text") or ""), one.at, request, rows, sources, hand_over=waiting))
            handed_over = handed_over or waiting
        return Conversation(
            id=kept.id, turns=tuple(turns), app=kept.app, language=kept.language,
            customer=kept.person.id or _visitor(kept.whose.owner),
            started=kept.created, csat=opinions, escalated=handed_over or kept.handed_over > 0,
        )  # fmt: skip

    def _near(self, app: str, said: Sequence[Said]) -> list[_Request | None]:
        """The request of each turn: the one of that app that ended when the turn was written down; None where two may have been."""
        if not said or not self.journal.has("requests"):
            return [None] * len(said)
        first, last = min(one.at for one in said), max(one.at for one in said)
        rows = self.journal.read(
            f"select {_COLUMNS} from requests where app = ? and at >= ? and at <= ? order by at limit 20000",  # noqa: S608
            (app, first - 120, last + NEAR_S),
        )
        some = [_Request(*row) for row in rows]
        found: list[_Request | None] = []
        for one in said:
            near = [request for request in some if abs(request.end - one.at) <= NEAR_S]
            if len(near) > 1:
                told = [
                    request for request in near if request.said and self.read(request.said).get("question") == one.text
                ]
                near = told or near
            found.append(near[0] if len(near) == 1 else None)
        return found

    # ------------------------------------------------------------ the chat page

    def _of_chat(self, chat: Chat) -> Conversation:
        requests = {one.id: one for one in self._requests([turn.request for turn in chat.turns if turn.request])}
        turns: list[Spoken] = []
        for turn in chat.turns:
            request = requests.get(turn.request)
            turns.append(Spoken(role="customer", text=turn.question, at=request.at if request else turn.at or None))
            rows, sources = _cited(turn.answer.get("citations") or ())
            handed_over = turn.answer.get("status") == Status.HANDED_OVER
            at = request.end if request else turn.at or None
            turns.append(_answer(str(turn.answer.get("text") or ""), at, request, rows, sources, hand_over=handed_over))
            if isinstance(reply := turn.answer.get("reply"), str) and reply:
                turns.append(Spoken(role="person", text=reply, at=at))
        model = next((one.model for one in requests.values() if one.model), "")
        return Conversation(
            id=chat.kept.id, turns=tuple(turns), app=chat.kept.asked, release=model, customer=chat.owner, started=chat.kept.created,
            csat=self._csat([turn.request for turn in chat.turns if turn.request]),
        )  # fmt: skip

    # ------------------------------------------------------------ other requests

    def _of_requests(self, app: str, since: float, bots: set[str], seen: set[str]) -> Iterator[Conversation]:
        """Requests whose words were kept and that are in no conversation yet: those of one trace are one."""
        if not self.journal.has("requests"):
            return
        trace, after = "", ""
        some: list[_Request] = []
        while True:
            rows = self.journal.read(
                f"select {_COLUMNS} from requests where said != '' and at >= ? and (? in ('', app))"  # noqa: S608
                f" and (trace_id, id) > (?, ?) order by trace_id, id limit {AT_ONCE}",
                (since, app, trace, after),
            )
            if not rows:
                break
            for row in map(_Request._make, rows):
                if some and row.trace != some[0].trace:
                    yield from self._of_trace(some)
                    some = []
                if row.id not in seen and row.app not in bots:
                    some.append(row)
                trace, after = row.trace, row.id
        yield from self._of_trace(some)

    def _of_trace(self, requests: Sequence[_Request]) -> Iterator[Conversation]:
        if not requests:
            return
        turns: list[Spoken] = []
        order = sorted(requests, key=lambda one: (one.at, one.id))
        for one in order:
            words = self.read(one.said)
            turns.append(Spoken(role="customer", text=str(words.get("question") or ""), at=one.at))
            turns.append(_answer(str(words.get("answer") or ""), one.end, one, (), (), hand_over=False))
        if any(turn.text for turn in turns):
            first = order[0]
            yield Conversation(
                id=first.trace, turns=tuple(turns), app=first.app, release=first.model, customer=first.person, started=first.at,
                csat=self._csat([one.id for one in order]),
            )  # fmt: skip

    # ------------------------------------------------------------ what else is known

    def _requests(self, ids: Sequence[str]) -> Iterator[_Request]:
        if not self.journal.has("requests"):
            return
        for start in range(0, len(ids), AT_ONCE):
            part = ids[start : start + AT_ONCE]
            marks = ", ".join("?" * len(part))
            rows = self.journal.read(f"select {_COLUMNS} from requests where id in ({marks})", part)  # noqa: S608
            yield from map(_Request._make, rows)

    def _csat(self, requests: Sequence[str]) -> float | None:
        """What was given last of any of them."""
        opinions = [one for some in self.feedback.of(requests).values() for one in some if one.csat] if requests else []
        return float(max(opinions, key=lambda one: one.changed).csat) if opinions else None


def _answer(
    text: str, at: float | None, request: _Request | None, rows: Iterable[Row], sources: Iterable[str], *, hand_over: bool
) -> Spoken:  # fmt: skip
    if request is None:
        return Spoken(role="bot", text=text, at=at, rows=tuple(rows), sources=tuple(sources), hand_over=hand_over)
    counted = bool(request.input_tokens or request.output_tokens)
    return Spoken(
        role="bot", text=text, at=at, latency_ms=request.duration_ms, first_ms=request.first_ms or None,
        input_tokens=request.input_tokens if counted else None, output_tokens=request.output_tokens if counted else None,
        cost_usd=request.cost_pico_usd / USD if counted else None, rows=tuple(rows), sources=tuple(sources), hand_over=hand_over,
        id=request.id,
    )  # fmt: skip


def _cited(citations: Iterable[Any]) -> tuple[list[Row], list[str]]:
    """(rows that an answer rests on, quotes that it does)"""
    rows, sources = [], []
    for one in citations:
        if not isinstance(one, Mapping) or not isinstance(quote := one.get("quote"), str) or not quote:
            continue
        if str(one.get("document_id") or one.get("document") or "").startswith(TOOL):
            pairs = (part.partition(": ") for part in quote.strip().rstrip(".").split("; "))
            rows.append(
                Row(str(one.get("source") or ""), {name.replace(" ", "_"): value for name, _, value in pairs if value})
            )
        else:
            sources.append(quote)
    return rows, sources


def _visitor(owner: str) -> str:
    """A visit of a widget is somebody; a key that many come by is nobody in particular."""
    return owner if "/" in owner else ""
