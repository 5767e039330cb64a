"""How much a request is, where nobody has counted it: what it may take at most, and what it took most likely."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from penstock.errors import BadRequest
from penstock.types import Dialect, ModelRequest, Usage

__all__ = ["WRITING", "ceiling", "estimate", "estimated_input", "input_bytes", "size_of"]

WRITING: Final[frozenset[Dialect]] = frozenset(
    {"chat", "completions", "responses", "messages"}
)  # they can be asked for less
HEARING: Final[frozenset[Dialect]] = frozenset({"transcriptions", "translations"})
BYTES_PER_TOKEN = 4  # on average, over languages; a token is never less than one byte
TOKENS_PER_PICTURE = 3_000  # that is looked at
TOKENS_PER_FILE = 20_000  # at least: one that is named by its address may be long
MEDIA_MARKS = (b"image", b"file", b"document", b"audio")  # where none of them stands, all is text
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
    """Bytes of the input that a model reads as text. Pictures, recordings and files count as tokens, not as their encoding.

    Raises BadRequest for what is nested too deeply.
    """
    data = request.data
    if data and not any(mark in data for mark in MEDIA_MARKS):
        return len(data)
    return size_of(request.body)


def size_of(value: Any) -> int:
    """Bytes of all texts in a body. Parts of a message that are no text count as what they take. Raises BadRequest."""
    try:
        return _size(value)
    except RecursionError as error:
        raise BadRequest("the body is nested too deeply") from error


def _size(value: Any) -> int:
    match value:
        case str():
            return len(value.encode(errors="surrogatepass"))
        case Mapping():
            return sum(
                len(key) + (sum(map(_part, entry)) if key == "content" and isinstance(entry, list) else _size(entry))
                for key, entry in value.items()
            )
        case list() | tuple():
            return sum(map(_size, value))
    return 8


def _part(part: Any) -> int:
    """A part of a message's content. Only here may an encoding stand for less than its length."""
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind in ("image_url", "input_image", "image"):
        return TOKENS_PER_PICTURE
    if kind in ("file", "input_file", "document", "input_audio"):
        return max(TOKENS_PER_FILE, _size(part) // BYTES_PER_TOKEN)
    return _size(part)


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
