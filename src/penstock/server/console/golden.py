"""Golden questions: those whose answer is known, how the live version and another find it, side by side, and asking them anew."""

from __future__ import annotations

import asyncio
import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from fnmatch import translate
from typing import Any
from urllib.parse import quote

from penstock.answer import LONGEST_QUESTION
from penstock.assemble import House
from penstock.documents.catalog import DocumentRow, VersionRow
from penstock.documents.collection import Collection
from penstock.documents.golden import Question
from penstock.errors import BadRequest, Conflict, NotAllowed, NotReady, PenstockError
from penstock.server.console.view import Action, Page, View
from penstock.server.http import Request
from penstock.server.work import Work
from penstock.storage.told import Told
from penstock.trace import log, place
from penstock.types import Caller

__all__ = ["ACTIONS", "PAGES", "standing"]

PATH = "/console/documents/{name}/golden"
AT_ONCE = 100
LAST = chr(0x10FFFF)  # comes after all other characters
GOOD = 5  # a passage that answers stands among so many


async def _list(request: Request, house: House) -> View:
    name, wanted = request.path_values["name"], request.query("beside")
    collection = house.collection(name, request.caller)

    def running() -> list[dict[str, Any]]:
        told = _told(collection).read()
        return [{"message": "", "hint": "", **told, "name": name}] if told else []

    def found() -> View:
        runs = running()  # before what came of them: one that ends meanwhile is looked at again
        questions, problem = _questions(collection)
        ranks, added = collection.golden_ranks(), {one.id for one in collection.added_golden()}
        versions = [one for one in reversed(collection.versions()) if one.state != "building"]
        live = next((one for one in versions if one.live), None)
        beside = collection.version(wanted) if wanted else next((one for one in versions if not one.live), None)
        documents = collection.documents(request.caller)
        questions = _readable(questions, collection.documents(), documents)
        shown = questions if request.query("as") in ("json", "csv") else questions[:AT_ONCE]
        answering = _answering(shown, documents)
        rows = [
            {
                "id": one.id, "question": one.question, "source": one.source, "contains": one.contains, "lang": one.language,
                "from": "console" if one.id in added else "file", "document": answering[one.source],
                "live": _rank(ranks, live, one), "beside": _rank(ranks, beside, one),
            }
            for one in shown
        ]  # fmt: skip
        data = {
            "name": name, "problem": problem, "questions": rows, "found": len(questions),
            "live": _named(live, questions, ranks), "beside": _named(beside, questions, ranks),
            "others": [one.name for one in versions if not one.live], "sources": [one.source for one in documents[:AT_ONCE]],
            "runs": runs,
        }  # fmt: skip
        return View("golden.html", data, rows)

    if request.query("as") == "json" and request.query("only") == "runs":  # as an open page asks, again and again
        return View("golden.html", {"runs": await asyncio.to_thread(running)}, [])
    return await asyncio.to_thread(found)


def _questions(collection: Collection) -> tuple[list[Question], str]:
    """The golden questions, and why those of the file are not among them."""
    try:
        return collection.golden_questions(), ""
    except BadRequest as error:
        return collection.added_golden(), error.message


def standing(collection: Collection) -> dict[int, dict[str, int]]:
    """Of each version that was asked golden questions as they are now: how many, and how many it answers at the top."""
    questions, ranks = _questions(collection)[0], collection.golden_ranks()
    found = {}
    for number, known in ranks.items():
        own = [known[one.id] for one in questions if one.id in known]
        if own:
            found[number] = {"asked": len(own), "found": sum(0 < rank <= GOOD for rank in own)}
    return found


def _named(
    version: VersionRow | None, questions: Sequence[Question], ranks: Mapping[int, Mapping[str, int]]
) -> dict[str, Any] | None:
    if version is None:
        return None
    own = [rank for one in questions if (rank := _rank(ranks, version, one)) is not None]
    return {"version": version.name, "asked": len(own), "found": sum(0 < rank <= GOOD for rank in own)}


def _rank(ranks: Mapping[int, Mapping[str, int]], version: VersionRow | None, question: Question) -> int | None:
    """Where the first right passage stood, from 1; 0 where none was found, and None where it was not asked."""
    return ranks.get(version.number, {}).get(question.id) if version else None


