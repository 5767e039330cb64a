"""Actions: what a model may send, who may ask for what, and what a person is told before they agree."""

import enum
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.agents.actions import (
    Action,
    Actions,
    Context,
    Money,
    OwnWords,
    Person,
    Range,
    Several,
    Text,
    action,
    canonical,
    plain,
    spoken,
)
from penstock.assemble import House
from penstock.config import EncryptionSettings, Settings
from penstock.erase import Subject, carry_out, plan
from penstock.errors import BadArguments, BadSetting, NotAllowed, NotFound, PenstockError, TooLarge
from penstock.guard.tools import unfit
from penstock.retention import enforce

VERIFIED = Person("anna", "verified")


class Reason(enum.Enum):
    late = "late"
    wrong = "wrong item"


@dataclass(frozen=True, slots=True)
class Line:
    sku: Annotated[str, Text(pattern=r"[A-Z]{2}-\d{3}")]
    count: Annotated[int, Range(1, 9)] = 1


@action(
    "writes",
    here=True,
    read_back="Refund {amount} EUR of {order} to {to} for {reason}: {lines}, by {on}; note {note}; {rush}",
)
def refund(
    context: Context,
    order: Annotated[str, "Number of the order.", Text(pattern=r"#W\d{3,7}")],
    amount: Annotated[Decimal, Money(Decimal("0.01"), Decimal(500))],
    to: Literal["card", "voucher"],
    reason: Reason,
    lines: Annotated[tuple[Line, ...], Several(1, 3)],
    on: date,
    note: Annotated[str, Text(0, 40)] | None = None,
    rush: bool = False,
) -> dict[str, Any]:
    """Give money back.

    This is for developers.
    """
    return {"order": order, "amount": amount}


GOOD: dict[str, Any] = {
    "order": "#W123", "amount": "12.5", "to": "card", "reason": "wrong item", "lines": [{"sku": "AB-123"}], "on": "2026-05-31",
}  # fmt: skip


def test_arguments_are_read_into_their_types():
    read: Any = refund.read(orjson.dumps(GOOD))

    assert (read.amount, read.reason, read.on) == (Decimal("12.50"), Reason.wrong, date(2026, 5, 31))
    assert read.lines == (Line("AB-123", 1),)
    assert (read.note, read.rush) == (None, False)
    assert refund.run(Context(VERIFIED, "c", "k"), read) == {"order": "#W123", "amount": Decimal("12.50")}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"order": "W123"}, r"'order' must have the form"),
        ({"order": "#W123\n"}, r"'order' must have the form"),
        ({"order": 7}, "'order' must be a text"),
        ({"amount": "12.505"}, "'amount' must have at most 2 digits"),
        ({"amount": 500.01}, r"'amount' must be from 0.01 to 500"),
        ({"amount": "1e400"}, "'amount' must be an amount"),
        ({"amount": "9" * 5000}, "'amount' must be an amount"),
        ({"amount": float("nan")}, "'amount' must be an amount"),
        ({"amount": float("inf")}, "'amount' must be an amount"),
        ({"amount": True}, "'amount' must be an amount"),
        ({"amount": "１２"}, "'amount' must be an amount"),
        ({"to": "cash"}, "'to' must be one of card, voucher"),
        ({"to": ["card"]}, "'to' must be one of card, voucher"),
        ({"reason": "late\u200b"}, "'reason' must be one of"),
        ({"lines": []}, "'lines' must have 1 to 3 values, and has 0"),
        ({"lines": [{"sku": "AB-123"}] * 4}, "'lines' must have 1 to 3 values, and has 4"),
        ({"lines": [GOOD["lines"][0], {"sku": "x", "count": 0}]}, r"'lines\[1\].sku' must have .*'lines\[1\].count' must be from"),
        ({"lines": "AB-123"}, "'lines' must be a list"),
        ({"on": "2026-02-30"}, "'on' must be a day"),
        ({"on": 20260531}, "'on' must be a day"),
        ({"note": "x" * 41}, "'note' must have 0 to 40 characters, and has 41"),
        ({"note": "a\x00b"}, r"'note' has the character U\+0000"),
        ({"note": "a\ud800b"}, r"'note' has the character U\+D800"),
        ({"rush": 1}, "'rush' must be true or false"),
        ({"ammount": 3}, "'ammount' is not known; did you mean 'amount'?"),
        ({"confirmed": True}, "'confirmed' is not known"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_the_name_of_its_field(change: dict[str, Any], said: str):
    with pytest.raises(BadArguments, match=said) as refused:
        refund.read(GOOD | change)

    assert refused.value.problems


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(BadArguments) as refused:
        refund.read({"order": "#W123", "amount": "-1", "colour": "red"})

    assert set(refused.value.problems) == {"colour", "amount", "to", "reason", "lines", "on"}


@pytest.mark.parametrize("text", ["", "[]", "7", "{", '{"a": 1, "a": 2}', '{"amount": NaN}', "[" * 9_000, b"\xff"])
def test_what_is_no_json_object_is_refused(text: Any):
    with pytest.raises(BadArguments):
        refund.read(text)


def test_huge_arguments_are_refused():
    with pytest.raises(TooLarge, match="16,384 bytes"):
        refund.read('{"note": "' + "x" * 100_000 + '"}')
    with pytest.raises(BadArguments) as refused:
        refund.read({f"n{n}" * 1000: n for n in range(100_000)})
    assert len(str(refused.value)) < 10_000


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*GOOD, "note", "rush", "x"]), inner, max_size=8),
))  # fmt: skip
def test_whatever_is_sent_is_read_or_refused(value: Any):
    try:
        read = refund.read(GOOD | value if isinstance(value, dict) else value)
    except PenstockError:
        return
    assert refund.read(plain(read)) == read
    assert canonical(refund.read(canonical(read))) == canonical(read)


