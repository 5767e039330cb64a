"""An evaluation of an app, a collection, a model or a route of the settings, or of answers that rows bring.

    evaluation = Evaluation(load(Path("cases.jsonl")), against="handbook", settings=settings)
    evaluation.run()                # what was done so far stays in `evaluation.result`, also where this is interrupted
    evaluation.result.summaries()

Cases are asked as callers ask them, past every cache, by the key `evaluate`: what they cost is booked like everything else. They
belong to no app in the journal, so that nobody takes them for what people asked.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from dataclasses import astuple, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from penstock.answer import Quoted, Written
from penstock.assemble import House, assemble
from penstock.config import Settings, iso
from penstock.errors import BadRequest, NotFound, PenstockError
from penstock.evaluate.cases import Case, Cases, Reply, State
from penstock.evaluate.judged import RUBRIC, Judge, ModelJudge, OfflineJudge
from penstock.evaluate.result import Result
from penstock.evaluate.run import Row, Tick, planned, run
from penstock.evaluate.scored import Scorer
from penstock.evaluate.scorers import scorers
from penstock.models.kept import FRESH
from penstock.models.translate import read
from penstock.types import (
    Answer,
    Answerer,
    Caller,
    Filter,
    Finished,
    Found,
    Index,
    Model,
    ModelEvent,
    ModelRequest,
    Record,
    Status,
    Stopped,
    TextDelta,
    Turn,
    Usage,
    Wire,
)

__all__ = ["CALLER", "OFFLINE", "Evaluation", "from_journal", "judge_of"]

CALLER = "evaluate"  # the key that evaluations are booked on
OFFLINE = "offline"  # the judge that is a formula
STATES: Mapping[Status, State] = {
    Status.ANSWER: "answered", Status.RELATED: "abstained", Status.NOT_FOUND: "abstained", Status.HANDED_OVER: "abstained",
    Status.REFUSED: "refused",
}  # fmt: skip
_MARK = re.compile(r"\[(\d{1,3}(?:\s*,\s*\d{1,3})*)\]")


@dataclass(kw_only=True)
class Evaluation:
    """One evaluation. Raises BadRequest or NotFound for what cannot be evaluated, before anything is asked."""

    cases: Cases
    settings: Settings | None = None  # needed for whoever is asked, and for a model that judges
    against: str = ""  # "": the answers that the rows bring
    scores: Sequence[str] = ()  # names; all that are shipped where empty
    judge: str = ""  # a model or route, or OFFLINE
    judge_samples: int = 1
    rubric: str = RUBRIC
    repeats: int = 1
    concurrent: int = 4
    seed: int = 0
    roles: Sequence[str] = ()  # of whoever asks, for documents that not everybody may read
    logprobs: bool = False  # ask a model for the probabilities of its tokens
    resume: Result | None = None  # an earlier result of the same evaluation: unfinished, or to be scored in other ways
    result: Result = field(init=False)

    def __post_init__(self) -> None:
        scorers(self.scores)
        if not self.against and not self.cases.given:
            raise BadRequest(
                "no row has an answer", hint="ask for one with --against APP, or give each row an `answer`"
            )
        if not self.against and self.repeats != 1:
            raise BadRequest("answers that rows bring are not asked for again", hint="--repeats needs --against")
        told: dict[str, Any] = {
            "scores": list(self.scores), "judge": self.judge, "judge_samples": self.judge_samples, "roles": list(self.roles),
            "logprobs": self.logprobs, "rubric": "" if self.rubric == RUBRIC else self.rubric,
        }  # fmt: skip
        rows = planned(self.cases, repeats=self.repeats, ask=bool(self.against))
        self.result = Result(self.cases, rows, {}, self.against, self.repeats, self.seed, told)
        if self.resume is not None:
            self._continue(self.resume)
        self.result.began = self.result.began or str(iso(time.time()))

    def _continue(self, earlier: Result) -> None:
        """Take over what is done. What failed is asked again."""
        if (earlier.cases.digest, earlier.target) != (self.cases.digest, self.against):
            raise BadRequest(
                "the result to go on with is of other cases, or of another target",
                hint="leave --resume out to begin anew",
            )
        if {**earlier.settings, "scores": 0} != {**self.result.settings, "scores": 0}:
            raise BadRequest("the result to go on with had other settings", hint=f"it had {earlier.settings}")
        done = {(row.case.id, row.trial): row for row in earlier.rows}
        for row in self.result.rows:
            old = done.get((row.case.id, row.trial))
            if old is None or old.reply is None or (self.against and old.reply.state == "failed"):
                continue
            if self.against or old.reply == row.reply:
                row.reply, row.scores = old.reply, old.scores
        self.result.began, self.result.seconds = earlier.began, earlier.seconds
        self.result.judge_cost_usd = earlier.judge_cost_usd

    @property
    def left(self) -> tuple[int, int]:
        """(how many are to be asked yet, how many scored)."""
        rows = self.result.rows
        return sum(row.reply is None for row in rows), len(rows)

    def run(self, tick: Tick = lambda what: None) -> Result:
        """Ask and score. Where this is interrupted, or raises, `result` has what was done until then."""
        began = time.monotonic()
        needs_house = bool(self.against) or self.judge not in ("", OFFLINE)
        if needs_house and self.settings is None:
            raise BadRequest("there are no settings to find a target or a judge in")
        house = assemble(self.settings) if needs_house and self.settings is not None else None
        folder = TemporaryDirectory(prefix="penstock-evaluate-")
        try:
            if house is not None:
                house.aside(Path(folder.name))
            _waited(self._ran(house, tick))
        finally:
            self.result.seconds += time.monotonic() - began
            if house is not None:
                house.close()
            folder.cleanup()
        return self.result

    async def _ran(self, house: House | None, tick: Tick) -> None:
        judge = judge_of(house, self.judge, samples=self.judge_samples, rubric=self.rubric) if self.judge else None
        chosen: list[Scorer] = [*scorers(self.scores), *([judge] if judge else [])]
        self.result.abouts = {scorer.about.name: scorer.about for scorer in chosen}
        for row in self.result.rows:  # of an earlier result that was scored by others
            row.scores = {name: one for name, one in row.scores.items() if name in self.result.abouts}
        self.result.versions = {"penstock": version("penstock")}
        spent = self.result.judge_cost_usd
        try:
            if house is None or not self.against:
                await run(self.result.rows, chosen, concurrent=self.concurrent, tick=tick)
            else:
                target = _Target(house, self.against, tuple(self.roles), logprobs=self.logprobs)
                self.result.versions |= target.versions
                await target.warm(self.cases.cases[0])
                await run(self.result.rows, chosen, target.ask, concurrent=self.concurrent, tick=tick)
        finally:
            self.result.judge_cost_usd = spent + (judge.cost_usd if judge else 0.0)
            self.result.versions |= _seen(self.result.rows)
            if house is not None:
                house.clients.close()  # their loop ends here


def _waited(work: Coroutine[Any, Any, None]) -> None:
    """Wait for it, in a thread of its own where a loop is running already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()