def _answering(questions: Sequence[Question], documents: Sequence[DocumentRow]) -> dict[str, str]:
    """By the source of a question: the id of a document of the live version that it means, or "" """
    known = {one.source: str(one.id) for one in sorted(documents, key=lambda one: one.source)}
    sources, found = list(known), {"*": ""}
    for pattern in {one.source for one in questions} - found.keys():
        begins, fits = re.split(r"[*?[]", pattern, maxsplit=1)[0], re.compile(translate(pattern)).match
        near = sources[bisect_left(sources, begins) : bisect_right(sources, begins + LAST)]
        found[pattern] = known.get(pattern) or next((known[one] for one in near if fits(one)), "")
    return found


def _readable(
    questions: list[Question], every: Sequence[DocumentRow], readable: Sequence[DocumentRow]
) -> list[Question]:
    """The questions that are not about documents which the caller may not read: they tell what stands there."""
    if len(every) == len(readable):
        return questions
    meant, known = _answering(questions, every), _answering(questions, readable)
    return [one for one in questions if known[one.source] or not meant[one.source]]


def _check_readable(source: str, collection: Collection, caller: Caller) -> None:
    """Whoever asks about a document learns whether words stand in it. Raises NotAllowed."""
    fits, readable = re.compile(translate(source)).match, {one.id for one in collection.documents(caller)}
    if any(fits(one.source) for one in collection.documents() if one.id not in readable):
        raise NotAllowed(f"'{source}' means documents that you may not read", hint="name a source that you may read")


def _told(collection: Collection) -> Told:
    return Told(collection.home.path / "golden", collection.name)


async def _add(request: Request, house: House, form: Mapping[str, str]) -> str:
    collection = house.collection(request.path_values["name"], request.caller)
    said = {name: form.get(name, "").strip() for name in ("question", "source", "words")}
    if any(len(value) > LONGEST_QUESTION for value in said.values()):
        raise BadRequest(f"one of them has more than {LONGEST_QUESTION} characters")
    question = Question(said["question"], said["source"] or "*", said["words"])

    def add() -> None:
        _check_readable(question.source, collection, request.caller)
        collection.add_golden(question)

    await asyncio.to_thread(add)
    return f"{_own(request)}?told=golden_added"


async def _remove(request: Request, house: House, form: Mapping[str, str]) -> str:
    collection = house.collection(request.path_values["name"], request.caller)
    await asyncio.to_thread(collection.remove_golden, form.get("id", ""))
    return f"{_own(request)}?told=golden_removed"


async def _ask(request: Request, house: House, form: Mapping[str, str]) -> str:
    """Begin to ask the live version and another all golden questions. What comes of it stands on the page."""
    collection, beside = house.collection(request.path_values["name"], request.caller), form.get("beside", "")

    def begin() -> None:
        questions = collection.golden_questions()
        if not questions:
            raise BadRequest("there is no golden question yet", hint="add one first")
        numbers = list(dict.fromkeys(collection.version(one).number for one in ("live", beside) if one))
        told = _told(collection)
        if not told.begin({"done": 0, "size": len(questions) * len(numbers)}):
            raise Conflict("they are being asked already", hint="the page shows how far that is")
        try:
            request.work.start(lambda: _asked(collection, questions, numbers, told, request.work))
        except BaseException:
            told.end()
            raise

    await asyncio.to_thread(begin)
    return f"{_own(request)}?told=golden_asking{f'&beside={quote(beside)}' if beside else ''}"


def _asked(
    collection: Collection, questions: Sequence[Question], numbers: Sequence[int], told: Told, work: Work
) -> None:
    ended: dict[str, Any] | None = None
    before = 0

    def asked(done: int) -> None:
        if work.stop.is_set():
            raise NotReady("the server is stopping and could not wait for this")
        told.tell({"done": before + done, "size": len(questions) * len(numbers)})

    try:
        for number in numbers:
            collection.ask_golden(questions, number, asked=asked)
            before += len(questions)
    except PenstockError as error:
        ended = {"state": "failed", "message": error.message, "hint": error.hint}
    except Exception as error:  # here a task ends: what nobody expected is recorded, and its words stay inside
        log(
            "golden questions failed",
            level="error",
            collection=collection.name,
            error=type(error).__name__,
            at=place(error),
        )
        ended = {"state": "failed", "message": "something went wrong inside", "hint": "see the server's log"}
    finally:
        told.end(ended)


def _own(request: Request) -> str:
    return f"/console/documents/{quote(request.path_values['name'])}/golden"


PAGES = [Page(PATH, "Golden questions", _list)]
ACTIONS = [Action(PATH, _add), Action(f"{PATH}/remove", _remove), Action(f"{PATH}/ask", _ask)]
