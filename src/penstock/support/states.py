"""States that things of a business are in, in seven languages: what rows call them, and how answers say that something is in
one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

__all__ = ["DIRECTLY", "SaidState", "State", "said_states", "state_of"]


class State(NamedTuple):
    """name: ours; "" for none that we know. fits: what it may rightly be called."""

    name: str
    fits: frozenset[str]


class SaidState(NamedTuple):
    """text[start:end] says that something is in a state. done: it says that this was done just now, which no row may know yet."""

    state: str
    start: int
    end: int
    done: bool


# name: (kind, words for it)
_WORDS: dict[str, tuple[str, str]] = {
    "pending": ("order",
    "pending|awaiting (?:processing|shipment)|ausstehend|offen|pendiente|en attente|in attesa|in afwachting|pendente"),
    "processing": ("order",
    "processing|being (?:processed|prepared)|in bearbeitung|en proceso|en cours de traitement|in lavorazione|in behandeling|em "
    "processamento"),
    "processed": ("order", "processed|bearbeitet|procesado|traitée?|elaborato|verwerkt|processado"),
    "shipped": ("order",
    "shipped|dispatched|on (?:its|the) way|in transit|out for delivery|verschickt|versandt|unterwegs|enviad[oa]|en camino"
    "|expédiée?|en route|spedit[oa]|in transito|verzonden|onderweg|enviad[oa]|a caminho"),
    "delivered": ("order",
    "delivered|geliefert|zugestellt|ausgeliefert|entregad[oa]|livrée?|consegnat[oa]|geleverd|bezorgd|entregue"),
    "cancelled": ("order", "cancell?ed|storniert|abgebrochen|cancelad[oa]|annulée?|annullat[oa]|geannuleerd"),
    "returned": ("order",
    "returned|zurückgeschickt|zurückgesandt|retourniert|devuelt[oa]|retournée?|restituit[oa]|geretourneerd|devolvid[oa]"),
    "refunded": ("order", "refunded|erstattet|reembolsad[oa]|remboursée?|rimborsat[oa]|terugbetaald"),
    "exchanged": ("order", "exchanged|umgetauscht|cambiad[oa]|échangée?|sostituit[oa]|omgeruild|trocad[oa]"),
    "on hold": ("order", "on hold|paused|zurückgestellt|en espera|suspendue?|in sospeso"),
    "paid": ("payment", "paid|bezahlt|beglichen|pagad[oa]|payée?|pagat[oa]|betaald|pag[oa]"),
    "unpaid": ("payment", "unpaid|unbezahlt|impagad[oa]|impayée?|non pagat[oa]|onbetaald"),
    "overdue": ("payment", "overdue|past due|überfällig|vencid[oa]|en retard de paiement|scadut[oa]|achterstallig"),
    "failed": ("payment",
    "failed|declined|rejected|fehlgeschlagen|abgelehnt|rechazad[oa]|échouée?|refusée?|rifiutat[oa]|geweigerd|recusad[oa]"),
    "approved": ("payment", "approved|genehmigt|aprobad[oa]|approuvée?|approvat[oa]|goedgekeurd|aprovad[oa]"),
    "active": ("line", "active|activated|aktiv|activ[oa]|actif|active|attiv[oa]|actief|ativ[oa]"),
    "suspended": ("line",
    "suspended|deactivated|inactive|gesperrt|inaktiv|suspendid[oa]|suspendue?|inactive?|sospes[oa]|geblokkeerd|suspens[oa]"),
    "closed": ("line", "closed|terminated|geschlossen|gekündigt|cerrad[oa]|fermée?|résiliée?|chius[oa]|gesloten|encerrad[oa]"),
    "in stock": ("stock", "in stock|auf lager|vorrätig|en stock|in magazzino|op voorraad|em estoque"),
    "out of stock": ("stock",
    "out of stock|sold out|currently unavailable|ausverkauft|nicht (?:auf lager|vorrätig)|agotad[oa]|en rupture(?: de stock)?"
    "|épuisée?|esaurit[oa]|uitverkocht|esgotad[oa]"),
}  # fmt: skip
DIRECTLY: dict[str, str] = {name: kind for name, (kind, _) in _WORDS.items()}  # state -> what kind of thing is in it
_ALSO: dict[str, frozenset[str]] = {  # a row that says the first may be called these as well
    "pending": frozenset({"processing", "on hold"}),
    "processing": frozenset({"pending", "processed"}),
    "processed": frozenset({"processing", "shipped"}),
    "delivered": frozenset({"shipped", "processed"}),
    "returned": frozenset({"delivered"}),
    "refunded": frozenset({"returned", "cancelled"}),
    "exchanged": frozenset({"delivered", "returned"}),
    "overdue": frozenset({"unpaid"}),
    "closed": frozenset({"suspended"}),
}
_PATTERNS = {name: re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.I) for name, (_, words) in _WORDS.items()}
_IS = (
    r"(?:is|are|was|were|has been|have been|it['’]s|they['’]re|got|status(?: of [^.,;\n]{1,40})?(?: is)?:?|shows(?: as)?"
    r"|showing(?: as)?|marked(?: as)?|listed as"
    r"|ist|sind|wurde|wurden|está|están|estan|fue|ha sido|han sido|est|sont|a été|ont été|è|sono|è stat[oa]|is|zijn|werd|foi|estão)"
)
_FILL = (
    r"(?: (?:still|already|now|currently|also|just|both|all|noch|bereits|schon|jetzt|derzeit|todavía|ya|ahora|actualmente|encore"
    r"|déjà|maintenant|actuellement|ancora|già|ora|attualmente|nog|al|nu|momenteel|ainda|já|agora|as|in(?: the)? status|im status"
    r"|`|'|\"|“|\*+)){0,3}"
)
_SAYS = re.compile(rf"(?<!\w){_IS}{_FILL}[ \"'“*`]*$", re.I)
_DOUBTS = re.compile(
    r"\b(?:not|n['’]t|never|no longer|once|if|when|whether|until|unless|after|before|should|will|would|can|cannot|may|might|could"
    r"|must|to be|only"
    r"|nicht|kein\w*|sobald|wenn|falls|ob|bis|kann|wird|werden|nachdem|no|cuando|si|hasta|será|puede|una vez|pas|si|quand|lorsque"
    r"|sera"
    r"|peut|une fois|non|se|quando|finché|sarà|può|niet|als|zodra|tot|kan|wordt|não|quando|até|será|pode)\b",
    re.I,
)
_DONE = re.compile(
    r"(?:has been|have been|now|just|wurde|wurden|ha sido|a été|è stat[oa]|foi|werd)\b[^.;\n]{0,20}$", re.I
)
_ACTS = frozenset(
    {"cancelled", "returned", "refunded", "exchanged", "suspended", "closed", "active", "paid", "approved"}
)


@lru_cache(maxsize=4096)
def state_of(text: str) -> State:
    """The state that a row's value names: `pending (items modified)` is pending."""
    places = [
        (found.start(), -(found.end() - found.start()), name)
        for name, pattern in _PATTERNS.items()
        if (found := pattern.search(text.replace("_", " ")))
    ]
    if not places:
        return State("", frozenset())
    names = {name for _, _, name in places}
    first = min(places)[2]
    return State(first, frozenset(names | {other for name in names for other in _ALSO.get(name, ())}))


def said_states(text: str) -> Iterator[SaidState]:
    """Where a text says outright that something is in a state: "it is still pending", and neither "once it is delivered" nor
    "not"."""
    seen: list[tuple[int, int]] = []
    found = [
        (match.start(), match.end(), name) for name, pattern in _PATTERNS.items() for match in pattern.finditer(text)
    ]
    for start, end, name in sorted(found, key=lambda one: (one[0], -one[1])):
        if any(a <= start < b for a, b in seen):
            continue
        seen.append((start, end))
        clause = max(text.rfind(mark, 0, start) for mark in (". ", "\n", ";", "! ", "? ", ",")) + 1
        before = text[clause:start]
        if not _SAYS.search(before) or _DOUBTS.search(before) or text[end : end + 1] == "?" or _asks(text, start):
            continue
        yield SaidState(name, start, end, name in _ACTS and _DONE.search(before) is not None)


def _asks(text: str, place: int) -> bool:
    """Whether the sentence around a place is a question."""
    end = min((n for mark in (".", "!", "\n", "?") if (n := text.find(mark, place)) >= 0), default=-1)
    return end >= 0 and text[end] == "?"