def _seen(rows: Sequence[Row]) -> dict[str, str]:
    """The versions that answers name, those that changed on the way one after the other."""
    found: dict[str, dict[str, None]] = {}
    for row in rows:
        for name, said in (row.reply.versions if row.reply else {}).items():
            found.setdefault(name, {})[said] = None
    return {name: ", ".join(each) for name, each in found.items()}


def judge_of(house: House | None, name: str, *, samples: int = 1, rubric: str = RUBRIC) -> Judge:
    """The judge of this name: a model or route of the house, past caches and paid for by the key of evaluations, or OFFLINE."""
    if name == OFFLINE:
        return OfflineJudge()
    if house is None or not house.gateway.has(name):
        known = ", ".join([OFFLINE, *(house.gateway.models if house else ())])
        raise NotFound(f"there is no model '{name}' that could judge", hint=f"known: {known}")
    return ModelJudge(name, _Door(house), rubric=rubric, samples=samples, caller=Caller(CALLER))


@dataclass(frozen=True)
class _Door:
    """The gateway as a model: what passes is journalled and booked. Satisfies `Model`."""

    house: House

    def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        return self.house.gateway.stream(request)


# ---------------------------------------------------------------- whoever answers


class _Target:
    """Whoever is asked."""

    def __init__(self, house: House, name: str, roles: tuple[str, ...], *, logprobs: bool) -> None:
        self._house, self._name, self._logprobs = house, name, logprobs
        self._caller = Caller(CALLER, roles)
        apps = {*house.settings.apps, *(house.library.names() if house.has_documents else ())}
        self._is_app = name in apps
        if not self._is_app and not house.gateway.has(name):
            known = sorted({*apps, *house.gateway.models})
            raise NotFound(f"there is no app or model '{name}'", hint=f"known: {', '.join(known) or 'none yet'}")
        if logprobs and self._is_app:
            raise BadRequest("an app has no probabilities of tokens", hint="ask the model itself")

    @property
    def versions(self) -> dict[str, str]:
        """What decides about the answers, as far as the settings say: a digest of them, and the models."""
        settings = self._house.settings
        of_app, of_route = settings.apps.get(self._name), settings.routes.get(self._name)
        chosen = of_app or of_route
        if chosen is None:
            return {}
        said = orjson.dumps(astuple(chosen), default=str, option=orjson.OPT_NON_STR_KEYS)
        found = {"settings": hashlib.sha256(said).hexdigest()[:12], "models": ", ".join(chosen.models)}
        return {name: value for name, value in found.items() if value}

    async def warm(self, case: Case) -> None:
        """Have loaded what an app loads with its first question, so that no case has to wait for it. No model is asked."""
        answerer = self._house.alone(self._name) if self._is_app else None
        quoted = answerer.quoted if isinstance(answerer, Written) else answerer
        if isinstance(quoted, Quoted):
            with suppress(PenstockError):  # whoever asks the case will meet it again
                await quoted.answered(Turn(case.question, self._caller, record=Record(CALLER)))

    async def ask(self, case: Case, trial: int) -> Reply:
        """One answer, measured. Raises PenstockError."""
        request = self._request(case)
        began = time.perf_counter()
        reply, first = await (self._from_app(case, request) if self._is_app else self._from_model(request))
        ended = time.perf_counter()
        calls = request.record.calls
        usages = [call.usage for call in calls]
        return replace(
            reply,
            latency_ms=round((ended - began) * 1000, 3),
            first_ms=round((first - began) * 1000, 3) if first else None,
            cost_usd=sum(call.cost_pico_usd for call in calls) / 1e12,
            input_tokens=sum(usage.input_tokens for usage in usages) if usages else reply.input_tokens,
            output_tokens=sum(usage.output_tokens for usage in usages) if usages else reply.output_tokens,
            cached=request.record.cached,
            versions={**reply.versions, **request.record.versions},
        )

    def _request(self, case: Case) -> ModelRequest:
        messages = [{"role": one.role, "content": one.content} for one in case.messages]
        messages.append({"role": "user", "content": case.question})
        body: dict[str, Any] = {"model": self._name, "messages": messages, "stream": True}
        if self._logprobs:
            body["logprobs"] = True
        return ModelRequest(
            dialect="chat",
            model=self._name,
            body=body,
            stream=True,
            caller=self._caller,
            tags=(FRESH,),
            record=Record(CALLER),
        )

    async def _from_app(self, case: Case, request: ModelRequest) -> tuple[Reply, float]:
        seen: list[Found] = []
        answerer = _watched(self._house.alone(self._name), seen)
        history = tuple(message for message in case.messages if message.role != "system")
        turn = Turn(case.question, self._caller, history, record=request.record)
        answer = None
        with self._house.gateway.visit(request) as visit:
            async for event in answerer.stream(turn):
                visit.first = visit.first or time.perf_counter()
                if isinstance(event, Finished):
                    answer = event.answer
        assert answer is not None, "a stream ends with Finished"
        return _reply(answer, seen), visit.first

    async def _from_model(self, request: ModelRequest) -> tuple[Reply, float]:
        text, usage, reason, first = "", Usage(), "stop", 0.0
        heard: list[bytes] = []
        events = self._house.gateway.stream(request)
        async with aclosing(read(_tapped(events, heard) if self._logprobs else events, request)) as told:
            async for event in told:
                match event:
                    case TextDelta(piece):
                        first = first or time.perf_counter()
                        text += piece
                    case Stopped(usage, reason):
                        pass
        by = request.record.calls[-1].model if request.record.calls else self._name
        reply = Reply(
            text=text, state="refused" if reason == "content_filter" else "answered", by=by,
            input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, logprobs=_logprobs(heard),
        )  # fmt: skip
        return reply, first


