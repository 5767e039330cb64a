"""Sentences that say that something was done, or that somebody agreed to it: what a model may not say by itself.

It knows the words of eight languages in which such things are said. A sentence in which nothing is found may still be one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

__all__ = ["claims"]

# Of each language: what stands before the word for what was done, and that word, as a beginning.
_SAID: Final[tuple[tuple[str, str], ...]] = (
    (
        r"\b(?:(?:i|we)(?:['’]ve| have)?|has|have|was|were|is|are|got|it['’]s)"
        r"(?: (?:now|just|already|been|being|successfully|fully|also|all))*",
        r"cancell?ed|refunded|returned|exchanged|changed|updated|modified|processed|placed|submitted|completed?\b|booked|initiated"
        r"|issued|applied|arranged|reversed|credited|transferred|started|sent\b|done\b|swapped|replaced|moved|agreed|confirmed"
        r"|approved|consented|taken care of|gone through",
    ),
    (
        r"\b(?:habe|haben|hat|wurden?|ist|sind|worden)\b(?:(?! nicht| kein| noch nicht)[^.!?\n]){0,80}?",
        r"storniert|erstattet|zurückgegeben|zurückgeschickt|umgetauscht|geändert|aktualisiert|bearbeitet|gesendet|geschickt"
        r"|veranlasst|ausgeführt|durchgeführt|erledigt|gutgeschrieben|überwiesen|gebucht|eingeleitet|abgeschlossen|ersetzt"
        r"|zugestimmt|eingewilligt",
    ),
    (
        r"\b(?:j['’]ai|avons|as|avez|a|ont|est|sont|été)\b(?:(?! pas)[^.!?\n]){0,40}?",
        r"annulé|remboursé|échangé|modifié|changé|mise? à jour|effectué|traité|envoyé|créé|enregistré|validé|accepté|confirmé",
    ),
    (
        r"\b(?:he|hemos|ha|has|han|fue|fueron|está|están|sido)\b(?:(?! no)[^.!?\n]){0,40}?",
        r"cancelad|reembolsad|devuelt|cambiad|modificad|actualizad|procesad|enviad|realizad|anulad|tramitad|aceptad|confirmad",
    ),
    (
        r"\b(?:ho|abbiamo|ha|hanno|hai|è|sono|stat[oaie])\b(?:(?! non)[^.!?\n]){0,40}?",
        r"annullat|rimborsat|cambiat|modificat|aggiornat|elaborat|inviat|effettuat|completat|sostituit|accettat|confermat",
    ),
    (
        r"\b(?:foi|foram|está|estão|tenho|temos|eu|já)\b(?:(?! não)[^.!?\n]){0,40}?",
        r"cancelad|cancelei|reembolsad|reembolsei|devolvid|trocad|alterad|alterei|atualizad|processad|enviad|realizad|confirmad",
    ),
    (
        r"\b(?:heb|hebben|heeft|is|zijn|werd|werden)\b(?:(?! niet)[^.!?\n]){0,60}?",
        r"geannuleerd|terugbetaald|geretourneerd|omgeruild|gewijzigd|aangepast|bijgewerkt|verwerkt|verstuurd|uitgevoerd|ingestemd",
    ),
    (
        r"\b(?:został[aoy]?|zostały|jest|są)\b(?:(?! nie)[^.!?\n]){0,40}?",
        r"anulowan|zwrócon|wymienion|zmienion|zaktualizowan|przetworzon|wysłan|zrealizowan|potwierdzon",
    ),
)
_BARE: Final = (  # said without anything before it
    r"(?<!be )(?<!get )\b(?:all |it['’]s |that['’]s )?(?:done|erledigt|fatto|listo|hecho|gedaan|gotowe|feito|c['’]est fait)\b"
    r"(?=\s*(?:[.!✓✅]|$))",
    r"(?:^|[.!?\n] ?)(?:all |it['’]s |that['’]s )?done\b",
    r"\bsuccessfully \w+ed\b",
    r"\b(?:anulowałem|anulowałam|zmieniłem|zmieniłam|zwróciłem)\b",
)
_CLAIM: Final = re.compile(
    "|".join((*(rf"(?:{before}) ?(?P<done{n}>{done})" for n, (before, done) in enumerate(_SAID)), *_BARE)), re.I
)
_DONE: Final = tuple(f"done{n}" for n in range(len(_SAID)))
_OWN: Final = re.compile(r"(?:i|we|habe|haben|j['’]ai|avons|he|hemos|ho|abbiamo|tenho|temos|eu|heb|hebben)\b", re.I)
_AGREED: Final = re.compile(
    r"agreed|confirmed|approved|consented|zugestimmt|eingewilligt|accepté|confirmé|aceptad|confirmad|accettat|confermat|ingestemd"
    r"|potwierdzon",
    re.I,
)
_ONLY_IF: Final = re.compile(  # what is only talked of as possible
    r"\b(?:once|if|when|after|before|until|unless|whether|falls|sobald|wenn|bevor|ob|si|une fois|dès|quand|cuando|una vez|se|quando"
    r"|als|zodra|jeśli|gdy)\b[^,.!?\n]*$",
    re.I,
)
_STEM: Final = 6  # letters by which a word of a claim is found again in a row: "cancelled", "cancellation"


def claims(text: str, known: Iterable[str] = ()) -> list[str]:
    """The words of a text that say that something was done or agreed to.

    known: texts of rows that were read. That something is as one of them has it may be said; that we did it may not.
    """
    there = "\n".join(known).lower()
    found = []
    for one in _CLAIM.finditer(text):
        if _ONLY_IF.search(text[: one.start()]):
            continue
        done = next((one[name] for name in _DONE if one[name]), "")
        ours = not done or _OWN.match(one[0]) or _AGREED.match(done)
        if ours or done[:_STEM].lower() not in there:
            found.append(" ".join(one[0].split()))
    return found
