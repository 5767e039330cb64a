"""Short things that people say to a bot, in seven languages: yes and no, thanks and goodbye, "never mind", "a person please".

A yes is a yes when nothing else is said with it. Whoever says more has perhaps said something else, and is asked again.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Final, Literal

from penstock.language.phrases import every

__all__ = [
    "Agreement",
    "agreement",
    "asks_something",
    "begins_with_no",
    "folded",
    "is_back",
    "is_bye",
    "is_greeting",
    "is_thanks",
    "means_instead",
    "means_too",
    "never_mind",
    "points_back",
    "taken_back",
    "wants_person",
]

Agreement = Literal["yes", "no", "unclear"]

GO_BACK: Final = "Back to the assistant"  # what buttons of the pages say for somebody, in any of their languages
WISH: Final = "I would like to talk to a person."
LONGEST: Final = 300  # characters of what is taken for one of these
_MARKS: Final = re.compile("[\u0300-\u036f]")
_WORD: Final = re.compile(r"[\w#]+(?:['’][\w]+)*")
# A question, a quotation, what is struck through or turned round, or nothing that a person says.
_MARKED: Final = re.compile(
    '[?¿？؟;<>{}\\[\\]|\\\\/:=_*~"“”„«»‹›「」\u0335-\u0338\u20d0-\u20ff\u202a-\u202e\u2066-\u2069]'
)
_FRIENDLY: Final = frozenset("👍👌✅👎❌🙂😊😀😃😄😁☺🙏❤🎉💯✔")  # what stands beside a yes and takes nothing from it
_THUMBS: Final = {"👍": " yes ", "👌": " yes ", "✅": " yes ", "👎": " no ", "❌": " no "}

# What is said, without accents and in lower case. `/` parts one from the next.
YES: Final = (
    "yes / yeah / yep / yup / yea / ya / sure / sure thing / of course / ok / okay / okey / k / certainly / definitely / absolutely"
    " / correct / right / exactly / perfect / that's right / that's correct / that's fine / that is right / that is correct"
    " / alright"
    " / all right / fine / fine by me / sounds good / looks good / looks right / looks correct / please do / do it / do that"
    " / go ahead"
    " / go for it / proceed / please proceed / confirm / confirmed / i confirm / i agree / agreed / i do / yes i do / y"
    " / affirmative"
    " / let's do it / let's do that / make it so"
    " / ja / jawohl / jo / klar / sicher / gern / gerne / natuerlich / naturlich / genau / richtig / stimmt / perfekt / passt"
    " / das passt / das stimmt / das ist richtig / einverstanden / in ordnung / ja bitte / mach das / machen sie das / bestatigt"
    " / ich bestatige / bestaetigt"
    " / si / claro / claro que si / por supuesto / vale / exacto / correcto / perfecto / de acuerdo / esta bien / adelante"
    " / confirmo"
    " / confirmado / hazlo / hagalo"
    " / oui / ouais / bien sur / d'accord / exactement / exact / parfait / volontiers / tout a fait / ca marche / ca me va"
    " / c'est bon / c'est ca / c'est correct / allez y / vas y / je confirme / confirme"
    " / certo / certamente / esatto / corretto / perfetto / va bene / d'accordo / volentieri / giusto / proceda / procedi"
    " / confermo"
    " / sim / com certeza / exato / exatamente / correto / perfeito / esta bem / ta bom / pode ser / pode fazer / confirmo"
    " / jawel / zeker / natuurlijk / precies / klopt / juist / dat klopt / dat is goed / akkoord / in orde / ga je gang / doe maar"
    " / graag / ik bevestig"
)
NO: Final = (
    "no / nope / nah / no way / not / negative / n / please don't / don't / do not / don't do it / don't do that / do not do it"
    " / do not do that / stop / not now / not yet / no not that / never / not that / rather not / i'd rather not"
    " / i don't want that"
    " / i don't want it / i do not want that / wrong / that's wrong / that is wrong / that's not right / that is not right"
    " / not right / incorrect / not correct"
    " / nein / nee / nicht / bitte nicht / lieber nicht / nein danke / auf keinen fall / falsch / das stimmt nicht / das ist falsch"
    " / nicht richtig"
    " / no gracias / mejor no / para nada / incorrecto / no es correcto"
    " / non / non merci / pas du tout / surtout pas / ce n'est pas ca / c'est faux"
    " / no grazie / meglio di no / sbagliato / non e corretto"
    " / nao / nao obrigado / nao obrigada / melhor nao / errado"
    " / nee bedankt / liever niet / niet doen / klopt niet / dat klopt niet"
)
DOUBT: Final = (
    "yeah right / yea right / ya right / oh sure / sure sure"  # a yes to the letter, which often means the opposite
)
POLITE: Final = (
    "please / pls / plz / thanks / thank you / thx / thank you very much / oh / um / uh / well / hmm / so / then / now / right now"
    " / i think / for me / it is / it's / indeed / that's it / very much / all good / and"
    " / bitte / danke / vielen dank / also / na / dann / jetzt"
    " / por favor / gracias / pues / bueno / entonces / ahora / muchas gracias"
    " / s'il vous plait / s'il te plait / svp / merci / alors / bon / maintenant / merci beaucoup"
    " / per favore / grazie / allora / adesso / grazie mille / prego"
    " / obrigado / obrigada / entao / agora"
    " / alsjeblieft / alstublieft / dank je / dank u / bedankt / dus / nu / dan"
)
# Said with thanks they praise what was done, or seems to be: who says "perfect, thanks" may not know that they are asked something
PRAISE: Final = "perfect / perfekt / perfecto / parfait / perfetto / perfeito"
GRATEFUL: Final = (
    "thanks / thank you / thx / thank you very much / danke / vielen dank / gracias / muchas gracias / merci / merci beaucoup"
    " / grazie / grazie mille / obrigado / obrigada / bedankt / dank je / dank u"
)
NEVER_MIND: Final = (
    "never mind / nevermind / forget it / forget that / forget about it / leave it / drop it / don't bother / cancel / cancel that"
    " / cancel this / cancel it / actually cancel it / actually cancel that / actually never mind / actually no / stop / stop it"
    " / stop that / i changed my mind / changed my mind / i've changed my mind / abort / scratch that / no never mind"
    " / not any more"
    " / let's not / back / start over / start again"
    " / vergiss es / vergessen sie es / egal / schon gut / lass es / lassen sie es / abbrechen / stopp / doch nicht"
    " / olvidalo / olvidelo / dejalo / dejelo / da igual / cancelar / cancela / mejor no"
    " / laissez tomber / laisse tomber / oubliez / oublie / tant pis / annuler / annulez / annule"
    " / lascia stare / lasci stare / lascia perdere / lasci perdere / non importa / annulla"
    " / deixa pra la / deixe para la / esquece / esqueca / nao importa / cancela / cancelar"
    " / laat maar / vergeet het / annuleer / annuleren / maakt niet uit"
)
GREETING: Final = (
    "hi / hello / hey / hi there / hello there / hey there / good morning / good afternoon / good evening / good day / greetings"
    " / hiya / howdy / hallo / guten tag / guten morgen / guten abend / moin / servus / gruss gott / hola / buenos dias"
    " / buenas tardes"
    " / buenas noches / buenas / bonjour / bonsoir / salut / coucou / ciao / salve / buongiorno / buonasera / ola / oi / bom dia"
    " / boa tarde / boa noite / goedemorgen / goedemiddag / goedenavond / hoi / dag / how are you / how are you doing"
    " / how are you today"
    " / can you help me / i need help / help / i need some help / can you help"
)
THANKS: Final = (
    "thanks / thank you / thx / ty / cheers / thanks a lot / many thanks / thank you so much / thank you very much / thanks so much"
    " / much appreciated / great thanks / great / awesome / perfect / wonderful / nice / cool / super / excellent / good"
    " / danke / dankeschon / vielen dank / besten dank / danke schon / prima / toll / gracias / muchas gracias / genial / estupendo"
    " / merci / merci beaucoup / parfait / grazie / grazie mille / ottimo / obrigado / obrigada / muito obrigado / muito obrigada"
    " / otimo / bedankt / dank je / dank je wel / dank u / dank u wel / hartelijk dank / top"
)
BYE: Final = (
    "bye / goodbye / good bye / bye bye / see you / see ya / that's all / that is all / that's it / that's everything"
    " / that is everything"
    " / that will be all / that'll be all / that would be all / nothing else / nothing more / no that's all / no that's it"
    " / i'm done / i am done / we're done / all done / all set / i'm all set / i'm good / have a nice day / have a good day"
    " / have a great day / no more questions / no nothing else / that's all for now / that's all i need / that's all i needed"
    " / das ist alles / das war alles / das war's / das wars / sonst nichts / nichts weiter / nichts mehr / tschuss / tschuess"
    " / auf wiedersehen / schonen tag / schonen tag noch"
    " / eso es todo / es todo / nada mas / adios / hasta luego / hasta pronto"
    " / c'est tout / ce sera tout / rien d'autre / au revoir / bonne journee / a bientot"
    " / e tutto / nient'altro / basta cosi / arrivederci / buona giornata"
    " / e so / so isso / e tudo / isso e tudo / mais nada / adeus / tchau / ate logo"
    " / dat is alles / dat was alles / verder niets / niets meer / tot ziens / doei / fijne dag"
)
BACK: Final = (
    "back to the assistant / back to the bot / talk to the assistant / talk to the bot / bot / the bot / the assistant / assistant"
    " / i want the bot / i want the assistant / go back to the bot / go back to the assistant / continue with the assistant"
    " / continue with the bot / zuruck zum assistenten / zuruck zum bot / volver al asistente / volver al bot"
    " / retour a l'assistant / retour au bot / torna all'assistente / torna al bot / voltar ao assistente / voltar ao bot"
    " / terug naar de assistent / terug naar de bot"
)
_PEOPLE: Final = (
    r"(?:human(?: being)?|person|agent|representative|rep|operator|supervisor|manager|employee|staff member|somebody|someone"
    r"|customer (?:service|support|care))"
)
_PERSON: Final = re.compile(
    rf"\b(?:a|an|any|another|real|live|actual|some)\s+(?:(?:real|live|actual|human|other)\s+)*{_PEOPLE}"
    r"\s*(?:please|now|instead|here|right now|asap)?\s*(?:[.!?,]|$)"
    rf"|^\W*(?:(?:real|live|actual|human)\s+)*{_PEOPLE}\W*(?:please|now)?\W*$"
    rf"|\b(?:talk|speak|chat|connect|transfer|pass|hand|put|escalate|forward)\b[^.?!]{{0,30}}\b{_PEOPLE}\b"
    r"|\b(?:want|need|like|prefer|get|give|call|ask for|reach|contact|fetch)\b[^.?!]{0,16}"
    rf"\b(?:a|an|real|live|actual|human)\s+{_PEOPLE}\b"
    rf"|\b{_PEOPLE}\b[^.?!]{{0,16}}\b(?:talk|speak|chat) (?:to|with)\b"
    r"|\b(?:menschen|mensch|mitarbeiter(?:in)?|kundenberater(?:in)?|sachbearbeiter(?:in)?)\b[^.?!]{0,30}\b(?:sprechen|reden"
    r"|bitte|verbinden)\b"
    r"|\bmit (?:einem|einer) (?:menschen|mitarbeiter(?:in)?|person)\b"
    r"|\b(?:hablar|comunicar\w*|pasar\w*) con (?:una persona|un agente|un humano|alguien|un representante)\b"
    r"|\buna persona por favor\b"
    r"|\bparler (?:a|avec) (?:une personne|un humain|un agent|un conseiller|quelqu'un)\b|\b(?:une personne|un humain"
    r"|un conseiller) s'il\b"
    r"|\bparlare con (?:una persona|un operatore|un umano|qualcuno|un agente)\b|\bun operatore per favore\b"
    r"|\bfalar com (?:uma pessoa|um atendente|um humano|alguem|um agente)\b|\bum atendente por favor\b"
    r"|\b(?:spreken|praten) met (?:een mens|een medewerker|iemand)\b|\b(?:een mens|een medewerker|medewerker|iemand) (?:spreken"
    r"|alsjeblieft|graag)\b"
)
_NOT_PERSON: Final = re.compile(
    r"\b(?:no|not|don't|do not|without)\b[^.?!]{0,20}\b(?:human|person|agent|somebody|someone)\b|\bas an? (?:agent|person|human)\b"
)
_FIRST: Final = (
    r"(?:(?:no|nope|oh|wait|actually|ok|okay|well|hmm+|sorry|please|pls|hold on|hang on|you know what|on second thoughts?|so|and"
    r"|but|then|maybe|i think|in fact|never mind|nevermind|stop)\W+)*"
)
_IT: Final = (
    r"(?:it|that|this|them|those|anything"
    r"|(?:(?:the|my|that|this) )?(?:whole )?(?:order|booking|one)s?(?: #?[\w-]{0,20}\d[\w-]{0,20})?)"
)
_AS_IT_IS: Final = (
    r"(?: (?:as (?:it|they) (?:is|are|was|were)|as is|the way it is|alone|anyway|after all|any ?more|now|then|please))*"
)
_TAKES_BACK: Final = re.compile(
    rf"^\W*{_FIRST}(?:"
    rf"(?:(?:i|we|you)(?:'ll| will|'d rather| would rather|'d like to| would like to| want to| do want to| can|'m going to)? "
    rf"|let me |let's )?(?:keep|leave) {_IT}{_AS_IT_IS}"
    rf"|(?:do not|don't|dont|no need to|you need not|(?:i|we) (?:do not|don't|dont|no longer) (?:want|need|wish) to|let's not"
    rf"|(?:i|we)(?:'d| would) rather not) (?P<verb>\w+)(?: {_IT})?{_AS_IT_IS}"
    rf"|(?:i|we)(?:'ve| have)? changed (?:my|our) minds?(?: about (?:the )?(?P<about>\w+)(?: {_IT})?)"
    r")\s*(?:$|[.,;:!–-]+\s*|(?=\b(?:but|and|instead|just|only|rather)\b))",
    re.I,
)
_AND_NOW: Final = re.compile(r"\W*(?:(?:but|and|instead|just|only|rather|so|then)\b\W*)*", re.I)
_INSTEAD: Final = re.compile(
    r"\b(?:instead|rather|actually|on second thoughts?|changed my mind|no wait|wait|not that|stattdessen|lieber|doch|eigentlich"
    r"|en vez"
    r"|en lugar|mejor|en realidad|plutot|a la place|finalement|en fait|invece|piuttosto|anzi|em vez|prefiro|na verdade"
    r"|in plaats|liever"
    r"|eigenlijk|toch)\b"
)
_TOO: Final = re.compile(
    r"\b(?:also|too|as well|besides|in addition|another thing|and then|after that|first|before that|auch|ausserdem|zusatzlich"
    r"|tambien"
    r"|ademas|aussi|en plus|egalement|anche|inoltre|tambem|alem disso|ook|daarnaast)\b"
)
_POINTS: Final = re.compile(
    r"\b(?:it|its|that|this|them|those|these|the same|same one|that one|ihn|sie|es|das|dies|esto|eso|lo|la|ca|cela|le|les"
    r"|questo|quello|isso|isto"
    r"|dat|die|dit|het)\b"
)
_ASKS: Final = re.compile(
    r"^\W*(?:(?:and|but|so|ok|okay|hi|hello|hey|wait|oh|well|actually|quick question)\W+)*"
    r"(?:how|what|what's|when|where|where's|why|which|who|whose|is|are|do|does|did|will|would|should|am|was|were|has|have"
    r"|wie|was|wann|wo|warum|wer|welche\w*|gibt|ist|sind|kann man|como|que|cuando|donde|por que|quien|cual|hay|comment|quand|ou"
    r"|pourquoi|qui"
    r"|quel\w*|combien|est-ce|come|cosa|quando|dove|perche|chi|quale|quanto|onde|quem|qual|hoe|wat|wanneer|waar|waarom|wie|welke)\b"
)
# Words of an agreement that name what is agreed to: they stand for it only where the read-back says the same.
_NAMES_IT: Final = re.compile(
    r"(?:cancel|return|exchang|chang|refund|order|modif|updat|plac|send|ship|stor|bestell|pedido|devol|cambi|commande|annul"
    r"|ordin|retour)\w*"
)
_LINKS: Final = frozenset(
    "i would want to like it that this the my for be can you could do of is i'd i'll you'll"
    " bitte das es die der den sie mir lo la el los las eso le les ca il lo o a os as isso het dat".split()
)


def folded(text: str) -> str:
    """A text as the lists have it: lower case, no accents, straight apostrophes, one space between words."""
    text = _MARKS.sub("", unicodedata.normalize("NFKD", text.replace("’", "'").replace("`", "'").replace("ß", "ss")))
    return " ".join(text.casefold().split())


@cache
def _phrases(said: str) -> frozenset[tuple[str, ...]]:
    return frozenset(tuple(_WORD.findall(phrase)) for phrase in said.split("/"))


def _words(text: str) -> list[str]:
    for sign, word in _THUMBS.items():
        text = text.replace(sign, word)
    return _WORD.findall(folded(text[: LONGEST + 1]))


def _parted(words: Sequence[str], kinds: Iterable[tuple[str, str]], more: str = "") -> list[str]:
    """The kinds of the phrases of which the words are made, the longest first; "?" for each word that is of none."""
    found, at = [], 0
    while at < len(words):
        for length in range(min(6, len(words) - at), 0, -1):
            piece = tuple(words[at : at + length])
            kind = next((name for name, said in kinds if piece in _phrases(said)), "")
            if not kind and length == 1 and more and _is_named(piece[0], more):
                kind = "link"
            if kind:
                found.append(kind)
                at += length
                break
        else:
            found.append("?")
            at += 1
    return found


def _is_named(word: str, text: str) -> bool:
    """Whether a word only points at what the text says: a little word, or the deed by its name."""
    if word in _LINKS:
        return True
    return bool(_NAMES_IT.fullmatch(word)) and re.search(rf"\b{re.escape(word[:5])}", text) is not None


def agreement(text: str, read_back: str = "") -> Agreement:
    """Whether somebody agrees to what was read back to them. It is a yes, or a no, where nothing else stands beside it."""
    if len(text) > LONGEST or _MARKED.search(text):
        return "unclear"
    if any(unicodedata.category(sign) == "So" and sign not in _FRIENDLY for sign in text):
        return "unclear"  # "yes" with rolling eyes
    words = _words(text)
    kinds = _parted(words, (("?", DOUBT), ("yes", YES), ("no", NO), ("polite", POLITE)), folded(read_back))
    said = set(kinds)
    first = next((kind for kind in kinds if kind != "polite"), "")
    if "?" in said or not first or {"yes", "no"} <= said:
        return "unclear"
    if first == "yes":
        praised = _parted(words, (("praise", PRAISE), ("grateful", GRATEFUL), ("yes", YES)))
        return "unclear" if "grateful" in praised and "yes" not in praised else "yes"
    return "no" if said <= {"no", "polite"} else "unclear"


def begins_with_no(text: str) -> bool:
    """Whether the first thing that is said is a no, whatever follows."""
    kinds = _parted(_words(text[:LONGEST])[:8], (("no", NO), ("polite", POLITE)))
    return next((kind for kind in kinds if kind != "polite"), "") == "no"


def _is(text: str, said: str, *beside: str) -> bool:
    if len(text) > LONGEST:
        return False
    kinds = _parted(_words(text), (("it", said), *(("beside", one) for one in beside), ("polite", POLITE)))
    return "it" in kinds and "?" not in kinds


def never_mind(text: str) -> bool:
    """Whether somebody takes back what they wanted, and says nothing else."""
    return _is(text, NEVER_MIND, NO)


def taken_back(text: str, of: str) -> str | None:
    """What is said beside taking back what is open: "send it to me" of "keep it, but send it to me". "" for nothing else, None
    where nothing is taken back. of: what is open, in words: "don't cancel it" takes back a cancellation, and nothing else."""
    straight = text.replace("’", "'")
    found = _TAKES_BACK.match(straight)
    if found is None:
        return None
    verb = (found["verb"] or found["about"] or "").lower()
    if verb and verb not in ("it", "that", "this", "do") and verb[:5] not in folded(of):
        return None
    link = _AND_NOW.match(straight, found.end())
    return text[link.end() if link else found.end() :].strip()


def is_greeting(text: str) -> bool:
    return _is(text, GREETING)


def is_thanks(text: str) -> bool:
    return _is(text, THANKS, YES)


def is_bye(text: str) -> bool:
    """Whether somebody says that this was all."""
    return _is(text, BYE, THANKS, NO, YES)


def is_back(text: str) -> bool:
    """Whether somebody whom a person helps wants the bot again."""
    return _is(text, BACK) or text.strip() in every(GO_BACK)


def wants_person(text: str) -> bool:
    """Whether somebody asks for a person."""
    if text.strip() in every(WISH):
        return True
    said = folded(text[:1_000])
    return _PERSON.search(said) is not None and _NOT_PERSON.search(said) is None


def means_instead(text: str) -> bool:
    return _INSTEAD.search(folded(text[:1_000])) is not None


def means_too(text: str) -> bool:
    return _TOO.search(folded(text[:1_000])) is not None


def points_back(text: str) -> bool:
    """Whether a text speaks of something by "it" or "that"."""
    return _POINTS.search(folded(text[:1_000])) is not None


def asks_something(text: str) -> bool:
    """Whether a text is a question for an answer in words: how, what, when. "Can you cancel it?" is none."""
    return _ASKS.match(folded(text[:1_000])) is not None
