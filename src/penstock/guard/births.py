"""Dates of birth: a date, in any usual spelling of 17 languages, beside a word for being born. A date alone is none."""

from __future__ import annotations

import re
from datetime import date
from functools import cache
from typing import TYPE_CHECKING, Final

from penstock.guard.labels import BIRTH
from penstock.types import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from penstock.guard.labels import Label
    from penstock.guard.tables import Table

__all__ = ["births"]

_AFTER: Final = 64  # characters from the word to the end of the date
_BEFORE: Final = 48  # from the start of the date to the word that follows it
_MONTHS: Final = """
    january february march april may june july august september october november december jan feb mar apr jun jul aug sep
    sept oct nov dec januar jänner februar feber märz mai juni juli oktober dezember mrz okt dez janvier février fevrier
    mars avril juin juillet août aout septembre octobre novembre décembre decembre janv févr fevr avr juil déc enero febrero
    marzo abril mayo junio julio agosto septiembre setiembre octubre noviembre diciembre ene abr ago set dic gennaio
    febbraio aprile maggio giugno luglio settembre ottobre dicembre gen mag giu lug ott januari februari maart augustus mrt
    mei janeiro fevereiro março maio junho julho setembro outubro novembro dezembro fev out stycznia lutego marca kwietnia
    maja czerwca lipca sierpnia września wrzesnia października pazdziernika listopada grudnia styczeń luty marzec kwiecień
    czerwiec lipiec sierpień wrzesień październik listopad grudzień sty lut kwi cze lip sie wrz paź lis gru augusti maj ocak
    şubat subat mart nisan mayıs mayis haziran temmuz ağustos agustos eylül eylul ekim kasım kasim aralık aralik oca şub nis
    haz tem ağu eyl eki kas ara января февраля марта апреля мая июня июля августа сентября октября ноября декабря январь
    февраль март апрель май июнь июль август сентябрь октябрь ноябрь декабрь янв фев мар апр июн июл авг сен сент окт ноя
    нояб дек يناير فبراير مارس أبريل ابريل إبريل مايو يونيو يوليو أغسطس اغسطس سبتمبر أكتوبر اكتوبر نوفمبر ديسمبر شباط آذار
    اذار نيسان أيار ايار حزيران تموز آب أيلول ايلول كانون تشرين جانفي فيفري أفريل جوان جويلية أوت شتنبر نونبر دجنبر जनवरी
    फरवरी फ़रवरी मार्च अप्रैल मई जून जुलाई अगस्त सितंबर सितम्बर अक्टूबर अक्तूबर नवंबर नवम्बर दिसंबर दिसम्बर
"""
_YEAR: Final = r"(?:1[89]|20)[0-9]{2}"
_TWO: Final = r"(?:[12][0-9]|3[01]|0?[1-9])"  # a day or a month
_LINK: Final = r"[\s.,/\-]{0,3}(?:(?:of|de|del|di|do|den)\s{1,2}|d['’]\s?)?"
_WORD: Final = r"(?P<month%s>[^\W\d_][^\s\d.,/\-:;()]{1,12})"
_DATE: Final = "|".join((
    rf"{_YEAR}\s{{0,2}}[年년]\s{{0,2}}{_TWO}\s{{0,2}}[月월]\s{{0,2}}{_TWO}(?:\s?[日日일号])?",
    rf"(?:明治|大正|昭和|平成|令和|[MTSHR])\s?(?:[0-9]{{1,2}}|元)[年./]\s?{_TWO}[月./]\s?{_TWO}日?",
    rf"[0-9]{{2}}\s?[年년]\s?{_TWO}\s?[月월]\s?{_TWO}(?:\s?[日일号])?",
    rf"{_YEAR}(?P<sep>\s?[.\-/]\s?|\s){_TWO}(?P=sep){_TWO}(?![0-9])",
    rf"{_YEAR}[\s.\-/,]{{1,2}}{_WORD % 1}[\s.\-/]{{1,2}}{_TWO}(?![0-9])",
    rf"{_TWO}(?P<sep2>\s?[.\-/]\s?|\s){_TWO}(?P=sep2)(?:{_YEAR}|[0-9]{{2}})(?![0-9])",
    rf"{_TWO}(?:st|nd|rd|th|er|-?го|-?е|:a|:e|ª|º|°|'?(?:te|ten))?{_LINK}{_WORD % 2}{_LINK}(?:{_YEAR}|['’]?[0-9]{{2}}(?![0-9]))",
    rf"{_WORD % 3}[\s.\-/]{{1,2}}{_TWO}(?:st|nd|rd|th)?[\s,.\-/]{{1,3}}{_YEAR}",
    r"(?P<squeezed>(?:(?:19|20)[0-9]{2}|[0-9]{2})(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])(?![0-9\-+]))",
))  # fmt: skip
_BREAK: Final = re.compile(r"\n|[.!?;]\s+(?=[A-ZÀ-ÞА-Я])|。")
_FORM: Final = re.compile(r"[\s:=\"'|*<>()\[\]./,\-]*")


