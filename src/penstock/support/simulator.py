"""Simulated customers talk to a bot, hundreds at once and offline. Knows what a customer may know: replies and buttons.

A scripted customer answers what a reply asks for, looks at what is read back before agreeing, and leaves when they have what they
came for or have had enough. The same seed says the same words, as long as the bot does. Where a model plays the customer, the
script stands in for it whenever it fails.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import Final, Literal, Protocol

from penstock.errors import PenstockError
from penstock.support.conversations import Conversation, Spoken
from penstock.support.goals import Fact, Goal, Mood, Visitor, compiled
from penstock.trace import log
from penstock.types import Answer, Message, Status

__all__ = [
    "Ask",
    "Customer",
    "Ended",
    "Exchange",
    "PlayedByModel",
    "Scripted",
    "Simulated",
    "asked",
    "converse",
    "simulate",
]

Ask = Callable[
    [str], Answer
]  # one conversation: what is said next -> what the bot replies. Synchronous; raises PenstockError
Ended = Literal["reached", "gave_up", "left", "handed_over", "over", "too_long", "failed", "interrupted"]

MOST_TURNS: Final = 24
ASKED_TOO_OFTEN: Final = 3  # for the same thing
PATIENCE: Final = (7, 10)  # messages after which the impatient leave
YES: Final = re.compile(r"^\W*(?:yes|ja|sí|si|oui|sim|tak|confirm|agree|ok)\b", re.I)
NO: Final = re.compile(r"^\W*(?:no|nein|non|não|nie|don't|do not|cancel|keep)\b", re.I)
SURE: Final = re.compile(
    r"is (?:that|this) (?:right|correct|ok)|shall i|should i|do you (?:want|agree|confirm)|please confirm|"
    r"ist das richtig|soll ich|stimmt das|möchten sie|es correcto|¿confirma|est-ce (?:bien|correct)|dois-je|è corretto|confermi",
    re.I,
)
OR: Final = re.compile(r"\b(?:or|oder|ou|o bien|oppure)\b", re.I)
PUZZLED: Final = re.compile(
    r"(?:did|do|could) ?n[o']t (?:quite )?(?:understand|get|follow)|rephrase|nicht verstanden|no (?:he|ha|lo) ?(?:entend|comprend)|"
    r"pas compris|non ho capito",
    re.I,
)
ASKING: Final = re.compile(
    r"\?|please|tell me|give me|enter|send me|choose|need|bitte|por favor|s'il (?:vous|te)|per favore", re.I
)
PERSON: Final = re.compile(r"person|human|agent|colleague|mensch|mitarbeiter|persona|humain|conseiller|operatore", re.I)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One message and the reply to it."""

    said: str
    reply: str
    quick_replies: tuple[str, ...] = ()
    status: str = "answer"
    over: bool = False
    at: float = 0.0  # Unix time at which it was said
    latency_ms: float = 0.0
    error: str = ""  # where no reply came


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """What a simulated customer and a bot said. reached: None where it ended before anybody could say."""

    id: str
    goal: str
    wants: str
    intent: str
    language: str
    moods: tuple[Mood, ...]
    seed: int
    exchanges: tuple[Exchange, ...]
    ended: Ended
    reached: bool | None
    played_by: str = "script"

    @property
    def handed_over(self) -> bool:
        return any(one.status == Status.HANDED_OVER for one in self.exchanges)

    def logged(self, *, release: str = "", app: str = "") -> Conversation:
        """As a conversation of a log, which `penstock eval log` reads. resolved: whether the goal was reached."""
        turns: list[Spoken] = []
        for one in self.exchanges:
            turns.append(Spoken(role="customer", text=one.said, at=one.at))
            if not one.error:
                handed = one.status == Status.HANDED_OVER
                ended = one.at + one.latency_ms / 1e3
                turns.append(
                    Spoken(role="bot", text=one.reply, at=ended, latency_ms=round(one.latency_ms, 1), hand_over=handed)
                )  # fmt: skip
        metadata = {
            "goal": self.goal, "wants": self.wants, "moods": list(self.moods), "seed": self.seed, "ended": self.ended,
            "played_by": self.played_by, "error": next((one.error for one in self.exchanges if one.error), ""),
        }  # fmt: skip
        return Conversation(
            id=self.id, turns=tuple(turns), release=release, language=self.language, intent=self.intent, app=app,
            customer=f"simulated-{self.seed}", started=self.exchanges[0].at if self.exchanges else None,
            escalated=self.handed_over, resolved=self.reached, metadata=metadata,
        )  # fmt: skip


