"""The nouns every part shares, and the promises between parts. Values only: nothing here reads a file or knows a tool."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:  # a plain gateway never loads numpy
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

__all__ = [
    "ANYBODY",
    "Action",
    "Answer",
    "Answerer",
    "Block",
    "BlockKind",
    "Boundary",
    "Call",
    "Caller",
    "Citation",
    "Claim",
    "Copied",
    "Crossed",
    "Crosser",
    "Decision",
    "Detector",
    "Dialect",
    "Document",
    "Embedder",
    "Event",
    "Evidence",
    "Filter",
    "Finding",
    "Finished",
    "Found",
    "Hit",
    "Index",
    "Leaving",
    "Message",
    "Metadata",
    "Model",
    "ModelEvent",
    "ModelRequest",
    "Outcome",
    "Passage",
    "Quoter",
    "ReasoningDelta",
    "Record",
    "Sentence",
    "Status",
    "StopReason",
    "Stopped",
    "Support",
    "Surface",
    "TextDelta",
    "ToolCallDelta",
    "Translator",
    "Turn",
    "Usage",
    "Verdict",
    "Verifier",
    "Wire",
    "new_id",
]


Value = str | int | float | bool
Metadata = Mapping[str, Value]
Filter = Mapping[str, Value | Sequence[Value]]  # what must hold of a document; a list means any of its values


# ---------------------------------------------------------------- what was read


class BlockKind(StrEnum):
    """What a stretch of a document is. The splitter never cuts across a heading, and keeps rows and code whole."""

    HEADING = "heading"
    PARAGRAPH = "paragraph"
    ROW = "row"
    CODE = "code"


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of a document's text that a reader recognised: text[start:end]."""

    start: int
    end: int
    kind: BlockKind = BlockKind.PARAGRAPH
    level: int = 0  # of a heading, 1 is the highest
    page: int = 0  # counted from 1; 0 where the format has no pages


@dataclass(frozen=True, slots=True)
class Document:
    """What was read from one source: its text, the structure found in it, and who may read it."""

    source: str  # "handbook/returns.md", "mail.zip!/inbox/1.eml", "https://example.com/faq"
    text: str
    blocks: tuple[Block, ...] = ()
    title: str = ""
    media_type: str = "text/plain"
    language: str = ""  # ISO 639-1, or ISO 639-3 where there is none; "" when it cannot be told
    date: str = ""  # ISO 8601, as far as it is known: "2026-11-20"
    tags: tuple[str, ...] = ()
    metadata: Metadata = field(default_factory=dict)
    access: tuple[str, ...] = ()  # the roles and persons who may read it; empty: everybody


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch of one document, small enough to quote: the document's text[start:end]."""

    id: str
    document_id: str
    source: str
    text: str
    start: int
    end: int
    title: str = ""
    section: tuple[str, ...] = ()  # the headings above it, outermost first
    page: int = 0
    language: str = ""
    date: str = ""
    stale: bool = False  # older than the rule for its kind of document allows
    tags: tuple[str, ...] = ()
    metadata: Metadata = field(default_factory=dict)
    access: tuple[str, ...] = ()
    also_in: tuple[str, ...] = ()  # other sources that say the same, word for word or nearly


