"""What an app can do: actions with typed arguments, who may ask for them, and what a person is told before they agree.

An action knows nothing of models. From its arguments come the check of what a model sends, the JSON Schema that models are
given, and the one form in which the same arguments always have the same bytes. What is done in which order, and only after
whose agreement, is in `requests`.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import inspect
import re
import string
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final, Literal, Protocol, TypeVar, get_args, get_origin

import orjson

from penstock.errors import BadArguments, BadRequest, BadSetting, NotAllowed, NotFound, TooLarge
from penstock.guard.provenance import shown
from penstock.guard.tools import read_arguments

__all__ = [
    "LEVELS",
    "Action",
    "Actions",
    "Context",
    "Effect",
    "Found",
    "Level",
    "Money",
    "OwnWords",
    "Person",
    "Range",
    "Rate",
    "Rows",
    "Several",
    "Text",
    "action",
    "canonical",
    "plain",
    "reader",
    "spoken",
]

Effect = Literal["reads", "writes"]
Level = Literal["guest", "identified", "verified"]
LEVELS: Final[tuple[Level, ...]] = get_args(Level)

LARGEST: Final = 16_384  # bytes of arguments as JSON
LONGEST_TEXT: Final = 500  # characters, where nothing else is said
MOST_VALUES: Final = 20  # of a list, where nothing else is said
LARGEST_NUMBER: Final = 2**53 - 1  # that every reader of JSON reads alike
DEEPEST: Final = 5  # arguments within arguments
NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_L = TypeVar("_L")
BARE: Final = re.compile(r"[A-Za-z0-9#@.:+/_-]{1,64}")  # a text that needs no quotes


# ---------------------------------------------------------------- who, and in what


@dataclass(frozen=True, slots=True)
class Person:
    """Whoever talks to the app. level: how well it is known who that is; whoever logs people in says so, never a model."""

    id: str = ""  # "" for a guest
    level: Level = "guest"
    roles: tuple[str, ...] = ()
    tenant: str = ""


class OwnWords(str):
    """A text that an app has made of its own words and its own data, such as the name of a product or an amount. It is read back
    without quotes, so nothing may be in it that a customer, a model or a stranger wrote: leave an address or a name as it is."""

    __slots__ = ()


class Rows(Protocol):
    """The house's database, inside of the transaction in which the action is recorded."""

    def execute(self, sql: str, values: Any = ..., /) -> Any: ...

    def executemany(self, sql: str, values: Any, /) -> Any: ...


@dataclass(frozen=True, slots=True)
class Context:
    """What an action is run for.

    key: the same for every try of one request, and for no other: hand it on as the idempotency key.
    rows: of an action that is `here`; None for the others.
    """

    person: Person
    conversation: str
    key: str
    rows: Rows | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What `find` gives for a key whose effect is there."""

    result: Any = None


@dataclass(frozen=True, slots=True)
class Rate:
    """At most so many requests of one person in so many seconds. Guests are told apart by their conversations."""

    most: int
    per_s: float


# ---------------------------------------------------------------- limits, written beside a type with Annotated


@dataclass(frozen=True, slots=True)
class Text:
    """Limits of a text, in characters. pattern: RE2, for the whole text."""

    least: int = 1
    most: int = LONGEST_TEXT
    pattern: str = ""


@dataclass(frozen=True, slots=True)
class Range:
    """Limits of a whole number, both included."""

    least: int = -LARGEST_NUMBER
    most: int = LARGEST_NUMBER


@dataclass(frozen=True, slots=True)
class Money:
    """Limits of a Decimal, both included. places: digits after the point."""

    least: Decimal = Decimal(0)
    most: Decimal = Decimal(1_000_000)
    places: int = 2


@dataclass(frozen=True, slots=True)
class Several:
    """How many values a list has."""

    least: int = 0
    most: int = MOST_VALUES


class _Wrong(Exception):
    """A value that does not fit. problems: place in the arguments -> what is wrong there."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__(problems)
        self.problems = problems


def _wrong(why: str) -> _Wrong:
    return _Wrong({"": why})


class _Kind(Protocol):
    """One type of argument."""

    def read(self, value: Any) -> Any:
        """The typed value for one of JSON. Raises _Wrong."""
        ...

    def schema(self) -> dict[str, Any]:
        """What a model is told about it."""
        ...


