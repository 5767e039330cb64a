"""What the bot can do with the desk's actions: what a message asks for, what is still to be asked, and what is said of it."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

from penstock.agents.requests import Request
from penstock.agents.scripted import Ability, Heard, Sayings, Scripted, Several, Slot, Wanted
from penstock.agents.sign_in import SignIn
from penstock.agents.talks import Reply, Row, Talk, row_of
from penstock.agents.words import asks_something, means_instead
from penstock.errors import PenstockError
from penstock.types import Status

from . import rules
from .addresses import known_addresses, read_address, shown_address
from .desk import LONGEST_SAID, Desk, method_called
from .planning import (
    Note,
    Plan,
    Question,
    chosen_places,
    method_named,
    methods_for,
    original_method,
    place_called,
    plan,
)
from .recommend import Recommender
from .replies import (
    ARTICLES,
    account_row,
    joined,
    note_text,
    order_cost,
    order_line,
    order_row,
    order_text,
    product_row,
    product_text,
    variant_text,
)
from .rules import called, cannot_begin
from .shop import Customer, Order, Product, Variant
from .sign_in import introduces
from .understanding import (
    Place,
    Wish,
    mentions,
    methods_said,
    order_numbers,
    reason_said,
    spoken_words,
    understand,
    unswapped,
)
from .variants import choose, fits, read_target, words

__all__ = ["RetailBot"]

Histories = Callable[[], Iterable[Sequence[Sequence[str]]]]
COUNTED_S: Final = 86_400.0
WORDS_S: Final = 600.0  # how long the words of the catalogue are remembered
LONGEST_QUESTION: Final = 200  # characters of a question that the articles may answer
_CHANGES: Final = ("cancel", "return", "change", "address", "payment", "move")
MOST_ORDERS: Final = 5  # that are told at once
MOST_IN_FULL: Final = 3  # orders, of which those that are on their way are told in full
MOST_LINES: Final = 5  # orders in a line each
MOST_NEAR: Final = 4  # variants in place of one that is not there
MOST_TEXTS: Final = 6  # messages about what is being worked on
_WRITES: Final = {
    "cancel_order": "Cancel an order", "change_items": "Change an order", "return_items": "Return something",
    "exchange_items": "Exchange something", "change_address": "Change a delivery address",
    "change_payment": "Change how an order is paid", "move": "Change my own address",
}  # fmt: skip
_RECOMMEND = re.compile(
    r"\b(?:recommend|suggest|what (?:else )?would you|something (?:similar|else) (?:for|to)|goes? with|ideas? for)\b",
    re.I,
)
_OWN = re.compile(r"\b(?:my|mine|i|me|we|our)\b", re.I)
_GENERAL = re.compile(
    r"(?:^|[.!?,]\s)\W*(?:(?:hi|hello|hey|and|so|ok|also)\W+)*(?:how (?:do|can|long|does|much does (?:shipping|"
    r"delivery))|what (?:is|are|if|happens)|when (?:do|does|will i get|can)|(?:until|till) when (?:do|can)|can (?:i|you|one)|could "
    r"i|"
    r"do (?:you|i)|does|is (?:it|there)|are there|am i|may i|which|where (?:do|can|does)|why|who)\b",
    re.I,
)
_QUESTION = re.compile(
    r"(?:^|[.!?,]\s)\W*(?:(?:hi|hello|hey|and|so|ok|also|but|please)\W+)*(?:how|what|when|until|till|which|who|why|where|can|could"
    r"|may|do|does|did|is|are|will|would|should|am|i(?:'d| would)? (?:like to know|wonder|want to know))\b",
    re.I,
)
_OWN_ORDER = re.compile(  # where it is, when it comes, what was in it, what it cost
    r"\b(?:where|when|track|status|arriv\w*|how much|total|cost|paid|pay)\b[^.?!]*"
    r"\bmy (?:\w+ ){0,2}(?:orders?|parcels?|packages?|delivery|things|stuff)\b"
    r"|\bmy (?:\w+ ){0,2}(?:orders?|parcels?|packages?)\b[^.?!]*\b(?:where|when|status|arriv\w*|cost|total)\b"
    r"|\bwhat (?:did|have) i\b|\d{5,}|\blast (?:one|order)\b",
    re.I,
)
_LIST_ORDERS = re.compile(
    r"^\W*(?:(?:please|hi|hello|can you|could you)\W+)*(?:show|list|see|give|tell|which|what)\b[\w ]{0,20}\borders\b"
    r"[\w ,]{0,20}\W*$"
    r"|\bwhat (?:have|did) i (?:\w+ )?(?:order|buy|bought)",
    re.I,
)
_MY_THINGS = re.compile(
    r"^\W*(?:(?:please|hi|hello|hey|so|and|ok|well|um)\W+)*(?:where(?:'?s| is| are| the \w+ is| the \w+ are)?|when (?:do|will) i"
    r" get) my (?:\w+ )?(?:stuff|things?|goods|purchases?|shipments?|deliver(?:y|ies)|packets?|orders)\b[^.!,\d]{0,30}\W*$",
    re.I,
)
_NOT_HERE = re.compile(
    r"\b(?:never|not|n't|nt|still|has ?n.?t|did ?n.?t)\b[\w' ]{0,25}\b(?:arrived?|came?|come|turned up|shown up|showed up"
    r"|waiting for)\b|\bstill waiting\b|\b(?:parcel|package|order|delivery) is (?:very )?late\b",
    re.I,
)
_MONEY_BACK = re.compile(r"\b(?:want|need|give|demand|get|like)\b[\w' ]{0,15}\bmoney back\b", re.I)
_ONLY_NUMBER = re.compile(r"\W*(?:order|number|no|nr|it is|it's|the one)?\W*#?\w{0,4}-?\d{3,12}\W*", re.I)
_PLURAL = re.compile(r"\b(?:my|all|of the|are the) (?:\w+ )?orders\b", re.I)
_ADDED = re.compile(r"\W*(?:(?:and|also|please|oh)\W+)*(?:add|plus|and|also|with) (?:in )?([\w ,'-]{3,80}?)\W*", re.I)
_ONE = re.compile(r"\b(?:it|that one|this one|(?:that|this) order)\b", re.I)
_COST_OF_ONE = re.compile(r"\bhow much (?:did|was|were|have)\b|\b(?:last|latest|newest) (?:one|order|purchase)\b", re.I)
_COLOURS = frozenset(
    "red blue green yellow orange purple violet pink black white grey gray brown beige gold silver turquoise teal navy cream "
    "burgundy lilac".split()
)
_SIZE_WORDS = frozenset({"xs", "s", "m", "l", "xl", "xxl", "xxxl", "small", "medium", "large"})
_MOVED = re.compile(r"\b(?:i|we) (?:have |'ve |just )*moved\b|\bmy new address is\b", re.I)
_MAY_I = re.compile(
    r"\W*(?:(?:hi|hello|hey|so|please)\W+)*(?:can|could|may) i \w+ (?:the|this|that|these|those)\b", re.I
)
_ON_SHELF: Final = (
    r"price|cost|stock|available|\bhave\b|\bsell|how much|colou?r|\bsizes?\b|option|variant|which|what kind"
    r"|\bin (?:a )?\w+\?"
)
_SHELF = re.compile(r"\b(?:how much|price|costs?|in stock|available|do you (?:have|sell)|sold out)\b", re.I)
_COSTS = re.compile(r"\b(?:price|prices|cost|costs|expensive|cheap\w*|much|charge\w*|paid|pay)\b", re.I)
_ABOUT_OWN = re.compile(
    r"\border|\bbought|\bpaid|\bmy\b|\breturn|\brefund|\bexchang|\bcancel|\bchang|\bswap|\binstead|\d{5,}", re.I
)
# What is on a button -> what is wanted by it
_BUTTONS: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "my orders": ("look_at_account", {"said": "Where are my orders?"}),
    "change my own address": ("move", {}),
    "price and stock": ("look_at_products", {}),
    "recommend something": ("recommend", {"said": "Recommend something"}),
}
SAYINGS: Final = Sayings(
    greeting="Hello! I am the shop's assistant.",
    anything_else="Is there anything else I can do for you?",
    nothing_open="All right. Nothing is open at the moment.",
)


@dataclass(slots=True)
class _Retail:
    """The bot's understanding, over the desk."""

    desk: Desk
    histories: Histories
    counting: threading.Lock = field(default_factory=threading.Lock)
    _counted: tuple[float, Recommender] | None = None
    _words: tuple[float, frozenset[str]] | None = None

    # ---------------------------------------------------------------- what is wanted

    def wanted(self, talk: Talk, said: str, current: Wanted | None) -> list[Wanted]:
        said = said[:LONGEST_SAID]
        if (button := said.strip().casefold().rstrip(".")) in _BUTTONS:
            return [Wanted(*_BUTTONS[button])]
        products = self.desk.shop.products()
        orders = self.desk.shop.orders(talk.person.id) if talk.person.id else ()
        if (plainly := self._plainly(said, products, str(talk.state.get("product", "")))) is not None:
            return [plainly]
        if current is None and _ONLY_NUMBER.fullmatch(said) and (orders or not talk.person.id):
            return [Wanted("look_at_account", {"said": f"Where is order {said.strip(' .?!')}?"})]
        wishes = self._wishes(said, products, orders, talk)
        if current is None and self._is_for_articles(talk, said, wishes, products, orders):
            return []
        if _RECOMMEND.search(said) and all(wish.kind in ("price", "options", "total") for wish in wishes):
            return [Wanted("recommend", {"said": said})]
        if (
            not wishes
            and current is not None
            and current.ability == "return_items"
            and (added := _ADDED.fullmatch(said))
        ):
            return [Wanted("look_at_account", {"said": f"I also want to return {added[1]}"})]
        if not wishes:
            more = re.sub(r"^\W*no\b\W*", "actually ", said, flags=re.I)
            if current is not None and current.ability in _WRITES and self._adds(talk, more, products, orders):
                return [Wanted("look_at_account", {"said": more})]
            if (
                mentions(words(said), products)
                and (re.search(_ON_SHELF, said, re.I) or (said.endswith("?") and len(said.split()) <= 4))
                and current is None
            ):
                return [Wanted("look_at_products", {"said": said})]
            named = {number for one in mentions(words(said), products) for number in one.products}
            if (
                current is None
                and len(said.split()) <= 6
                and any(item.product in named for one in orders for item in one.items)
            ):
                return [Wanted("look_at_account", {"said": f"Where is {said.strip(' .!?')}?"})]
            return [Wanted("look_at_account", {"said": said})] if not talk.person.id and introduces(said) else []
        if self._is_general(said, wishes, products, orders):
            return []
        asks = all(wish.kind in ("price", "options") for wish in wishes)
        if (
            asks
            and asks_something(said)
            and current is None
            and not re.search(_ON_SHELF, said, re.I)
            and len(said.split()) > 4
        ):
            return []  # of the product, and neither of its price nor of what there is: perhaps the documents say it
        if asks and not re.search(r"\border|\bbought|\bpaid|\bmy\b", said, re.I) and mentions(words(said), products):
            return [Wanted("look_at_products", {"said": said})]
        return [Wanted("look_at_account", {"said": said})]

    def _wishes(self, said: str, products: Sequence[Product], orders: Sequence[Order], talk: Talk) -> list[Wish]:
        """What a message asks for. A question of which nothing is known, such as `could you help me?`, asks for no price."""
        found = understand(said, products, orders, tuple(talk.state.get("spoken", ())))
        return [one for one in found if one.kind != "price" or one.mentions or one.numbers or _COSTS.search(one.text)]

    def known_words(self) -> frozenset[str]:
        """Words that customers of this shop say: of its catalogue, and of what is done here."""
        if self._words is None or time.time() > self._words[0] + WORDS_S:
            variants = [(one.name, each.options) for one in self.desk.shop.products() for each in one.variants]
            texts = [text for name, options in variants for text in (name, *options, *options.values())]
            self._words = time.time(), spoken_words(texts)
        return self._words[1]

    def _plainly(self, said: str, products: Sequence[Product], told: str) -> Wanted | None:
        """What is said so plainly that nothing has to be weighed: their orders, their new address, a price. told: the product that
        was spoken of last, which may be called `it`."""
        if len(said) > 300:
            return None
        if _NOT_HERE.search(said) and not asks_something(said):
            numbers = re.findall(r"\b[A-Za-z]{1,3}-?\d{3,12}\b|#\w{0,4}\d{3,12}\b", said)
            named = mentions(words(said), products)
            where = (
                f"order {numbers[0]}"
                if numbers
                else " ".join(words(said)[named[0].at : named[0].to])
                if named
                else "my order"
            )
            return Wanted("look_at_account", {"said": f"Where is {where}?"})
        if _MONEY_BACK.search(said) and not asks_something(said) and not order_numbers(said, ()) and len(said) < 60:
            return Wanted("look_at_account", {"said": "I want to return something"})
        if _LIST_ORDERS.search(said) or _MY_THINGS.search(said):
            return Wanted("look_at_account", {"said": "Where are my orders?"})
        if _MOVED.search(said) and not re.search(r"\border\b|\b[A-Z]{2}-?\d{5,}|#\w?\d{4,}", said):
            return Wanted("move", {})
        if _SHELF.search(said) and not _ABOUT_OWN.search(said):
            if mentions(words(said), products):
                return Wanted("look_at_products", {"said": said})
            if told and re.search(r"\b(?:it|them|one|ones|that)\b", said, re.I):
                return Wanted("look_at_products", {"said": f"{told}: {said}"})
        return None

    def _is_for_articles(
        self, talk: Talk, said: str, wishes: Sequence[Wish], products: Sequence[Product], orders: Sequence[Order]
    ) -> bool:
        """Whether it is a question that the articles answer, and not one about an order of theirs or about what is on the shelf."""
        if talk.ask is None or len(said) > LONGEST_QUESTION or order_numbers(said, orders) or _OWN_ORDER.search(said):
            return False
        if not (_QUESTION.search(said) or said.rstrip().endswith("?")):
            return False
        names_something = any(wish.mentions for wish in wishes)
        if names_something and (
            _SHELF.search(said) or (talk.person.id and any(wish.kind in _CHANGES for wish in wishes))
        ):
            return False
        try:
            return talk.ask(said).status is Status.ANSWER
        except PenstockError:
            return False

    def _is_general(
        self, said: str, wishes: Sequence[Wish], products: Sequence[Product], orders: Sequence[Order]
    ) -> bool:
        """Whether it asks about the rules, and not for something to be done: `how long does a refund take?`"""
        if len(said) > 160 or order_numbers(said, orders) or re.search(r"\d{3,}|\bwhere(?:'s| is)\b", said, re.I):
            return False
        if _COST_OF_ONE.search(said) and any(wish.kind == "total" for wish in wishes):
            return False
        names_something = any(wish.mentions or wish.numbers for wish in wishes)
        if said.rstrip().endswith("?") and not _OWN.search(said) and not names_something:
            return True
        if not _GENERAL.search(said):
            return False
        swaps = any(wish.kind == "change" and wish.mentions and wish.target for wish in wishes)
        if swaps and _MAY_I.match(said):
            return False  # could I swap the black lamp for the white one?
        if re.search(
            r"\b(?:my|the|this|that) (?:\w+ ){0,3}(?:order|package|parcel)\b|\bcan you\b|\bcould you\b|\bmy\b",
            said,
            re.I,
        ):
            return bool(
                re.search(
                    r"(?:^|[.!?,]\s)\W*(?:how (?:do|can|long)|can i (?:pick|collect|choose)|what (?:if|happens)|until when|"
                    r"when will i get my (?:money|refund))",
                    said,
                    re.I,
                )
            )
        return not (any(wish.mentions for wish in wishes) and any(wish.kind in ("price", "options") for wish in wishes))

    def _adds(self, talk: Talk, said: str, products: Sequence[Product], orders: Sequence[Order]) -> bool:
        """Whether a message that asks for nothing by itself changes what is being worked on: `make it the red one`."""
        texts = self._texts(talk)
        if not texts or not orders or len(said) > 1_000:
            return False
        customer = self.desk.customer(talk.person.id)
        before = self._plan(talk, customer, orders, products, texts)
        after = self._plan(talk, customer, orders, products, [*texts, said])
        return [(one.action, one.arguments) for one in before.steps] != [
            (one.action, one.arguments) for one in after.steps
        ]

    def _texts(self, talk: Talk) -> list[str]:
        found: list[str] = talk.state.get("texts", [])
        return list(found)

    def _plan(
        self, talk: Talk, customer: Customer, orders: Sequence[Order], products: Sequence[Product], texts: Sequence[str]
    ) -> Plan:
        """The order that was spoken of last completes what the texts leave open, and not what was asked about them before."""
        answers = talk.state.get("answers", {})
        if answers:
            wishes = understand("\n".join(texts), products, orders, tuple(talk.state.get("spoken_before", ())))
            if not (found := plan(wishes, customer, orders, products, answers)).questions:
                return found
        wishes = understand("\n".join(texts), products, orders, tuple(talk.state.get("spoken", ())))
        return plan(wishes, customer, orders, products, answers)

    # ---------------------------------------------------------------- planned

    def planned(self, talk: Talk, request: Request) -> Reply:
        """Put what a message asks for on the agenda, and tell what it asks to be told, and what cannot be done."""
        said = str(request.arguments["said"])
        busy = [
            item
            for item in talk.state.get("agenda", ())[1:]
            if item["ability"] in _WRITES or item["ability"] == "tell_which"
        ]
        texts = [*self._texts(talk), said][-MOST_TEXTS:] if busy else [said]
        if not busy:
            before = talk.state.get("spoken", [])
            talk.state.update(answers={}, finished=[], told=[], dropped=[], spoken_before=before)
        else:
            self._update_dropped(talk, said)
        talk.state["texts"] = texts
        return self._decided(talk, texts, said)

    def answered(self, talk: Talk, request: Request) -> Reply:
        """The same again, with what was said to a question."""
        talk.state["answers"] = {
            **talk.state.get("answers", {}),
            str(request.arguments["about"]): str(request.arguments["answer"]),
        }
        return self._decided(talk, self._texts(talk), "")

    def _update_dropped(self, talk: Talk, said: str) -> None:
        """What was taken back is not taken up again with the texts of before, unless the message asks for it anew."""
        orders, products = self.desk.shop.orders(talk.person.id), self.desk.shop.products()
        anew = self._plan(talk, self.desk.customer(talk.person.id), orders, products, [said])
        asked = {(one.action, str(one.arguments.get("order", ""))) for one in anew.steps}
        kept = [one for one in talk.state.get("dropped", ()) if _step_of(one) not in asked]
        for item in talk.state.get("agenda", ())[1:]:
            name, number = _step_of(item)
            now = {action for action, order in asked if order == number}
            both = "cancel_order" in {name, *now} or (
                means_instead(said) and {"return_items", "exchange_items"} <= {name, *now}
            )
            if number and now and name not in now and both:  # cancelled, or changed; sent back, or exchanged
                kept.append({"ability": name, "arguments": {"order": number}})
        talk.state["dropped"] = kept

    def _decided(self, talk: Talk, texts: Sequence[str], said: str) -> Reply:
        customer = self.desk.customer(talk.person.id)
        orders = self.desk.shop.orders(talk.person.id)
        products = self.desk.shop.products()
        found = self._plan(talk, customer, orders, products, texts)
        finished = {tuple(one) for one in talk.state.get("finished", ())}
        done = {number for _, number in finished}
        over = finished | {_step_of(one) for one in talk.state.get("dropped", ())}
        steps = [one for one in found.steps if (one.action, one.arguments.get("order", "")) not in over]
        before = {
            (item["ability"], item["arguments"].get("order", "")): item["arguments"]
            for item in talk.state.get("agenda", ())[1:]
            if item["ability"] in _WRITES
        }
        then: list[tuple[str, Mapping[str, Any]]] = []
        barred: list[Reply] = []
        by_number = {order.number: order for order in orders}
        for step in steps:
            order = by_number.get(str(step.arguments.get("order", "")))
            policy = self.desk.policy
            if order and (why := cannot_begin(order, step.action, today=self.desk.today(), policy=policy)):
                barred.append(Reply(why, rows=(order_row(self.desk, customer, order),), fixed=(why,)))
                continue
            known = before.get((step.action, step.arguments.get("order", "")), {})
            asked = {name: value for name, value in known.items() if name in ("method", "reason", "address")}
            given = (
                {**_arguments(step.arguments), **self._reason(texts)} if "reason" in step.arguments else step.arguments
            )
            then.append((step.action, {**asked, **_arguments(given)}))
        parts: list[Reply] = []
        if said:
            parts += self._told(talk, said, customer, orders, products)
        parts += barred
        told = talk.state.setdefault("told", [])
        for note in found.notes:
            key = f"{note.rule} {note.order} {' '.join(note.items)}"
            if key not in told and note.order not in done:
                told.append(key)
                parts.append(self._refused(talk, note, customer, orders))
        if found.questions:
            question = self._question(talk, found.questions[0])
            then.append(("tell_which", {"about": found.questions[0].about, "question": question}))
        talk.state["spoken"] = list(
            dict.fromkeys(str(one.arguments["order"]) for one in found.steps if "order" in one.arguments)
        )[:1] or talk.state.get("spoken", [])
        reply = joined(parts)
        if not then and not reply.text:
            reply = self._unclear(talk, customer, orders)
        return Reply(
            reply.text,
            reply.quick_replies if not then else (),
            reply.rows,
            reply.answer,
            fixed=reply.fixed,
            then=tuple(then),
        )

    def _reason(self, texts: Sequence[str]) -> dict[str, str]:
        """Why something is cancelled, where the shop's own words for it were said last."""
        for text in reversed(texts):
            if found := [one for one in self.desk.policy.reasons if one.casefold() in text.casefold()]:
                return {"reason": found[0]}
        return {}

    def _unclear(self, talk: Talk, customer: Customer, orders: Sequence[Order]) -> Reply:
        rows = [order_row(self.desk, customer, order) for order in orders[:MOST_ORDERS]]
        if not rows:
            return Reply("I find no orders in your account.")
        text = "Which of your orders is it about, and what shall I do?\n" + "\n".join(
            f"- {row.values['number']}, {row.values['status']}: {', '.join(row.values['items'])}" for row in rows
        )
        return Reply(text, tuple(str(row.values["number"]) for row in rows), tuple(rows))

    def _question(self, talk: Talk, question: Question) -> str:
        talk.state["asked"] = {"what": question.what, "places": [[one.order.number, one.at] for one in question.places]}
        if question.what == "variant":
            item = question.places[0].item
            product = self.desk.shop.product(item.product)
            options = (
                [variant_text(one) for one in product.variants if one.stock > 0 and one.id != item.variant][:6]
                if product
                else []
            )
            talk.state["choices"] = options
            return f"What shall {called(item)} become? Tell me what is to be different."
        if question.kind in ("cancel", "address", "payment"):
            orders = list({one.order.number: one.order for one in question.places}.values())
            talk.state["choices"] = [one.number for one in orders]
            return "Which order do you mean? " + "; ".join(
                f"{one.number}: {', '.join(item.name for item in one.items)}" for one in orders
            )
        lines = list(dict.fromkeys(place_called(one) for one in question.places))
        talk.state["choices"] = [*lines[:5], "All of them"] if len(lines) == len(question.places) else []
        return "Which do you mean? " + "; ".join(lines) + ". You can also say all of them."

    def _refused(self, talk: Talk, note: Note, customer: Customer, orders: Sequence[Order]) -> Reply:
        rows = [order_row(self.desk, customer, order) for order in orders if order.number == note.order]
        if note.choices and (
            product := next(
                (
                    one
                    for one in self.desk.shop.products()
                    if any(variant.id in note.choices for variant in one.variants)
                ),
                None,
            )
        ):
            rows.append(product_row(product, self.desk.policy.currency))
        rows.append(account_row(self.desk, customer))
        quick = (f"Cancel order {note.order}", "Leave it") if note.rule == "part_of_order" else ()
        answer = None
        if talk.ask is not None and note.rule in ARTICLES:
            try:
                answer = talk.ask(ARTICLES[note.rule])
            except PenstockError:
                answer = None
        kept = answer if answer is not None and answer.status is Status.ANSWER else None
        return Reply(note_text(note, self.desk, customer, orders), quick, tuple(rows), kept)

    # ---------------------------------------------------------------- told

    def _told(
        self, talk: Talk, said: str, customer: Customer, orders: Sequence[Order], products: Sequence[Product]
    ) -> list[Reply]:
        """Answers to what a message asks to be told."""
        replies: list[Reply] = []
        shown: dict[str, None] = {}
        for wish in self._wishes(said, products, orders, talk):
            if wish.kind in ("price", "options") and wish.mentions:
                if mine := [
                    one for one in self._meant(wish, orders) if not re.search(r"option|available|stock", wish.text)
                ]:
                    replies += self._orders_told(mine, customer, shown, cost=wish.kind == "price")
                else:
                    replies.append(self._products_told(wish.text, products))
            elif wish.kind in ("status", "total", "price"):
                meant = [] if _PLURAL.search(said) and not order_numbers(said, orders) else self._meant(wish, orders)
                if not meant and _ONE.search(wish.text):
                    meant = [order for order in orders if order.number in talk.state.get("spoken", ())]
                replies += self._orders_told(meant, customer, shown, cost=wish.kind != "status") if meant else []
                replies += [] if meant else [self._all_orders_told(orders, customer, shown, cost=wish.kind != "status")]
        if len(shown) == 1:
            talk.state["spoken"] = list(shown)
            replies = [*replies, Reply("", self._what_can_be_done(customer, orders, next(iter(shown))))]
        return replies

    def _what_can_be_done(self, customer: Customer, orders: Sequence[Order], number: str) -> tuple[str, ...]:
        """Buttons for what the rules allow with an order."""
        order = next(one for one in orders if one.number == number)
        policy = self.desk.policy
        may = []
        if rules.cannot_cancel(order, policy.reasons[0], policy=policy) is None:
            may.append(f"Cancel order {number}")
        if rules.cannot_change_address(order, order.address, policy=policy) is None:
            may.append(f"Change the address of order {number}")
        back = [item.variant for item in order.items[:1]]
        method, today = original_method(order), self.desk.today()
        if rules.cannot_give_back(order, back, customer, method, today=today, policy=policy) is None:
            may.append(f"Return something from order {number}")
        return tuple(may)

    def _meant(self, wish: Wish, orders: Sequence[Order]) -> list[Order]:
        if wish.numbers:
            return [order for order in orders if order.number in wish.numbers]
        ids = {number for one in wish.mentions for number in one.products}
        if ids:
            return [order for order in orders if any(item.product in ids for item in order.items)]
        if "recent" in wish.hints or re.search(r"\b(?:last|latest|most recent\w*|newest)\b", wish.text.lower()):
            return list(orders[:1])
        if "pending" in wish.hints:
            return [order for order in orders if order.status.startswith("pending")]
        return []

    def _orders_told(
        self, orders: Sequence[Order], customer: Customer, shown: dict[str, None], *, cost: bool
    ) -> list[Reply]:
        replies = []
        for order in orders[:MOST_ORDERS]:
            if order.number not in shown:
                shown[order.number] = None
                row = order_row(self.desk, customer, order)
                text = (order_cost if cost else order_text)(row, self.desk.policy.currency)
                replies.append(Reply(text, rows=(row,)))
        return replies

    def _all_orders_told(
        self, orders: Sequence[Order], customer: Customer, shown: dict[str, None], *, cost: bool
    ) -> Reply:
        """What is on its way first, in full where it is little; the rest in a line each."""
        on_way = [one for one in orders if one.status.startswith("pending") or one.status == "processed"]
        rest = [one for one in orders if one not in on_way]
        if not orders:
            return Reply("I find no orders in your account.")
        full = on_way if len(on_way) == 1 or len(orders) <= MOST_IN_FULL else []
        told = self._orders_told(full, customer, shown, cost=cost)
        lines = [*([] if full else on_way), *rest]
        rows = [order_row(self.desk, customer, one) for one in lines[:MOST_LINES]]
        more = len(lines) - len(rows)
        head = "Your other orders:" if full else f"You have {len(orders)} orders:" if len(orders) > 1 else "Your order:"
        text = "\n".join([head, *(order_line(row, self.desk.policy.currency) for row in rows)] if rows else [])
        if more:
            text += f"\n- and {more} older ones"
        which = () if full else tuple(one.number for one in lines[:MOST_LINES])
        if len(which) > 1:
            text += "\nWhich one do you mean?"
        shown.update(dict.fromkeys(one.number for one in lines[:MOST_LINES]) if not full else {})
        return joined(
            [*told, Reply(text, which if len(which) > 1 else (), tuple(rows), fixed=(f"{len(orders)} {more}",))]
        )

    def _products_told(self, said: str, products: Sequence[Product]) -> Reply:
        found = mentions(words(said), products)
        ids = {number for one in found for number in one.products}
        named = [one for one in products if one.id in ids][:3]
        replies = []
        for product in named:
            target = read_target(product, said)
            wanted = [one for one in product.variants if all(fits(one.options, value) for value in target.values)]
            if target.extremes and wanted:
                wanted = choose(product, {}, wanted[0].price, target) or wanted
            first, wanted = _what_is_missing(product, said, wanted)
            row = product_row(product, self.desk.policy.currency)
            replies.append(Reply(product_text(product, row, wanted, self.desk.policy.currency, first), rows=(row,)))
        return joined(replies) if replies else Reply("I do not find that product.")

    def told_products(self, talk: Talk, request: Request) -> Reply:
        reply = self._products_told(str(request.arguments["said"]), self.desk.shop.products())
        talk.state["product"] = reply.rows[0].label if len(reply.rows) == 1 else ""
        return reply

    def recommended(self, talk: Talk, request: Request) -> Reply:
        """What goes with what they bought, or what there is of what they name; in stock, and with the reason."""
        said = str(request.arguments["said"])
        products = self.desk.shop.products()
        orders = self.desk.shop.orders(talk.person.id) if talk.person.id else ()
        named = {number for one in mentions(words(said), products) for number in one.products}
        bought = {item.product for order in orders for item in order.items}
        if named - bought:
            return self._products_told(said, products)
        currency = self.desk.policy.currency
        replies = []
        for one in self.recommender(products).recommend(orders, products):
            text = f"- {one.product.name} ({variant_text(one.variant)}) for {one.variant.price:.2f} {currency}, {one.reason}"
            replies.append(Reply(text, rows=(product_row(one.product, currency),), fixed=(one.reason,)))
        if not replies:
            return Reply("There is nothing in stock that I could recommend.")
        whole = joined(replies)
        return Reply(
            "These are in stock, and may be something for you:\n" + whole.text.replace("\n\n", "\n"),
            rows=whole.rows,
            fixed=whole.fixed,
        )

    def recommender(self, products: Sequence[Product]) -> Recommender:
        """Counted at its first use, and again after a day."""
        with self.counting:
            if self._counted is None or time.monotonic() > self._counted[0] + COUNTED_S:
                self._counted = time.monotonic(), Recommender(products, self.histories())
            return self._counted[1]

    # ---------------------------------------------------------------- done

    def done(self, talk: Talk, request: Request, text: str) -> Reply:
        number = str(request.arguments.get("order", ""))
        talk.state["finished"] = [*talk.state.get("finished", []), [request.action, number]][-20:]
        row = row_of(request)
        return Reply(text.format_map(dict(row.values.items())), rows=(row,))

    # ---------------------------------------------------------------- what is missing

    def order_in(self, heard: Heard) -> Any:
        if {"items", "changes"} & heard.known.keys():
            return None  # these are things of an order, and do not go over to another
        orders = self.desk.shop.orders(heard.talk.person.id)
        found = order_numbers(heard.text, orders)
        return found[0] if len(found) == 1 else Several(tuple((one, one) for one in found[:6])) if found else None

    def _known_order(self, heard: Heard) -> tuple[Customer, Order] | None:
        try:
            return self.desk.order(heard.talk.person.id, str(heard.known["order"]))
        except (PenstockError, KeyError):
            return None

    def reason_in(self, heard: Heard) -> str | None:
        line = heard.text.casefold()
        reasons = self.desk.policy.reasons
        if exact := next((one for one in reasons if one.casefold() in line), None):
            return exact
        found = reason_said(heard.text)
        return found if found in reasons and (heard.asked or len(heard.text) < 200) else None

    def method_in(self, heard: Heard, what: str) -> str | None:
        """The way to pay that is named, if it may be used for this."""
        known = self._known_order(heard)
        if known is None:
            return None
        customer, order = known
        may = methods_for(customer, order, what)
        labels = {method_called(one, self.desk.policy.currency).casefold(): one.id for one in may}
        if (label := heard.text.strip().casefold()) in labels:
            return labels[label]
        if not heard.asked and len(heard.text) > 200:
            return None
        cards = [one for one in may if one.kind == "credit_card"]
        if (
            heard.asked
            and len(cards) == 1
            and re.fullmatch(r"\W*(?:(?:my|the|on|to|by|with|same|use) )*card\W*", heard.text, re.I)
        ):
            return cards[0].id
        for name in methods_said(heard.text):
            for one in method_named(customer, order, name):
                if one in may:
                    return one.id
        return None

    def methods(self, heard: Heard, what: str) -> list[str]:
        known = self._known_order(heard)
        return [method_called(one, self.desk.policy.currency) for one in methods_for(*known, what)] if known else []

    def address_in(self, heard: Heard) -> dict[str, str] | None:
        person = heard.talk.person.id
        if not person or not (heard.asked or len(heard.text) < 300):
            return None
        known = self._known_order(heard)
        customer = self.desk.customer(person)
        found = read_address(
            heard.text,
            customer,
            self.desk.shop.orders(person),
            known[1].address if known else None,
            own=known is not None or heard.asked,
        )
        return None if found is None else {
            "line1": found.line1, "line2": found.line2, "city": found.city, "region": found.region, "postcode": found.postcode,
            "country": found.country,
        }  # fmt: skip

    def addresses(self, heard: Heard) -> list[str]:
        person = heard.talk.person.id
        return (
            [shown_address(one) for one in known_addresses(self.desk.customer(person), self.desk.shop.orders(person))][
                :4
            ]
            if person
            else []
        )

    def answer_in(self, heard: Heard) -> str | None:
        """What is said to the question which thing is meant, or what it is to become."""
        asked = heard.talk.state.get("asked")
        if not heard.asked or not asked:
            return None
        keys = {tuple(one) for one in asked["places"]}
        orders = self.desk.shop.orders(heard.talk.person.id)
        places = [
            Place(order, item, at)
            for order in orders
            for at, item in enumerate(order.items)
            if (order.number, at) in keys
        ]
        products = self.desk.shop.products()
        if asked["what"] == "variant" and places:
            product = self.desk.shop.product(places[0].item.product)
            return heard.text[:LONGEST_SAID] if product is not None and read_target(product, heard.text) else None
        return heard.text[:LONGEST_SAID] if chosen_places(heard.text, places, products) else None

    def items_in(self, heard: Heard) -> list[str] | None:
        known = self._known_order(heard)
        if known is None or not heard.asked:
            return None
        places = [Place(known[1], item, at) for at, item in enumerate(known[1].items)]
        found = chosen_places(heard.text, places, self.desk.shop.products())
        return [one.item.variant for one in found] or None

    def changes_in(self, heard: Heard) -> list[dict[str, str]] | None:
        known = self._known_order(heard)
        if known is None or not heard.asked:
            return None
        customer, order = known
        found = plan(
            understand(f"change {heard.text}", self.desk.shop.products(), [order]),
            customer,
            [order],
            self.desk.shop.products(),
        )
        return next(
            (_arguments(step.arguments)["changes"] for step in found.steps if "changes" in step.arguments), None
        )

    # ---------------------------------------------------------------- rows

    def look(self, talk: Talk, source: str) -> Row | None:
        """A row by its name as it is now, as far as this person may see it."""
        kind, _, number = source.partition("/")
        try:
            if kind == "products":
                product = self.desk.shop.product(number)
                return product_row(product, self.desk.policy.currency) if product else None
            customer = self.desk.customer(talk.person.id)
            if kind == "account":
                return account_row(self.desk, customer)
            return (
                order_row(self.desk, customer, self.desk.order(talk.person.id, number)[1]) if kind == "orders" else None
            )
        except PenstockError as error:
            if error.status >= 500:
                raise
            return None

    # ---------------------------------------------------------------- all of it

    def abilities(self) -> list[Ability]:
        desk = self.desk
        order = Slot("Which order is it? Tell me its number.", self.order_in)
        changed = Slot("Which item shall become what?", self.changes_in)
        difference = Slot(
            "Which of your ways to pay shall I use for the difference in price?",
            lambda heard: self.method_in(heard, "change"),
            lambda heard: self.methods(heard, "change"),
        )
        reason = Slot(
            "Why do you cancel it? I can take one of these reasons: {reasons}.".replace(
                "{reasons}", "; ".join(desk.policy.reasons)
            ),
            self.reason_in,
            desk.policy.reasons,
        )
        address = Slot(
            "What is the new address? Please tell me the street, the city and the postcode.",
            self.address_in,
            self.addresses,
        )
        slots: dict[str, dict[str, Slot]] = {
            "cancel_order": {"order": order, "reason": reason},
            "change_items": {"order": order, "changes": changed, "method": difference},
            "return_items": {
                "order": order,
                "items": Slot("Which items shall go back?", self.items_in),
                "method": Slot(
                    "Where shall the refund go?",
                    lambda heard: self.method_in(heard, "return"),
                    lambda heard: self.methods(heard, "return"),
                ),
            },
            "exchange_items": {"order": order, "changes": changed, "method": difference},
            "change_address": {"order": order, "address": address},
            "change_payment": {
                "order": order,
                "method": Slot(
                    "How shall the order be paid?",
                    lambda heard: self.method_in(heard, "payment"),
                    lambda heard: self.methods(heard, "payment"),
                ),
            },
            "move": {"address": address},
        }
        says = {
            "cancel_order": "Order {order} is cancelled. The money goes back as I said: to a gift card at once, otherwise "
            "within some days.",
            "change_items": "Done: order {order} has its new items.",
            "return_items": "Done: the return of order {order} has begun. You get an e-mail on how to send it back.",
            "exchange_items": "Done: the exchange of order {order} has begun. You get an e-mail on how to send it back.",
            "change_address": "Done: order {order} goes to {to}.",
            "change_payment": "Done: order {order} is paid by {by}.",
            "move": "Done: the address of your account is {now}.",
        }
        return [
            Ability(
                desk.named("look_at_account"),
                ("where is my order?",),
                self.planned,
                {"said": Slot("What is it about?")},
                "My orders",
            ),
            *(
                Ability(desk.named(name), (), self._saying(says[name]), slots[name], label)
                for name, label in _WRITES.items()
            ),
            Ability(
                desk.named("tell_which"),
                (),
                self.answered,
                {
                    "about": Slot("What is it about?"),
                    "question": Slot("What is asked?"),
                    "answer": Slot("{question}", self.answer_in, lambda heard: heard.talk.state.get("choices", ())),
                },
                offered=False,
            ),
            Ability(
                desk.named("look_at_products"),
                (),
                self.told_products,
                {"said": Slot("Which product?")},
                "Price and stock",
            ),
            Ability(desk.named("recommend"), (), self.recommended, {"said": Slot("What for?")}, "Recommend something"),
        ]

    def _saying(self, text: str) -> Any:
        return lambda talk, request: self.done(talk, request, text)


