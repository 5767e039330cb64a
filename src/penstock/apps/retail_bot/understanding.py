"""What a customer wants, out of their words: each wish with the things, orders and new variants that it is about. It reads the
catalogue and the customer's own orders, and neither changes nor decides anything."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, NamedTuple

from .shop import Item, Order, Product
from .variants import fits, options_said, read_target, words

__all__ = [
    "Kind",
    "Mention",
    "Place",
    "Wish",
    "clauses",
    "mentions",
    "order_numbers",
    "spoken_words",
    "understand",
    "unswapped",
]

Kind = Literal[
    "cancel", "return", "change", "address", "payment", "move", "status", "price", "options", "total", "person"
]

_MODAL: Final = frozenset({"can", "will", "may", "must"})
_BEFORE_THING: Final = frozenset({"the", "a", "my", "your", "this", "that", "1", "2", "3"})
MOST_CATALOGUES: Final = 8  # whose names are remembered
_VERBS: Final[dict[str, Kind]] = {
    "cancel": "cancel", "cancelling": "cancel", "canceling": "cancel", "cancelled": "cancel", "cancellation": "cancel",
    "remove": "cancel", "removing": "cancel", "delete": "cancel", "drop": "cancel",
    "return": "return", "returning": "return", "returned": "return", "refund": "return", "refunded": "return",
    "refunding": "return",
    "exchange": "change", "exchanging": "change", "exchanged": "change", "swap": "change", "swapping": "change",
    "replace": "change", "replacing": "change", "replaced": "change", "replacement": "change", "trade": "change",
    "switch": "change", "switching": "change", "change": "change", "changing": "change", "changed": "change",
    "modify": "change", "modifying": "change", "modified": "change", "modification": "change", "update": "change",
    "updating": "change", "updated": "change", "upgrade": "change", "upgrading": "change", "downgrade": "change",
    "adjust": "change", "edit": "change", "alter": "change", "correct": "change", "convert": "change", "fix": "change",
}  # fmt: skip
_NOUNS: Final = frozenset(
    {
        "exchange",
        "return",
        "refund",
        "change",
        "cancellation",
        "replacement",
        "modification",
        "update",
        "upgrade",
        "trade",
        "swap",
        "switch",
    }
)
_BEFORE_NOUN: Final = frozenset(
    {"the", "a", "an", "any", "this", "that", "my", "total", "for", "of", "order", "full", "no"}
)
_ASKED_FOR: Final = frozenset(
    {
        "get",
        "request",
        "want",
        "need",
        "do",
        "make",
        "process",
        "start",
        "initiate",
        "have",
        "like",
        "receive",
        "issue",
        "arrange",
        "me",
        "seek",
    }
)
_DENIALS: Final = frozenset({"not", "never", "no", "without", "avoid", "nor"})
_GENERIC: Final = frozenset(
    {"set", "kit", "pack", "pair", "cleaner", "machine", "maker", "system", "device", "item", "bundle", "product"}
)
_EVERYDAY: Final = {
    "bike": "bicycle", "cycle": "bicycle", "phone": "smartphone", "cellphone": "smartphone", "mobile": "smartphone",
    "computer": "laptop", "trainer": "sneaker", "tee": "shirt", "tshirt": "shirt", "couch": "sofa", "tv": "television",
    "fridge": "refrigerator", "earphone": "earbud", "earpiece": "earbud", "suitcase": "luggage", "cam": "camera",
    "shade": "sunglasses", "timepiece": "watch", "ereader": "reader", "rucksack": "backpack", "hoover": "vacuum",
}  # fmt: skip
_EVERY: Final = frozenset({"all", "both", "every", "each", "everything"})
_COUNTS: Final = frozenset({"2", "3", "4", "5", "6"})
_STOP: Final = frozenset(
    {"the", "a", "an", "my", "this", "that", "these", "those", "and", "or", "of", "in", "on", "i", "it"}
)
_PEOPLE = re.compile(
    r"\b(?:speak|talk|chat|connect|transfer|put|hand|get)\b[\w ]{0,25}\b(?:human|person|people|"
    r"someone|somebody|agent|representative|"
    r"supervisor|manager|colleague|staff|operator)\b|^(?:human|agent|representative|operator|"
    r"person)\b|real person|human (?:agent|being)"
)


class Place(NamedTuple):
    """One bought thing."""

    order: Order
    item: Item
    at: int  # in the order


@dataclass(frozen=True, slots=True)
class Mention:
    """Products that some words name, and what is said around them."""

    products: frozenset[str]
    at: int
    to: int
    around: tuple[str, ...] = ()  # words that describe it
    every: bool = False
    count: int = 0  # how many, where a number stands before it
    head: str = ""
    is_order: bool = False  # `the laptop order`


@dataclass(slots=True)
class Wish:
    """One thing that a customer wants done or told."""

    kind: Kind
    text: str  # the words it came from
    mentions: list[Mention] = field(default_factory=list)
    left_out: list[Mention] = field(default_factory=list)  # everything except these
    everything: bool = False
    numbers: tuple[str, ...] = ()
    hints: set[str] = field(default_factory=set)
    target: str = ""  # words on the new variant
    later: list[str] = field(default_factory=list)  # words on what else would do, where that isn't there
    like: str = ""  # words on another bought thing that it is to be like
    methods: list[str] = field(default_factory=list)  # kinds of payment, in the order of liking
    reason: str = ""
    otherwise: list[Wish] = field(default_factory=list)  # where it cannot be done
    only_parts: bool = False  # never the whole order instead
    verb: str = ""
    whole: bool = False  # the order, and not things of it
    conditional: str = ""
    only: frozenset[tuple[str, int]] | None = None  # places that were chosen: number of the order, and which item of it


# ---------------------------------------------------------------- parts of a message


_START = "|".join(
    sorted(
        {*_VERBS}
        | {
            "get",
            "keep",
            "use",
            "know",
            "proceed",
            "make",
            "send",
            "track",
            "check",
            "ask",
            "pay",
            "give",
            "confirm",
            "just",
            "order",
        },
        key=len,
        reverse=True,
    )
)
_WANT = (
    r"(?:i|we)(?:'d|'ll| would| will| also| really| actually| just| only| then| do| still)* (?:want|"
    r"need|wish|like|prefer|love|rather|plan|intend|hope|wonder|have|am|are|can|could|do|don't|"
    r"know)\b"
)
_JOINT = re.compile(
    rf"(?:\s*[,;]\s*|\s+)(?:and|but|then|also|plus|as well as|while)\b[\s,]*(?:and|also|then|please|"
    rf"lastly|finally|secondly|instead|to|that|just|perhaps|maybe|potentially)*\s*(?=(?:{_WANT})|"
    rf"(?:{_START})\b|could you|can you|please|if\b|for the\b|whether\b|my\b[\w ]{{1,20}}\b(?:should|"
    rf"needs?|has|have) to)"
    rf"|\s*,\s*(?=(?:{_WANT})|(?:please |could you |can you )?(?:{_START})\b|if\b|otherwise\b|but\b|so\b|plus\b)",
    re.I,
)


def clauses(text: str) -> list[str]:
    """A message in parts that say one thing each. What begins with `if` keeps what follows from it."""
    text = re.sub(r"(^|[.!?]\s+)no[,.!]\s+", r"\1", text, flags=re.I)
    text = re.sub(r"\(([^()]*)\)", _aside, text)
    text = re.sub(r"\b(St|Ave|Rd|Dr|Mr|Mrs|Ms|No|Apt|Blvd|vs|etc|e\.g|i\.e)\.", r"\1", text)
    parts: list[str] = []
    for sentence in re.split(r"(?<=[.!?;])\s+|\n+|\.{2,}|\s+-\s+|:\s+(?=[A-Z])|—|\s+–\s+", text):
        sentence = sentence.strip(" .;!,")
        if sentence:
            parts += _split(sentence)
    return parts


def _aside(match: re.Match[str]) -> str:
    inner = match[1].strip()
    if re.search(r"\bif\b|\bonly\b|\bbut\b", inner, re.I):
        return f". {inner}. "
    return f" {inner} "


def _split(sentence: str) -> list[str]:
    if re.match(
        r"\s*(?:and |but |also |however,? |unless |even )*(if|in case|should|unless)\b(.*)", sentence, re.I | re.S
    ):
        head, tail = _condition_parts(sentence)
        if tail:
            first, *others = [one.strip(" ,.;") for one in _JOINT.split(tail) if one.strip(" ,.;")]
            return [
                f"{head}, {first}",
                *(one if re.match(r"also|additionally", one, re.I) else f"{head}, {one}" for one in others),
            ]
        return [sentence]
    found = [one.strip(" ,.;") for one in _JOINT.split(sentence)]
    joined: list[str] = []
    for part in filter(None, found):
        if joined and re.match(r"(?:if|in case)\b", joined[-1], re.I) and "," not in joined[-1]:
            joined[-1] = f"{joined[-1]}, {part}"
        else:
            joined.append(part)
    return joined


def _condition_parts(sentence: str) -> tuple[str, str]:
    """`if that, this` -> (`if that`, `this`); the second is empty where nothing follows."""
    if match := re.search(
        rf",\s*(?=then\b|(?:{_WANT})|(?:please |could you |can you |just |simply )*(?:{_START})\b|no\b|"
        rf"nothing\b|it's\b|that's\b|forget|never|leave|do\b|don't\b|mine\b|choose\b|go\b|change\b|my\b)|"
        rf"\s+then\s+",
        sentence,
        re.I,
    ):
        return sentence[: match.start()].strip(), sentence[match.end() :].strip()
    head, comma, tail = sentence.partition(",")
    return (head.strip(), tail.strip()) if comma else (sentence, "")


# ---------------------------------------------------------------- products and orders that are named


class _Names(NamedTuple):
    """How a catalogue calls its things. names: by product. tokens: how many names have a word. options: words of options."""

    names: Mapping[str, list[str]]
    tokens: Mapping[str, int]
    options: frozenset[str]

    @classmethod
    def of(cls, products: Sequence[Product]) -> _Names:
        names = {product.id: words(product.name) for product in products}
        tokens = Counter(word for name in names.values() for word in set(name))
        texts = {
            text
            for product in products
            for one in product.variants[:40]
            for pair in one.options.items()
            for text in pair
        }
        return cls(names, tokens, frozenset(word for text in texts for word in words(text)))


class _Catalogues:
    """The names of the catalogues that were read last. Values never change, so the same products have the same names."""

    def __init__(self) -> None:
        # by the identities of products, which are held so that no other product gets one of them
        self._known: dict[tuple[int, ...], tuple[tuple[Product, ...], _Names]] = {}

    def names(self, products: Sequence[Product]) -> _Names:
        key = tuple(map(id, products))
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= MOST_CATALOGUES:
                self._known = {}
            known = self._known[key] = tuple(products), _Names.of(products)
        return known[1]


_CATALOGUES: Final = _Catalogues()


def mentions(said: Sequence[str], products: Iterable[Product]) -> list[Mention]:
    """The products that these words name, by all or part of their names."""
    products = list(products)
    names, tokens, options = _CATALOGUES.names(products)
    strong: list[Mention] = []
    weak: list[Mention] = []
    for at, spoken in enumerate(said):
        word = _EVERYDAY.get(spoken, spoken)
        if word in _MODAL and not (at and (said[at - 1] in _BEFORE_THING or said[at - 1] in tokens)):
            continue  # "what can I do", beside a shop's watering can
        if word in _STOP or (len(word) < 3 and not any(word in name for name in names.values())):
            continue
        if any(one.at <= at < one.to for one in strong):
            continue
        full = [
            (number, len(name))
            for number, name in names.items()
            if list(said[at : at + len(name)]) == name and (len(name) > 1 or len(word) > 2)
        ]
        if full:
            length = max(size for _, size in full)
            strong.append(_mention(said, at, at + length, {number for number, size in full if size == length}))
            continue
        joined = [number for number, name in names.items() if len(name) > 1 and "".join(name) == word]
        heads = [
            number
            for number, name in names.items()
            if name[-1] == word and (word not in _GENERIC or tokens[word] == 1 or len(said) < 3)
        ]
        tails = [
            number for number, name in names.items() if len(word) > 4 and name[-1].endswith(word) and name[-1] != word
        ]
        if spoken in _EVERYDAY and not (heads or joined or tails):
            heads = [number for number, name in names.items() if word in name]
        if heads or joined or tails:
            strong.append(_mention(said, at, at + 1, _narrowed({*joined, *heads, *tails}, names, said, at, word)))
            continue
        firsts = [number for number, name in names.items() if word in name[:-1] and name[-1] in _GENERIC]
        if firsts and word not in options:
            strong.append(_mention(said, at, at + 1, set(firsts)))
        elif tokens.get(word) and tokens[word] <= 2 and word not in options and len(word) > 3:
            weak.append(_mention(said, at, at + 1, {number for number, name in names.items() if word in name}))
    near = {at for one in strong for at in range(one.at - 3, one.to + 1)}
    found = strong + [one for one in weak if one.at not in near and _is_noun(said, one.at)]
    return _merged(sorted(found, key=lambda one: one.at), said)


def _is_noun(said: Sequence[str], at: int) -> bool:
    """Whether a word that is the first part of a name stands for the thing: `the vacuum`, and not `smart`."""
    return bool({"the", "my", "your", "a", "this", "that", "intermediate", "of"} & set(said[max(0, at - 5) : at]))


def _narrowed(ids: set[str], names: Mapping[str, list[str]], said: Sequence[str], at: int, word: str) -> set[str]:
    """Of products with the same last word, those whose other words stand just before it."""
    before = said[max(0, at - 3) : at]
    by_others = {number: sum(one in before for one in names[number] if one != word) for number in ids}
    most = max(by_others.values())
    return {number for number, count in by_others.items() if count == most} if most else ids


def _mention(said: Sequence[str], at: int, to: int, ids: set[str]) -> Mention:
    before = list(said[max(0, at - 4) : at])
    every = bool(set(before) & _EVERY) and "not" not in before
    count = next((int(one) for one in reversed(before) if one in _COUNTS), 0)
    is_order = list(said[to : to + 1]) == ["order"]
    return Mention(frozenset(ids), at, to, (), every, count, said[at], is_order)


def _merged(found: list[Mention], said: Sequence[str]) -> list[Mention]:
    """Each with the words that describe it: those before it, and `with …`, `that is …` after it."""
    made = []
    for place, one in enumerate(found):
        start = max(found[place - 1].to if place else 0, one.at - 6)
        before = list(said[start : one.at])
        for stop in ("and", "to", "for", "the", "my", "your"):
            if stop in before:
                before = before[len(before) - before[::-1].index(stop) :]
        end = found[place + 1].at if place + 1 < len(found) else len(said)
        after = list(said[one.to : end])
        if after[:1] and after[0] in ("that", "which", "with", "of", "in"):
            for stop in ("to", "for", "into", "and", "because", "since", "so"):
                if stop in after:
                    after = after[: after.index(stop)]
        else:
            after = []
        made.append(replace(one, around=(*before, *said[one.at : one.to], *after)))
    return made


def order_numbers(text: str, orders: Iterable[Order]) -> tuple[str, ...]:
    """Numbers of the customer's orders that stand in a text, with or without what comes before their digits."""
    digits = set(re.findall(r"\d{3,}", text))
    return tuple(order.number for order in orders if re.sub(r"\D", "", order.number) in digits)