@dataclass(frozen=True, slots=True)
class _Texts:
    limits: Text

    def read(self, value: Any) -> str:
        limits = self.limits
        if not isinstance(value, str):
            raise _wrong("must be a text")
        if not limits.least <= len(value) <= limits.most:
            raise _wrong(f"must have {limits.least:,} to {limits.most:,} characters, and has {len(value):,}")
        if bad := re.search("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]", value):
            raise _wrong(f"has the character U+{ord(bad[0]):04X}, which is no text")
        if limits.least and not value.strip():
            raise _wrong("must say something")
        if limits.pattern and _pattern(limits.pattern).fullmatch(value) is None:
            raise _wrong(f"must have the form {limits.pattern}")
        return value

    def schema(self) -> dict[str, Any]:
        form = {"pattern": f"^(?:{self.limits.pattern})$"} if self.limits.pattern else {}
        return {"type": "string", "minLength": self.limits.least, "maxLength": self.limits.most, **form}


@dataclass(frozen=True, slots=True)
class _Numbers:
    limits: Range

    def read(self, value: Any) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # 2.0, as some models write it
        if not isinstance(value, int) or isinstance(value, bool):
            raise _wrong("must be a whole number")
        if not self.limits.least <= value <= self.limits.most:
            raise _wrong(f"must be from {self.limits.least:,} to {self.limits.most:,}")
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.limits.least, "maximum": self.limits.most}


@dataclass(frozen=True, slots=True)
class _Moneys:
    limits: Money

    def read(self, value: Any) -> Decimal:
        """A number, or the digits of one as a text. A float is what its shortest digits say, so 0.1 is 0.1."""
        limits = self.limits
        if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
            raise _wrong("must be an amount such as 12.50")
        written = repr(value) if isinstance(value, float) else str(value)[:40]
        try:
            amount = Decimal(written) if re.fullmatch(r"[+-]?[0-9.]+(?:[eE][+-]?[0-9]{1,2})?", written) else None
            exact = None if amount is None else amount.quantize(Decimal(1).scaleb(-limits.places))
        except InvalidOperation:
            amount = exact = None
        if amount is None or exact is None or len(str(value)) > 40:
            raise _wrong("must be an amount such as 12.50")
        if exact != amount:
            raise _wrong(f"must have at most {limits.places} digits after the point")
        if not limits.least <= exact <= limits.most:
            raise _wrong(f"must be from {limits.least:,} to {limits.most:,}")
        return exact if exact else abs(exact)  # no -0.00

    def schema(self) -> dict[str, Any]:
        digits = rf"(?:\.[0-9]{{1,{self.limits.places}}})?" if self.limits.places else ""
        sign = "-?" if self.limits.least < 0 else ""
        limits = f"From {self.limits.least} to {self.limits.most}."
        return {"type": "string", "pattern": f"^{sign}[0-9]{{1,20}}{digits}$", "description": limits}


@dataclass(frozen=True, slots=True)
class _Truths:
    def read(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise _wrong("must be true or false")
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class _Days:
    def read(self, value: Any) -> date:
        try:
            if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value, re.A):
                return date.fromisoformat(value)
        except ValueError:
            pass
        raise _wrong("must be a day such as 2026-05-31")

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "format": "date"}


@dataclass(frozen=True, slots=True)
class _Choices:
    values: Mapping[str | int, Any]  # as JSON has it -> typed

    def read(self, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, str | int) or value not in self.values:
            raise _wrong(f"must be one of {', '.join(map(str, self.values))}")
        return self.values[value]

    def schema(self) -> dict[str, Any]:
        texts = all(isinstance(value, str) for value in self.values)
        return {"type": "string" if texts else "integer", "enum": list(self.values)}