def _what_is_missing(product: Product, said: str, wanted: Sequence[Variant]) -> tuple[str, list[Variant]]:
    """What has to be said first of a product that is not there as it is asked for, and the variants to tell of, the nearest
    first."""
    there = sorted((one for one in product.variants if one.stock > 0), key=lambda one: one.price)
    unknown = next(iter(_unknown_values(product, said)), None)
    if unknown is not None:
        name, value = unknown
        near = sorted(there, key=lambda one: _distance(one.options.get(name, ""), value))
        return f"There is no {product.name} in {name} {value}.", near[:MOST_NEAR]
    if not wanted:
        return f"There is no {product.name} like that.", there[:MOST_NEAR]
    in_stock = sorted((one for one in wanted if one.stock > 0), key=lambda one: one.price)
    if in_stock:
        return "", [*in_stock, *(one for one in wanted if one.stock == 0)]
    options = {tuple(one.options.items()) for one in wanted}
    what = f", {variant_text(wanted[0])}," if len(options) == 1 else " like that"
    return f"The {product.name}{what} is out of stock at the moment.", there[:MOST_NEAR]


def _unknown_values(product: Product, said: str) -> list[tuple[str, str]]:
    """Values of options that somebody asks for and that the product is never made in, such as a size between its sizes."""
    found = []
    line, name_words = said.lower(), set(words(product.name))
    for name in dict.fromkeys(option for one in product.variants for option in one.options):
        values = [one.options.get(name, "").lower() for one in product.variants]
        known = {word for value in values for word in words(value)} | name_words
        spelled = {"colour": "colou?r", "color": "colou?r"}.get(name.lower(), re.escape(name.lower()))
        after = re.findall(rf"\b{spelled}s?\b(?: is| of| in)?[ :=]+([\w.-]+)", line)
        if name.lower() in ("colour", "color"):
            after = [one for one in re.findall(r"[a-z]+", line) if one in _COLOURS]
        elif all(re.fullmatch(r"[\d.-]+", value) for value in values):
            after += re.findall(r"(?<![\w.-])\d{1,3}(?![\w.-])", line)
        for value in after:
            number = re.fullmatch(r"\d+(?:\.\d+)?", value)
            of_kind = number or value in _COLOURS or value in _SIZE_WORDS
            inside = number and any(_distance(one, value) == 0 for one in values)
            if of_kind and not inside and not set(words(value)) <= known and re.search(r"[^\W\d]|\d", value):
                found.append((name, value))
    return found