class Customer(Protocol):
    """Says what comes next."""

    def say(self, heard: Answer | None) -> str | None:
        """heard: None at the beginning. None: they have nothing more to say, and `ended` tells why."""
        ...

    @property
    def ended(self) -> Ended: ...

    @property
    def played_by(self) -> str: ...


# ---------------------------------------------------------------- the script


WORDS: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "en": {
        "polite": ("Hello, {} Thank you very much.", "Good morning! {} Thanks in advance.", "Could you please help me? {}"),
        "angry": ("This is ridiculous. {}", "{} And hurry up, this is the third time I am writing!!!", "WTF. {}"),
        "chatty": ("So, my sister was here last weekend and we talked about it. {}", "{} By the way, lovely weather today.",
                   "I have been meaning to write for days, but you know how it is. {}"),
        "why": ("Why do you need that?", "What do you want that for? I do not like to give it away."),
        "lost": ("Sorry, I do not understand. What do you mean?", "Where do I find that?", "Hm, what exactly do you need?"),
        "wait": ("No, wait.", "Hold on, not yet.", "No, I have to think about it."),
        "again": ("All right, I do want it after all. {}", "Okay, I thought about it. {}"),
        "no": ("No, that is not what I want. {}", "No. {}"),
        "enough": ("This takes too long, forget it.", "I have no time for this. Bye."),
        "thanks": ("Thank you, that was all.", "Perfect, thanks!"),
        "fact": ("It is {}", "{}", "That would be {}"),
    },
    "de": {
        "polite": ("Guten Tag, {} Vielen Dank.", "Könnten Sie mir bitte helfen? {}"),
        "angry": ("Das ist eine Frechheit. {}", "{} Und zwar schnell, ich schreibe schon zum dritten Mal!!!"),
        "chatty": ("Meine Schwester war am Wochenende da und wir haben darüber geredet. {}", "{} Schönes Wetter heute übrigens."),
        "why": ("Wozu brauchen Sie das?",),
        "lost": ("Das verstehe ich nicht. Was meinen Sie?", "Wo finde ich das?"),
        "wait": ("Nein, Moment.", "Nein, ich muss noch überlegen."),
        "again": ("Gut, ich möchte es doch. {}",),
        "no": ("Nein, das will ich nicht. {}",),
        "enough": ("Das dauert mir zu lange, vergessen Sie es.",),
        "thanks": ("Danke, das war alles.",),
        "fact": ("Das ist {}", "{}"),
    },
    "es": {
        "polite": ("Buenos días, {} Muchas gracias.", "¿Podría ayudarme, por favor? {}"),
        "angry": ("Esto es ridículo. {}", "{} ¡Y rápido, es la tercera vez que escribo!"),
        "chatty": ("Mi hermana estuvo aquí el fin de semana y hablamos de esto. {}",),
        "why": ("¿Para qué necesita eso?",),
        "lost": ("No entiendo. ¿Qué quiere decir?", "¿Dónde encuentro eso?"),
        "wait": ("No, espere.",),
        "again": ("Bien, sí lo quiero. {}",),
        "no": ("No, eso no es lo que quiero. {}",),
        "enough": ("Esto tarda demasiado, déjelo.",),
        "thanks": ("Gracias, eso era todo.",),
        "fact": ("Es {}", "{}"),
    },
    "fr": {
        "polite": ("Bonjour, {} Merci beaucoup.", "Pourriez-vous m'aider, s'il vous plaît ? {}"),
        "angry": ("C'est ridicule. {}", "{} Et vite, c'est la troisième fois que j'écris !"),
        "chatty": ("Ma sœur était là ce week-end et nous en avons parlé. {}",),
        "why": ("Pourquoi en avez-vous besoin ?",),
        "lost": ("Je ne comprends pas. Que voulez-vous dire ?", "Où est-ce que je trouve ça ?"),
        "wait": ("Non, attendez.",),
        "again": ("Bon, je le veux quand même. {}",),
        "no": ("Non, ce n'est pas ce que je veux. {}",),
        "enough": ("C'est trop long, laissez tomber.",),
        "thanks": ("Merci, c'était tout.",),
        "fact": ("C'est {}", "{}"),
    },
    "it": {
        "polite": ("Buongiorno, {} Grazie mille.", "Potrebbe aiutarmi, per favore? {}"),
        "angry": ("È ridicolo. {}", "{} E in fretta, è la terza volta che scrivo!"),
        "chatty": ("Mia sorella è stata qui nel fine settimana e ne abbiamo parlato. {}",),
        "why": ("A cosa vi serve?",),
        "lost": ("Non capisco. Che cosa intende?", "Dove lo trovo?"),
        "wait": ("No, aspetti.",),
        "again": ("Va bene, lo voglio. {}",),
        "no": ("No, non è quello che voglio. {}",),
        "enough": ("Ci vuole troppo, lasci stare.",),
        "thanks": ("Grazie, era tutto.",),
        "fact": ("È {}", "{}"),
    },
}  # fmt: skip
FOREIGN: Final = (
    "Hola! {}", "Bonjour, {}", "{} Por favor.", "{} Merci beaucoup!", "Ciao, {}", "Bitte, {}", "{} Danke schön.",
)  # fmt: skip


