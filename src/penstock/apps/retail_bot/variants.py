"""Which variant of a product somebody means. It knows English words for sizes, amounts and comparisons; all that is said of
products themselves comes from the options of the catalogue at hand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from .shop import Product, Variant

__all__ = ["Extreme", "Said", "Target", "choose", "fits", "named_options", "options_said", "read_target", "words"]

SHORT: Final = 40  # characters of a text whose words are remembered, as those of a catalogue are
REMEMBERED: Final = 50_000  # texts
_NUMBERS: Final = {
    word: str(number)
    for number, word in enumerate(
        ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"], 2
    )
}  # "one" is left out: "a blue one" is no number
_SAME: Final = {
    "small": "s", "medium": "m", "mid": "m", "large": "l", "gray": "grey", "colour": "color", "coloured": "color",
    "colored": "color", "sized": "size", "litre": "l", "liter": "l", "feet": "ft", "foot": "ft", "inches": "inch", "pound": "lb",
    "resistent": "resistant", "resistance": "resistant", "lbs": "lb", "giftcard": "gift card", "gc": "gift card",
}  # fmt: skip
_NOT: Final = frozenset({"not", "no", "non", "without", "except", "neither", "nor", "never", "excluding"})
_MODEL_SIZES: Final = {"xxs": 0, "xs": 1, "s": 2, "m": 3, "l": 4, "xl": 5, "xxl": 6, "xxxl": 7}
_RANKS: Final[Mapping[str, float]] = {
    **_MODEL_SIZES, "low": 2, "high": 4, "none": 0, "no": 0, "yes": 1, "half": 1, "full": 4, "basic": 1, "standard": 2,
    "professional": 4, "premium": 5, "beginner": 1, "easy": 1, "intermediate": 2, "expert": 4, "hard": 4, "difficult": 4,
    "light": 1, "dark": 4, "portable": 1, "compact": 1, "slow": 1, "fast": 4,
}  # fmt: skip
_SIZES: Final = ("size", "capacity", "storage", "screen", "diameter", "height", "length", "display", "volume", "width")
# an adjective -> the way it points, and words in the names of options that it is about; none: any
_POINTS: Final[Mapping[str, tuple[int, tuple[str, ...]]]] = {
    "bigger": (1, _SIZES),
    "larger": (1, _SIZES),
    "biggest": (1, _SIZES),
    "largest": (1, _SIZES),
    "smaller": (-1, _SIZES),
    "smallest": (-1, _SIZES),
    "longer": (1, ("length", "life")),
    "longest": (1, ("length", "life")),
    "shorter": (-1, ("length", "height", "life")),
    "shortest": (-1, ("length", "height", "life")),
    "taller": (1, ("height",)),
    "tallest": (1, ("height",)),
    "higher": (1, ()),
    "highest": (1, ()),
    "maximum": (1, ()),
    "max": (1, ()),
    "maximized": (1, ()),
    "most": (1, ()),
    "more": (1, ()),
    "greatest": (1, ()),
    "lower": (-1, ()),
    "lowest": (-1, ()),
    "minimum": (-1, ()),
    "min": (-1, ()),
    "least": (-1, ()),
    "less": (-1, ()),
    "fewer": (-1, ()),
    "fewest": (-1, ()),
    "brighter": (1, ("brightness",)),
    "brightest": (1, ("brightness",)),
    "dimmer": (-1, ("brightness",)),
    "dimmest": (-1, ("brightness",)),
    "darker": (-1, ("brightness",)),
    "faster": (1, ("speed", "processor", "ram")),
    "fastest": (1, ("speed", "processor", "ram")),
    "slower": (-1, ("speed", "processor")),
    "easier": (-1, ("difficulty",)),
    "easiest": (-1, ("difficulty",)),
    "harder": (1, ("difficulty",)),
    "hardest": (1, ("difficulty",)),
    "thicker": (1, ("thickness",)),
    "thickest": (1, ("thickness",)),
    "thinner": (-1, ("thickness",)),
    "thinnest": (-1, ("thickness",)),
    "heavier": (1, ("weight",)),
    "heaviest": (1, ("weight",)),
    "lighter": (-1, ("weight",)),
    "lightest": (-1, ("weight",)),
    "stronger": (1, ("pressure", "power")),
    "wider": (1, ("width", "field")),
    "widest": (1, ("width", "field")),
}
_MOST: Final = frozenset(
    {"most", "least", "fewest", "maximum", "minimum", "max", "min", "greatest", "maximized", "highest", "lowest"}
)
_CHEAP: Final = {"cheaper": -1, "cheapest": -1, "pricier": 1, "priciest": 1, "costliest": 1}
_COSTLY: Final = {"expensive", "costly", "price", "priced", "pricey", "value"}
_BREAKS: Final = frozenset({"but", "however", "while", "if", "then"})


# ---------------------------------------------------------------- words


def words(text: str) -> list[str]:
    """The words of a text in one form: small, singular, numbers as digits, apart from their units."""
    return list(_worded(text) if len(text) <= SHORT else _worded.__wrapped__(text))


@lru_cache(REMEMBERED)
def _worded(text: str) -> tuple[str, ...]:
    """The same; names and options of a catalogue are read with every message, and are remembered."""
    text = text.lower().replace("’", "'").replace("–", "-")
    text = re.sub(r"\bwon't\b", "will not", text)
    text = re.sub(r"\b(can)not\b", r"\1 not", re.sub(r"\b(ca|[a-z]+)n't\b", _negated, text))
    text = re.sub(r"'(?:s|m|re|ll|d|ve)\b|(?<=s)'(?=\s|$)", "", text)
    text = re.sub(r"(\d)\s*(?:\"|''|”)", r"\1 inch", text).replace("%", " percent ")
    text = re.sub(r"(\d),(?=\d{3}\b)", r"\1", text)
    text = re.sub(r"\bone (?=(?:lit(?:re|er)|inch|foot|tb)s?\b)", "1 ", text)
    text = re.sub(r"(\d+(?:\.\d+)?)\s*(l|lit(?:re|er)s?|tb)\b", _smaller, text)
    found = re.findall(r"[a-z]+\d+[a-z\d]*|\d+(?:\.\d+)?|[^\W\d_]+", text)
    same = " ".join(_SAME.get(word, word) for word in map(_stem, found)).split()
    return tuple(_extra(same))


def _negated(match: re.Match[str]) -> str:
    return "can not" if match[1] == "ca" else f"{match[1]} not"


def _stem(word: str) -> str:
    word = _NUMBERS.get(word, word)
    if word in _SAME or len(word) < 4 or word.endswith(("ss", "us", "is", "as", "os")) or not word.endswith("s"):
        return _SAME.get(word, word)
    if word.endswith("ves"):
        return word[:-3] + "f"
    if word.endswith("ies") and len(word) > 5:
        return word[:-3] + "y"
    return word[:-2] if word.endswith(("shes", "ches", "xes", "sses")) else word[:-1]


def _extra(found: list[str]) -> list[str]:
    """Extra large is xl, and so on."""
    made: list[str] = []
    for word in found:
        if made and made[-1] == "extra" and word in ("l", "s"):
            made[-1] = f"x{word}"
        else:
            made.append(word)
    return made


def _smaller(match: re.Match[str]) -> str:
    """1.5 l is 1500 ml, and 2 TB are 2000 GB, so that either finds the other."""
    return f"{float(match[1]) * 1000:g} {'gb' if match[2] == 'tb' else 'ml'}" if len(match[1]) < 6 else match[0]


# ---------------------------------------------------------------- what is said of options


class Said(NamedTuple):
    """A value that is named in a text. options: those that have it; more than one where it isn't said which is meant."""

    options: tuple[str, ...]
    value: str
    at: int  # index of its first word
    to: int
    negated: bool = False


