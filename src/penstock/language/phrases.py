"""Every fixed phrase that a person can see, in the person's language.

English phrases are their own keys, as in gettext; the others stand in catalogues/LANGUAGE.po. A language without a catalogue
falls back to the one before its region (`pt-BR` to `pt`), and at last to English. A phrase that addresses the reader may stand
twice in a catalogue, with the contexts `formal` and `informal` (Sie and du, usted and tú); without one it is neutral.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

from penstock.errors import StorageError

__all__ = [
    "ANSWERS", "PAGE", "PROMPTS", "WIDGET", "Formality", "catalogue", "direction", "every", "languages", "phrase", "spoken",
]  # fmt: skip

Formality = Literal["", "formal", "informal"]

FOLDER = Path(__file__).parent / "catalogues"
OTHER_NAMES = {"nb": "no", "nn": "no", "iw": "he", "in": "id"}
RIGHT_TO_LEFT = frozenset("ar fa he ur yi ps ckb ug dv sd".split())

ANSWERS = (  # what answers are made of
    "Not in your documents.",
    "Your documents do not answer this outright. Possibly related:",
    "This may not be the whole answer:",
    "This answer is uncertain. A person will look at it.",
    "The source says:",
    "not in the sources",
    "The sources disagree:",
    "{source} of {date}:",
    "{source}, without a date:",
    "This question was stopped by a rule of this service.",
    "If you are in danger or thinking of hurting yourself, please call your local emergency number or a crisis line "
    "(findahelpline.com lists them for each country).",
    "Translated by a machine from {language}:",
    "In the original ({language}):",
)
PROMPTS = (  # what a model is told
    "Answer the question in one to four sentences, from the numbered sources alone and in the language of the question. "
    "After each statement write the number of its source in brackets, like this: [1]. "
    "Where the sources do not answer, say that they do not.",
    "Write the answer in {language}.",
    "Address the reader formally.",
    "Address the reader informally.",
    "Rewrite this sentence so that it says nothing that the sources do not say, and keep the numbers of sources in brackets. "
    "If nothing is left, reply with a dash.",
)
PAGE = (  # the chat page
    "Skip to the question",
    "Conversations",
    "Search conversations",
    "Nothing was found for these words.",
    "No conversations yet.",
    "Kept on this server, for you alone.",
    "Show more",
    "Rename",
    "Title",
    "Save",
    "Share this conversation",
    "Export",
    "Delete",
    "Delete for good?",
    "Whoever gets a link and may use this server can read this conversation as it is now, with the passages quoted in it.",
    "Whoever has this link and may use this server can read this conversation as it is now, with the passages quoted in it, "
    "until {date}.",
    "Make a link",
    "Stop sharing",
    "Shared by {name} on {date}",
    "Continue it yourself",
    "This answer was not kept among your conversations.",
    "Collection to ask",
    "New",
    "Start a new conversation",
    "Documents",
    "Console",
    "Conversation",
    "Ask your documents",
    "Answers are quoted word for word, each with its source. What is not there is not answered.",
    "Questions to try",
    "Your question",
    "Ask a question…",
    "Write a message…",
    "Ask {name}…",
    "Add documents first…",
    "Ask",
    "Stop",
    "Stopped.",
    "Answer",
    "Close",
    "Close the source",
    "Drop files here",
    "or",
    "choose them",
    "PDF, Word, PowerPoint, Excel, HTML, Markdown, text, CSV, JSON, mail, code, and archives of these",
    "Files to add",
    "Files being added",
    "Indexed documents",
    "This server needs a key",
    "API key",
    "A key has no spaces and no accents",
    "It stays in this tab and is forgotten when you close it.",
    "Sign in",
    "Drop to add to your documents",
    "The server does not answer. Is it still running?",
    "The answer ended early.",
    "understood as: {question}",
    "Possibly related",
    "Sources",
    "More from your documents",
    "Nearest passages",
    "Withheld: these passages give orders to the model",
    "page {page}",
    "out of date",
    "also in {sources}",
    "Source {number}: {title}",
    "Confidence",
    "{percent}% sure",
    "written by {model}, checked against the sources",
    "written by {model}, not checked",
    "Why this answer?",
    "in the sources",
    "The sentences of this answer, one by one",
    "Version {version} of the documents",
    "Each step of it",
    "Page {page} as it is printed",
    "The page cannot be shown, its text can.",
    "Copy",
    "Copied",
    "The source cannot be shown",
    "Show what comes before",
    "Show what comes after",
    "There is nothing to ask yet. Drop files anywhere on this page to begin.",
    "There is nothing to ask yet. Whoever runs this server can add documents.",
    "Add documents",
    "not in the sources",
    "the sources say otherwise",
    "Language",
    "The server answered {status}.",
    "Nothing is indexed yet.",
    "Adding {name}",
    "sending",
    "reading",
    "indexing",
    "ready to be asked",
    "already indexed",
    "the connection broke; nothing was changed",
    "Passages: {count}",
    "Sources: {count}",
    "nearly word for word from a source",
    "This question was stopped by a rule of this service.",
    "Too many requests in a short time. Try again a little later.",
    "The budget for this is used up.",
    "The model does not answer at the moment. Try again in a minute.",
    "This is not allowed. Whoever runs this server can allow it.",
    "This key is not accepted.",
    "This is too large.",
    "This file cannot be used.",
    "This was not found. It may have been removed.",
    "The question is empty or too long.",
    "This server is busy at the moment. Try again in a minute.",
    "Something went wrong. If it happens again, whoever runs this server can help.",
    "Details",
    "This helped",
    "This did not help",
    "Thank you. It is noted.",
    "How satisfied are you with it, from 1 (not at all) to 5 (very)?",
    "What was wrong with it?",
    "It is wrong",
    "Something is missing",
    "It is out of date",
    "It does not answer my question",
    "I do not understand it",
    "What would have been right?",
    "Send",
    "Ask a person",
    "A person was asked. The reply will appear here.",
    "A person replies:",
    "Nobody replied. You can ask again.",
    "Talk to a person",
    "I would like to talk to a person.",
    "A person takes over. The assistant is silent until they reply.",
    "Back to the assistant",
    "Sent to the person.",
    "Quick replies",
    "From our data, as of {time}",
    "How was this conversation, from 1 (very bad) to 5 (very good)?",
    "A word about it (optional)",
    "Automatic assistant",
    "Hello! How can we help?",
)
WIDGET = (  # the page of one app, also on pages of other sites
    "Questions? Ask here.",
    "Automatic assistant",
    "Hello! How can we help?",
    "Nothing was found about this.",
    "New",
    "Start a new conversation",
    "Close",
    "Close the source",
    "Conversation",
    "Questions to try",
    "Your question",
    "Ask a question…",
    "Write a message…",
    "Ask",
    "Stop",
    "Stopped.",
    "Answer",
    "Possibly related",
    "Sources",
    "Nearest passages",
    "Sources: {count}",
    "Source {number}: {title}",
    "page {page}",
    "out of date",
    "not in the sources",
    "the sources say otherwise",
    "understood as: {question}",
    "The answer ended early.",
    "The question is empty or too long.",
    "This question was stopped by a rule of this service.",
    "Too many requests in a short time. Try again a little later.",
    "This server is busy at the moment. Try again in a minute.",
    "Something went wrong. If it happens again, whoever runs this server can help.",
    "This helped",
    "This did not help",
    "Thank you. It is noted.",
    "How satisfied are you with it, from 1 (not at all) to 5 (very)?",
    "What was wrong with it?",
    "It is wrong",
    "Something is missing",
    "It is out of date",
    "It does not answer my question",
    "I do not understand it",
    "Ask a person",
    "A person was asked. The reply will appear here.",
    "A person replies:",
    "Nobody replied. You can ask again.",
    "Talk to a person",
    "I would like to talk to a person.",
    "A person takes over. The assistant is silent until they reply.",
    "Back to the assistant",
    "Sent to the person.",
    "Quick replies",
    "From our data, as of {time}",
    "How was this conversation, from 1 (very bad) to 5 (very good)?",
    "A word about it (optional)",
    "What would have been right?",
    "Send",
    "This server needs a key",
    "API key",
    "A key has no spaces and no accents",
    "It stays in this tab and is forgotten when you close it.",
    "Sign in",
    "This key is not accepted.",
)

_ENTRY = re.compile(
    r'(?:^msgctxt (?P<context>".*")\n)?^msgid (?P<id>".*"(?:\n".*")*)\nmsgstr (?P<said>".*"(?:\n".*")*)', re.M
)


@cache
def catalogue(language: str) -> Mapping[tuple[str, str], str]:
    """(context, English phrase) -> phrase; empty where there is no catalogue. Raises StorageError for a damaged one."""
    path = FOLDER / f"{language}.po"
    if not path.is_file():
        return {}
    try:
        text = path.read_text("utf-8")
        found = {(_text(m["context"] or '""'), _text(m["id"])): _text(m["said"]) for m in _ENTRY.finditer(text)}
    except (OSError, ValueError, SyntaxError) as error:
        raise StorageError(f"{path.name} cannot be read: {error}") from error
    return {key: said for key, said in found.items() if said and key[1]}


def _text(quoted: str) -> str:
    return "".join(str(ast.literal_eval(line)) for line in quoted.split("\n"))


def languages() -> list[str]:
    """The languages that there are catalogues for, English first."""
    return ["en", *sorted(path.stem for path in FOLDER.glob("*.po"))]


def spoken(tag: str) -> str:
    """The language of ours that a browser's tag stands for: `pt` for `pt-BR`, `no` for `nb`; English where there is none."""
    known = languages()
    return next((name for name in _fallbacks(tag) if name in known), "en")


def phrase(english: str, language: str, /, *, formality: Formality = "", **values: object) -> str:
    """A phrase in a language, with its values filled in. Unknown languages and phrases fall back to English."""
    said = english
    for name in _fallbacks(language):
        known = catalogue(name)
        found = known.get((formality, english)) or known.get(("", english)) or known.get(("formal", english))
        if found or name == "en":
            said = found or english
            break
    return said.format(**values) if values else said


@cache
def every(english: str) -> tuple[str, ...]:
    """A phrase in every language and form that there is."""
    found = {said for name in languages() for (_, key), said in catalogue(name).items() if key == english}
    return (english, *sorted(found))


def _fallbacks(language: str) -> list[str]:
    """`pt-BR`, `pt`; both spellings of tags are understood, and names that have become others."""
    base, *regions = language.replace("_", "-").split("-")
    base = OTHER_NAMES.get(base.lower(), base.lower())
    return [*("-".join([base, *regions[:n]]) for n in range(len(regions), 0, -1)), base, "en"]


def direction(language: str) -> Literal["ltr", "rtl"]:
    """Which way a language is written."""
    return "rtl" if language.replace("_", "-").split("-")[0].lower() in RIGHT_TO_LEFT else "ltr"