# ---------------------------------------------------------------- what was found


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence of a passage: the passage's text[start:end]."""

    start: int
    end: int
    similarity: float = 0.0  # cosine between the question and this sentence, read in its passage


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that may answer a question. score is in 0..1 within one search; parts are what it was made of."""

    passage: Passage
    score: float
    parts: Mapping[str, float]  # bm25, dense: as scored; bm25_share, dense_share: after min-max
    sentences: tuple[Sentence, ...] = ()


@dataclass(frozen=True, slots=True)
class Crossed:
    """A question in English, word by word. words: of each, the ones that it may stand for, each with a weight up to 1."""

    asked: tuple[str, ...]  # the likeliest for each
    words: tuple[tuple[tuple[str, float], ...], ...]


@dataclass(frozen=True, slots=True)
class Found:
    """What one search found, best first, and what it knew of the question."""

    hits: tuple[Hit, ...]
    version: str  # the index version that was read, whole
    terms: Mapping[str, float] = field(default_factory=dict)  # word of the question -> inverse document frequency
    languages: tuple[str, ...] = ()  # of the passages that were searched
    dense_weight: float = 0.0  # share of the dense score in the fused one
    searched: int = 0  # passages that the caller may read and the filter lets through
    spread: float = 0.0  # how far the best dense score stands above the others, in standard deviations
    crossed: Crossed | None = None  # what was searched for in place of a question in another language than the passages

    @property
    def asked(self) -> str:
        """What was searched for in place of the question; "" where it was searched for itself."""
        return " ".join(dict.fromkeys(self.crossed.asked)) if self.crossed else ""


@dataclass(frozen=True, slots=True)
class Citation:
    """The exact words an answer rests on: quote == the document's text[start:end]."""

    source: str
    quote: str
    start: int
    end: int
    document_id: str
    passage_id: str
    title: str = ""
    section: tuple[str, ...] = ()
    page: int = 0
    date: str = ""
    stale: bool = False
    confidence: float = 0.0
    also_in: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call, as the provider counted them, or as we estimated them."""

    input_tokens: int = 0  # all of the prompt, what the provider had cached included
    output_tokens: int = 0  # reasoning included
    cached_tokens: int = 0  # of the input: read from the provider's cache
    cache_write_tokens: int = 0  # of the input: written to it
    reasoning_tokens: int = 0  # of the output
    estimated: bool = False  # the provider named none
    audio_tokens: int = 0  # of the input: heard, where that has a price of its own
    seconds: float = 0.0  # of audio that was heard, where that is counted
    characters: int = 0  # of text that was spoken
    units: int = 1  # what the price of a call is for: pictures, searches


class Status(StrEnum):
    """How an answer ended. RELATED is never phrased as an answer; REFUSED means that the guard stopped the question, HANDED_OVER
    that it is too uncertain to be said, and a person is to look at it."""

    ANSWER = "answer"
    RELATED = "related"
    NOT_FOUND = "not_found"
    REFUSED = "refused"
    HANDED_OVER = "handed_over"


# ---------------------------------------------------------------- what a check found

Surface = Literal["prompt", "document", "tool", "output"]  # where a text comes from, or goes to
Action = Literal["allow", "mask", "pseudonymise", "redact", "hash", "review", "quarantine", "block"]
Decision = Literal["allow", "mask", "review", "block"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found in a text: text[start:end]. Types have Presidio's names where it has one."""

    type: str  # "EMAIL_ADDRESS", "PERSON", "INJECTION", "SECRET:aws_key", "hate"
    start: int
    end: int
    score: float = 1.0  # how sure, 0 to 1
    action: Action = "allow"  # what a policy did about it
    rule: str = ""  # which rule or head said so, for people


# ---------------------------------------------------------------- whether it is in the sources

Support = Literal["supported", "contradicted", "not_found", "unscored"]  # unscored: whoever judges did not say


@dataclass(frozen=True, slots=True)
class Evidence:
    """A stretch of a source that bears on a claim: sources[source][start:end]."""

    source: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence of a text as it was checked: text[start:end]."""

    start: int
    end: int
    label: Support
    support: float  # probability that the sources support it, 0 to 1; 0 where it is unscored
    evidence: tuple[Evidence, ...] = ()  # best first
    unsupported: tuple[tuple[int, int], ...] = ()  # stretches of the text that the sources do not support
    why: tuple[str, ...] = ()  # what speaks against it, for people


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check of a text against its sources gave. by: "lexical", "checker", or the model that judged."""

    label: Support
    support: float  # probability that the sources support all of it
    claims: tuple[Claim, ...] = ()
    by: str = ""