def _values(products: Iterable[Product]) -> dict[str, list[str]]:
    found: dict[str, dict[str, None]] = {}
    for product in products:
        for variant in product.variants:
            for option, value in variant.options.items():
                found.setdefault(option, {})[value] = None
    return {option: list(values) for option, values in found.items()}


def options_said(product: Product, said: Sequence[str]) -> list[Said]:
    """The values of a product's options that these words name, in their order."""
    values = _values([product])
    names = {option: words(option) for option in values}
    found: list[tuple[int, int, str, str]] = []  # at, to, option, value
    for option, its in values.items():
        forms = {value: words(value) for value in its}
        for value, form in forms.items():
            if form in (["yes"], ["no"]):
                continue
            for at in range(len(said)):
                to = _matched(said, at, form, [other for one, other in forms.items() if one != value])
                if to and not (_is_bare(form) and not _is_near(said, at, to, names[option])):
                    found.append((at, to, option, value))
        found += _yes_or_no(said, option, names[option], forms)
    return _longest(found, said, names)


def _matched(said: Sequence[str], at: int, form: Sequence[str], others: Sequence[Sequence[str]]) -> int:
    """Where the value ends that begins here; 0 where it doesn't. A part of it will do where no other value has that part."""
    length = len(form)
    if list(said[at : at + length]) == list(form):
        return at + length
    for size in range(length - 1, 0, -1):
        part = list(form[:size])
        if list(said[at : at + size]) != part or any(list(other[:size]) == part for other in others):
            continue
        if size > 1 or (len(part[0]) > 3 and part[0].isalpha()):
            return at + size
    word = said[at]
    if len(word) >= 4 and word.isalpha() and word not in _POINTS:
        alike = word in form or (len(form[0]) >= 4 and (form[0].startswith(word) or word.startswith(form[0])))
        elsewhere = any(
            one.startswith(word) or (len(one) >= 4 and word.startswith(one)) for other in others for one in other
        )
        if alike and not elsewhere:
            return at + 1
    return 0


