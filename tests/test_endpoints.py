"""The endpoints beside chat: audio in and out, pictures, moderation, reranking, and counting, as OpenAI's client calls them."""

import json
import wave
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import OpenAI
from serving import Served, serving
from upstream import PIECES, TEXT, Turn, Upstream, upstream

from penstock.config import ModelSettings
from penstock.errors import BadRequest
from penstock.models import form
from penstock.models.prices import look_up
from penstock.observe.journal import Row
from penstock.types import Usage

USD = 10**12
SOUND = bytes(range(256)) * 400
JSON = "application/json"


@pytest.fixture(scope="module")
def up() -> Iterator[Upstream]:
    with upstream() as running:
        yield running


@pytest.fixture(scope="module")
def gate(up: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    toml = f"""
    [models.ears]
    model = "whisper-large"
    base_url = "{up.url}"
    input_usd_per_million = 1
    output_usd_per_million = 2
    usd_per_minute = 0.6
    [models.voice]
    base_url = "{up.url}"
    usd_per_million_characters = 15
    [models.painter]
    base_url = "{up.url}"
    usd_per_call = 0.04
    [models.artist]
    base_url = "{up.url}"
    input_usd_per_million = 1
    output_usd_per_million = 2
    [models.judge]
    base_url = "{up.url}"
    usd_per_call = 0
    [models.sorter]
    provider = "cohere"
    base_url = "{up.url}"
    usd_per_call = 0.002
    [models.writer]
    base_url = "{up.url}"
    input_usd_per_million = 1
    output_usd_per_million = 2
    [models.claude]
    provider = "anthropic"
    base_url = "{up.url}"
    [models.any]
    model = "*"
    base_url = "{up.url}"
    """
    with serving(tmp_path_factory.mktemp("gate"), toml, documents=False) as served:
        yield served


@pytest.fixture(scope="module")
def client(gate: Served) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{gate.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def say(up: Upstream, model: str, body: Any, media_type: str = JSON, **how: Any) -> None:
    """What the upstream answers to calls of a model from now on; forms name theirs out of its sight."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    up.turns[model] = [Turn(body=data, headers={"content-type": media_type}, **how)]


def last(served: Served) -> Row:
    served.house.gateway.journal.drain()
    return served.house.gateway.journal.requests(limit=1)[0]


def recording(seconds: float) -> bytes:
    """A WAV file of silence."""
    file = BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(round(seconds * 8000) * 2))
    return file.getvalue()


def sent(up: Upstream) -> dict[str, Any]:
    """The form that reached the upstream: its fields, and its files by name."""
    seen = up.seen[-1]
    parts = form.read(seen.data, seen.headers["content-type"])
    return form.fields(parts) | {part.name: (part.filename, part.data) for part in parts if part.filename is not None}


# ---------------------------------------------------------------- audio in


def test_a_recording_is_transcribed_under_the_name_that_the_provider_knows(client: OpenAI, up: Upstream, gate: Served):
    say(up, "", {"text": "Good morning.", "usage": {"type": "duration", "seconds": 9}})
    sound = recording(2)

    heard = client.audio.transcriptions.create(
        model="ears", file=('morning "1".wav', sound), language="en", extra_body={"odd": "kept"}
    )

    assert heard.text == "Good morning."
    assert up.seen[-1].path == "/v1/audio/transcriptions"
    assert sent(up) == {"model": "whisper-large", "language": "en", "odd": "kept", "file": ('morning "1".wav', sound)}
    assert last(gate).cost_pico_usd == 9 * USD // 100
    assert last(gate).dialect == "transcriptions"


def test_a_translation_goes_the_same_way(gate: Served, up: Upstream):
    say(up, "", {"text": "Good morning."})

    heard = gate.client().post("/v1/audio/translations", data={"model": "ears"}, files={"file": ("a.mp3", SOUND)})

    assert heard.json() == {"text": "Good morning."}
    assert up.seen[-1].path == "/v1/audio/translations"


@pytest.mark.parametrize(
    ("said", "cost"),
    [
        (
            {"text": "…", "usage": {"type": "tokens", "input_tokens": 40, "output_tokens": 5, "total_tokens": 45}},
            50_000_000,
        ),
        ({"text": "…", "duration": 30.5}, 305 * USD // 1000),
        (b"1\n00:00:00,000 --> 00:00:12,000\nGood morning\n", None),
    ],
    ids=["tokens", "every detail", "subtitles"],
)
def test_hearing_is_paid_by_what_the_provider_says_or_by_the_length(
    client: OpenAI, up: Upstream, gate: Served, said: Any, cost: int | None
):
    say(up, "", said, "text/plain; charset=utf-8" if cost is None else JSON)

    client.audio.transcriptions.create(model="ears", file=("morning.wav", recording(12)), response_format="text")

    row = last(gate)
    assert row.status == 200
    if cost is None:  # twelve seconds at a cent each, and the tokens they were guessed to be
        assert row.cost_pico_usd == pytest.approx(12 * USD // 100, rel=0.01)
    else:
        assert row.cost_pico_usd == cost


def test_subtitles_keep_their_media_type(gate: Served, up: Upstream):
    say(up, "", b"WEBVTT\n\n", "text/vtt")

    answer = gate.client().post("/v1/audio/transcriptions", data={"model": "ears"}, files={"file": ("a.mp3", SOUND)})

    assert answer.content == b"WEBVTT\n\n"
    assert answer.headers["content-type"] == "text/vtt"


def test_a_transcription_is_streamed_as_it_is_heard(client: OpenAI, up: Upstream, gate: Served):
    events = [
        {"type": "transcript.text.delta", "delta": "Good "},
        {"type": "transcript.text.delta", "delta": "morning."},
        {
            "type": "transcript.text.done", "text": "Good morning.",
            "usage": {"type": "tokens", "input_tokens": 30, "output_tokens": 4, "total_tokens": 34},
        },
    ]  # fmt: skip
    say(up, "", b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events), "text/event-stream")

    heard = list(client.audio.transcriptions.create(model="ears", file=("a.mp3", SOUND), stream=True))

    assert [event.type for event in heard] == [event["type"] for event in events]
    assert (last(gate).input_tokens, last(gate).output_tokens, last(gate).streamed) == (30, 4, True)


def test_a_transcription_that_breaks_off_says_so(client: OpenAI, up: Upstream):
    say(up, "", b'data: {"type": "transcript.text.delta", "delta": "Good "}\n\n', "text/event-stream")
    events = client.audio.transcriptions.create(model="ears", file=("a.mp3", SOUND), stream=True)

    with pytest.raises(openai.APIError, match="broke off"):
        list(events)


@pytest.mark.parametrize(
    "fields",
    [[], [("model", "ears"), ("model", "voice")], [("model", "ears"), ("stream", "perhaps")]],
    ids=["no model", "two models", "half a stream"],
)
def test_a_crooked_form_is_refused_before_anybody_is_asked(gate: Served, up: Upstream, fields: list[tuple[str, str]]):
    before = len(up.seen)
    data, media_type = form.write([form.Part(name, value.encode()) for name, value in fields])

    answer = gate.client().post("/v1/audio/transcriptions", content=data, headers={"content-type": media_type})

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "bad_request"
    assert len(up.seen) == before


@pytest.mark.parametrize("body", [b"", b"{}", b"--x\r\nnothing", b"--x--"])
def test_what_is_no_form_is_refused(gate: Served, body: bytes):
    headers = {"content-type": "multipart/form-data; boundary=x"}

    assert gate.client().post("/v1/audio/transcriptions", content=body, headers=headers).status_code == 400
    assert gate.client().post("/v1/audio/transcriptions", content=body).status_code == 400


PARTS = st.lists(
    st.builds(
        form.Part,
        st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='\\%"'), min_size=1, max_size=10),
        st.binary(max_size=200),
        st.none() | st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters=':\\%"'), max_size=20),
    ),
    max_size=6,
)


@given(parts=PARTS)
def test_a_form_that_was_written_is_read_again(parts: list[form.Part]):
    data, media_type = form.write(parts)

    assert form.read(data, media_type) == sorted(parts, key=lambda part: part.name != "model")


@given(
    parts=PARTS,
    model=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    other=st.text("a/:-é", max_size=9),
)
def test_another_models_name_changes_nothing_else_in_a_form(parts: list[form.Part], model: str, other: str):
    parts = [form.Part("model", model.encode()), *(part for part in parts if part.name != "model")]
    data, media_type = form.write(parts)

    assert form.read(form.with_model(data, media_type, other), media_type) == [
        form.Part("model", other.encode()), *parts[1:]
    ]  # fmt: skip


@given(data=st.binary(max_size=400), boundary=st.text("ax-", min_size=1, max_size=3))
def test_any_bytes_are_a_form_or_a_refusal(data: bytes, boundary: str):
    for body in (data, b"--%b\r\n%b\r\n--%b--" % (boundary.encode(), data, boundary.encode())):
        try:
            form.read(body, f"multipart/form-data; boundary={boundary}")
        except BadRequest:
            continue


# ---------------------------------------------------------------- audio out


def test_speech_is_passed_on_with_its_media_type_and_paid_by_characters(client: OpenAI, up: Upstream, gate: Served):
    say(up, "voice", SOUND, "audio/mpeg")

    spoken = client.audio.speech.create(model="voice", voice="alloy", input="Good morning 🎁", extra_body={"odd": 1})

    assert spoken.content == SOUND
    assert spoken.response.headers["content-type"] == "audio/mpeg"
    assert up.seen[-1].body == {"model": "voice", "voice": "alloy", "input": "Good morning 🎁", "odd": 1}
    assert last(gate).cost_pico_usd == 14 * 15_000_000


def test_speech_is_heard_before_it_is_whole(gate: Served, up: Upstream):
    say(up, "voice", SOUND, "audio/pcm", pieces=PIECES // 2, then="hang")

    with gate.client().stream("POST", "/v1/audio/speech", json={"model": "voice", "input": "Good"}) as answer:
        first = next(answer.iter_raw())

    assert answer.headers["content-type"] == "audio/pcm"
    assert SOUND.startswith(first)


def test_speech_that_breaks_off_is_no_whole_answer(gate: Served, up: Upstream):
    say(up, "voice", SOUND, "audio/pcm", pieces=PIECES // 2)

    with pytest.raises(httpx2.RemoteProtocolError):
        gate.client().post("/v1/audio/speech", json={"model": "voice", "input": "Good"})

    assert last(gate).outcome == "failed"


def test_speech_as_events_is_a_stream_of_events(gate: Served, up: Upstream):
    usage = {"input_tokens": 14, "output_tokens": 101, "total_tokens": 115}
    events = [{"type": "speech.audio.delta", "audio": "AAAA"}, {"type": "speech.audio.done", "usage": usage}]
    body = b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events)
    say(up, "voice", body, "text/event-stream")

    answer = gate.client().post("/v1/audio/speech", json={"model": "voice", "input": "Good", "stream_format": "sse"})

    assert answer.content == body
    assert answer.headers["content-type"] == "text/event-stream"
    assert last(gate).output_tokens == 101


def test_a_refusal_of_speech_is_an_ordinary_one(client: OpenAI, up: Upstream):
    up.turns["voice"] = [Turn(400)]

    with pytest.raises(openai.BadRequestError, match="as it was told to"):
        client.audio.speech.create(model="voice", voice="alloy", input="Good morning")


# ---------------------------------------------------------------- pictures, moderation, reranking


def test_each_picture_is_paid(client: OpenAI, up: Upstream, gate: Served):
    say(up, "painter", {"created": 1, "data": [{"b64_json": "A" * 3_000_000}, {"b64_json": "BBBB"}]})

    painted = client.images.generate(model="painter", prompt="A dam", n=3, size="1024x1024", extra_body={"odd": 1})

    assert [len(picture.b64_json or "") for picture in painted.data or ()] == [3_000_000, 4]
    assert up.seen[-1].body == {"model": "painter", "prompt": "A dam", "n": 3, "size": "1024x1024", "odd": 1}
    assert last(gate).cost_pico_usd == 2 * 4 * USD // 100


def test_pictures_that_come_with_usage_are_paid_by_it(client: OpenAI, up: Upstream, gate: Served):
    usage = {
        "input_tokens": 10,
        "output_tokens": 1056,
        "total_tokens": 1066,
        "input_tokens_details": {"text_tokens": 10},
    }
    say(up, "artist", {"created": 1, "data": [{"b64_json": "AAAA"}], "usage": usage})

    client.images.generate(model="artist", prompt="A dam")

    assert last(gate).cost_pico_usd == 10 * 1_000_000 + 1056 * 2_000_000


def test_a_text_is_moderated(client: OpenAI, up: Upstream, gate: Served):
    result = {"flagged": False, "categories": {}, "category_scores": {}, "category_applied_input_types": {}}
    say(up, "judge", {"id": "modr-1", "model": "judge", "results": [result]})

    judged = client.moderations.create(model="judge", input=["Good morning"])

    assert judged.results[0].flagged is False
    assert (last(gate).dialect, last(gate).output_tokens, last(gate).cost_pico_usd) == ("moderations", 0, 0)


def test_passages_are_ranked_and_each_search_is_paid(gate: Served, up: Upstream):
    body = {"id": "1", "results": [{"index": 1, "relevance_score": 0.9}], "meta": {"billed_units": {"search_units": 3}}}
    say(up, "sorter", body)
    asked = {"model": "sorter", "query": "dams", "documents": ["a", "b"], "top_n": 1, "odd": {"kept": True}}

    answer = gate.client().post("/v1/rerank", json=asked)

    assert answer.json() == body
    assert up.seen[-1].body == asked
    assert up.seen[-1].path == "/v1/rerank"
    assert last(gate).cost_pico_usd == 3 * 2 * USD // 1000


def test_a_plain_completion_is_passed_on(client: OpenAI, gate: Served):
    completed = client.completions.create(model="writer", prompt="Once upon a time")

    assert completed.choices[0].text == TEXT
    assert last(gate).output_tokens == PIECES


@pytest.mark.parametrize(
    "path", ["/audio/speech", "/images/generations", "/moderations", "/rerank", "/embeddings", "/audio/transcriptions"]
)
def test_what_a_provider_does_not_offer_is_said(gate: Served, path: str):
    client = gate.client()
    if path == "/audio/transcriptions":
        answer = client.post(f"/v1{path}", data={"model": "claude"}, files={"file": ("a.mp3", SOUND)})
    else:
        answer = client.post(f"/v1{path}", json={"model": "claude", "input": "x", "prompt": "x", "query": "x"})

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "not_offered"
    assert "claude" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/audio/speech", "/images/generations", "/moderations", "/rerank"])
def test_a_model_that_is_not_there_is_not_found_with_those_that_are(gate: Served, path: str):
    answer = gate.client().post(f"/v1{path}", json={"model": "paintre", "input": "x"})

    assert answer.status_code == 404
    assert "painter" in answer.json()["error"]["hint"]


def test_a_budget_holds_for_pictures_too(tmp_path: Path, up: Upstream):
    say(up, "painter", {"created": 1, "data": [{"b64_json": "AAAA"}]})
    toml = f'[models.painter]\nbase_url = "{up.url}"\nusd_per_call = 0.04\n[budgets.all]\nlimit_usd = 0.1\n'
    with serving(tmp_path, toml, documents=False) as served:
        ask = {"model": "painter", "prompt": "A dam"}
        answers = [served.client().post("/v1/images/generations", json=ask | {"n": n}) for n in (3, 1, 1, 1)]

    assert [answer.status_code for answer in answers] == [429, 200, 200, 429]
    assert answers[-1].json()["error"]["code"] == "insufficient_quota"


@pytest.mark.parametrize(
    ("model", "usage", "usd"),
    [
        ("tts-1", Usage(characters=1_000_000), 15),
        ("whisper-1", Usage(seconds=3600), 0.36),
        ("gpt-4o-transcribe", Usage(1_000_000, 1_000_000, audio_tokens=900_000), 0.25 + 0.9 * 6 + 10),
        ("gpt-image-1", Usage(1_000_000, 1_000_000), 45),
    ],
)
def test_the_price_data_knows_audio_and_pictures(model: str, usage: Usage, usd: float):
    price = look_up(ModelSettings(), "openai", model).price

    assert price
    assert price.of(usage) == pytest.approx(usd * USD, rel=1e-6)


# ---------------------------------------------------------------- models, and counting


def test_a_model_is_looked_up_by_name_even_one_with_slashes(client: OpenAI):
    assert client.models.retrieve("painter").id == "painter"
    assert client.models.retrieve("any/meta/llama-3").id == "any/meta/llama-3"
    with pytest.raises(openai.NotFoundError, match="nobody"):
        client.models.retrieve("nobody")


def test_tokens_are_counted_by_whoever_can(gate: Served, up: Upstream):
    say(up, "claude", {"input_tokens": 14})
    up.turns["writer"] = [Turn(500)]
    with anthropic.Anthropic(base_url=gate.url, api_key="none", max_retries=0) as client:
        said: Any = [{"role": "user", "content": "How long can books be returned? " * 10}]
        counted = client.messages.count_tokens(model="claude", messages=said)
        path = up.seen[-1].path
        guessed = client.messages.with_raw_response.count_tokens(model="writer", messages=said)

    assert counted.input_tokens == 14
    assert path == "/v1/messages/count_tokens"
    assert guessed.headers["x-penstock-estimated"] == "true"
    assert 80 <= guessed.parse().input_tokens <= 90
    assert (last(gate).status, last(gate).cost_pico_usd, last(gate).calls) == (200, 0, "[]")


def test_counting_is_within_the_rate_and_beside_the_money(tmp_path: Path, up: Upstream):
    say(up, "claude", {"input_tokens": 14})
    toml = f"""
    [models.claude]
    provider = "anthropic"
    base_url = "{up.url}"
    usd_per_call = 1
    [budgets.all]
    limit_usd = 0.5
    requests_per_minute = 2
    """
    with serving(tmp_path, toml, documents=False) as served:
        ask = {"model": "claude", "messages": [{"role": "user", "content": "Good morning"}]}
        answers = [served.client().post("/v1/messages/count_tokens", json=ask).status_code for _ in range(3)]

    assert answers == [200, 200, 429]