def test_the_same_arguments_have_the_same_bytes_however_they_were_written():
    ways: list[Any] = [GOOD, GOOD | {"amount": 12.5}, GOOD | {"amount": "12.50", "note": None, "rush": False}]
    ways += [dict(reversed(GOOD.items())), GOOD | {"lines": [{"count": 1.0, "sku": "AB-123"}]}]

    assert len({canonical(refund.read(way)) for way in ways}) == 1
    assert canonical(refund.read(GOOD | {"amount": "12.51"})) != canonical(refund.read(GOOD))


def test_a_model_is_given_a_schema_that_the_arguments_fit():
    tool = refund.tool()["function"]

    assert (tool["name"], tool["description"]) == ("refund", "Give money back.")
    parameters = tool["parameters"]
    assert parameters["required"] == ["order", "amount", "to", "reason", "lines", "on"]
    assert parameters["additionalProperties"] is False
    assert parameters["properties"]["order"] == {
        "type": "string", "minLength": 1, "maxLength": 500, "pattern": r"^(?:#W\d{3,7})$", "description": "Number of the order.",
    }  # fmt: skip
    assert unfit(orjson.loads(canonical(refund.read(GOOD))), parameters) == ""
    assert unfit(GOOD | {"colour": "red"}, parameters) != ""
    orjson.dumps(parameters)


def test_a_read_back_says_every_value_and_shows_what_is_hidden_in_it():
    said = refund.says(refund.read(GOOD | {"note": 'free" and \u202emore\n{amount}'}), {})

    assert said == (
        'Refund 12.50 EUR of #W123 to card for wrong item: sku AB-123, count 1, by 2026-05-31; '
        'note "free\\u{22} and \\u{202e}more\\u{a}{amount}"; no'
    )  # fmt: skip
    assert spoken(["a b", None, True]) == '"a b", none, yes'


def test_a_read_back_that_keeps_something_from_the_person_is_refused():
    def pay(context: Context, to: str, amount: Decimal) -> None:
        """Pay."""

    with pytest.raises(BadSetting, match="does not say amount"):
        action("writes", here=True, read_back="Pay {to}")(pay)
    with pytest.raises(BadSetting, match="plain name"):
        action("writes", here=True, read_back="Pay {to.__class__} {amount}")(pay)
    with pytest.raises(BadSetting, match="names fee"):
        action("writes", here=True, read_back="Pay {to} {amount} {fee}")(pay)
    with pytest.raises(BadSetting, match="could be done twice"):
        action("writes", read_back="Pay {to} {amount}")(pay)
    action("writes", here=True, read_back="Pay {to}", unsaid=["amount"])(pay)