_HINTS: Final = (
    ("pending", r"\bpending\b|not (?:been )?(?:shipped|sent|arrive|deliver)\w* yet"),
    ("delivered", r"\b(?:received|receive|delivered|arrived|got)\b(?! (?:an|any|the) email)"),
    (
        "recent",
        r"\b(?:just|recently) (?:bought|ordered|placed|purchased|made)|most recent|latest|\blast order|newest|recently placed",
    ),
    ("older", r"\bolder (?:order|one)|oldest|earlier order|first order"),
    ("other", r"\b(?:other|another|different) order"),
    ("same", r"\bsame order\b|that order\b|from the order\b"),
    ("lost", r"\b(?:lost|lose|stolen)\b"),
)


def _hints(line: str) -> set[str]:
    return {name for name, pattern in _HINTS if re.search(pattern, line)}


# ---------------------------------------------------------------- methods, reasons, addresses


_METHODS: Final = (
    ("paypal", r"\bpay ?pal\b"),
    ("gift_card", r"\bgift ?cards?\b|\bgc\b|\bvouchers?\b"),
    (
        "original",
        r"\boriginal(?:ly)?\b(?=[\w ]{0,30}\b(?:payment|method|pay|card|form|used|paid)|$)|\bsame "
        r"(?:payment|method|card|way)|i paid with|used to pay|\boriginal payment|^original",
    ),
    ("other", r"\b(?:other|another|different) (?:card|payment|method|account|credit)"),
    ("credit_card", r"\b(?:credit|debit) ?cards?\b|\bvisa\b|\bmastercard\b|\bmaster card\b|\bamex\b|\bcard ending"),
)