@dataclass(frozen=True, slots=True)
class Copied:
    """A stretch of an answer, text[start:end], that repeats a protected passage nearly word for word."""

    start: int
    end: int
    citation: int  # among the answer's
    share: float  # of its words that are the passage's


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply and what it rests on. confidence is the probability that the citations answer the question and, where a model
    wrote, that they support what it says."""

    text: str
    status: Status
    confidence: float
    citations: tuple[Citation, ...] = ()  # best first
    quoted: tuple[int, ...] = ()  # which of them the text is made of, in the order of the text
    nearest: tuple[Citation, ...] = ()  # what came closest, where nothing answers
    withheld: tuple[Citation, ...] = ()  # passages that give orders to the model: neither shown to it nor quoted
    conflicts: tuple[tuple[int, int], ...] = ()  # citations that disagree, the newer first
    question: str = ""  # as it was understood: a follow-up has its subject back
    language: str = ""  # that the reader is spoken to in, ISO 639-1
    version: str = ""
    written_by: str = ""  # the model whose words the text is in; "" where it is quoted
    verdict: Verdict | None = None  # on what a model wrote; none where nobody checked it
    copied: tuple[Copied, ...] = ()
    usage: Usage = Usage()  # of that model
    waiting: str = ""  # where a person is to look at it: the id by which their reply can be asked for
    conversation: str = ""  # of a bot: by which the next message finds what was said, and who is signed in
    quick_replies: tuple[str, ...] = ()  # what the reader may say next by pressing a button
    over: bool = False  # the conversation has come to its end, and the reader may be asked how it was


# ---------------------------------------------------------------- who asks, and what


PREFIXES = ("user:", "role:", "group:", "tenant:")  # in access lists


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking. With no key in use that is everybody's own laptop: Caller() reads what is open to all."""

    name: str = "anonymous"
    roles: tuple[str, ...] = ()
    admin: bool = False  # may change documents, keys and settings
    team: str = ""
    models: tuple[str, ...] = ()  # the only ones they may use, as names or patterns; empty: all
    tenant: str = ""  # the customer or organisation they belong to

    @property
    def rights(self) -> frozenset[str]:
        """The names an access list may hold for this caller to be let in: `anna` or `user:anna`, `hr` or `role:hr` or
        `group:hr`, `tenant:acme`. A plain name or role cannot pass for one with such a prefix."""
        plain = (name for name in (self.name, *self.roles) if not name.startswith(PREFIXES))
        roles = (f"{kind}:{role}" for role in self.roles for kind in ("role", "group"))
        tenant = (f"tenant:{self.tenant}",) if self.tenant else ()
        return frozenset((*plain, f"user:{self.name}", *roles, *tenant))


