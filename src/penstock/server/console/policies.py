"""A policy as a form: what a draft of it would have done with past requests, and writing it into the settings file."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from functools import cache
from hashlib import blake2b
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints
from urllib.parse import quote, quote_plus

import orjson

from penstock import settings_file
from penstock.assemble import House
from penstock.config import PERSONAL, TOPICS, GuardSettings, check_name
from penstock.errors import BadRequest, BadSetting, Conflict, Limited, NotFound, PenstockError, StorageError
from penstock.guard.policy import Policy
from penstock.guard.rehearsal import Difference, Past, Rehearsal, rehearse
from penstock.observe.journal import Row
from penstock.server.console.view import Action, Page, View
from penstock.server.http import Request
from penstock.server.manage import ledger_of
from penstock.storage.audit import Fact, Note

__all__ = ["ACTIONS", "GROUPS", "LABELS", "PAGES", "undoable", "users"]

PATH = "/console/guard/policies"
GUARD = "/console/guard"
USUAL, MOST = 200, 1000  # requests that a draft is tried on
WITHIN_S = 10.0
SHOWN = 100  # differences
MOST_ENTRIES = 5_000  # of a list
LONGEST = 200_000  # bytes of a list or a text, as a form sends it: with all of them full it can be sent again
EXCERPT = 240  # characters of a question

GROUPS: tuple[tuple[str, Mapping[str, str]], ...] = (  # title -> settings, each with its label
    ("Personal data", {
        "personal_data": "Personal data", "stand_ins": "Stand-ins", "scope": "Within what a stand-in stays the same",
        "types": "Types that are treated otherwise",
    }),
    ("Orders to the model, and secrets", {
        "injection": "Orders in prompts", "documents": "Orders in passages and results of tools",
        "secrets": "Passwords, keys and tokens", "leaks": "Answers that repeat the instructions",
    }),
    ("Harm", {
        "moderation": "Harmful topics", "help_line": "What somebody in need reads",
        "topics": "Topics that are treated otherwise",
    }),
    ("Words and links", {
        "allow": "Never found", "block": "Never let through", "links": "Links in answers",
        "allowed_hosts": "Hosts that answers may link to",
    }),
    ("How sure, who else looks, what is kept", {
        "sensitivity": "From where on a score counts", "detectors": "Guards of others that look too",
        "other_tools": "Calls of tools that have no rule", "keep_text": "Keep the words that were found",
    }),
)  # fmt: skip
LABELS = {name: label for _, group in GROUPS for name, label in group.items()}
TOPIC_NAMES = {topic: topic.replace("_", " ") for topic in TOPICS}
SCORES = {
    "injection": "orders in prompts", "documents": "orders in passages and results of tools", "names": "names of people",
    **TOPIC_NAMES,
}  # fmt: skip

Kind = Literal["choice", "choices", "numbers", "words", "text", "yes", "names"]  # of a setting in the form
Draft = Mapping[str, Any]  # what stands in the form, by setting: text, whether it is ticked, or by entry of a table


class Base(NamedTuple):
    """What a draft starts from: the file, and what it said of the policy. was: by setting, a short code of what the form showed."""

    seen: str
    was: Mapping[str, str]
    mine: tuple[
        str, ...
    ] = ()  # after somebody else's change: the settings that the draft has otherwise than the form showed
    both: tuple[str, ...] = ()  # those of them that the file has otherwise too
    moved: bool = False  # whether the file was changed since the form was shown


_trying = threading.Lock()  # one draft at a time: it takes a processor


# ---------------------------------------------------------------- the form


@cache
def _kinds() -> dict[str, tuple[Kind, tuple[str, ...]]]:
    """How each setting is asked for, and what it may be."""
    found: dict[str, tuple[Kind, tuple[str, ...]]] = {}
    for name, hint in get_type_hints(GuardSettings).items():
        if get_origin(hint) is Literal:
            found[name] = "choice", get_args(hint)
        elif name in ("types", "topics"):
            found[name] = "choices", get_args(get_args(hint)[1])
        elif name == "detectors":
            found[name] = "names", ()
        else:
            plain: dict[Any, Kind] = {bool: "yes", str: "text", tuple[str, ...]: "words"}
            found[name] = plain.get(hint, "numbers"), ()
    return found


def _drafted(said: GuardSettings) -> Draft:
    """A policy as it stands in the form."""
    draft: dict[str, Any] = {}
    for name in LABELS:
        value = getattr(said, name)
        match _kinds()[name][0]:
            case "words":
                draft[name] = "\n".join(value)
            case "numbers":
                draft[name] = {entry: f"{number:g}" for entry, number in value.items()}
            case "choices":
                draft[name] = dict(value)
            case _:
                draft[name] = value
    return draft


def _sent(form: Mapping[str, str], said: GuardSettings) -> Draft:
    """What a form has sent; a text that it has not sent is as it was."""
    draft: dict[str, Any] = {}
    for name in LABELS:
        inner = {key.partition(".")[2]: value for key, value in form.items() if key.startswith(f"{name}.")}
        match _kinds()[name][0]:
            case "yes":
                draft[name] = form.get(name) == "1"
            case "names":
                draft[name] = tuple(inner)
            case "choices" | "numbers":
                draft[name] = {entry: value.strip() for entry, value in inner.items() if value.strip()}
            case _:
                draft[name] = form.get(name, _drafted(said)[name])
    return draft


def _codes(draft: Draft) -> dict[str, str]:
    """What tells whether a setting of a draft was changed since."""
    return {
        name: blake2b(orjson.dumps(value, option=orjson.OPT_SORT_KEYS), digest_size=6).hexdigest()
        for name, value in draft.items()
    }


def _merged(house: House, name: str, form: Mapping[str, str]) -> tuple[Draft, Base]:
    """What the file says now, with what somebody has changed in the form since it was shown to them."""
    try:
        was = orjson.loads(form.get("was", ""))
        was = {one: was[one] for one in LABELS}
    except (ValueError, TypeError, KeyError):
        was = {}
    base = Base(form.get("seen", ""), was)
    try:
        now = settings_file.digest(house.settings)
        settings = _in_file(house, name)
    except BadSetting:  # the file cannot be read; what was drafted is not lost with it
        return _sent(form, house.policies[name].settings), base
    said = _drafted(settings)
    if form.get("do") == "remove":  # it sends no settings
        return said, base
    sent = _sent(form, settings)
    if not was:
        return sent, base
    codes, theirs = _codes(sent), _codes(said)
    mine = tuple(one for one in LABELS if codes[one] not in (was[one], theirs[one]))
    both = tuple(one for one in mine if theirs[one] != was[one])
    draft = {one: sent[one] if one in mine else said[one] for one in LABELS}
    return draft, Base(now, theirs, mine, both, moved=now != base.seen)


def _values(draft: Draft) -> dict[str, Any]:
    """The settings that a form means. Raises BadRequest for what is no number."""
    values: dict[str, Any] = {}
    for name, said in draft.items():
        match _kinds()[name][0]:
            case "words":
                values[name] = tuple(dict.fromkeys(filter(None, (line.strip() for line in said.split("\n")))))
            case "numbers":
                values[name] = {entry: _number(entry, text) for entry, text in said.items()}
            case _:
                values[name] = said
    return values


def _number(entry: str, text: str) -> float:
    try:
        found = float(text.replace(",", "."))
    except ValueError:
        found = -1.0
    if not 0 <= found <= 1:
        raise BadRequest(f"sensitivity.{entry} is {text[:20]!r}", hint="from 0 to 1")
    return found


def _too_long(name: str, text: Any) -> str:
    """Why a list or a text is too long for the form."""
    kind = _kinds()[name][0]
    if kind == "words" and (count := text.count("\n") + 1) > MOST_ENTRIES:
        return f"{name} has {count:,} entries; from here it may have {MOST_ENTRIES:,}"
    if kind in ("words", "text") and len(quote_plus(text.replace("\n", "\r\n"), safe="*")) > LONGEST:
        return f"{name} is longer than the {LONGEST:,} bytes that it may have from here"
    return ""


def _asked(draft: Draft, file: Draft, known: list[str]) -> list[dict[str, Any]]:
    """The settings in their groups, each with what it may be and what it is."""
    helps = {one.name: one.metadata.get("help", "") for one in fields(GuardSettings)}

    def asked(name: str, label: str) -> dict[str, Any]:
        kind, choices = _kinds()[name]
        value, entries = draft[name], []
        if kind in ("choices", "numbers"):
            called = {one: one for one in PERSONAL} if name == "types" else SCORES if kind == "numbers" else TOPIC_NAMES
            entries = [
                {"name": entry, "label": called.get(entry, entry), "value": value.get(entry, "")}
                for entry in dict.fromkeys([*called, *value])
            ]
        elif kind == "names":
            entries = [{"name": one, "label": one, "value": one in value} for one in dict.fromkeys([*value, *known])]
        return {
            "name": name, "label": label, "kind": kind, "help": helps[name], "choices": choices, "value": value,
            "long": bool(value == file[name] and _too_long(name, value)),
            "entries": entries, "set": sum(bool(entry["value"]) for entry in entries),
        }  # fmt: skip

    return [
        {"title": title, "settings": [asked(name, label) for name, label in group.items()]} for title, group in GROUPS
    ]


# ---------------------------------------------------------------- the page


async def _one(request: Request, house: House) -> View:
    return await asyncio.to_thread(_shown, house, request.path_values["policy"])


def _shown(
    house: House, name: str, draft: Draft | None = None, base: Base | None = None, problem: PenstockError | None = None,
    **more: Any,
) -> View:  # fmt: skip
    """The page, with what somebody has written into it, and what came of that."""
    settings = house.settings
    digest = settings_file.digest(settings)
    try:
        said = _in_file(house, name)
        version = Policy(name, said).version
    except BadSetting as error:  # the file cannot be read: what is in force is shown
        said, problem, version = house.policies[name].settings, problem or error, house.policies[name].version
    in_force = name in house.policies.names() and house.policies[name].version == version
    used_by, keeping = users(house, name), _keeping(house)
    in_file = _drafted(said)
    base = base or Base(digest, _codes(in_file))
    data = {
        "policy": name, "version": version, "in_force": in_force, "used_by": used_by, "tools": len(said.tools),
        "groups": _asked(draft or in_file, in_file, list(settings.detectors)), "file": str(settings_file.path_of(settings)),
        "read_only": settings_file.problem(settings), "seen": base.seen, "undoable": undoable(house), "keeping": keeping,
        "own": [app for app in keeping if app in used_by], "usual": USUAL, "most": MOST,
        "was": orjson.dumps(base.was).decode(), "moved": base.moved, "mine": [LABELS[one] for one in base.mine],
        "both": [LABELS[one] for one in base.both], "removable": name != "default" and not used_by,
        "problem": {"message": problem.message, "hint": problem.hint} if problem else None,
        "tried": None, "lines": "", **more,
    }  # fmt: skip
    rows = [{"setting": one, "value": getattr(said, one), "about": LABELS[one]} for one in LABELS]
    return View("policy.html", data, rows, title=name, status=problem.status if problem and draft else 200)


def _in_file(house: House, name: str) -> GuardSettings:
    """A policy as the file has it now. Raises NotFound."""
    said = settings_file.previewed(house.settings, {}).guard.get(name)
    if said is None and name != "default":
        return house.policies[name].settings  # it was taken out a moment ago, or never was
    return said or GuardSettings()


def users(house: House, name: str) -> list[str]:
    """The apps, routes and models that are behind a policy."""
    settings = house.settings
    found = [one for one, app in settings.apps.items() if app.guard == name]
    if name == "default":  # a collection that no app is for is asked by its own name
        found += [one for one in settings.documents if one not in settings.apps]
    found += [
        one for owners in (settings.routes, settings.models) for one, owner in owners.items() if owner.guard == name
    ]
    return found


def undoable(house: House) -> tuple[str, ...]:
    """The settings that the last change from here changed, where they are those of policies alone and it can be taken back."""
    try:
        keys = settings_file.undoable(house.settings)
    except PenstockError:  # the file or what it was before cannot be read
        return ()
    return keys if all(key.startswith("guard.") for key in keys) else ()


def _keeping(house: House) -> list[str]:
    """The apps that keep words."""
    return [name for name, app in house.settings.apps.items() if app.keep_text != "never"]


# ---------------------------------------------------------------- what the form asks for


async def _do(request: Request, house: House, form: Mapping[str, str]) -> View | str:
    name, seen = request.path_values["policy"], form.get("seen", "")

    def done() -> View | str:
        draft, base = _merged(house, name, form)
        try:
            match form.get("do"):
                case "try":
                    return _shown(house, name, draft, base, tried=_tried(house, name, draft, form))
                case "lines":
                    return _shown(house, name, draft, base, lines=_lines(house, name, draft))
                case "save":
                    return _saved(house, name, draft, seen)
                case "remove":
                    return _removed(house, name, seen)
            raise BadRequest("a policy can be tried, saved and removed")
        except PenstockError as error:
            by_hand = isinstance(error, StorageError) and form.get("do") == "save"
            return _shown(house, name, draft, base, error, lines=_lines(house, name, draft) if by_hand else "")

    return await asyncio.to_thread(done)


def _changes(house: House, name: str, draft: Draft) -> dict[str, Any]:
    """The settings of a draft that the file has otherwise. What a form cannot tell, such as spaces around a word, stays."""
    said = _in_file(house, name)
    before, values = _drafted(said), _values(draft)
    changes = {one: values[one] for one in values if draft[one] != before[one] and values[one] != getattr(said, one)}
    for one in changes:
        if problem := _too_long(one, draft[one]):
            raise BadRequest(problem, hint="longer ones are written into the settings file")
    return changes


def _checked(house: House, name: str, changes: Mapping[str, Any]) -> Policy:
    """The policy that a draft would be. Raises BadSetting."""
    seen = settings_file.previewed(house.settings, {("guard", name, one): value for one, value in changes.items()})
    policy = Policy(name, seen.guard.get(name, GuardSettings()))
    policy.forbidden(" ")  # a list that is too long is said now
    return policy


def _lines(house: House, name: str, draft: Draft) -> str:
    changes = _changes(house, name, draft)
    _checked(house, name, changes)
    return settings_file.lines({("guard", name, one): value for one, value in changes.items()})


def _tried(house: House, name: str, draft: Draft, form: Mapping[str, str]) -> dict[str, Any]:
    """What the draft would have done with requests whose words are kept. Whose words are shown is written down."""
    number = form.get("number", "").strip() or str(USUAL)
    if not number.isascii() or not number.isdigit() or not 1 <= int(number[:9]) <= MOST:
        raise BadRequest(f"a draft is tried on 1 to {MOST} requests, not on {number[:20]}")
    changes = _changes(house, name, draft)
    then = _checked(house, name, changes)
    apps = _keeping(house)
    own = {app for app in apps if app in users(house, name)}
    if form.get("which") != "all":
        apps = [app for app in apps if app in own]
    if not _trying.acquire(blocking=False):
        raise Limited("another draft is being tried at the moment", hint="try again in a few seconds")
    try:
        rows = {row.id: row for row in ledger_of(house).kept(apps, limit=int(number))}

        def under(past: Past) -> tuple[Policy | None, Policy | None]:
            app = rows[past.id].app
            guard = house.settings.apps[app].guard
            now = None if guard == "off" else house.policies[guard]
            return (
                now,
                then if app in own or not own else now,
            )  # a draft of one policy changes nothing for who has another

        pasts = [_past(house, row) for row in rows.values()]
        found = rehearse(house.guard, pasts, under, within_s=WITHIN_S)
    finally:
        _trying.release()
    shown = found.differences[:SHOWN]
    if shown:
        first, *others = (one.past.id for one in shown)
        notes = [Note("journal.read", one, {"policy": name}) for one in others]
        with house.audit.changing("journal.read", target=first, also=notes, policy=name):
            pass
    differences = [_line(one, rows[one.past.id]) for one in shown]
    strangers = sum(row.app not in own for row in list(rows.values())[: found.looked_at])
    return _plain(found, differences, sorted(changes), form.get("which", "")) | {
        "others": strangers,
        "supposed": not own,
    }


def _past(house: House, row: Row) -> Past:
    words, known = house.texts.read(row.said), orjson.loads(row.answer) if row.answer else {}
    refused = known.get("status") == "refused"  # then the answer is ours
    return Past(row.id, words["question"], "" if refused else words["answer"], masks=house.masks(row.app))


def _plain(found: Rehearsal, rows: list[dict[str, Any]], changes: list[str], which: str) -> dict[str, Any]:
    becomes = Counter(one.becomes for one in found.differences)
    return {
        "looked_at": found.looked_at, "of": found.of, "now": dict(found.now), "then": dict(found.then), "which": which,
        "stopped": becomes["newly stopped"], "let_through": becomes["newly let through"], "otherwise": becomes["treated otherwise"],
        "differences": rows, "found": len(found.differences), "changes": changes,
    }  # fmt: skip


def _line(one: Difference, row: Row) -> dict[str, Any]:
    question = one.past.question
    return {
        "id": row.id, "at": row.at, "app": row.app, "now": one.now, "then": one.then, "becomes": one.becomes,
        "question": question[:EXCERPT] + "…" * (len(question) > EXCERPT),
        "found": [
            found._asdict() | {"words": "" if found.words.strip() == question.strip() else found.words[:EXCERPT]}
            for found in one.found
        ],
    }  # fmt: skip


# ---------------------------------------------------------------- writing


def _saved(house: House, name: str, draft: Draft, seen: str) -> str:
    changes = _changes(house, name, draft)
    if not changes:
        raise BadRequest("this is what the file says already")
    policy = _checked(house, name, changes)
    _write(house, name, {("guard", name, one): value for one, value in changes.items()}, seen, version=policy.version,
           **{one: _told(one, value) for one, value in changes.items()})  # fmt: skip
    return f"{PATH}/{quote(name)}?told=policy"


def _removed(house: House, name: str, seen: str) -> str:
    if name == "default":
        raise BadRequest("the policy 'default' is always there")
    _write(house, name, {("guard", name): None}, seen, removed=True)
    return f"{GUARD}?told=policy-gone"


async def _add(request: Request, house: House, form: Mapping[str, str]) -> str:
    name = check_name(form.get("name", "").strip(), what="a policy")

    def add() -> str:
        if name in settings_file.previewed(house.settings, {}).guard or name == "default":
            raise Conflict(f"there is a policy '{name}' already")
        _write(house, name, {("guard", name): {}}, settings_file.digest(house.settings), added=True)
        return f"{PATH}/{quote(name)}"

    return await asyncio.to_thread(add)


async def _undo(request: Request, house: House, form: Mapping[str, str]) -> str:
    """Take back the last change that was made to policies from here."""

    def undo() -> str:
        keys = undoable(house)
        if not keys:
            raise NotFound("no change of a policy can be taken back", hint="the audit trail says what was changed")
        recording = house.recording_policies("guard", undone=keys)
        settings_file.undo(house.settings, expected=form.get("seen", ""), recording=recording)
        _take_over(house)
        return f"{GUARD}?told=policy-undone"

    return await asyncio.to_thread(undo)


def _write(house: House, name: str, values: Mapping[settings_file.Key, Any], seen: str, **facts: Any) -> None:
    """Change the file and take it over. Without a record of who did nothing is changed."""
    settings_file.change(house.settings, values, expected=seen, recording=house.recording_policies(name, **facts))
    _take_over(house)


def _take_over(house: House) -> None:
    with suppress(PenstockError):  # what is written is written: the server looks at it again in a moment
        house.reload_policies()


def _told(name: str, value: Any) -> Fact:
    """What the audit trail has of a value: choices as they are, and of words how many there are."""
    match _kinds()[name][0]:
        case "choices" | "numbers":
            return [f"{entry} {inner}" for entry, inner in value.items()]
        case "words":
            return len(value)
        case "text":
            return f"{len(value)} characters"
    return value  # type: ignore[no-any-return]


PAGES = [Page(f"{PATH}/{{policy}}", "Policy", _one)]
ACTIONS = [Action(PATH, _add), Action(f"{GUARD}/undo", _undo), Action(f"{PATH}/{{policy}}", _do)]