def _distance(value: str, wanted: str) -> float:
    """How far a value of an option is from a number that is wanted; 0 inside of a range such as 36-38."""
    numbers = [float(one) for one in re.findall(r"\d+(?:\.\d+)?", value)]
    if not numbers or not re.fullmatch(r"\d+(?:\.\d+)?", wanted):
        return 0.0 if value.lower() == wanted else 1e9
    ends = numbers[:2] if re.fullmatch(r"[\d.]+\s*-\s*[\d.]+", value.strip()) else numbers[:1]
    at = float(wanted)
    return max(min(ends) - at, at - max(ends), 0.0)


def _step_of(item: Mapping[str, Any]) -> tuple[str, str]:
    """The action and the order of a thing on the agenda."""
    return str(item["ability"]), str(item["arguments"].get("order", ""))


def _arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """As the actions take them. What is empty is asked for."""
    made = {name: value for name, value in given.items() if value not in ("", None)}
    if "changes" in made:
        made["changes"] = [{"old": old, "new": new} for old, new in made["changes"]]
    return made


class RetailBot(Scripted):
    """A scripted bot over a desk. What it asks about things of orders rests on the rows of these orders, each time it is asked."""

    def __init__(
        self, desk: Desk, sign_in: SignIn, histories: Histories | None = None, *, sayings: Sayings = SAYINGS
    ) -> None:
        """histories: what customers bought, order by order, by which things are recommended; without, by what most people buy."""
        self._retail = _Retail(desk, histories or list)
        super().__init__(
            self._retail.abilities(),
            understand=self._retail.wanted,
            look=self._retail.look,
            sign_in=sign_in,
            sayings=sayings,
        )

    def warm(self) -> None:
        super().warm()
        with suppress(PenstockError):  # the shop may not be there yet
            self._retail.known_words()

    def reply(self, talk: Talk, said: str) -> Reply:
        reply = super().reply(talk, unswapped(said, self._retail.known_words()))
        agenda, asked = talk.state.get("agenda") or [], talk.state.get("asked")
        if not (agenda and asked and talk.state.get("open") and agenda[0]["ability"] == "tell_which"):
            return reply
        sources = dict.fromkeys(f"orders/{number}" for number, _ in asked["places"])
        rows = [row for source in sources if (row := self.look_again(talk, source)) is not None]
        products = [
            row
            for number in asked.get("products", ())
            if (row := self.look_again(talk, f"products/{number}")) is not None
        ]
        return replace(
            reply,
            rows=(
                *reply.rows,
                *(row for row in (*rows, *products) if all(row.source != one.source for one in reply.rows)),
            ),
        )