def _unknown_amounts(product: Product, said: Sequence[str]) -> list[Said]:
    """Amounts in an option's unit that no variant has in any option: 8 bar, where there are 9 and 15."""
    found = []
    forms = {option: [words(value) for value in values] for option, values in _values([product]).items()}
    known = [form[:2] for its in forms.values() for form in its]
    for option, its in forms.items():
        units = {form[1] for form in its if len(form) > 1 and re.fullmatch(r"[\d.]+", form[0]) and form[1].isalpha()}
        for at, word in enumerate(said[:-1]):
            if re.fullmatch(r"\d+(\.\d+)?", word) and said[at + 1] in units and list(said[at : at + 2]) not in known:
                found.append(Said((option,), f"{word} {said[at + 1]}", at, at + 2))
    return found


def _is_bare(form: Sequence[str]) -> bool:
    return len(form) == 1 and (
        form[0].isdigit() or form[0] in ("none", "no", "yes", "l", "m", "s", "high", "low") or len(form[0]) == 1
    )


def _is_near(said: Sequence[str], at: int, to: int, names: Sequence[str]) -> bool:
    """Whether the option is named beside it. Sizes and levels in letters and words may stand alone; numbers may not."""
    form = said[at:to]
    if not form[0].isdigit() and form[0] not in ("none", "no", "yes"):
        beside = said[max(0, at - 2) : to + 2]
        return form[0] not in ("high", "low") or any(one[:5] == name[:5] for one in beside for name in names)
    around = [*said[max(0, at - 2) : at], *said[to : to + 2]]
    return any(one == name or (len(name) > 4 and one.startswith(name[:5])) for one in around for name in names)


def _yes_or_no(
    said: Sequence[str], option: str, name: Sequence[str], forms: Mapping[str, Sequence[str]]
) -> list[tuple[int, int, str, str]]:
    """What is only yes or no, or may be none, is named by its option: waterproof, no backlight."""
    found = []
    yes = next((value for value, form in forms.items() if list(form) == ["yes"]), None)
    no = next((value for value, form in forms.items() if form[0] in ("no", "none", "non", "not")), None)
    if no is None:
        return []
    for at in range(len(said)):
        if said[at] != name[0] and not (len(name) > 1 and said[at] == name[-1] and len(name[-1]) > 5):
            continue
        to = at + (2 if said[at : at + 2] == name[:2] else 1)
        if len(name) > 1 and name[0] != said[at] and name[0] not in said[max(0, at - 3) : to + 3]:
            continue  # resistant alone may be to anything
        if len(name) > 1 and said[at] == name[0] and name[-1] not in said[max(0, at - 3) : to + 3]:
            continue
        if _is_denied(said, at):
            found.append((max(0, at - 1), to, option, no))
        elif yes is not None:
            found.append((at, to, option, yes))
    return found


