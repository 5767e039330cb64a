"""Guards of others that run in this process: Presidio, and LLM Guard. Each is an extra, and loaded with its first text."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from penstock.config import DetectorSettings
from penstock.errors import BadSetting, MissingExtra, UpstreamError
from penstock.guard.adapters import COUNTS, Judgement, apart
from penstock.types import Finding, Surface

__all__ = ["LlmGuard", "Presidio"]

BLANK = "blank"  # in place of a spaCy model: patterns alone, no names
SCANNERS = {"PromptInjection": "injection", "Toxicity": "toxicity"}  # of LLM Guard -> the score of ours it speaks for


class Presidio:
    """Presidio's recognisers. Satisfies `Detector`. A text in a language that the settings do not name is read as the first."""

    def __init__(self, settings: DetectorSettings) -> None:
        try:
            import spacy
            from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
            from presidio_analyzer.nlp_engine import SpacyNlpEngine
        except ImportError as error:
            raise MissingExtra("Presidio", extra="presidio") from error
        _no_downloads()
        models = dict(settings.models) or {"en": BLANK}
        engine = SpacyNlpEngine(models=[{"lang_code": code, "model_name": name} for code, name in models.items()])
        engine.nlp = {
            code: _spacy(spacy, code, name) for code, name in models.items()
        }  # Presidio itself would download
        registry = RecognizerRegistry(supported_languages=list(models))
        registry.load_predefined_recognizers(languages=list(models), nlp_engine=engine)
        self._languages = list(models)
        self._analyzer = AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=list(models))
        self._least = min([COUNTS, *settings.thresholds.values()])

    def find(self, text: str, *, language: str = "") -> list[Finding]:
        """Findings in the order of the text, none overlapping another. Raises UpstreamError."""
        language = language if language in self._languages else self._languages[0]
        try:
            found = self._analyzer.analyze(text, language=language, score_threshold=self._least)
        except Exception as error:  # a library's own may quote the text: only its kind is told
            raise UpstreamError(f"Presidio failed: {type(error).__name__}") from None
        return apart(Finding(one.entity_type, one.start, one.end, min(one.score, 1.0)) for one in found)


def _spacy(spacy: Any, language: str, name: str) -> Any:
    """A spaCy model that is installed, or one that only splits words, which is enough for patterns and the words beside them."""
    if name == BLANK:
        try:
            model = spacy.blank(language)
        except ImportError as error:
            raise BadSetting(f"spaCy knows no language '{language}'", hint='models = { en = "blank" }') from error
        model.add_pipe(_lower_case(spacy))
        return model
    if not spacy.util.is_package(name) and not Path(name).is_dir():
        raise BadSetting(f"the spaCy model '{name}' is not installed", hint=f"python -m spacy download {name}")
    return spacy.load(name)


def _lower_case(spacy: Any) -> str:
    """The name of a step that takes words in lower case for lemmas: Presidio compares those with words such as `phone`."""
    name = "penstock_lower_case"
    if not spacy.language.Language.has_factory(name):

        def lemmas(words: Any) -> Any:
            for word in words:
                word.lemma_ = word.lower_
            return words

        spacy.language.Language.component(name, func=lemmas)
    return name


def _no_downloads() -> None:
    """Presidio asks tldextract whether a host may exist, which would fetch a list on the way. It brings one along."""
    from tldextract import TLDExtract, tldextract

    tldextract.TLD_EXTRACTOR = TLDExtract(suffix_list_urls=(), cache_dir=None)


class LlmGuard:
    """Scanners of LLM Guard. Satisfies `Judge`. One text at a time: its models use all cores."""

    def __init__(self, settings: DetectorSettings) -> None:
        try:
            from llm_guard import input_scanners
            from llm_guard.input_scanners import prompt_injection, toxicity
        except ImportError as error:
            raise MissingExtra("LLM Guard", extra="llm-guard") from error
        _quiet()
        usual = {"PromptInjection": prompt_injection.V2_MODEL, "Toxicity": toxicity.DEFAULT_MODEL}
        wanted: Mapping[str, str] = settings.models or dict.fromkeys(SCANNERS, "")
        self._scanners: dict[str, Callable[[str], tuple[str, bool, float]]] = {}
        for name, folder in wanted.items():
            if name not in SCANNERS:
                raise BadSetting(f"LLM Guard's '{name}' is not known here", hint=f"known: {', '.join(SCANNERS)}")
            model = replace(usual[name], path=folder, revision=None) if folder else usual[name]
            options: dict[str, Any] = {"model": model}
            if SCANNERS[name] in settings.thresholds:
                options["threshold"] = settings.thresholds[SCANNERS[name]]
            try:
                self._scanners[SCANNERS[name]] = getattr(input_scanners, name)(**options).scan
            except (OSError, ValueError) as error:
                raise BadSetting(
                    f"LLM Guard's {name} has no model: {error}",
                    hint="name a folder with one, or let it download its own",
                ) from error
        self._turn = threading.Lock()

    def judge(self, text: str, surface: Surface, *, language: str = "") -> Judgement:
        """Raises UpstreamError."""
        scores = {}
        try:
            with self._turn:
                for topic, scan in self._scanners.items():
                    _, passes, risk = scan(text)  # the risk is from -1 to 1, rounded, with 0 at the scanner's threshold
                    scores[topic] = min((risk + 1) / 2, COUNTS - 0.01) if passes else max((risk + 1) / 2, COUNTS)
            return Judgement(scores=scores)
        except Exception as error:  # a library's own may quote the text: only its kind is told
            raise UpstreamError(f"LLM Guard failed: {type(error).__name__}") from None


def _quiet() -> None:
    """LLM Guard writes what it finds to standard output, unless somebody has said otherwise."""
    import logging

    import structlog

    if not structlog.is_configured():
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
