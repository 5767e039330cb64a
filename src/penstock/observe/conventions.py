"""What others call things: attributes, operations, providers and metrics, as each convention names them. One table, with versions.

OpenTelemetry's names for generative AI are in development and have been renamed more than once. Nothing else in Penstock spells
one: when a convention moves, its column here moves, and its version. `stable` is what most backends read today, `latest` what an
application asks for with `gen_ai_latest_experimental`; both may be sent side by side. OpenInference's names are added on request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, NamedTuple

__all__ = [
    "ATTRIBUTES", "CHOICE", "EVALUATION", "FIRST_SECONDS", "METRICS", "OPERATIONS", "PROVIDERS", "SECONDS", "TOKENS",
    "USER_MESSAGE", "VERSIONS", "WRITING", "Names", "Semconv", "Served",
]  # fmt: skip

Semconv = Literal["stable", "latest", "both"]
Value = str | int | float | bool | list[str] | None

VERSIONS = {
    "stable": "1.36.0",  # open-telemetry/semantic-conventions: the last before GenAI was split off and renamed
    "latest": "0.1.0",  # open-telemetry/semantic-conventions-genai, on semantic-conventions 1.45.0
    "openinference": "0.1.32",  # openinference-semantic-conventions of Arize-ai/openinference
}


class Said(NamedTuple):
    """One thing as each convention calls it; "" where it has no name for it."""

    stable: str = ""
    latest: str = ""
    openinference: str = ""


def _same(name: str, openinference: str = "") -> Said:
    return Said(name, name, openinference)


ATTRIBUTES = {
    "operation": _same("gen_ai.operation.name"),
    "kind": Said("", "", "openinference.span.kind"),
    "provider": Said("gen_ai.system", "gen_ai.provider.name", "llm.provider"),
    "model": _same("gen_ai.request.model", "llm.model_name"),
    "embedder": _same("gen_ai.request.model", "embedding.model_name"),
    "embedder_provider": Said("gen_ai.system", "gen_ai.provider.name"),  # OpenInference names none for vectors
    "agent": _same("gen_ai.agent.name", "agent.name"),
    "streamed": Said("", "gen_ai.request.stream"),
    "first_s": Said("", "gen_ai.response.time_to_first_chunk"),
    "input_tokens": _same("gen_ai.usage.input_tokens", "llm.token_count.prompt"),
    "output_tokens": _same("gen_ai.usage.output_tokens", "llm.token_count.completion"),
    "total_tokens": Said("", "", "llm.token_count.total"),
    "cached_tokens": Said("", "gen_ai.usage.cache_read.input_tokens", "llm.token_count.prompt_details.cache_read"),
    "reasoning_tokens": Said(
        "", "gen_ai.usage.reasoning.output_tokens", "llm.token_count.completion_details.reasoning"
    ),
    "cost_usd": Said("", "", "llm.cost.total"),
    "token_type": Said("gen_ai.token.type", ""),
    "modality": Said("", "gen_ai.token.modality"),
    "person": _same("user.id", "user.id"),
    "input": Said("", "gen_ai.input.messages"),
    "output": Said("", "gen_ai.output.messages"),
    "input_text": Said("", "", "input.value"),
    "input_type": Said("", "", "input.mime_type"),
    "output_text": Said("", "", "output.value"),
    "output_type": Said("", "", "output.mime_type"),
    "judged": Said("", "", "annotations.0.annotation.name"),
    "judged_score": Said("", "", "annotations.0.annotation.score"),
    "judged_by": Said("", "", "annotations.0.annotation.annotator_kind"),
    # of OpenTelemetry's general conventions, which are stable
    "error": _same("error.type"),
    "address": _same("server.address"),
    "port": _same("server.port"),
    "method": _same("http.request.method"),
    "route": _same("http.route"),
    "status": _same("http.response.status_code"),
}

# dialect of a call, or room -> its operation; OpenInference has kinds of spans instead
OPERATIONS = {
    "chat": _same("chat", "LLM"),
    "responses": _same("chat", "LLM"),
    "messages": _same("chat", "LLM"),
    "completions": _same("text_completion", "LLM"),
    "embeddings": _same("embeddings", "EMBEDDING"),
    "images": _same("generate_content", "LLM"),
    "speech": _same("generate_content", "LLM"),
    "rerank": _same("rerank", "RERANKER"),  # from here on names of our own: no convention has one
    "transcriptions": _same("transcription", "LLM"),
    "translations": _same("transcription", "LLM"),
    "moderations": _same("moderation", "GUARDRAIL"),
    "count_tokens": _same("count_tokens", "CHAIN"),
    "request": Said("", "", "CHAIN"),
    "app": Said("invoke_agent", "invoke_workflow", "CHAIN"),
    "search": Said("", "retrieval", "RETRIEVER"),
    "guard": Said("", "", "GUARDRAIL"),
    "guard.beside": Said("", "", "GUARDRAIL"),
    "screen": Said("", "", "GUARDRAIL"),
    "judge": Said("", "", "EVALUATOR"),
}
ROOM = Said("", "", "CHAIN")  # any other
WORDS = ("operation", "kind", "provider", "embedder_provider")  # attributes whose values are named too
WRITING = ("chat", "responses", "messages", "completions", "images", "speech")  # what `latest` calls inference

PROVIDERS = {
    "openai": _same("openai", "openai"),
    "anthropic": _same("anthropic", "anthropic"),
    "azure": _same("azure.ai.openai", "azure"),
    "bedrock": _same("aws.bedrock", "aws"),
    "cohere": _same("cohere", "cohere"),
    "deepseek": _same("deepseek", "deepseek"),
    "gemini": _same("gcp.gemini", "google"),
    "groq": _same("groq", "groq"),
    "mistral": _same("mistral_ai", "mistralai"),
    "xai": Said("xai", "x_ai", "xai"),
    "local": _same("llama.cpp", "llama.cpp"),
}  # any other has its own name

METRICS = {
    "inference": Said("gen_ai.client.operation.duration", "gen_ai.client.inference.duration"),
    "embeddings": Said("gen_ai.client.operation.duration", "gen_ai.client.embeddings.duration"),
    "other": _same("gen_ai.client.operation.duration"),
    "first_chunk": Said("", "gen_ai.client.inference.time_to_first_chunk"),
    "tokens": Said("gen_ai.client.token.usage", ""),
    "input_per_call": Said("", "gen_ai.client.inference.operation.input_tokens"),
    "output_per_call": Said("", "gen_ai.client.inference.operation.output_tokens"),
    "embedded_per_call": Said("", "gen_ai.client.embeddings.operation.input_tokens"),
    "input": Said("", "gen_ai.client.inference.usage.input_tokens"),
    "output": Said("", "gen_ai.client.inference.usage.output_tokens"),
    "door": _same("gen_ai.server.request.duration"),
    "door_first": _same("gen_ai.server.time_to_first_token"),
}

# bucket boundaries that the conventions advise
SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
FIRST_SECONDS = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
TOKENS = tuple(float(4**n) for n in range(14))

USER_MESSAGE, CHOICE, EVALUATION = "gen_ai.user.message", "gen_ai.choice", "gen_ai.evaluation.result"  # events


@dataclass(frozen=True, slots=True)
class Served:
    """A model as its provider knows it."""

    provider: str = ""
    model: str = ""
    address: str = ""  # of the server; "" where it runs here
    port: int = 0

    @property
    def local(self) -> bool:
        return self.provider == "local"


@dataclass(frozen=True, slots=True)
class Names:
    """The conventions that somebody asked for."""

    semconv: Semconv = "stable"
    openinference: bool = False

    @property
    def stable(self) -> bool:
        return self.semconv != "latest"

    @property
    def latest(self) -> bool:
        return self.semconv != "stable"

    def attributes(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Names of ATTRIBUTES and their values, as the conventions have them. Where two of them call two things the same, the
        latest is right. What is empty is left out."""
        found: dict[str, Value] = {}
        for name, value in values.items():
            if value is None or value == "":
                continue
            for column, called in _columns(self, ATTRIBUTES[name]):
                if (said := _value(name, column, value) if name in WORDS else value) != "":
                    found[called] = said
        return found

    def operation(self, of: str) -> str:
        """The operation of a dialect or room; "" where it has none."""
        said = OPERATIONS.get(of, ROOM)
        return said.latest if self.latest else said.stable

    def metrics(self, name: str) -> list[str]:
        """What a metric of METRICS is called, once each."""
        return list(dict.fromkeys(called for column, called in _columns(self, METRICS[name]) if column != 2))


@cache
def _columns(names: Names, said: Said) -> tuple[tuple[int, str], ...]:
    chosen = (names.stable, names.latest, names.openinference)
    return tuple((n, called) for n, called in enumerate(said) if called and chosen[n])


def _value(name: str, column: int, value: Any) -> Value:
    """Operations, kinds and providers are words that each convention has of its own."""
    if name in ("operation", "kind"):
        return OPERATIONS.get(value, ROOM)[column]
    return PROVIDERS[value][column] if value in PROVIDERS else str(value)