def _is_denied(said: Sequence[str], at: int) -> bool:
    for back in range(1, 4):
        if at - back < 0 or said[at - back] in _BREAKS:
            return False
        if said[at - back] in _NOT:
            return said[at - back : at - back + 2] != ["not", "only"]
    return False


def _longest(
    found: list[tuple[int, int, str, str]], said: Sequence[str], names: Mapping[str, Sequence[str]]
) -> list[Said]:
    """Of what overlaps, the longest. One value of several options is of the one that is named beside it."""
    kept: list[Said] = []
    for at, to, option, value in sorted(found, key=lambda one: (one[0] - one[1], one[0])):
        same = [one for one in kept if one.at < to and at < one.to]
        if same:
            exact = [one for one in same if (one.at, one.to) == (at, to) and option not in one.options]
            if exact and exact[0].value == value:
                kept[kept.index(exact[0])] = exact[0]._replace(options=(*exact[0].options, option))
            continue
        value_words = words(value)
        denied = value_words[0] not in ("no", "none", "non", "not") and _is_left_out(said, at)
        kept.append(Said((option,), value, at, to, denied))
    return [_nearest(one, said, names) for one in sorted(kept, key=lambda one: one.at)]


def _is_left_out(said: Sequence[str], at: int) -> bool:
    before = list(said[max(0, at - 3) : at])
    if "prefer" in said[max(0, at - 8) : at] and before[-1:] == ["over"]:
        return False
    return bool(set(before[-2:]) & _NOT) or before[-2:] in (["other", "than"], ["instead", "of"], ["rather", "than"])


def _nearest(one: Said, said: Sequence[str], names: Mapping[str, Sequence[str]]) -> Said:
    if len(one.options) < 2:
        return one
    around = said[max(0, one.at - 3) : one.to + 3]
    near = [option for option in one.options if names[option][0] in around]
    return one._replace(options=tuple(near)) if near else one


def named_options(product: Product, said: Sequence[str]) -> list[tuple[str, int]]:
    """The options that are named, and where."""
    found = []
    for option in _values([product]):
        for at, word in enumerate(said):
            if any(word == name or (len(name) > 5 and word[:6] == name[:6]) for name in words(option)):
                found.append((option, at))
                break
    return found


# ---------------------------------------------------------------- what somebody wants instead


@dataclass(frozen=True, slots=True)
class Extreme:
    """The most or the least of an option, or of the price; or more, or less, than what there is."""

    option: str  # "" for the price
    way: Literal[1, -1]
    of_all: bool  # whether the most, and not more


@dataclass(frozen=True, slots=True)
class Target:
    """What a new variant has to be. rest: whether what isn't spoken of stays as it is, if possible; `same` that it must,
    `free` that it doesn't matter."""

    values: tuple[Said, ...] = ()
    wishes: tuple[Said, ...] = ()  # wanted where possible, the most wanted first
    extremes: tuple[Extreme, ...] = ()
    rest: Literal["kept", "same", "free"] = "kept"
    limit: Decimal | None = None  # of the price
    variant: str = ""  # named by its number
    alternatives: tuple[Target, ...] = field(default=())  # in their order, where nothing fits

    def __bool__(self) -> bool:
        return bool(self.values or self.wishes or self.extremes or self.variant or self.limit is not None)


_FREE = re.compile(
    r"(?:do not|not) care|other (?:spec|feature|option|detail)\w* (?:are|is|do|does) not|any other|does not matter|do not mind|"
    r"different (?:feature|option|spec)|whatever|(?:material|color|size|style|rest)\w* (?:to be|can be|may be) different|flexible"
)
_SAME_REST = re.compile(
    r"(?:all|every\w*) (?:the )?(?:other|else)[\w ]* (?:same|unchanged|identical)|(?:keep|leav)\w* (?:the |all |every)*"
    r"(?:other|rest|else)|everything else (?:the )?same|exact same|exactly the same|otherwise (?:the )?same|rest (?:the )?same"
)
_WISH = frozenset({"prefer", "preferably", "ideally", "preference", "preferred"})