async def _tapped(events: AsyncGenerator[ModelEvent, None], heard: list[bytes]) -> AsyncGenerator[ModelEvent, None]:
    """The same events; their bytes are kept too."""
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Wire):
                heard.append(event.data)
            yield event


def _logprobs(heard: Sequence[bytes]) -> tuple[float, ...] | None:
    """Of the tokens of an answer, as OpenAI's chat completions give them; None where there are none."""
    found: list[float] = []
    for line in b"".join(heard).splitlines():
        if b'"logprobs"' not in line:
            continue
        try:
            chunk = orjson.loads(line.removeprefix(b"data:").strip())
            for choice in chunk["choices"]:
                found += [float(one["logprob"]) for one in (choice.get("logprobs") or {}).get("content") or ()]
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return tuple(min(0.0, one) for one in found) or None


class _Fresh:
    """A model that is asked past all caches. Satisfies `Model`."""

    def __init__(self, inner: Model) -> None:
        self._inner = inner

    def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        return self._inner.stream(replace(request, tags=(*request.tags, FRESH)))


class _Watched:
    """An index that tells what it found. Satisfies `Index`."""

    def __init__(self, inner: Index, seen: list[Found]) -> None:
        self._inner, self._seen = inner, seen

    def search(self, question: str, *, caller: Caller, k: int = 8, where: Filter | None = None) -> Found:
        found = self._inner.search(question, caller=caller, k=k, where=where)
        self._seen.append(found)
        return found


