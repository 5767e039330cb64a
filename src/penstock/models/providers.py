"""Who serves models: their addresses, how they want their key, and which dialects they speak."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from penstock.config import ModelSettings
from penstock.errors import BadSetting
from penstock.types import Dialect

__all__ = ["PATHS", "PROVIDERS", "Provider", "dialects", "provider"]

PATHS: dict[Dialect, str] = {
    "chat": "/chat/completions",
    "completions": "/completions",
    "responses": "/responses",
    "messages": "/messages",
    "count_tokens": "/messages/count_tokens",
    "embeddings": "/embeddings",
    "images": "/images/generations",
    "speech": "/audio/speech",
    "transcriptions": "/audio/transcriptions",
    "translations": "/audio/translations",
    "moderations": "/moderations",
    "rerank": "/rerank",
}
ALL: frozenset[Dialect] = frozenset(PATHS)
ANTHROPIC: frozenset[Dialect] = frozenset({"messages", "count_tokens"})
COMPATIBLE = ALL - ANTHROPIC - {"responses"}  # what servers that call themselves OpenAI-compatible mostly speak
CHAT: frozenset[Dialect] = frozenset({"chat", "embeddings"})


@dataclass(frozen=True, slots=True)
class Provider:
    """What is known of a provider."""

    base_url: str = ""  # empty: the settings must name it
    dialects: frozenset[Dialect] = COMPATIBLE
    prices: str = ""  # its id in the price data
    key_header: str = "authorization"
    variable: str = ""  # the environment variable in which people keep its key


PROVIDERS = {
    "openai": Provider("https://api.openai.com/v1", ALL - ANTHROPIC - {"rerank"}, "openai", variable="OPENAI_API_KEY"),
    "anthropic": Provider("https://api.anthropic.com/v1", ANTHROPIC, "anthropic", "x-api-key", "ANTHROPIC_API_KEY"),
    "azure": Provider("", ALL - ANTHROPIC - {"rerank"}, "azure", "api-key", "AZURE_OPENAI_API_KEY"),
    "bedrock": Provider("", CHAT, "aws", variable="AWS_BEARER_TOKEN_BEDROCK"),
    "cohere": Provider("https://api.cohere.com/v2", frozenset({"rerank"}), "cohere", variable="COHERE_API_KEY"),
    "deepseek": Provider("https://api.deepseek.com/v1", frozenset({"chat"}), "deepseek", variable="DEEPSEEK_API_KEY"),
    "fireworks": Provider(
        "https://api.fireworks.ai/inference/v1", COMPATIBLE, "fireworks", variable="FIREWORKS_API_KEY"
    ),
    "gemini": Provider(
        "https://generativelanguage.googleapis.com/v1beta/openai",
        CHAT | {"images"},
        "google",
        variable="GEMINI_API_KEY",
    ),
    "groq": Provider(
        "https://api.groq.com/openai/v1",
        CHAT | {"responses", "speech", "transcriptions", "translations"},
        "groq",
        variable="GROQ_API_KEY",
    ),
    "jina": Provider("https://api.jina.ai/v1", frozenset({"rerank", "embeddings"}), variable="JINA_API_KEY"),
    "llama.cpp": Provider("http://127.0.0.1:8080/v1"),
    "lmstudio": Provider("http://127.0.0.1:1234/v1", CHAT | {"completions"}),
    "mistral": Provider("https://api.mistral.ai/v1", CHAT | {"moderations"}, "mistral", variable="MISTRAL_API_KEY"),
    "ollama": Provider("http://127.0.0.1:11434/v1", CHAT | {"completions"}),
    "openrouter": Provider(
        "https://openrouter.ai/api/v1", CHAT | {"completions"}, "openrouter", variable="OPENROUTER_API_KEY"
    ),
    "sglang": Provider("http://127.0.0.1:30000/v1"),
    "together": Provider("https://api.together.xyz/v1", COMPATIBLE, "together", variable="TOGETHER_API_KEY"),
    "vllm": Provider("http://127.0.0.1:8000/v1", COMPATIBLE | {"responses"}),
    "voyage": Provider(
        "https://api.voyageai.com/v1", frozenset({"rerank", "embeddings"}), "voyageai", variable="VOYAGE_API_KEY"
    ),
    "xai": Provider("https://api.x.ai/v1", CHAT | {"responses", "images"}, "x-ai", variable="XAI_API_KEY"),
}


def dialects(settings: ModelSettings, where: str) -> frozenset[Dialect]:
    """What a model's server speaks. Raises BadSetting for a dialect that there is not.

    A server of one's own that is called openai speaks what such servers mostly do, which is less than OpenAI's.
    """
    said = settings.dialects
    for name in said:
        if name not in PATHS:
            raise BadSetting(f"{where}.dialects names '{name}'", hint=f"known: {', '.join(PATHS)}")
    if said:
        return frozenset(dialect for dialect in PATHS if dialect in said)
    kind = provider(settings.provider, where=f"{where}.provider")
    if settings.provider == "openai" and settings.base_url.rstrip("/") not in ("", kind.base_url):
        return COMPATIBLE
    return kind.dialects


def provider(name: str, *, where: str) -> Provider:
    """What is known of a provider. Raises BadSetting, naming the nearest one."""
    if name not in PROVIDERS:
        close = difflib.get_close_matches(name, PROVIDERS, n=1)
        hint = f"did you mean '{close[0]}'?" if close else "known: local, " + ", ".join(PROVIDERS)
        raise BadSetting(
            f"{where} is '{name}', and there is no such provider", hint=f"{hint}; 'openai' takes any base_url"
        )
    return PROVIDERS[name]