def methods_said(text: str) -> list[str]:
    """Kinds of payment that a text names, in the order of liking. Four digits name a card."""
    line = text.lower()
    found: list[tuple[int, str]] = []
    for name, pattern in _METHODS:
        for match in re.finditer(pattern, line):
            denied = re.search(
                r"(?:not|n't|no longer|instead of|other than|rather than)\s+(?:\w+\s+){0,4}$", line[: match.start()]
            )
            if not denied and not any(
                name == "credit_card" and other == "original" and abs(at - match.start()) < 16 for at, other in found
            ):
                found.append((match.start(), name))
    if digits := re.search(r"(?:ending|ends|last four|digits)\D{0,20}(\d{4})\b", line):
        return [digits[1]]
    liked = [name for _, name in sorted(found)]
    return list(dict.fromkeys(liked))


_MISTAKE = re.compile(
    r"\b(?:by mistake|mistaken\w*|accident\w*|by error|in error|wrong(?:ly)? order\w*|ordered (?:the )?wrong|did ?n[o']t mean to)\b"
)
_NOT_NEEDED = re.compile(
    r"\b(?:no longer|not|n't|do not) (?:really |actually )?(?:need|want|require)|\bno longer\b|"
    r"changed? my mind|\bunneeded|\bunnecessary\b|not needed|"
    r"do not need|found (?:it )?(?:cheaper|better)|lost (?:my|the|your)\b|no need"
)


