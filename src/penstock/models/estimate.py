"""How much a request is, where nobody has counted it: what it may take at most, and what it took most likely."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from penstock.types import Dialect, ModelRequest, Usage

__all__ = ["WRITING", "ceiling", "estimate", "estimated_input", "input_bytes", "size_of"]

WRITING: Final[frozenset[Dialect]] = frozenset(
    {"chat", "completions", "responses", "messages"}
)  # they can be asked for less
HEARING: Final[frozenset[Dialect]] = frozenset({"transcriptions", "translations"})
BYTES_PER_TOKEN = 4  # on average, over languages; a token is never less than one byte
TOKENS_PER_PICTURE = 3_000  # that is looked at
TOKENS_PER_DRAWING = 8_192  # that is made; the largest of OpenAI's takes 6,240
SPOKEN_TOKENS_PER_CHARACTER = 1.4  # 20.8 tokens in a second, which is 15 characters
HEARD_TOKENS_PER_S = 10.0
AUDIO_BYTES_PER_S = 8_000  # as speech is mostly kept: 64 kbit/s
FEWEST_AUDIO_BYTES_PER_S = 1_500  # and at the least


def estimated_input(request: ModelRequest) -> int:
    """Tokens that the input takes, estimated from its size in bytes."""
    if request.dialect in HEARING:
        return round(_seconds(request.data, AUDIO_BYTES_PER_S) * HEARD_TOKENS_PER_S) + 1
    return input_bytes(request) // BYTES_PER_TOKEN + 1


def estimate(request: ModelRequest, made: int) -> Usage:
    """What a call took whose provider names no usage. made: tokens of text that came, as far as one can tell."""
    given = estimated_input(request)
    if request.dialect in WRITING:
        return Usage(given, made, estimated=True)
    if request.dialect in HEARING:
        seconds = _seconds(request.data, AUDIO_BYTES_PER_S)
        return Usage(given, made, estimated=True, audio_tokens=given, seconds=seconds)
    if request.dialect == "speech":
        characters = _characters(request)
        return Usage(given, round(characters * SPOKEN_TOKENS_PER_CHARACTER), estimated=True, characters=characters)
    return Usage(given, estimated=True, units=_pictures(request))


def ceiling(request: ModelRequest) -> Usage:
    """What a call may take at most that does not write text."""
    if request.dialect in HEARING:
        seconds = _seconds(request.data, FEWEST_AUDIO_BYTES_PER_S)
        tokens = math.ceil(seconds * HEARD_TOKENS_PER_S)
        return Usage(tokens, tokens, audio_tokens=tokens, seconds=seconds)
    size = input_bytes(request)
    if request.dialect == "speech":
        characters = _characters(request)
        return Usage(size, math.ceil(characters * SPOKEN_TOKENS_PER_CHARACTER * 2), characters=characters)
    if request.dialect == "images":
        pictures = _pictures(request)
        return Usage(size, pictures * TOKENS_PER_DRAWING, units=pictures)
    return Usage(size)


def input_bytes(request: ModelRequest) -> int:
    """Bytes of the input that a model reads as text. A picture counts as so many tokens, not as its encoding."""
    data = request.data
    if data and b";base64," not in data and b'"base64"' not in data:
        return len(data)
    return size_of(request.body)


def size_of(value: Any) -> int:
    """Bytes of all texts in a value of JSON. A picture counts as so many tokens."""
    match value:
        case str():
            if value.startswith("data:") and ";base64," in value[:100]:
                return TOKENS_PER_PICTURE
            return len(value.encode(errors="surrogatepass"))
        case Mapping():
            if value.get("type") == "base64":
                return TOKENS_PER_PICTURE
            return sum(len(key) + size_of(entry) for key, entry in value.items())
        case list() | tuple():
            return sum(map(size_of, value))
    return 8


def _characters(request: ModelRequest) -> int:
    text = request.body.get("input")
    return len(text) if isinstance(text, str) else 0


def _pictures(request: ModelRequest) -> int:
    asked = request.body.get("n")
    return asked if request.dialect == "images" and type(asked) is int and asked > 0 else 1


def _seconds(form: bytes, bytes_per_s: int) -> float:
    """How long the audio in a form is: a WAV file says it, of others the size must do."""
    at = form.find(b"RIFF")
    if (
        at >= 0
        and form[at + 8 : at + 16] == b"WAVEfmt "
        and (rate := int.from_bytes(form[at + 28 : at + 32], "little"))
    ):
        return (len(form) - at) / rate
    return len(form) / bytes_per_s