class Scripted:
    """A customer without a model. Satisfies `Customer`."""

    played_by = "script"

    def __init__(self, visitor: Visitor) -> None:
        self._drawn = random.Random(visitor.seed)  # noqa: S311
        self._moods = visitor.moods
        self._goals = [visitor.goal, *visitor.goal.then]
        self._openings = self._shuffled()
        self._told: dict[str, int] = {}  # facts and how often they were given
        self._doubted: set[str] = set()
        self._refused = 0
        self._lost = self._changed = False
        self._parting: Ended | None = None
        self._again = False
        self._said = 0
        self._patience = self._drawn.randint(*PATIENCE) if "impatient" in self._moods else 1_000
        self.ended: Ended = "left"

    @property
    def goal(self) -> Goal:
        return self._goals[0]

    def say(self, heard: Answer | None) -> str | None:
        if self._parting:
            return self._leaves(self._parting)
        text = self._answer(heard) if heard else self._opening()
        if text is not None:
            self._said += 1
        return text

    def _answer(self, heard: Answer) -> str | None:
        if heard.status is Status.HANDED_OVER:
            return self._leaves("handed_over")
        if compiled(self.goal.done).search(heard.text):
            if len(self._goals) == 1:
                return self._goodbye(heard)
            self._goals = self._goals[1:]
            self._openings, self._told = self._shuffled(), {}
            return self._opening()
        if heard.over:
            return self._leaves("over")
        if self._said >= self._patience:
            self._parting = "left"
            return self._word("enough")
        if self._again:
            self._again = False
            return self._word("again", self._next_opening())
        if self._is_read_back(heard):
            return self._agreed(heard)
        for choice in self.goal.choices:
            for button in heard.quick_replies:
                if compiled(choice).search(button) and self._told.get(f"press {choice}", 0) < 2:
                    self._told[f"press {choice}"] = self._told.get(f"press {choice}", 0) + 1
                    return button
        if not PUZZLED.search(heard.text) and (wanted := asked(self.goal.facts, heard.text, told=self._told)):
            return self._fact(wanted)
        return self._rephrased(heard)

    # ---- how they talk

    def _shuffled(self) -> list[str]:
        return self._drawn.sample(list(self.goal.opening), len(self.goal.opening))

    def _next_opening(self) -> str:
        self._openings = [*self._openings[1:], self._openings[0]]
        return self._openings[-1]

    def _opening(self) -> str:
        text = self._next_opening()
        for mood in ("polite", "angry", "chatty"):
            if mood in self._moods:
                text = self._word(mood, text)
        if "mixed_languages" in self._moods:
            text = self._drawn.choice(FOREIGN).replace("{}", text)
        return self._typed(text)

    def _word(self, what: str, text: str = "") -> str:
        words = WORDS.get(self.goal.language.partition("-")[0], WORDS["en"])
        return self._drawn.choice(words[what]).replace("{}", text).strip()

    def _typed(self, text: str) -> str:
        """With slips of the fingers, never in what they know: a number that is wrong is another number."""
        if "typos" not in self._moods:
            return text
        exact = " ".join(fact.value for fact in self.goal.facts if isinstance(fact.value, str)).casefold()
        words = text.split(" ")
        places = [
            n for n, word in enumerate(words) if len(word) > 4 and word.isalpha() and word.casefold() not in exact
        ]
        for n in self._drawn.sample(places, min(len(places), 2)):
            at = self._drawn.randrange(1, len(words[n]) - 2)
            word = words[n]
            words[n] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        return " ".join(words)

    # ---- what they do

    def _goodbye(self, heard: Answer) -> str | None:
        if heard.over or not {"polite", "chatty"} & set(self._moods):
            return self._leaves("reached")
        self._parting = "reached"
        return self._word("thanks")

    def _leaves(self, why: Ended) -> str | None:
        self.ended = why
        return None

    def _is_read_back(self, heard: Answer) -> bool:
        buttons = any(map(YES.search, heard.quick_replies)) and any(map(NO.search, heard.quick_replies))
        return buttons or (not heard.quick_replies and "?" in heard.text and SURE.search(heard.text) is not None)

    def _agreed(self, heard: Answer) -> str | None:
        """What they say to what was read back to them."""
        if not all(compiled(one).search(heard.text) for one in self.goal.agrees):
            self._refused += 1
            if self._refused >= ASKED_TOO_OFTEN:
                return self._gives_up(heard)
            return self._word("no", self._next_opening())
        if "changes_mind" in self._moods and not self._changed:
            self._changed = self._again = True
            return next(filter(NO.search, heard.quick_replies), self._word("wait"))
        return next(filter(YES.search, heard.quick_replies), "yes")

    def _fact(self, facts: Sequence[Fact]) -> str | None:
        fact = facts[0]
        if self._told.get(fact.name, 0) >= ASKED_TOO_OFTEN:
            self._parting = "gave_up"
            return self._word("enough")
        if "distrustful" in self._moods and fact.personal and fact.name not in self._doubted:
            self._doubted |= {one.name for one in facts}
            return self._word("why")
        if "confused" in self._moods and not self._lost:
            self._lost = True
            return self._word("lost")
        for one in facts:
            self._told[one.name] = self._told.get(one.name, 0) + 1
        said = ", ".join(one.said for one in facts)
        return said if "terse" in self._moods else self._word("fact", said)

    def _rephrased(self, heard: Answer) -> str | None:
        """They were not understood."""
        self._told["rephrased"] = self._told.get("rephrased", 0) + 1
        if self._told["rephrased"] > ASKED_TOO_OFTEN:
            return self._gives_up(heard)
        return self._typed(self._next_opening())

    def _gives_up(self, heard: Answer) -> str | None:
        self._parting = "gave_up"
        return next(filter(PERSON.search, heard.quick_replies), self._word("enough"))