@dataclass(frozen=True, slots=True)
class _Lists:
    of: _Kind
    limits: Several
    frozen: bool

    def read(self, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise _wrong("must be a list")
        if not self.limits.least <= len(value) <= self.limits.most:
            raise _wrong(f"must have {self.limits.least:,} to {self.limits.most:,} values, and has {len(value):,}")
        read: list[Any] = []
        problems: dict[str, str] = {}
        for place, one in enumerate(value):
            try:
                read.append(self.of.read(one))
            except _Wrong as wrong:
                problems |= {f"[{place}]{at}": why for at, why in wrong.problems.items()}
        if problems:
            raise _Wrong(problems)
        return tuple(read) if self.frozen else read

    def schema(self) -> dict[str, Any]:
        return {
            "type": "array", "items": self.of.schema(), "minItems": self.limits.least, "maxItems": self.limits.most,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Perhaps:
    of: _Kind

    def read(self, value: Any) -> Any:
        return None if value is None else self.of.read(value)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [self.of.schema(), {"type": "null"}]}


class _Field(typing.NamedTuple):
    kind: _Kind
    description: str
    needed: bool


@dataclass(frozen=True, slots=True)
class _Objects:
    of: type
    fields: Mapping[str, _Field]

    def read(self, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise _wrong("must be an object")
        read: dict[str, Any] = {}
        problems: dict[str, str] = {}
        for name in value:
            if name not in self.fields:
                problems[f".{shown(str(name), 64)}"] = f"is not known{_near(str(name), self.fields)}"
                if len(problems) > MOST_VALUES:
                    break
        for name, entry in self.fields.items():
            if name not in value:
                if entry.needed:
                    problems[f".{name}"] = "is missing"
                continue
            try:
                read[name] = entry.kind.read(value[name])
            except _Wrong as wrong:
                problems |= {f".{name}{at}": why for at, why in wrong.problems.items()}
        if problems:
            raise _Wrong(problems)
        return self.of(**read)

    def schema(self) -> dict[str, Any]:
        properties = {}
        for name, entry in self.fields.items():
            schema = entry.kind.schema()
            said = " ".join(filter(None, [entry.description, schema.get("description", "")]))
            properties[name] = schema | ({"description": said} if said else {})
        needed = [name for name, entry in self.fields.items() if entry.needed]
        return {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}


def _near(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name[:64], known, 1)
    return f"; did you mean '{near[0]}'?" if near else ""


def _pattern(written: str) -> Any:
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(written, options)
    except re2.error as error:
        raise BadSetting(f"the pattern {written} cannot be read in linear time") from error


def _kind(hint: Any, where: str, depth: int = 0) -> _Kind:
    """The kind for a type. Raises BadSetting, naming the argument."""
    if depth > DEEPEST:
        raise BadSetting(f"{where}: arguments stand in one another more than {DEEPEST} deep")
    limits: Sequence[Any] = ()
    if get_origin(hint) is Annotated:
        hint, *limits = get_args(hint)
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (typing.Union, types.UnionType) and len(inner) == 2 and type(None) in inner:
        (other,) = (one for one in inner if one is not type(None))
        return _Perhaps(_kind(Annotated[other, *limits] if limits else other, where, depth))
    if origin is Literal:
        return _choices({one: one for one in inner}, where)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _choices({one.value: one for one in hint}, where)
    if origin is list or (origin is tuple and len(inner) == 2 and inner[1] is ...):
        of = _kind(inner[0], where, depth + 1)
        return _Lists(of, _limits(Several, limits, Several()), origin is tuple)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _objects(hint, where, depth + 1)
    if hint is str:
        text = _limits(Text, limits, Text())
        if text.pattern:
            _pattern(text.pattern)
        return _Texts(text)
    if hint is int:
        numbers = _limits(Range, limits, Range())
        if max(abs(numbers.least), abs(numbers.most)) > LARGEST_NUMBER:
            raise BadSetting(f"{where}: whole numbers go up to {LARGEST_NUMBER:,}")
        return _Numbers(numbers)
    if hint is Decimal:
        return _Moneys(_limits(Money, limits, Money()))
    if hint is bool:
        return _Truths()
    if hint is date:
        return _Days()
    hint_of = (
        "use Decimal for amounts"
        if hint is float
        else "str, int, Decimal, bool, date, Enum, Literal, lists, dataclasses"
    )
    raise BadSetting(f"{where} has a type that an action cannot take: {hint!r}", hint=hint_of)


def _limits(kind: type[_L], given: Sequence[Any], default: _L) -> _L:
    return next((one for one in given if isinstance(one, kind)), default)


def _choices(values: Mapping[Any, Any], where: str) -> _Choices:
    if not all(isinstance(value, str) for value in values) and not all(type(value) is int for value in values):
        raise BadSetting(f"{where}: choices are all texts, or all whole numbers")
    return _Choices(values)


def _objects(kind: type, where: str, depth: int = 0) -> _Objects:
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = {}
    for one in dataclasses.fields(kind):
        hint = hints[one.name]
        said = (
            [entry for entry in get_args(hint)[1:] if isinstance(entry, str)] if get_origin(hint) is Annotated else []
        )
        needed = one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING
        fields[one.name] = _Field(_kind(hint, f"{where}.{one.name}", depth), " ".join(said), needed)
    return _Objects(kind, fields)


def reader(kind: type, *, largest: int = LARGEST) -> Callable[[Mapping[str, Any]], Any]:
    """What reads plain values into a dataclass as arguments are read: it raises BadArguments, which says what is wrong where, and
    TooLarge. Raises BadSetting for a dataclass with a field that is never read."""
    objects = _objects(kind, kind.__name__)
    return lambda values: _typed(objects, values, kind.__name__, largest)


def _typed(objects: _Objects, values: Mapping[str, Any] | str | bytes, name: str, largest: int) -> Any:
    if isinstance(values, str | bytes):
        if len(values) > largest:
            raise TooLarge(f"the arguments of '{name}' have more than {largest:,} bytes")
        try:
            values = read_arguments(values if isinstance(values, str) else values.decode())
        except (BadRequest, UnicodeDecodeError) as error:
            raise BadArguments(f"the arguments of '{name}' are no JSON object", problems={}) from error
    try:
        read = objects.read(values)
    except _Wrong as wrong:
        problems = {place.removeprefix(".") or "arguments": why for place, why in wrong.problems.items()}
        said = "; ".join(f"'{place}' {why}" for place, why in problems.items())
        raise BadArguments(f"{name}: {said}", problems=problems) from None
    if len(canonical(read)) > largest:
        raise TooLarge(f"the arguments of '{name}' have more than {largest:,} bytes")
    return read


# ---------------------------------------------------------------- an action


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One thing that can be done. The defaults are the careful ones: a person who has proved who they are, and agrees.

    arguments: a dataclass. run: gets it, and returns what JSON can hold. It raises a PenstockError where it refuses: nothing
    may have been done then. Whatever else it raises is a failure, of which nobody is told the words.

    here: whether everything it changes is in the house's own database, through `context.rows`. It is then done in the
    transaction that records it, and must be quick. What changes something elsewhere needs `find`, which says for the
    `context.key` that `run` was given whether the effect is there: that is asked after a crash, so that nothing is done twice.

    facts: what a person has to know besides the arguments, such as the amount that goes back. It changes nothing, and raises a
    PenstockError for what cannot be done. The facts are part of what is agreed to: once they are others, the agreement is void.
    read_back: what the person is asked, with {names} of arguments and facts. Each must stand in it, or in `unsaid`.
    """

    name: str
    description: str
    effect: Effect
    arguments: type
    run: Callable[[Context, Any], Any]
    read_back: str = ""
    facts: Callable[[Context, Any], Mapping[str, Any]] | None = None
    find: Callable[[Context, Any], Found | None] | None = None
    here: bool = False
    needs_confirmation: bool | None = None  # None: what writes does
    level: Level = "verified"
    roles: tuple[str, ...] = ()  # one of which the person has; () for everybody
    rate: Rate = Rate(60, 60.0)
    largest: int = LARGEST  # bytes of arguments as JSON
    settles_s: float = 60.0  # how long after its start an effect elsewhere may still come about
    unsaid: tuple[str, ...] = ()  # arguments that do not matter to the person
    _reader: _Objects = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Raises BadSetting for an action that could not keep its promises."""
        if not NAME.fullmatch(self.name):
            raise BadSetting(f"'{self.name[:64]}' cannot be the name of an action", hint="small letters, digits and _")
        if not self.description.strip():
            raise BadSetting(
                f"the action '{self.name}' has no description", hint="the first line of a docstring is one"
            )
        if self.effect not in get_args(Effect) or self.level not in LEVELS:
            raise BadSetting(f"the action '{self.name}' has an effect or a level that there is not")
        if not dataclasses.is_dataclass(self.arguments):
            raise BadSetting(f"the arguments of '{self.name}' must be a dataclass")
        if any(map(inspect.iscoroutinefunction, (self.run, self.facts, self.find))):
            raise BadSetting(
                f"'{self.name}' is async, and actions are not",
                hint="write a plain function; async programs call the machine with asyncio.to_thread",
            )
        if self.effect == "writes" and not self.here and self.find is None:
            hint = "give it find, which says whether the effect of a key is there; or here=True, if it is in the house's database"
            raise BadSetting(f"'{self.name}' could be done twice after a crash", hint=hint)
        if self.facts is not None and not self.confirms:
            raise BadSetting(f"'{self.name}' has facts, and nobody is asked whether they agree to them")
        object.__setattr__(self, "_reader", _objects(self.arguments, self.name))
        if self.confirms:
            self._check_read_back()

    def _check_read_back(self) -> None:
        named = set()
        for _, name, form, conversion in string.Formatter().parse(self.read_back):
            if name is not None:
                if not name.isidentifier() or form or conversion:
                    raise BadSetting(f"the read-back of '{self.name}' has {{{name}}}, where a plain name must stand")
                named.add(name)
        silent = [name for name in self._reader.fields if name not in named and name not in self.unsaid]
        if silent:
            hint = "name it in read_back, or in unsaid where it does not matter to the person"
            raise BadSetting(f"the read-back of '{self.name}' does not say {', '.join(silent)}", hint=hint)
        if self.facts is None and (unknown := named - set(self._reader.fields)):
            raise BadSetting(f"the read-back of '{self.name}' names {', '.join(sorted(unknown))}, which is no argument")
        if not self.read_back.strip():
            raise BadSetting(f"'{self.name}' needs a read_back, so that a person knows what they agree to")

    @property
    def confirms(self) -> bool:
        """Whether a person has to agree first."""
        return self.effect == "writes" if self.needs_confirmation is None else self.needs_confirmation

    def read(self, arguments: Mapping[str, Any] | str | bytes) -> Any:
        """The typed arguments, of JSON or of plain values. Raises BadArguments, which says what is wrong where, and TooLarge."""
        return _typed(self._reader, arguments, self.name, self.largest)

    def says(self, arguments: Any, facts: Mapping[str, Any]) -> str:
        """What the person is asked. Raises BadSetting where `facts` does not give what the text names."""
        values = {name: getattr(arguments, name) for name in self._reader.fields} | dict(facts)
        try:
            return self.read_back.format(**{name: spoken(value) for name, value in values.items()})
        except KeyError as error:
            raise BadSetting(f"the facts of '{self.name}' do not give {error}") from None

    def tool(self) -> dict[str, Any]:
        """As a tool in the form of OpenAI's chat completions."""
        function = {"name": self.name, "description": self.description, "parameters": self._reader.schema()}
        return {"type": "function", "function": function}

    def check_allowed(self, person: Person) -> None:
        """Raises NotFound for a role that the person has not, and NotAllowed where they have to say who they are first."""
        if self.roles and not set(self.roles) & set(person.roles):
            raise NotFound(f"there is no action '{self.name}'")
        if person.level not in LEVELS or LEVELS.index(person.level) < LEVELS.index(self.level):
            hint = "log in" if self.level == "identified" else "log in, and prove who you are"
            raise NotAllowed(
                f"'{self.name}' is for people who are {self.level}, and this one is a {person.level}", hint=hint
            )


def action(
    effect: Effect, *, read_back: str = "", name: str = "", description: str = "",
    facts: Callable[[Context, Any], Mapping[str, Any]] | None = None,
    find: Callable[[Context, Any], Found | None] | None = None,
    here: bool = False, needs_confirmation: bool | None = None, level: Level = "verified", roles: Sequence[str] = (),
    rate: Rate = Rate(60, 60.0), largest: int = LARGEST, settles_s: float = 60.0, unsaid: Sequence[str] = (),
) -> Callable[[Callable[..., Any]], Action]:  # fmt: skip
    """Make an action of a function. Its first parameter is the context, the others are the arguments; its name and the first
    line of its docstring are what the action is called and what is said of it. The rest is as `Action` has it; facts and find
    get the arguments as one object. Raises BadSetting."""

    def made(function: Callable[..., Any]) -> Action:
        called = name or function.__name__
        if inspect.iscoroutinefunction(function):
            raise BadSetting(
                f"'{called}' is async, and actions are not",
                hint="write a plain function; async programs call the machine with asyncio.to_thread",
            )
        hints = typing.get_type_hints(function, include_extras=True)
        _, *parameters = inspect.signature(function).parameters.values()
        given: list[Any] = []
        for parameter in parameters:
            if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                raise BadSetting(f"{called}: '{parameter.name}' must be an argument that has a name")
            if parameter.name not in hints:
                raise BadSetting(f"{called}: '{parameter.name}' has no type")
            default = () if parameter.default is parameter.empty else (field(default=parameter.default),)
            given.append((parameter.name, hints[parameter.name], *default))
        arguments = dataclasses.make_dataclass(called, given, frozen=True, slots=True, kw_only=True)
        names = [parameter.name for parameter in parameters]

        def run(context: Context, values: Any) -> Any:
            return function(context, **{one: getattr(values, one) for one in names})

        first = (inspect.getdoc(function) or "").partition("\n")[0]
        return Action(
            name=called, description=description or first, effect=effect, arguments=arguments, run=run, read_back=read_back,
            facts=facts, find=find, here=here, needs_confirmation=needs_confirmation, level=level, roles=tuple(roles),
            rate=rate, largest=largest, settles_s=settles_s, unsaid=tuple(unsaid),
        )  # fmt: skip

    return made


class Actions:
    """The actions of one app, by name."""

    def __init__(self, actions: Sequence[Action] = ()) -> None:
        self._actions: dict[str, Action] = {}
        for one in actions:
            if one.name in self._actions:
                raise BadSetting(f"two actions are called '{one.name}'")
            self._actions[one.name] = one

    def __iter__(self) -> Iterator[Action]:
        return iter(self._actions.values())

    def allowed(self, name: str, person: Person) -> Action:
        """The action, where this person may ask for it. Raises NotFound and NotAllowed."""
        found = self._actions.get(name) if isinstance(name, str) else None
        if found is None:
            known = {one.name: one for one in self.of(person)}
            raise NotFound(f"there is no action '{shown(str(name), 64)}'{_near(str(name), known)}")
        found.check_allowed(person)
        return found

    def of(self, person: Person) -> list[Action]:
        """Those that a person may ask for."""
        may = []
        for one in self:
            try:
                one.check_allowed(person)
            except (NotFound, NotAllowed):
                continue
            may.append(one)
        return may

    def tools(self, person: Person) -> list[dict[str, Any]]:
        """The tools that a model is offered while it talks to this person, in the form of OpenAI's chat completions."""
        return [one.tool() for one in self.of(person)]


# ---------------------------------------------------------------- values


def plain(value: Any) -> Any:
    """A value as JSON has it. Amounts are texts, so that no reader rounds them. Raises TypeError for what has no such form."""
    match value:
        case None | bool() | str():
            return value.value if isinstance(value, enum.Enum) else value
        case enum.Enum():
            return value.value
        case int() | float():
            return value
        case Decimal():
            return str(value)
        case date():
            return value.isoformat()
        case Mapping():
            return {str(name): plain(one) for name, one in value.items()}
        case list() | tuple():
            return [plain(one) for one in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def canonical(value: Any) -> bytes:
    """The bytes that stand for a value: the same for the same value, however it was written."""
    return orjson.dumps(plain(value), option=orjson.OPT_SORT_KEYS)


def spoken(value: Any) -> str:
    """A value as a person can trust to read it: a text that is more than a code stands in quotes, with nothing invisible in it.
    An app's own words stand without quotes."""
    match value:
        case OwnWords():
            return '"'.join(shown(part, len(part)) for part in value.split('"'))
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case enum.Enum():
            return str(value.value)
        case str():
            return value if BARE.fullmatch(value) else f'"{shown(value, len(value))}"'
        case Decimal():
            return f"{value:f}"
        case Mapping():
            return ", ".join(f"{name} {spoken(one)}" for name, one in value.items())
        case list() | tuple():
            return ", ".join(map(spoken, value)) or "none"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return spoken({one.name: getattr(value, one.name) for one in dataclasses.fields(value)})
    return str(value)