def _watched(answerer: Answerer, seen: list[Found]) -> Answerer:
    """An app's answerer whose searches are seen, and whose models are asked anew."""
    match answerer:
        case Written():
            models = {name: _Fresh(model) for name, model in answerer.models.items()}
            quoted = replace(answerer.quoted, index=_Watched(answerer.quoted.index, seen))
            return replace(answerer, quoted=quoted, models=models)
        case Quoted():
            return replace(answerer, index=_Watched(answerer.index, seen))
    return answerer


def _reply(answer: Answer, seen: Sequence[Found]) -> Reply:
    """An app's answer as a reply: what it rests on whole, and what it cites by name."""
    texts = {hit.passage.id: hit.passage.text for found in seen for hit in found.hits}
    first = next((c.passage_id for c in (*answer.citations, *answer.nearest)), "")
    used = next(
        (found for found in seen if any(hit.passage.id == first for hit in found.hits)), seen[0] if seen else None
    )
    cited = answer.citations
    if answer.written_by:
        numbers = [int(n) for marks in _MARK.findall(answer.text) for n in marks.split(",")]
        cited = tuple(cited[n - 1] for n in numbers if 0 < n <= len(cited)) or cited
    elif answer.quoted:
        cited = tuple(cited[n] for n in answer.quoted)
    return Reply(
        text=answer.text,
        state=STATES[answer.status],
        context=tuple(dict.fromkeys(texts.get(one.passage_id, one.quote) for one in answer.citations)),
        cited=tuple(dict.fromkeys(citation.source for citation in cited)),
        retrieved=tuple(dict.fromkeys(hit.passage.source for hit in used.hits)) if used else (),
        by=answer.written_by,
        versions={"index": answer.version} if answer.version else {},
    )


# ---------------------------------------------------------------- what was asked in life


def from_journal(settings: Settings, app: str, *, since: float, most: int = 1000) -> list[dict[str, Any]]:
    """What an app was asked and answered since a Unix time, as rows of cases, the oldest first; each question once.

    Only what the app keeps of its words is there (`keep_text`). Whoever reads it is written into the audit trail. Raises
    NotFound, or BadRequest where the app keeps none.
    """
    known = settings.apps.get(app)
    if known is None:
        raise NotFound(f"there is no app '{app}'", hint=f"known: {', '.join(settings.apps) or 'none yet'}")
    if known.keep_text == "never":
        raise BadRequest(f"the app '{app}' keeps no words", hint=f'keep_text = "faulty" or "always" in [apps.{app}]')
    house = assemble(settings)
    try:
        rows = house.ledger.requests({"app": app}, limit=100_000)
        kept = [row for row in rows if row.at >= since and row.said and row.key != CALLER]
        found: dict[str, dict[str, Any]] = {}
        for row in kept:
            words = house.texts.read(row.said)
            question = str(words.get("question", ""))
            about = orjson.loads(row.answer) if row.answer else {}
            if not question.strip() or " ".join(question.casefold().split()) in found or len(found) == most:
                continue
            state = STATES.get(Status(about["status"]), "answered") if about.get("status") else "answered"
            faults = about.get("faults") or []
            found[" ".join(question.casefold().split())] = {
                "id": f"journal-{row.id}", "question": question, "answer": str(words.get("answer", "")), "status": state,
                "lang": str(about.get("language") or ""), "group": row.trace_id, "tags": ["journal", *map(str, faults)],
                "metadata": {"request": row.id, "at": iso(row.at), "app": app},
            }  # fmt: skip
        house.audit.write("journal.read", target=app, cases=len(found))
    finally:
        house.close()
    return list(found.values())[::-1]