def reason_said(text: str) -> str:
    """One of the two reasons for which an order can be cancelled; "" where neither is named."""
    line = re.sub(r"\b(do|does|did)nt\b", r"\1 not", text.lower().replace("’", "'").replace("n't", " not"))
    if _MISTAKE.search(line):
        return "ordered by mistake"
    return "no longer needed" if _NOT_NEEDED.search(line) else ""


# ---------------------------------------------------------------- wishes


_NOT_POSSIBLE = re.compile(
    r"\bnot possible|\bimpossible|\bcan ?not\b|can't|\bunable|\bnot able|\bno longer available|\bnot "
    r"available|unavailable|there (?:is|are) no\b|^if not\b|"
    r"not (?:be )?(?:allow|permit)|does not (?:allow|exist|offer)|do not (?:have|allow)|\bnot exist|"
    r"require\w* cancel|no (?:exact|such)|out of stock|refuse|not have|is not (?:an option|in stock)|"
    r"denie"
)
_NOTHING = re.compile(
    r"\b(?:do|take) nothing|\bno (?:action|exchange|change|return|cancellation)|not (?:to )?do "
    r"(?:anything|it|that|so)|forget|never ?mind|do not (?:cancel|change|do|proceed|want)|leave "
    r"(?:it|them|the)|keep (?:it|them|the|everything|all)|that (?:is )?(?:fine|ok|okay)"
)
_ITEMS_WORD = re.compile(
    r"\b(?:everything|all (?:of )?(?:the |my |your |these |those )?(?:item|thing|stuff|product)s?|all of (?:it|them)|all item)\b"
)
_ABOUT_OWN = re.compile(
    r"\b(?:default|user|profile|account|home|own|primary|personal|registered)\b[\w ]{0,12}\baddress|"
    r"\baddress\b[\w ]{0,15}\b(?:profile|account|on file)"
)
_ADDRESS = re.compile(
    r"\baddress(?:es)?\b|\b(?:suite|apartment|apt)\b \d|\b(?:deliver|ship|sent|send)\w*(?! back)(?: \w+){0,4} to\b"
)
_PAYMENT = re.compile(
    r"\bpayment method|\bpayment\b|\bpay (?:for )?(?:it |the order |that |this )?with\b|\bcharge\w* (?:to|on)\b"
)


@dataclass(slots=True)
class _State:
    wishes: list[Wish] = field(default_factory=list)
    topic: list[Mention] = field(default_factory=list)
    numbers: tuple[str, ...] = ()
    text_of_topic: str = ""
    only_parts: bool = False


def understand(
    text: str, products: Sequence[Product], orders: Sequence[Order], numbers: tuple[str, ...] = ()
) -> list[Wish]:
    """What a message asks for, in its order. orders: the customer's own; without, any product may be meant. numbers: of orders
    that were spoken of before."""
    bought = {item.product for order in orders for item in order.items}
    known = [product for product in products if product.id in bought] or list(products)
    state = _State(numbers=numbers)
    for clause in clauses(text):
        _read_clause(state, clause, products, known, orders)
    for wish in _all(state.wishes):
        wish.only_parts |= state.only_parts
    _share(state.wishes, text)
    return _settled(state.wishes)


def _settled(wishes: list[Wish]) -> list[Wish]:
    """Without what a later wish replaces: an address that is told after it was asked for, an exchange of what was to go back."""
    firm = [wish for wish in wishes if wish.kind in ("address", "move") and not wish.conditional]
    kept: list[Wish] = []
    for place, wish in enumerate(wishes):
        if wish.conditional == "weak" and firm:
            firm[-1].text = f"{firm[-1].text}. {wish.text}" if wish.kind == "address" else firm[-1].text
            continue
        if wish.kind == "return" and not wish.everything:
            later = {
                number
                for other in wishes[place + 1 :]
                if other.kind == "change" and other.verb.startswith("exchang")
                for one in other.mentions
                for number in one.products
            }
            left = [one for one in wish.mentions if not one.products <= later]
            if wish.mentions and not left:
                continue
            wish.mentions = left
        kept.append(wish)
    both = next((wish for wish in kept if wish.kind == "move" and "both" in wish.hints), None)
    if both is not None:
        kept.insert(kept.index(both), Wish("address", both.text, everything=True))
    return kept


def _all(wishes: Iterable[Wish]) -> list[Wish]:
    return [one for wish in wishes for one in (wish, *_all(wish.otherwise))]


def _share(wishes: Sequence[Wish], text: str) -> None:
    """A reason and a way to pay that were said once are meant for all that need one."""
    reasons = {wish.reason for wish in _all(wishes) if wish.reason}
    reason = reason_said(text)
    said = [wish.methods for wish in _all(wishes) if wish.methods]
    for wish in _all(wishes):
        if not wish.reason and (len(reasons) == 1 or (not reasons and reason)):
            wish.reason = next(iter(reasons), reason)
        if not wish.methods and len({tuple(one) for one in said}) == 1 and wish.kind in ("return", "change"):
            wish.methods = list(said[0])


