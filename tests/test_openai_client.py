"""OpenAI's own client is a client of this server."""

import asyncio
import base64
from collections.abc import Iterator
from typing import Any

import numpy as np
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from serving import HANDBOOK, KEYS, PAY, WITH_KEYS, Served, serving, shipped, write

RETURNS = "How long can books be returned?"
ABSENT = "Who won the chess championship of 1972?"
QUOTE = "Books can be returned within thirty days."


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("office")
    write(folder / "handbook", HANDBOOK | PAY)
    toml = '[documents.handbook]\npaths = ["handbook"]\n[apps.support]\ndocuments = "handbook"\n[server]\nmax_body_mb = 1\n'
    with serving(folder, toml + WITH_KEYS) as served:
        yield served


@pytest.fixture(scope="module")
def client(office: Served) -> Iterator[OpenAI]:
    with opened(office) as client:
        yield client


def opened(office: Served, key: str = KEYS["clerk"]) -> OpenAI:
    return OpenAI(base_url=f"{office.url}/v1", api_key=key, max_retries=0)


def said(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def test_a_question_is_answered_with_annotations(client: OpenAI):
    completion = client.chat.completions.create(model="handbook", messages=said(RETURNS))
    message = completion.choices[0].message
    assert message.content
    assert message.annotations
    place = message.annotations[0].url_citation

    assert message.content[place.start_index : place.end_index] == QUOTE
    assert place.title == "Returns"
    assert completion.usage
    assert completion.usage.total_tokens == 0
    assert completion.model_extra
    assert completion.model_extra["penstock"]["citations"][0]["quote"] == QUOTE


@pytest.mark.parametrize("question", [RETURNS, ABSENT])
def test_a_streamed_answer_is_the_whole_one(client: OpenAI, question: str):
    whole = client.chat.completions.create(model="support", messages=said(question)).choices[0].message.content
    options: Any = {"include_usage": True}
    streamed = list(
        client.chat.completions.create(model="support", messages=said(question), stream=True, stream_options=options)
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in streamed if chunk.choices)
    last = next(chunk for chunk in reversed(streamed) if chunk.choices)

    assert text == whole
    assert last.choices[0].finish_reason == "stop"
    assert last.model_extra
    assert last.model_extra["penstock"]["status"] in ("answer", "not_found")
    assert streamed[-1].usage


def test_the_streaming_helper_puts_the_answer_together(client: OpenAI):
    with client.chat.completions.stream(model="handbook", messages=said(RETURNS)) as stream:
        completion = stream.get_final_completion()

    assert completion.choices[0].message.content
    assert QUOTE in completion.choices[0].message.content


def test_a_conversation_goes_on(client: OpenAI):
    messages = said("How long do parcels to Norway take?")
    first = client.chat.completions.create(model="handbook", messages=messages).choices[0].message
    messages += [first, *said("And to Japan?")]
    second = client.chat.completions.create(model="handbook", messages=messages).choices[0].message

    assert second.content
    assert "twelve days" in second.content


def test_a_filter_travels_in_the_extra_body(client: OpenAI):
    where = {"where": {"source": "shipping.md"}}
    completion = client.chat.completions.create(model="handbook", messages=said(RETURNS), extra_body=where)

    assert QUOTE not in (completion.choices[0].message.content or "")


def test_models_are_listed(client: OpenAI):
    assert [model.id for model in client.models.list()] == ["handbook", "support"]


@pytest.mark.parametrize("encoding", ["float", "base64", None])
def test_texts_are_embedded(client: OpenAI, encoding: Any):
    texts = ["Books can be returned.", "Größe 数量"]
    options: dict[str, Any] = {"encoding_format": encoding} if encoding else {}
    answer = client.embeddings.create(model="minilm", input=texts, **options)
    vectors: list[Any] = [row.embedding for row in answer.data]
    if encoding == "base64":
        vectors = [np.frombuffer(base64.b64decode(vector), "<f4") for vector in vectors]

    assert np.allclose(vectors, shipped().embed(texts), atol=1e-3)
    assert answer.usage.total_tokens > 0


def test_the_asynchronous_client_is_answered_too(office: Served):
    async def all_of_it() -> tuple[str | None, str, list[str], int]:
        async with AsyncOpenAI(base_url=f"{office.url}/v1", api_key=KEYS["clerk"], max_retries=0) as client:
            create = client.chat.completions.create
            many = await asyncio.gather(*(create(model="handbook", messages=said(RETURNS)) for _ in range(10)))
            stream = await create(model="handbook", messages=said(RETURNS), stream=True)
            streamed = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
            models = [model.id async for model in client.models.list()]
            embedded = await client.embeddings.create(model="minilm", input="books")
            return many[-1].choices[0].message.content, streamed, models, len(embedded.data[0].embedding)

    whole, streamed, models, dim = asyncio.run(all_of_it())

    assert streamed == whole
    assert models == ["handbook", "support"]
    assert dim == 384


@pytest.mark.parametrize("stream", [False, True])
def test_each_refusal_is_the_error_that_openai_has_for_it(office: Served, client: OpenAI, stream: bool):
    def ask(client: OpenAI, model: str, text: str) -> None:
        client.chat.completions.create(model=model, messages=said(text), stream=stream)

    with opened(office, "some-other-key-0123456789") as stranger, pytest.raises(openai.AuthenticationError) as unknown:
        ask(stranger, "handbook", RETURNS)
    with pytest.raises(openai.NotFoundError) as missing:
        ask(client, "gpt-5", RETURNS)
    with pytest.raises(openai.BadRequestError) as empty:
        ask(client, "handbook", " ")
    with pytest.raises(openai.APIStatusError) as large:
        ask(client, "handbook", "x" * (1 << 20))

    assert unknown.value.code == "needs_key"
    assert missing.value.code == "not_found"
    assert missing.value.type == "not_found_error"
    assert "handbook" in str(missing.value.body)
    assert empty.value.code == "bad_request"
    assert large.value.status_code == 413


def test_a_refused_caller_is_openais_permission_error(office: Served, client: OpenAI):
    with pytest.raises(openai.PermissionDeniedError) as refused:
        client.with_options(default_headers={"origin": "https://evil.example"}).models.list()

    assert refused.value.code == "not_allowed"


def test_a_model_that_does_not_embed_is_not_found(client: OpenAI):
    with pytest.raises(openai.NotFoundError, match="text-embedding-3-small"):
        client.embeddings.create(model="text-embedding-3-small", input="books")


def test_what_a_key_may_not_read_is_not_answered_through_openais_client_either(office: Served):
    question = said("What does the director earn?")
    with opened(office, KEYS["boss"]) as boss, opened(office) as clerk:
        ours, theirs = (c.chat.completions.create(model="handbook", messages=question) for c in (boss, clerk))

    assert "90,000" in (ours.choices[0].message.content or "")
    assert "90,000" not in theirs.model_dump_json()
