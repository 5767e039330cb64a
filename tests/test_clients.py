"""The clients people have, with nothing changed but the base URL: `make test-clients` installs all of them."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from serving import Served, serving
from upstream import INPUT_TOKENS, PIECES, TEXT, Turn, Upstream, upstream

KEY = "clients-key-0123456789"
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
TOOL_ANSWER = json.dumps(
    {
        "id": "chatcmpl-2", "object": "chat.completion", "created": 1, "model": "tools",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": None, "tool_calls": [CALL]},
                     "finish_reason": "tool_calls", "logprobs": None}],
        "usage": {"prompt_tokens": 12, "completion_tokens": 9, "total_tokens": 21},
    }
).encode()  # fmt: skip


@pytest.fixture(scope="module")
def up() -> Iterator[Upstream]:
    with upstream(tools=[Turn(body=TOOL_ANSWER)]) as running:
        yield running


@pytest.fixture(scope="module")
def gate(up: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    toml = "".join(
        f'[models.{name}]\nbase_url = "{up.url}"\napi_key = "sk-up"\ninput_usd_per_million = 1\n'
        "output_usd_per_million = 2\nfirst_byte_s = 5\n"
        for name in ("good", "tools", "busy", "refuse", "fail", "trickle", "hang")
    )
    toml += f"""
    [models.claude]
    provider = "anthropic"
    base_url = "{up.url}"
    api_key = "sk-ant"
    input_usd_per_million = 1
    output_usd_per_million = 2
    [keys.me]
    key = "{KEY}"
    [keys.poor]
    key = "poor-{KEY}"
    [budgets.poor]
    key = "poor"
    limit_usd = 0.000001
    [budgets.rare]
    key = "me"
    model = "tools"
    requests_per_minute = 1000
    """
    with serving(tmp_path_factory.mktemp("gate"), toml, documents=False) as served:
        yield served


# ---------------------------------------------------------------- openai


class TestOpenAI:
    @pytest.fixture
    def client(self, gate: Served) -> Iterator[Any]:
        openai = pytest.importorskip("openai")
        with openai.OpenAI(base_url=f"{gate.url}/v1", api_key=KEY, max_retries=0, timeout=20) as client:
            yield client

    @pytest.mark.parametrize("model", ["good", "claude"])
    def test_an_answer(self, client: Any, model: str):
        answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hello"}])

        assert answer.choices[0].message.content == TEXT
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (INPUT_TOKENS, PIECES)
        assert answer.choices[0].finish_reason == "stop"

    @pytest.mark.parametrize("model", ["good", "claude"])
    def test_a_stream(self, client: Any, model: str):
        stream = client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": "Hello"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = list(stream)

        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == TEXT
        assert chunks[-1].usage.completion_tokens == PIECES

    def test_a_tool_is_called(self, client: Any):
        answer = client.chat.completions.create(
            model="tools", messages=[{"role": "user", "content": "Oslo?"}], tools=[TOOL], tool_choice="auto"
        )

        (call,) = answer.choices[0].message.tool_calls
        assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "Oslo"})

    @pytest.mark.parametrize("model", ["good", "claude"])
    def test_responses(self, client: Any, model: str):
        answer = client.responses.create(model=model, input="Hello")

        assert answer.output_text == TEXT
        assert answer.usage.output_tokens == PIECES

    @pytest.mark.parametrize("model", ["good", "claude"])
    def test_responses_in_a_stream(self, client: Any, model: str):
        with client.responses.stream(model=model, input="Hello") as stream:
            texts = [event.delta for event in stream if event.type == "response.output_text.delta"]
            final = stream.get_final_response()

        assert "".join(texts) == TEXT == final.output_text

    def test_completions(self, client: Any):
        answer = client.completions.create(model="good", prompt="Hello")

        assert answer.choices[0].text == TEXT

    def test_embeddings(self, client: Any):
        answer = client.embeddings.create(model="good", input=["a", "b"])

        assert len(answer.data) == 2
        assert len(answer.data[0].embedding) == 4

    def test_the_models_are_listed(self, client: Any):
        assert {"good", "claude"} <= {model.id for model in client.models.list()}

    def test_errors_are_of_the_classes_people_catch(self, client: Any, gate: Served):
        openai = pytest.importorskip("openai")
        ask = [{"role": "user", "content": "Hello"}]

        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="nothing", messages=ask)
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(model="refuse", messages=ask)
        with pytest.raises(openai.RateLimitError):
            client.chat.completions.create(model="busy", messages=ask)
        with pytest.raises(openai.InternalServerError):
            client.chat.completions.create(model="fail", messages=ask)
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key="sk-wrong").chat.completions.create(model="good", messages=ask)
        with pytest.raises(openai.RateLimitError) as spent:
            client.with_options(api_key=f"poor-{KEY}").chat.completions.create(model="good", messages=ask)
        with pytest.raises(openai.APITimeoutError):
            client.with_options(timeout=0.3).chat.completions.create(model="hang", messages=ask)

        assert spent.value.code == "insufficient_quota"

    def test_a_spent_budget_is_not_tried_again(self, gate: Served):
        openai = pytest.importorskip("openai")
        journal = gate.house.gateway.journal
        with openai.OpenAI(base_url=f"{gate.url}/v1", api_key=f"poor-{KEY}", max_retries=3) as client:
            before = len(journal_rows(journal, "poor"))
            with pytest.raises(openai.RateLimitError):
                client.chat.completions.create(model="good", messages=[{"role": "user", "content": "Hello"}])

        assert len(journal_rows(journal, "poor")) == before + 1

    def test_many_at_once_and_cancelled_ones(self, gate: Served, up: Upstream):
        openai = pytest.importorskip("openai")
        aborted = up.aborted

        async def go() -> list[str]:
            async with openai.AsyncOpenAI(base_url=f"{gate.url}/v1", api_key=KEY, max_retries=0) as client:
                ask = [{"role": "user", "content": "Hello"}]
                lost = asyncio.ensure_future(client.chat.completions.create(model="hang", messages=ask))
                found = await asyncio.gather(
                    *(client.chat.completions.create(model="good", messages=ask) for _ in range(50))
                )
                lost.cancel()
                await asyncio.gather(lost, return_exceptions=True)
                await asyncio.sleep(0.2)
                return [answer.choices[0].message.content for answer in found]

        assert asyncio.run(go()) == [TEXT] * 50
        assert up.aborted == aborted + 1


def journal_rows(journal: Any, key: str) -> list[Any]:
    journal.drain()
    return journal.requests(limit=1000, key=key)


# ---------------------------------------------------------------- anthropic


class TestAnthropic:
    @pytest.fixture
    def client(self, gate: Served) -> Iterator[Any]:
        anthropic = pytest.importorskip("anthropic")
        with anthropic.Anthropic(base_url=gate.url, api_key=KEY, max_retries=0, timeout=20) as client:
            yield client

    @pytest.mark.parametrize("model", ["claude", "good"])
    def test_a_message(self, client: Any, model: str):
        answer = client.messages.create(model=model, max_tokens=100, messages=[{"role": "user", "content": "Hello"}])

        assert answer.content[0].text == TEXT
        assert (answer.usage.input_tokens, answer.usage.output_tokens) == (INPUT_TOKENS, PIECES)
        assert answer.stop_reason == "end_turn"

    @pytest.mark.parametrize("model", ["claude", "good"])
    def test_a_stream(self, client: Any, model: str):
        messages = [{"role": "user", "content": "Hello"}]
        with client.messages.stream(model=model, max_tokens=100, messages=messages) as stream:
            text = "".join(stream.text_stream)
            final = stream.get_final_message()

        assert text == TEXT == final.content[0].text
        assert final.usage.output_tokens == PIECES

    def test_a_tool_is_used(self, client: Any):
        tool = {"name": "weather", "description": "…", "input_schema": TOOL["function"]["parameters"]}  # type: ignore[index]

        answer = client.messages.create(
            model="tools", max_tokens=100, messages=[{"role": "user", "content": "Oslo?"}], tools=[tool]
        )

        (block,) = [block for block in answer.content if block.type == "tool_use"]
        assert (block.name, block.input, answer.stop_reason) == ("weather", {"city": "Oslo"}, "tool_use")

    def test_errors_are_of_the_classes_people_catch(self, client: Any):
        anthropic = pytest.importorskip("anthropic")
        ask = {"max_tokens": 10, "messages": [{"role": "user", "content": "Hello"}]}

        with pytest.raises(anthropic.NotFoundError):
            client.messages.create(model="nothing", **ask)
        with pytest.raises(anthropic.RateLimitError):
            client.messages.create(model="busy", **ask)
        with pytest.raises(anthropic.AuthenticationError):
            client.with_options(api_key="sk-wrong").messages.create(model="good", **ask)
        with pytest.raises(anthropic.BadRequestError) as bad:
            client.messages.create(model="refuse", **ask)

        assert bad.value.body["type"] == "error"


# ---------------------------------------------------------------- frameworks


def test_langchain(gate: Served):
    langchain_openai = pytest.importorskip("langchain_openai")
    model = langchain_openai.ChatOpenAI(base_url=f"{gate.url}/v1", api_key=KEY, model="good")

    assert model.invoke("Hello").content == TEXT
    assert "".join(piece.content for piece in model.stream("Hello")) == TEXT


def test_llama_index(gate: Served):
    openai_like = pytest.importorskip("llama_index.llms.openai_like")
    model = openai_like.OpenAILike(api_base=f"{gate.url}/v1", api_key=KEY, model="good", is_chat_model=True)

    assert model.complete("Hello").text == TEXT
    assert "".join(piece.delta for piece in model.stream_complete("Hello")) == TEXT


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl")
def test_curl(gate: Served):
    body = {"model": "good", "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
    command = ["curl", "-sSN", f"{gate.url}/v1/chat/completions", "-H", f"authorization: Bearer {KEY}"]
    command += ["-H", "content-type: application/json", "-d", json.dumps(body)]

    told = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout

    events = [line.removeprefix("data: ") for line in told.splitlines() if line]
    assert events[-1] == "[DONE]"
    assert "".join(json.loads(event)["choices"][0]["delta"].get("content") or "" for event in events[:-1]) == TEXT
