"""What is done about what was found: a `[guard.NAME]` of the settings as rulings, each with the line that decided it.

A policy is plain data. It never looks at a text except for the words that its `allow` and `block` lists name.
"""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from typing import Any, NamedTuple

import orjson

from penstock.config import GuardSettings
from penstock.errors import BadSetting, NotFound
from penstock.guard.tools import ToolRules
from penstock.types import Action, Finding, Surface

__all__ = ["BLOCKED_WORD", "CONTEXT", "OFF", "TOPICS", "Policies", "Policy", "Ruling"]

OFF = "off"
BLOCKED_WORD = "BLOCKED_WORD"  # what is found where a text has what the `block` list names
TOPICS = ("hate", "harassment", "violence", "sexual", "self_harm", "illegal", "toxicity")
CONTEXT = frozenset({"ORGANIZATION", "LOCATION"})  # no personal data by themselves: found where a policy asks for them
SURE = 0.8
SCORE = 0.5  # heads are calibrated so that this is where they count


class Ruling(NamedTuple):
    """What is done, and the setting that says so."""

    action: Action
    because: str


class Policy:
    """One policy. Safe to share between threads. Raises BadSetting for rules of tools that say nothing sensible."""

    def __init__(self, name: str, settings: GuardSettings) -> None:
        self.name, self.settings = name, settings
        self.tools = (
            ToolRules.read({"tools": dict(settings.tools), "others": settings.other_tools}) if settings.tools else None
        )
        self.version = hashlib.sha256(orjson.dumps(asdict(settings), option=orjson.OPT_SORT_KEYS)).hexdigest()[:8]

    def personal(self, type_: str) -> Ruling:
        """About personal data of a type."""
        if type_ in self.settings.types:
            return Ruling(self.settings.types[type_], self._line(f"types.{type_}"))
        if type_ in CONTEXT:
            return Ruling("allow", f"{type_} is no personal data by itself")
        return Ruling(self.settings.personal_data, self._line("personal_data"))

    def secrets(self) -> Ruling:
        return Ruling(self.settings.secrets, self._line("secrets"))

    def injection(self, surface: Surface) -> Ruling:
        """About a text that gives orders to the model."""
        if surface in ("document", "tool"):
            return Ruling(self.settings.documents, self._line("documents"))
        return Ruling(self.settings.injection, self._line("injection"))

    def topic(self, topic: str) -> tuple[Ruling, bool]:
        """About a harmful topic, and whether somebody in need of help is shown where to find it."""
        wanted = self.settings.topics.get(topic, self.settings.moderation)
        line = self._line(f"topics.{topic}" if topic in self.settings.topics else "moderation")
        if wanted == "help":
            return Ruling("block", line), True
        return Ruling("review" if wanted == "careful" else wanted, line), False

    def careful(self, topic: str) -> bool:
        """Whether a model should be asked with a low temperature."""
        return self.settings.topics.get(topic, self.settings.moderation) == "careful"

    def threshold(self, score: str) -> float:
        """From where on a score counts: a topic that refuses has to be surer than one that is marked for review."""
        refuses = score in TOPICS and self.topic(score)[0].action == "block"
        return self.settings.sensitivity.get(score, SURE if refuses else SCORE)

    def lets(self, words: str) -> bool:
        """Whether the `allow` list names these words."""
        return any(fnmatch.fnmatchcase(words.casefold(), pattern) for pattern in self._allowed)

    def forbidden(self, text: str) -> list[Finding]:
        """Where the text has what the `block` list names. In linear time."""
        if not any(self.settings.block):
            return []
        return [
            Finding(BLOCKED_WORD, found.start(), found.end(), action="block", rule=self._line("block"))
            for found in self._blocked.finditer(text)
            if found.end() > found.start()
        ]

    @cached_property
    def _allowed(self) -> tuple[str, ...]:
        return tuple(pattern.casefold().replace("[", "[[]") for pattern in self.settings.allow)

    @cached_property
    def _blocked(self) -> Any:
        import re2

        words = (r"[^\s]*".join(map(re2.escape, pattern.split("*"))) for pattern in self.settings.block if pattern)
        options = re2.Options()
        options.case_sensitive = options.log_errors = False
        try:
            return re2.compile("|".join(words), options)
        except re2.error as error:
            count = len(self.settings.block)
            raise BadSetting(
                f"guard.{self.name}.block has {count:,} entries, which are too many to look for"
            ) from error

    def _line(self, key: str) -> str:
        name = key.split(".")[0]
        values: Any = getattr(self.settings, name)
        if "." in key:
            values = values[key.split(".")[1]]
        said = "" if isinstance(values, tuple) else f' = "{values}"'
        return f"guard.{self.name}.{key}{said}"


class Policies:
    """The policies by name. `default` is always there; what the settings say of it replaces it."""

    def __init__(self, settings: Mapping[str, GuardSettings]) -> None:
        self._all: Mapping[str, Policy] = {}
        self.use(settings)

    def use(self, settings: Mapping[str, GuardSettings]) -> bool:
        """Take over changed settings, in one step. Returns whether anything changed."""
        made = {name: Policy(name, policy) for name, policy in {"default": GuardSettings(), **settings}.items()}
        before = self.version
        self._all = made
        return self.version != before

    @property
    def version(self) -> str:
        """Of all of them together."""
        versions = sorted(f"{name} {policy.version}" for name, policy in self._all.items())
        return hashlib.sha256("\n".join(versions).encode()).hexdigest()[:12]

    def __getitem__(self, name: str) -> Policy:
        """Raises NotFound, with the names there are."""
        if name not in self._all:
            raise NotFound(f"there is no policy '{name}'", hint=f"known: {', '.join(self._all)}")
        return self._all[name]

    def names(self) -> list[str]:
        return sorted(self._all)