def read_target(product: Product, text: str, *, price: Decimal | None = None) -> Target:
    """What a text asks a new variant of the product to be. price: of what there is, for limits such as `no more than now`."""
    said = words(text)
    line = " ".join(said)
    values: list[Said] = []
    wishes: list[Said] = []
    wish_from = min((at for at, word in enumerate(said) if word in _WISH), default=len(said))
    if several := re.search(r"if (?:there are |there be )?(?:multiple|several|more than 1|many|both)", line):
        wish_from = min(wish_from, len(line[: several.start()].split()))
    for one in (*options_said(product, said), *_unknown_amounts(product, said)):
        soft = one.at > wish_from
        (wishes if soft and not one.negated else values).append(one)
    if re.search(
        r"\b(?:actually|instead(?! of)|rather(?! than))\b", line
    ):  # a change of mind: of each option what was said last
        last = {one.options: one for one in values if not one.negated}
        values = [one for one in values if one.negated or last[one.options] is one]
    variant = next((one.id for one in product.variants if one.id.lower() in said), "")
    rest: Literal["kept", "same", "free"] = "kept"
    if _FREE.search(line):
        rest = "free"
    elif _SAME_REST.search(line):
        rest = "same"
    return Target(
        tuple(values), tuple(wishes), tuple(_extremes(product, said)), rest, _limit(text, line, price), variant
    )


def _limit(text: str, line: str, price: Decimal | None) -> Decimal | None:
    if match := re.search(
        r"(?:less than|under|below|at most|no more than|up to|cheaper than|maximum "
        r"of)\s*[$€£]?\s*(\d+(?:\.\d\d?)?)\s*(?:dollars?|usd|eur|[$€£])?(?!\s*[-\w])",
        text.lower(),
    ):
        return Decimal(match[1])
    at_most = (
        r"(?:same|equal|previous\w*|original|similar|current)[\w ]{0,20} (?:price|cost)|(?:price|"
        r"cost)[\w ]{0,20} (?:same|equal|lower)|not (?:want to )?pay more"
    )
    if price is not None and re.search(at_most, line):
        return price
    return None


def _extremes(product: Product, said: Sequence[str]) -> list[Extreme]:
    found: list[Extreme] = []
    values = _values([product])
    orderable = {option: its for option, its in values.items() if _scale(its)}
    for at, word in enumerate(said):
        if word in _CHEAP:
            found.append(Extreme("", 1 if _CHEAP[word] > 0 else -1, word.endswith("est")))
            continue
        if word not in _POINTS:
            continue
        way, hints = _POINTS[word]
        after = said[at + 1 : at + 4]
        if after[:1] and after[0] in _COSTLY:
            found.append(Extreme("", 1 if way > 0 else -1, word in _MOST or word.endswith("est")))
            continue
        if after[:1] == ["than"] or (
            word in ("more", "less") and after[:1] and after[0] not in " ".join(orderable).split()
        ):
            continue
        option = _pointed(orderable, hints, said, at)
        if option:
            found.append(Extreme(option, 1 if way > 0 else -1, word in _MOST or word.endswith("est")))
    return [one for place, one in enumerate(found) if one not in found[:place]]


def _pointed(orderable: Mapping[str, Sequence[str]], hints: Sequence[str], said: Sequence[str], at: int) -> str:
    """The option that an adjective is about: named beside it, or the one whose name it goes with."""
    around = said[at + 1 : at + 4] or said[max(0, at - 4) : at]
    for near in (around, said[max(0, at - 5) : at]):
        for option in orderable:
            if any(name == one or (len(name) > 4 and one[:5] == name[:5]) for name in words(option) for one in near):
                return option
    going = [option for option in orderable if any(hint in option.lower() for hint in hints)]
    if not going and "size" in hints:  # sizes by whatever name: what is counted in a unit
        going = [
            option
            for option, values in orderable.items()
            if all(re.match(r"\d[\d.]*\s*[a-zA-Z]", value) for value in values)
        ]
    return going[0] if going else ""


def _scale(values: Sequence[str]) -> dict[str, float] | None:
    """How much each value is; None where they have no order."""
    made = {}
    for value in values:
        number = _number(value)
        if number is None:
            return None
        made[value] = number
    return made