def _verb_of(said: Sequence[str]) -> tuple[str, int]:
    """The word that says what is to be done, and where; ("", -1) for none."""
    for at, word in enumerate(said):
        if word in ("send", "give", "bring", "ship", "mail") and "back" in said[at + 1 : at + 9]:
            return "return", at
        if word not in _VERBS:
            continue
        before = said[max(0, at - 4) : at]
        if word in _NOUNS and before and before[-1] in _BEFORE_NOUN:
            asked = _ASKED_FOR - {"want", "need", "like", "me"} if before[-1] == "the" else _ASKED_FOR
            if not set(before) & asked:
                continue
        if word == "change" and before and before[-1] in ("several", "some", "few", "couple", "multiple", "make"):
            continue
        if word in (
            "exchanged",
            "modified",
            "changed",
            "replaced",
            "updated",
            "returned",
            "cancelled",
            "refunded",
        ) and not set(said[max(0, at - 8) : at]) & {
            "get",
            "want",
            "have",
            "like",
            "need",
            "wish",
            "could",
            "can",
            "please",
        }:
            continue
        return word, at
    return "", -1


def _read_clause(
    state: _State, clause: str, products: Sequence[Product], known: Sequence[Product], orders: Sequence[Order]
) -> None:
    condition, then = "", clause
    if re.match(r"(?:if|in case|should|unless)\b", clause, re.I):
        condition, then = _condition_parts(clause)
        if not then:
            condition, then = "", clause
    elif match := re.match(r"(?:otherwise|or else|if not)\b[,\s]*(.*)", clause, re.I | re.S):
        condition, then = "if not", match[1]
    elif match := re.search(r"\s+(if (?:that|it|this)?(?: is|'s)? ?(?:not|im)possible)$", clause, re.I):
        condition, then = "", clause[: match.start()]
    _read_part(state, then, condition, products, known, orders)


def _read_part(
    state: _State,
    clause: str,
    condition: str,
    products: Sequence[Product],
    known: Sequence[Product],
    orders: Sequence[Order],
) -> None:
    said = words(clause)
    line = " ".join(said)
    if not said:
        return
    numbers = order_numbers(clause, orders)
    verb, at = _verb_of(said)
    because = next((spot for spot in range(at + 1, len(said)) if said[spot] in ("because", "since", "due")), len(said))
    found = mentions(said[:because] if at >= 0 else said, known)
    fallback = bool(condition) and bool(_NOT_POSSIBLE.search(" ".join(words(condition))))
    denied = verb and bool(set(said[max(0, at - 5) : at]) & _DENIALS) and "only" not in said[max(0, at - 3) : at]
    if re.search(r"\b(?:only|just)\b[\w ]{0,20}\bcancel\w* (?:that|this|the|it)\b", line) and not re.search(
        r"order", line
    ):
        state.only_parts = True
    if denied and _VERBS[verb] == "cancel":
        if re.search(r"order", line):
            state.only_parts = True
        return
    if condition and not fallback and _price_says_no(state, condition, known, orders):
        return
    if fallback and _NOTHING.search(line) and not (verb and not denied and _VERBS[verb] != "cancel"):
        _drop(state, words(condition), known)
        return
    if denied:
        return
    if condition and re.search(r"multiple|several|more than 1|both|many", " ".join(words(condition))):
        _refine(state, f"{condition}, {clause}", found, known, numbers)
        return
    if _PEOPLE.search(clause.lower()):
        state.wishes.append(Wish("person", clause))
        return
    wish = _address_or_payment(clause, line, said, verb, at, found, numbers)
    if wish is None and (asked := _question(clause, line, verb, at)) is not None:
        wish = Wish(asked, clause, mentions(said, products), numbers=numbers)
    if wish is None and verb:
        _act(state, clause, said, verb, at, found, numbers, condition, fallback, known)
        return
    if wish is None:
        if fallback and (base := _last(state, ("change", "return", "cancel", "payment"))):
            _fall_back(state, base, clause, said, found, known)
            return
        if not _refine(state, clause, found, known, numbers) and (found or numbers):
            state.topic, state.numbers, state.text_of_topic = found, numbers, line
        elif not found and re.search(r"\b(?:have|had|place|placed|made|another|my)\b[\w ]{0,30}\border\b", line):
            state.topic, state.numbers, state.text_of_topic = [], (), line
        elif found:
            state.topic = found
        return
    wish.hints |= _hints(line)
    if fallback and (base := _last(state, ("change", "return", "cancel", "payment", "address"))):
        if not wish.numbers:
            wish.numbers = base.numbers
        if not wish.mentions:
            wish.mentions = list(base.mentions)
        _deepest(base).otherwise.append(wish)
    else:
        if not wish.numbers and not wish.mentions:
            wish.numbers = state.numbers if wish.kind != "move" else ()
            wish.mentions = list(state.topic) if wish.kind in ("status", "address") else []
        state.wishes.append(wish)
    if numbers:
        state.numbers = numbers
    if wish.mentions:
        state.topic = list(wish.mentions)


def _price_says_no(state: _State, condition: str, known: Sequence[Product], orders: Sequence[Order]) -> bool:
    """Whether a condition on the price of a bought thing doesn't hold: `if it was more than 300, ...`."""
    match = re.search(
        r"\b(?:price|cost|it|paid)\b.{0,40}?\b(more|greater|higher|over|above|less|lower|under|below)\b\D{0,12}(\d+(?:\.\d+)?)",
        condition.lower(),
    )
    ids = {number for one in state.topic for number in one.products}
    prices = [item.price for order in orders for item in order.items if item.product in ids]
    if match is None or not prices:
        return False
    over = match[1] in ("more", "greater", "higher", "over", "above")
    return not any((price > float(match[2])) == over for price in prices)


def _last(state: _State, kinds: Sequence[Kind]) -> Wish | None:
    return next((wish for wish in reversed(state.wishes) if wish.kind in kinds), None)


def _deepest(wish: Wish) -> Wish:
    """What would be done last, after all that can't be: if not this, that; if not that either, ..."""
    while wish.otherwise:
        wish = wish.otherwise[-1]
    return wish