def test_a_declaration_that_cannot_be_kept_is_refused():
    def rate(context: Context, share: float) -> None:
        """Rate."""

    def untyped(context: Context, share) -> None:  # type: ignore[no-untyped-def]
        """Rate."""

    def more(context: Context, *shares: int) -> None:
        """Rate."""

    def silent(context: Context) -> None:
        pass

    async def later(context: Context) -> None:
        """Later."""

    for wrong, said in (
        (later, "async"),
        (rate, "cannot take"),
        (untyped, "no type"),
        (more, "has a name"),
        (silent, "no description"),
    ):
        with pytest.raises(BadSetting, match=said):
            action("reads")(wrong)
    with pytest.raises(BadSetting, match="linear time"):

        @action("reads")
        def look(context: Context, at: Annotated[str, Text(pattern=r"(a)\1")]) -> None:
            """Look."""

    with pytest.raises(BadSetting, match="two actions"):
        Actions([refund, refund])


def test_a_person_is_offered_what_they_may_ask_for():
    def made(name: str, **more: Any) -> Action:
        return action("reads", name=name, description="Look.", **more)(lambda context: None)

    actions = Actions(
        [
            made("search", level="guest"),
            made("mine", level="identified"),
            made("pay"),
            made("admin", level="guest", roles=["staff"]),
        ]
    )
    guest, known = Person(), Person("anna", "identified")

    assert [one.name for one in actions.of(guest)] == ["search"]
    assert [one["function"]["name"] for one in actions.tools(known)] == ["search", "mine"]
    assert [one.name for one in actions.of(Person("bo", "guest", ("staff",)))] == ["search", "admin"]
    with pytest.raises(NotAllowed, match="for people who are verified"):
        actions.allowed("pay", known)
    with pytest.raises(NotFound):
        actions.allowed("admin", VERIFIED)
    with pytest.raises(NotFound, match="did you mean 'search'"):
        actions.allowed("serch", guest)
    with pytest.raises(NotFound):
        actions.allowed("\u202e" * 100_000, guest)
    with pytest.raises(NotAllowed):
        actions.allowed("pay", Person("eve", "root"))  # type: ignore[arg-type]


@pytest.mark.parametrize("content", [False, True], ids=["plain", "sealed"])
def test_a_house_keeps_them_for_a_time_and_forgets_whoever_is_erased(home: Path, tmp_path: Path, content: bool):
    house = House(Settings(home=str(home), folder=tmp_path, encryption=EncryptionSettings(content=content)))
    subject = Subject.of("Sigrid Undset")
    assert plan(house, subject).counts().get("actions", 0) == 0

    @action("writes", here=True, read_back="Write {text}", level="guest")
    def note(context: Context, text: str) -> str:
        """Write something down."""
        return text

    requests = house.actions([note])
    requests.propose(Person(), "c1", "note", {"text": "Call Sigrid Undset"})
    requests.propose(Person("Sigrid Undset", "verified"), "c2", "note", {"text": "hello"})
    other = requests.propose(VERIFIED, "c3", "note", {"text": "hello"})
    requests.confirm(VERIFIED, "c3", other.id, requests.read_back(VERIFIED, "c3", other.id).token)
    found = plan(house, subject)
    receipt = carry_out(house, found)

    assert found.counts()["actions"] == 2
    assert (receipt["erased"]["actions"], receipt["scan"]["found"]) == (2, [])
    assert {step.request for step in requests.steps()} == {other.id}
    with house.database.write() as w:
        w.execute("update action_requests set changed = changed - 181 * 86400")
    assert {due.what: due.count for due in enforce(house)}["requests for actions"] == 1
    assert requests.steps() == []
    requests.close()
    house.database.close()


def test_an_apps_own_words_are_read_back_without_quotes_and_hide_nothing():
    own = OwnWords('a 15" lamp\u202e')
    assert spoken(own) == 'a 15" lamp\\u{202e}'
    assert spoken([own, "a lamp"]) == 'a 15" lamp\\u{202e}, "a lamp"'
    assert spoken(f"{OwnWords('a lamp')} and more") == '"a lamp and more"'