def asked(facts: Sequence[Fact], text: str, *, told: Collection[str] = ()) -> list[Fact]:
    """What a reply asks for, of what somebody knows: of alternatives, the first that they know, and what was told already last."""
    sentences = re.split(r"(?<=[.!?])\s", text[-600:])
    asking = next((one for one in reversed(sentences) if "?" in one), "")
    asking = asking or " ".join(one for one in sentences if ASKING.search(one))
    for part in (*OR.split(asking), asking, *(one for one in sentences if ASKING.search(one))):
        if found := [fact for fact in facts if fact.place(part) >= 0]:
            fresh = [fact for fact in found if fact.name not in told] or found
            return sorted(fresh, key=lambda fact: fact.place(part))[:4]
    return []


# ---------------------------------------------------------------- a model plays the customer


INSTRUCTIONS: Final = (
    "You play a customer who writes to a support bot. Write what the customer writes next, and nothing else: one short message "
    "in the language {language}. Never play the bot. What you want: {wants} What you know: {facts}. Say it only when asked for "
    "it, and invent nothing else. {moods}Read what you are asked to agree to; say no if it is not what you want. "
    "When you have what you came for, write [DONE]. When you have had enough, write [LEAVE]."
)
LIKE: Final[Mapping[str, str]] = {
    "polite": "You are very polite.", "terse": "You write as few words as possible.", "angry": "You are angry.",
    "confused": "You are easily confused, and ask what is meant.", "chatty": "You tell much that is beside the point.",
    "typos": "You make typing errors, never in numbers.", "changes_mind": "Once you take back what you agreed to, then want it.",
    "impatient": "You leave when it takes more than seven messages.", "distrustful": "You ask why before you give your data.",
    "mixed_languages": "You mix in words of another language.",
}  # fmt: skip
Speaks = Callable[
    [str, Sequence[Message]], str
]  # instructions, and the conversation as the customer sees it -> what they say