def _drop(state: _State, condition: Sequence[str], known: Sequence[Product]) -> None:
    """If it isn't possible, nothing: whatever would be done in its place is not wanted."""
    if base := _last(state, ("cancel", "return", "change")):
        _deepest(_meant(state, condition, known) or base).only_parts = True


def _address_or_payment(
    clause: str, line: str, said: Sequence[str], verb: str, at: int, found: list[Mention], numbers: tuple[str, ...]
) -> Wish | None:
    changes = verb and _VERBS[verb] == "change"
    about_address = _ADDRESS.search(line) and not re.search(
        r"e ?mail address|which address|what address|know[\w ]*address", line
    )
    if about_address and (
        changes or re.search(r"\b(?:deliver|ship|send|sent|be)\w*\b[\w ]{0,20}\bto\b|wrong|new address|correct", line)
    ):
        own = _ABOUT_OWN.search(line)
        order_too = re.search(r"\border", line) or found or numbers
        to_default = re.search(r"\bto (?:my |your |the )?(?:default|home|profile|account|user)", line) or re.search(
            r"\bsame as\b", line
        )
        kind: Kind = (
            "move"
            if own
            and not to_default
            and not (order_too and not re.search(r"(?:default|user|profile|account)[\w ]{0,10}address", line))
            else "address"
        )
        wish = Wish(
            kind,
            clause,
            found,
            numbers=numbers,
            hints={"both"} if own and order_too and not to_default and "all" in said else set(),
        )
        wish.everything = bool({"all", "every"} & set(said)) and kind == "address"
        wish.conditional = "" if changes else "weak"
        return wish
    other_way = re.search(r"\bpay\b[\w# -]{0,60}\b(?:with|by|using)\b", line) and re.search(
        r"\binstead\b|\brather\b|\bpay (?:for )?(?:my |the )?(?:order )?(?:[a-z]{1,3} )?\d{3,} (?:with|by|using)\b",
        line,
    )
    if (
        ((changes and _PAYMENT.search(line)) or other_way)
        and not re.search(r"difference|refund", line)
        and methods_said(clause)
    ):
        return Wish("payment", clause, found, numbers=numbers, methods=methods_said(clause))
    return None


def _question(clause: str, line: str, verb: str, at: int) -> Kind | None:
    """Whether it asks for something to be told, and what."""
    asks = re.search(
        r"\b(?:know|what|when|where|which|how (?:much|many|long|far|big)|tell me|check|inquire|whether|"
        r"status|track\w*|confirm|wonder|ask|find out|see)\b|\?\s*$",
        clause.lower(),
    )
    if not asks:
        return None
    if (
        verb
        and re.search(
            rf"\b(?:if|whether|can|could|help|like|want|able|possible|please|will)\b[\w ]{{0,40}}\b{verb}", line
        )
        and (
            not re.search(r"\b(?:total|amount|price|much)\b", line)
            or re.search(rf"\b(?:can|could|help|please)\b[\w ]{{0,25}}\b{verb}", line)
        )
    ):
        return None
    if re.search(r"\btrack|status|transit|arriv|shipped|deliver\w*|which address|what address|where", line):
        return "status"
    if re.search(r"how many|option|availab|variant|kinds?\b|in stock", line):
        return "options"
    if re.search(r"total|refund|how much|amount|pay\b|paid|save", line):
        return "total"
    if re.search(r"price|cost|expensive|batter|storage|much", line):
        return "price"
    return (
        None
        if verb
        else "status"
        if re.search(r"\border", line)
        else "price"
        if asks and re.search(r"\?", clause)
        else None
    )