ANYBODY = Caller()


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Returned:
    """What a tool or a database gave for a question. text: its rows as JSON, or words."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Turn:
    """One question on its way through answer.py. Each step returns a new one."""

    question: str
    caller: Caller = Caller()
    history: tuple[Message, ...] = ()  # oldest first, without the question
    where: Filter = field(default_factory=dict)  # only passages whose metadata say so
    returned: tuple[Returned, ...] = ()  # by tools that were called for it
    standalone: str = ""  # the question with what it leaves out
    fragment: str = ""  # what it says itself, where that is no question
    language: str = ""  # of the question, ISO 639-1
    record: Record | None = None  # what the request takes, where somebody counts
    found: Found | None = None
    boundary: Boundary | None = None  # between us and the models, where a policy holds
    conversation: str = ""  # 32 hexadecimal digits, where the caller says to which one the question belongs
    message: str = ""  # the same for every try of this question in that conversation, where the caller says so


# ---------------------------------------------------------------- what is streamed


@dataclass(frozen=True, slots=True)
class TextDelta:
    text: str
    citation: int | None = None  # index into the answer's citations, where this piece is a quote


@dataclass(frozen=True, slots=True)
class Finished:
    answer: Answer


Event = TextDelta | Finished


# ---------------------------------------------------------------- what goes to a model, and comes back

Dialect = Literal[
    "chat", "completions", "responses", "messages", "count_tokens", "embeddings", "images", "speech", "transcriptions",
    "translations", "moderations", "rerank", "mcp",
]  # fmt: skip
StopReason = Literal["stop", "length", "tool_calls", "content_filter"]
Outcome = Literal["ok", "refused", "failed", "cancelled", "lost"]


@dataclass(frozen=True, slots=True)
class Call:
    """One call of one upstream, as it ended. Money is in picodollars, 1e-12 USD: whole numbers add up exactly."""

    model: str  # our name for it
    outcome: Outcome
    usage: Usage = Usage()
    cost_pico_usd: int = 0
    first_ms: float = 0.0  # until the first piece; 0 where none came
    duration_ms: float = 0.0
    error: str = ""  # the error's code


def new_id() -> str:
    """A name for one request: 32 hexadecimal digits that begin with the time, as UUID version 7 does. An index likes that."""
    return f"{int(time.time() * 1000) << 80 | random.getrandbits(80):032x}"


@dataclass(slots=True)
class Record:
    """What one request took, while it runs: whoever calls an upstream adds the call. The one noun that changes."""

    trace_id: str  # W3C's, which several requests may share
    person: str = ""  # whom the caller says they ask for; nobody has checked it
    app: str = ""
    calls: list[Call] = field(default_factory=list)
    booked: list[tuple[str, int, int]] = field(default_factory=list)  # limit, window, amount: spent so far
    cached: bool = False
    escalated: int = 0  # answers of a cheap model that did not pass, so that the strong one was asked
    guarded: list[Mapping[str, Any]] = field(
        default_factory=list
    )  # what the guard found, in which text, and what it did
    versions: dict[str, str] = field(default_factory=dict)  # of the policy, the prompt and whatever else decides
    question: str = ""  # of an app, and
    answer: Answer | None = None  # what it was told, and
    faults: tuple[str, ...] = ()  # what is wrong with that
    parent: str = ""  # W3C's id of the caller's span
    id: str = field(default_factory=new_id)  # of this request alone


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """One request for a model, in the dialect it was asked in."""

    dialect: Dialect
    model: str  # as the caller named it
    body: Mapping[str, Any]  # parsed; of a form, its plain fields
    data: bytes = b""  # as it came over the wire; b"" where nothing did
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)  # the few that are passed on, such as anthropic-beta
    stream: bool = False
    caller: Caller = ANYBODY
    tags: tuple[str, ...] = ()
    deadline: float = float("inf")  # for the first event, on the monotonic clock, in seconds
    record: Record = field(default_factory=lambda: Record(""))


@dataclass(frozen=True, slots=True)
class Wire:
    """Bytes as an upstream sent them, in the request's dialect: whole events of a stream, or a whole body."""

    data: bytes
    media_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    text: str
    signature: str = ""  # what the provider wants back with it in the next request


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of one call of a tool. The first piece of each has its id and name; arguments are JSON text."""

    index: int
    arguments: str = ""
    id: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Stopped:
    """The last event of every stream."""

    usage: Usage
    reason: StopReason = "stop"


ModelEvent = Wire | TextDelta | ReasoningDelta | ToolCallDelta | Stopped


# ---------------------------------------------------------------- promises between parts


class Model(Protocol):
    """Generates. Behaviour is added by wrapping: a cache is a model that holds a model."""

    def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Yield events in order; the last is `Stopped`, exactly once.

        Untouched bytes come as `Wire`; whoever edits sends typed events instead. Without `request.stream` a Wire is the
        whole body. Raises a PenstockError; before the first event a retryable one may be tried again, elsewhere too.
        Closing the iterator ends the work upstream at once.
        """
        ...