@cache
def _date() -> re.Pattern[str]:
    return re.compile(rf"(?<![0-9A-Za-z])(?:{_DATE})")


@cache
def _months() -> frozenset[str]:
    return frozenset(_MONTHS.split())


def births(plain: str, words: Sequence[Label], table: Table) -> Iterator[Finding]:
    """The dates of birth in a text. `words` are all its labels, `table` its rows under a heading."""
    if not any(BIRTH in label.kinds for label in words):
        return
    for start, end, label in table.cells(BIRTH):
        for match in _dates(plain, start, end):
            if not plain[start : match[0]].strip("\"' ") and not plain[match[1] : end].strip("\"' "):
                yield Finding(BIRTH, *match, 0.95, rule=f"a date in the column '{label.word}'")
            break
    done = 0
    for at, label in enumerate(words):
        if BIRTH not in label.kinds or _is_alliance(label.word):
            continue
        start = max(label.end, done)
        found = None
        for match in _dates(plain, start, min(len(plain), label.end + _AFTER)):
            if _near(plain[label.end : match[0]]) and (not plain[slice(*match)].isdigit() or match[0] - label.end < 8):
                found = match
            break
        if found is None:
            later = words[at + 1].start if at + 1 < len(words) and BIRTH in words[at + 1].kinds else len(plain)
            for match in _dates(plain, max(done, label.start - _BEFORE), label.start):
                if (
                    label.start - match[1] <= 28
                    and not plain[slice(*match)].isdigit()
                    and label.end <= later
                    and _near(plain[match[1] : label.start])
                ):
                    found = match
        if found is not None:
            done = found[1]
            yield Finding(BIRTH, *found, 0.95, rule=f"a date beside the word '{label.word}'")


def _is_alliance(word: str) -> bool:
    return word == "NATO"


def _near(gap: str) -> bool:
    """Whether a word and a date with this between them belong together."""
    return _FORM.fullmatch(gap) is not None or (len(gap) <= 44 and not _BREAK.search(gap))


def _dates(plain: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    for _ in range(6):
        match = _date().search(plain, start, end)
        if match is None:
            return
        if _possible(match):
            yield match.start(), match.end()
            start = match.end()
        else:
            start = match.start() + 1


def _possible(match: re.Match[str]) -> bool:
    month = match["month1"] or match["month2"] or match["month3"]
    if month is not None and month.lower().replace("\u0307", "") not in _months():
        return False
    numbers = [int(number) for number in re.findall(r"[0-9]+", match[0])]
    years = [number for number in numbers if number > 31]
    if match["squeezed"]:
        years = [int(match[0][:4])] if len(match[0]) == 8 else []
    if any(not 1850 <= year <= date.today().year for year in years if year >= 100):
        return False
    small = [number for number in numbers if number <= 31]
    return month is not None or len(small) < 2 or min(small) <= 12