def _act(
    state: _State,
    clause: str,
    said: Sequence[str],
    verb: str,
    at: int,
    found: list[Mention],
    numbers: tuple[str, ...],
    condition: str,
    fallback: bool,
    known: Sequence[Product],
) -> None:
    line = " ".join(said)
    kind = _VERBS[verb]
    if verb in ("cancel", "refund") and re.search(r"\b(?:or|and) (?:return|exchange)", line):
        kind = "return" if "return" in said else kind
    if kind == "return" and re.search(
        r"\b(?:get|receive|reorder|have)\b[\w ]{0,12}\b(?:same|new 1|another|different|new one|one)\b", line
    ):
        kind = "change"
    if (
        kind == "return"
        and re.search(r"refund(?:ed)? (?:on|to|onto|via|by|into|through|in)\b", line)
        and not found
        and methods_said(clause)
    ):
        _refine(state, clause, found, known, numbers)
        return
    if verb in ("change", "update", "adjust", "fix", "correct") and not found and re.search(r"\bmind\b", line):
        return
    everything = bool(_ITEMS_WORD.search(line)) and not re.search(r"all (?:of )?the item i want", line)
    left_out: list[Mention] = []
    if out := re.search(r"\b(?:except|but not|other than|apart from|excluding|but keep|keep)\b", line):
        cut = len(line[: out.start()].split())
        left_out = [one for one in found if one.at >= cut]
        found = [one for one in found if one.at < cut]
    wish_of = _companions(found, said)
    main = [one for one in found if one not in wish_of]
    whole = (
        not [one for one in main if not one.is_order]
        and bool(re.search(r"\border\b|\bit\b", line))
        and kind == "cancel"
    )
    whole = (
        whole
        and not re.search(r"\bfrom (?:my|the|that) [\w ]{0,12}order", line)
        and (bool(re.search(r"\border\b", line)) or not state.topic)
    ) or (
        kind == "cancel"
        and bool(re.search(r"(?:whole|entire|full) order|\b(?:the|that|this|my)\b[\w ]{0,25}\border\b", line))
        and not [one for one in main if not one.is_order]
        and not re.search(r"\bfrom (?:my|the|that) [\w ]{0,12}order", line)
    )
    base = _last(state, ("cancel", "return", "change"))
    if not main and not numbers and not everything and base is not None and fallback:
        main, numbers = list(base.mentions), base.numbers
    elif (
        not main
        and not numbers
        and not everything
        and not re.search(r"\border item|\bitems? (?:in|of|from) my\b", line)
    ):
        main, numbers = _again(state.topic, said, at), state.numbers
        if not main and state.text_of_topic and (whole or re.search(r"\b(?:it|that|them)\b", line)):
            clause = f"{state.text_of_topic}. {clause}"
            whole = kind == "cancel"
    elif main and not numbers and re.search(r"\bsame order\b|\bthat order\b", line):
        numbers = state.numbers
    elif (
        main
        and kind == "change"
        and re.search(r"\b(?:it|them|that|this|1|one)\b", " ".join(said[at + 1 : at + 3]))
        and (mine := [one for one in state.topic if one.products & main[0].products])
    ):
        main = _again(mine, said, at)
    made: list[Wish] = []
    head = " ".join(said[: _mark(said, at + 1, len(said)) or len(said)]) if kind == "change" else line
    if kind == "change":
        made = _changes(clause, said, at, main, known)
        for wish in made:
            wish.everything = everything and not wish.mentions
    else:
        made = [Wish(kind, clause, main)]
        made[0].everything = everything and not [one for one in main if not one.is_order]
    for wish in made:
        wish.numbers, wish.left_out, wish.verb, wish.whole = numbers, left_out, verb, whole
        wish.hints |= (
            _hints(head)
            | (_hints(state.text_of_topic) & {"delivered", "pending"} if not found else set())
            | (_hints(state.text_of_topic) & {"lost"})
        )
        wish.methods = methods_said(clause)
        wish.reason = reason_said(clause)
        wish.only_parts = bool(re.search(r"only", line)) and kind == "cancel" and not whole
        wish.conditional = condition if condition and not fallback else ""
        if wish_of:
            wish.hints.add("with " + " ".join(sorted(number for one in wish_of for number in one.products)))
    if left_out and kind == "cancel" and not everything:
        for wish in made:
            wish.hints.add("partly")
    if fallback and base is not None:
        base = _meant(state, words(condition), known) or base
        on = [product for product in known if any(product.id in one.products for one in base.mentions)]
        if (
            base.kind == "change"
            and re.search(r"\b(?:no|not)\b", condition.lower())
            and any(options_said(product, words(condition)) for product in on)
        ):
            base.target = (
                f"{base.target} , {' '.join(word for word in words(condition) if word not in ('no', 'not', 'if'))}"
            )
        only_others = [
            one
            for one in made
            if one.mentions
            and any(
                one.mentions[0].products & other.mentions[0].products
                for other in state.wishes
                if other.mentions and other is not base
            )
        ]
        if only_others and re.search(r"\bonly\b|\bjust\b", line):
            made = []
        _deepest(base).otherwise += made
    else:
        state.wishes += made
    if main:
        state.topic, state.text_of_topic = main, line
    if numbers:
        state.numbers = numbers


def _again(topic: Sequence[Mention], said: Sequence[str], at: int) -> list[Mention]:
    """Things of a clause before, that this one calls `it`, `them` or `the larger one`."""
    more = tuple(said[at + 1 :])
    if mark := _mark(said, at + 1, len(said)):
        more = tuple(said[at + 1 : mark])
    return [replace(one, at=at, to=at + 1, around=(*one.around, *more)) for one in topic]


def _meant(state: _State, condition: Sequence[str], known: Sequence[Product]) -> Wish | None:
    """The wish that a condition is about, where it names a product."""
    named = {number for one in mentions(condition, known) for number in one.products}
    if not named:
        return None
    return next((wish for wish in reversed(state.wishes) if any(one.products & named for one in wish.mentions)), None)


def _companions(found: Sequence[Mention], said: Sequence[str]) -> list[Mention]:
    """Things that only say which order is meant: `the bag that came with the lamp`."""
    made = []
    for one in found[1:]:
        before = " ".join(said[max(0, one.at - 7) : one.at])
        if re.search(
            r"(?:received|ordered|bought|came|arrived|order|delivered|along|together)(?: it| them)? with (?:the|my|your|a)\b",
            before,
        ):
            made.append(one)
    return made


def _changes(
    clause: str, said: Sequence[str], at: int, found: Sequence[Mention], known: Sequence[Product]
) -> list[Wish]:
    """One wish for each thing that is to be changed, each with the words on what it is to become."""
    things: list[Mention] = []
    for one in found:
        mark = _mark(said, max(at, things[-1].to if things else at), one.at)
        after_and = any(word in ("and",) for word in said[max(0, one.at - 5) : one.at])
        same = any(one.products & other.products for other in things)
        if things and mark and (same or not after_and):
            continue  # it is the new one that is spoken of
        if (
            not things
            and one.at > at
            and _mark(said, at, one.at)
            and re.search(r"\b(?:it|them|that)\b", " ".join(said[at : at + 3]))
        ):
            things.append(one)
            continue
        things.append(one)
    if not things:
        return [Wish("change", clause, list(found), target=_after_mark(said, at))]
    made = []
    for place, one in enumerate(things):
        end = things[place + 1].at if place + 1 < len(things) else len(said)
        if place + 1 < len(things):
            joint = [spot for spot in range(one.to, end) if said[spot] == "and"]
            end = joint[-1] if joint else end
        begin = _mark(said, max(one.to, at + 1), end)
        target = " ".join(said[begin:end]) if begin else ""
        if not begin and place + 1 == len(things):
            if earlier := _mark(said, at + 1, one.at):
                target = " ".join(said[earlier:end])  # change to a red one, the lamp
            else:
                target = " ".join(said[one.to : end])
        made.append(Wish("change", clause, [one], target=target))
    later = made[-1].target
    for wish in made[:-1]:
        wish.target = wish.target or later  # the lamp and the bag for black ones
    return made