@dataclass
class PlayedByModel:
    """A customer played by a model. Satisfies `Customer`. speaks: raises PenstockError, and then the script goes on."""

    visitor: Visitor
    speaks: Speaks
    name: str
    script: Scripted = field(init=False)
    seen: list[Message] = field(default_factory=list)
    failed: bool = False
    ended: Ended = "left"

    def __post_init__(self) -> None:
        self.script = Scripted(self.visitor)

    @property
    def played_by(self) -> str:
        return "script" if self.failed else self.name

    def say(self, heard: Answer | None) -> str | None:
        fallback = self.script.say(heard)  # it hears everything, so that it can go on
        if heard is not None:
            self.seen.append(Message("user", heard.text + "".join(f"\n[{one}]" for one in heard.quick_replies)))
            if heard.status is Status.HANDED_OVER or heard.over:
                self.ended = "handed_over" if heard.status is Status.HANDED_OVER else "over"
                return None
        if not self.failed:
            try:
                return self._spoken(
                    self.speaks(self._instructions(), self.seen or [Message("user", "(the bot waits)")])
                )
            except PenstockError as error:
                log("a model cannot play a customer; the script goes on", level="warning", error=type(error).__name__)
                self.failed = True
        self.ended = self.script.ended
        return fallback

    def _spoken(self, text: str) -> str | None:
        said = " ".join(text.split())[:2_000]
        for mark, why in (("[DONE]", "reached"), ("[LEAVE]", "gave_up")):
            if mark in said.upper():
                self.ended = "reached" if why == "reached" else "gave_up"
                return None
        if not said:
            self.ended = "gave_up"
            return None
        self.seen.append(Message("assistant", said))
        return said

    def _instructions(self) -> str:
        goals = (self.visitor.goal, *self.visitor.goal.then)
        facts = {fact.name: fact.value for goal in goals for fact in goal.facts if isinstance(fact.value, str)}
        return INSTRUCTIONS.format(
            language=goals[0].language, wants=" Then: ".join(goal.wants or goal.opening[0] for goal in goals),
            facts="; ".join(f"{name} {value}" for name, value in facts.items()) or "nothing else",
            moods="".join(f"{LIKE[mood]} " for mood in self.visitor.moods),
        )  # fmt: skip


# ---------------------------------------------------------------- conversations


def converse(
    visitor: Visitor, ask: Ask, *, customer: Customer | None = None, most_turns: int = MOST_TURNS,
    stop: threading.Event | None = None,
) -> Simulated:  # fmt: skip
    """Hold one conversation. What the bot's side raises ends it as failed, and is in its last exchange."""
    customer = customer or Scripted(visitor)
    exchanges: list[Exchange] = []
    heard: Answer | None = None
    ended: Ended = "too_long"
    while len(exchanges) < most_turns:
        if stop is not None and stop.is_set():
            ended = "interrupted"
            break
        said = customer.say(heard)
        if said is None:
            ended = customer.ended
            break
        at, began = time.time(), time.perf_counter()
        try:
            heard = ask(said)
        except PenstockError as error:
            took = (time.perf_counter() - began) * 1e3
            exchanges.append(Exchange(said, "", status="failed", at=at, latency_ms=took, error=str(error)))
            ended = "failed"
            break
        took = (time.perf_counter() - began) * 1e3
        exchanges.append(
            Exchange(said, heard.text, tuple(heard.quick_replies), str(heard.status), heard.over, at, took)
        )  # fmt: skip
    goal = visitor.goal
    held = Simulated(
        id=visitor.id, goal=goal.id, wants=goal.wants, intent=goal.intent or goal.id, language=goal.language,
        moods=visitor.moods, seed=visitor.seed, exchanges=tuple(exchanges), ended=ended, reached=None,
        played_by=customer.played_by,
    )  # fmt: skip
    return held if ended == "interrupted" else _judged(held, goal)


def _judged(held: Simulated, goal: Goal) -> Simulated:
    """With the verdict: how things stand, for each goal that says so, and else what the customer saw."""
    goals = (goal, *goal.then)
    seen = held.ended == "reached"
    return replace(held, reached=all(one.reached(held) if one.reached else seen for one in goals))


def simulate(
    people: Sequence[Visitor], opens: Callable[[Visitor], Ask], *, plays: Callable[[Visitor], Customer] = Scripted,
    concurrent: int = 20, most_turns: int = MOST_TURNS,
) -> Iterator[Simulated]:  # fmt: skip
    """Hold a conversation with each, so many at once. Yields each as it ends.

    opens: begins a conversation of the bot for one of them. Whoever stops listening, as by Ctrl-C, ends those that are held: what
    was yielded stays as it is.
    """
    stop = threading.Event()

    def held(visitor: Visitor) -> Simulated:
        return converse(visitor, opens(visitor), customer=plays(visitor), most_turns=most_turns, stop=stop)

    coming = iter(people)
    running: set[Future[Simulated]] = set()
    with ThreadPoolExecutor(max(1, concurrent), thread_name_prefix="customer") as pool:
        try:
            while True:
                for visitor in coming:
                    running.add(pool.submit(held, visitor))
                    if len(running) >= concurrent:
                        break
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for one in done:
                    yield one.result()
        finally:
            stop.set()
            for one in running:
                one.cancel()