def _number(value: str) -> float | None:
    said = words(value)
    if match := re.search(r"(\d+(?:\.\d+)?)\s*k\b", value.lower()):
        return float(match[1]) * 540  # lines of a picture: 4K has about 2,160, and stands above 1080p
    for word in said:
        if match := re.fullmatch(r"[a-z]*?(\d+(?:\.\d+)?)[a-z]*", word):
            return float(match[1])
    ranks = [_RANKS[word] for word in said if word in _RANKS]
    return ranks[0] if ranks else None


# ---------------------------------------------------------------- which it is


def fits(options: Mapping[str, str], said: Said) -> bool:
    has = any(options.get(option) == said.value for option in said.options)
    return has != said.negated


def choose(
    product: Product, old: Mapping[str, str], old_price: Decimal, target: Target, *, old_id: str = ""
) -> list[Variant]:
    """The variants in stock that are what somebody wants, the best first; several where nothing tells them apart. Empty where
    there is none."""
    found = _chosen(product, old, old_price, target, old_id)
    for other in target.alternatives:
        if found:
            break
        found = _chosen(product, old, old_price, other, old_id)
    return found


def _chosen(product: Product, old: Mapping[str, str], old_price: Decimal, target: Target, old_id: str) -> list[Variant]:
    if target.variant:
        return [one for one in product.variants if one.id == target.variant and one.stock > 0]
    scales = {option: _scale(values) for option, values in _values([product]).items()}
    by_option: dict[tuple[str, ...], list[Said]] = {}
    for one in target.values:
        if not one.negated:
            by_option.setdefault(one.options, []).append(one)

    def may(variant: Variant) -> bool:
        if variant.stock <= 0 or (variant.id == old_id and bool(target)):
            return False
        if not all(any(fits(variant.options, one) for one in same) for same in by_option.values()):
            return False  # black or white: one of them
        if not all(fits(variant.options, one) for one in target.values if one.negated):
            return False
        if target.limit is not None and variant.price > target.limit:
            return False
        return all(_is_more(variant, old, old_price, one, scales) for one in target.extremes if not one.of_all)

    spoken = {option for one in target.values for option in one.options} | {one.option for one in target.extremes}
    spoken |= {option for one in target.wishes for option in one.options}
    found = [one for one in product.variants if may(one)]
    if target.rest == "same":
        same = [
            one
            for one in found
            if all(one.options.get(name) == value for name, value in old.items() if name not in spoken)
        ]
        found = (
            same if same or not any(one.of_all for one in target.extremes) else found
        )  # else the nearest, of which all is read back
    if not found:
        return []

    def rank(variant: Variant) -> tuple[float, ...]:
        of_options = [_much(variant, one, scales) for one in target.extremes if one.option]
        of_price = [_much(variant, one, scales) for one in target.extremes if not one.option]
        wished = [float(fits(variant.options, one)) for one in target.wishes]
        kept = sum(variant.options.get(name) == value for name, value in old.items() if name not in spoken)
        free = target.rest == "free" or any(one.of_all and not one.option for one in target.extremes)
        return (
            (*of_options, *wished, *of_price, float(kept)) if free else (*of_options, *wished, float(kept), *of_price)
        )

    best = max(map(rank, found))
    return [one for one in found if rank(one) == best]


def _is_more(
    variant: Variant,
    old: Mapping[str, str],
    old_price: Decimal,
    extreme: Extreme,
    scales: Mapping[str, dict[str, float] | None],
) -> bool:
    if not extreme.option:
        return (variant.price - old_price) * extreme.way > 0
    scale = scales.get(extreme.option) or {}
    now, then = scale.get(old.get(extreme.option, "")), scale.get(variant.options.get(extreme.option, ""))
    return now is not None and then is not None and (then - now) * extreme.way > 0


def _much(variant: Variant, extreme: Extreme, scales: Mapping[str, dict[str, float] | None]) -> float:
    """How far it goes the wanted way. Of more, the next step: one size larger is not the largest."""
    if not extreme.option:
        return float(variant.price) * extreme.way
    scale = scales.get(extreme.option) or {}
    much = scale.get(variant.options.get(extreme.option, ""), 0.0) * extreme.way
    return much if extreme.of_all else -much