def _mark(said: Sequence[str], start: int, end: int) -> int:
    """Where the words on the new variant begin between two places; 0 for nowhere."""
    spots = [
        spot
        for spot in range(start, min(end, len(said)))
        if said[spot] in ("to", "for", "into") or said[spot : spot + 2] == ["instead", "of"]
    ]
    spots = [
        spot
        for spot in spots
        if said[spot + 1 : spot + 2] not in (["my"], ["return"], ["exchange"]) or said[spot] == "into"
    ]
    if not spots:
        spots = [spot for spot in range(start, min(end, len(said))) if said[spot] in ("with", "as", "so", "but")]
    return spots[0] + 1 if spots else 0


def _after_mark(said: Sequence[str], at: int) -> str:
    begin = _mark(said, at + 1, len(said))
    return " ".join(said[begin:]) if begin else " ".join(said[at + 1 :])


def _fall_back(
    state: _State, base: Wish, clause: str, said: Sequence[str], found: list[Mention], known: Sequence[Product]
) -> None:
    """What else would do, where the first isn't to be had: another variant, or another way to pay."""
    if base.kind in ("return", "change", "payment") and (methods := methods_said(clause)):
        base.methods += [one for one in methods if one not in base.methods]
        return
    if base.kind == "change" and re.search(r"different|allow|flexible|does not matter|any\b|prefer", " ".join(said)):
        base.target = f"{base.target} , if exact {' '.join(said)}"
    elif base.kind in ("change", "return"):
        base.later.append(" ".join(said))


def _refine(
    state: _State, clause: str, found: list[Mention], known: Sequence[Product], numbers: tuple[str, ...]
) -> bool:
    """Words that add to a wish before: how it is paid, why, what the new variant has to be. False where they add to none."""
    said = words(clause)
    line = " ".join(said)
    methods = methods_said(clause)
    acts = [wish for wish in _all(state.wishes) if wish.kind in ("return", "change", "cancel", "payment")]
    if methods and acts and not options_named(said, found, known):
        for wish in acts:
            if wish.kind != "cancel" and not wish.methods:
                wish.methods = methods
            elif wish.kind != "cancel" and wish is acts[-1]:
                wish.methods += [one for one in methods if one not in wish.methods]
        return True
    changes = [wish for wish in state.wishes if wish.kind == "change"]
    named = {number for one in found for number in one.products}
    about = [
        wish for wish in changes if named and (any(one.products & named for one in wish.mentions) or wish.everything)
    ]
    if named and not about and not [wish for wish in state.wishes if wish.kind == "return"]:
        return False
    last = (
        about[-1]
        if about
        else (
            changes[-1]
            if changes and changes[-1] is (_last(state, ("change", "return", "cancel")) or changes[-1])
            else None
        )
    )
    if last is None:
        returned = _last(state, ("return",))
        if returned is not None and re.search(
            r"\b(?:get|receive|reorder)\b[\w ]{0,25}\b(?:same|new|another|different|instead|one)\b", line
        ):
            returned.kind, returned.target = "change", line
            return True
        if returned is not None and (reason := reason_said(clause)):
            returned.reason = reason
        if (cancelled := _last(state, ("cancel",))) is not None and (reason := reason_said(clause)):
            cancelled.reason = cancelled.reason or reason
            return True
        return False
    on = [product for product in known if any(product.id in one.products for one in last.mentions)] or list(known)
    if any(read_target(product, line) or read_target(product, line).rest != "kept" for product in on) or re.search(
        r"\b(?:same|like|type|other|choose|most|least)\b", line
    ):
        last.target = f"{last.target} , {line}".strip(" ,")
        return True
    return False


def options_named(said: Sequence[str], found: Sequence[Mention], known: Sequence[Product]) -> bool:
    """Whether something is said of the options of what is named."""
    named = {number for one in found for number in one.products}
    return any(options_said(product, said) for product in known if product.id in named)


# ---------------------------------------------------------------- which things are meant


def described(mention: Mention, places: Sequence[Place], products: Sequence[Product]) -> list[Place]:
    """Of bought things, those that fit what is said of them: their product, their options, their price beside the others'."""
    its = [place for place in places if place.item.product in mention.products]
    if len(its) < 2:
        return its
    by_id = {product.id: product for product in products}
    kept = []
    for place in its:
        product = by_id.get(place.item.product)
        said = options_said(product, mention.around) if product else []
        grouped: dict[tuple[str, ...], list[bool]] = {}
        for one in said:
            grouped.setdefault(one.options, []).append(fits(place.item.options, one))
        if all(any(fitting) for fitting in grouped.values()):
            kept.append(place)
    kept = kept or its
    line = " ".join(mention.around)
    if re.search(r"more expensive|most expensive|pricier|priciest|costlier", line):
        return [max(kept, key=lambda one: one.item.price)]
    if re.search(r"cheaper|cheapest|less expensive|least expensive", line):
        return [min(kept, key=lambda one: one.item.price)]
    return kept


# ---------------------------------------------------------------- slips of the fingers

_SPOKEN: Final = frozenset(
    "order orders status where address delivery deliver delivered shipping shipped payment method methods account person human "
    "please number price costs stock available something question until things money gift instead another ending point colour "
    "color size material capacity received want would could should talk speak somebody moved show".split()
)


def spoken_words(texts: Iterable[str]) -> frozenset[str]:
    """The words of these texts, and those in which customers say what they want."""
    found = {word for text in texts for word in re.findall(r"[a-z]{5,}", text.lower())}
    return frozenset({*found, *_SPOKEN, *_VERBS})


def unswapped(text: str, known: frozenset[str]) -> str:
    """A text in which two letters that changed places are put back, where that gives a known word. Words that are known stay."""

    def mended(match: re.Match[str]) -> str:
        word = match[0].lower()
        if word in known or len(match[0]) > 30:
            return match[0]
        for at in range(len(word) - 1):
            other = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
            if other != word and other in known:
                return other.capitalize() if match[0][0].isupper() else other
        return match[0]

    return re.sub(r"(?<![\w@.-])[A-Za-z]{5,}(?![\w@-])", mended, text)