class Embedder(Protocol):
    """Turns texts into vectors. Two embedders with the same id give the same vectors for the same text."""

    @property
    def id(self) -> str:
        """Name and a digest of the weights: vectors with different ids are never compared."""
        ...

    @property
    def dim(self) -> int: ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return float32 (n, dim), unit rows, in the order of the texts. An empty text gives some unit row too."""
        ...

    def embed_parts(self, items: Sequence[tuple[str, Sequence[tuple[int, int]]]]) -> list[Vectors]:
        """For each (text, spans) return float32 (1 + spans, dim), unit rows: the text, then each span read in its context."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> int:
        """Tokens that embedding these texts takes, for metering."""
        ...

    def familiarity(self, text: str) -> float:
        """How well this embedder reads such text, 0 (not at all) to 1 (as its home language)."""
        ...


class Detector(Protocol):
    """Looks for one kind of thing in a text. It never changes the text, and says nothing about what to do."""

    def find(self, text: str, *, language: str = "") -> list[Finding]:
        """Findings in the order of the text, none overlapping another. language: ISO 639-1 where it is known."""
        ...


class Boundary(Protocol):
    """One request on its way to a model, and its answer on the way back: one scope of stand-ins for all of its texts."""

    @property
    def careful(self) -> bool:
        """Whether the model is to be asked with a low temperature."""
        ...

    @property
    def advice(self) -> str:
        """What the model should be told of what entered; "" for nothing."""
        ...

    def enter(self, text: str, surface: Surface) -> str:
        """What a model is given in place of a text: personal data masked. Raises Blocked where the policy stops it."""
        ...

    def withholds(self, text: str) -> bool:
        """Whether a passage gives orders to the model, so that it is kept away from it."""
        ...

    def leaving(self) -> Leaving:
        """The way back of one stream of text."""
        ...


class Leaving(Protocol):
    """Text on its way to the person who asked: stand-ins turned back, and nothing forbidden in it."""

    @property
    def stopped(self) -> bool:
        """Whether nothing more may leave."""
        ...

    def restored(self, text: str, *, last: bool = False) -> str:
        """A text of the model in the words of these walls, for whoever looks at it before it leaves."""
        ...

    def gated(self, words: str, *, last: bool = False) -> str:
        """What of such words may leave by now."""
        ...

    def feed(self, text: str) -> str:
        """Both: what may leave by now of a text of the model."""
        ...

    def close(self) -> str:
        """What was held back."""
        ...


class Index(Protocol):
    """Finds passages. The caller's rights and the filter are part of the query, never applied after it."""

    def search(self, question: str, *, caller: Caller, k: int = 8, where: Filter | None = None) -> Found:
        """Return at most k hits, best first, all from one published version."""
        ...


class Quoter(Protocol):
    """Picks the sentences that answer, or says that none does."""

    def quote(self, question: str, found: Found, *, limit: int = 3) -> Answer: ...


class Crosser(Protocol):
    """Puts a question into English word by word, so that passages in English can be searched for it."""

    def cross(self, question: str, language: str, held: Callable[[str], bool]) -> Crossed | None:
        """None for a language that it does not know. held: whether a word stands in a passage that the caller may read.
        What comes out depends on no word of the index for which that is false."""
        ...


class Translator(Protocol):
    """Turns texts of one language into another. Languages are ISO 639-1, with a region where that matters: `pt-BR`."""

    @property
    def name(self) -> str: ...

    async def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[str]:
        """One translation for each text, in their order. Raises NotOffered for languages that it does not know."""
        ...


class Verifier(Protocol):
    """Says whether what a text claims is in its sources."""

    async def verify(self, text: str, sources: Sequence[str], *, question: str = "", language: str = "") -> Verdict:
        """Check each sentence. Without sources nothing is supported. question: what the text answers."""
        ...


class Answerer(Protocol):
    """Answers a turn. The whole answer is the sum of its stream; Finished comes last, exactly once."""

    def stream(self, turn: Turn) -> AsyncIterator[Event]:
        """Raises a PenstockError before the first event, or ends with Finished."""
        ...
