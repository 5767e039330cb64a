"""What answers of a support bot say beside their matter, in seven languages: words of understanding, that a person takes over, that
nothing was understood; and what people ask support about in general."""

from __future__ import annotations

import re

__all__ = ["GENERAL", "acknowledges", "hands_over", "not_understood"]

_ACKNOWLEDGES = re.compile(
    r"\b(?:sorry|apologi[sz]e|apologies|i (?:can |completely |fully |totally )?understand|understandabl[ey]|i hear you|i see why"
    r"|frustrating"
    r"|inconvenien\w+|thank(?:s| you) for (?:your patience|bearing|letting|telling|waiting|flagging|pointing)|i appreciate|that "
    r"must|i realise|i realize"
    r"|that['’]s not (?:ok|okay|right|good|how)|you['’]re right|let me (?:fix|make this right)|regret"
    r"|tut mir (?:sehr )?leid|tut uns (?:sehr )?leid|entschuldig\w*|verstehe|verständlich|kann ich (?:gut )?nachvollziehen"
    r"|ärgerlich|unannehmlichkeit\w*|bedauer\w*|danke für (?:ihre|deine) geduld"
    r"|lo siento|lo sentimos|disculp\w+|entiendo|comprendo|lament\w+|molestias|gracias por (?:su|tu) paciencia"
    r"|désolée?s?|navrée?s?|je comprends|nous comprenons|excus\w+|désagrément|merci (?:de|pour) votre patience|regrett\w+"
    r"|mi dispiace|ci dispiace|capisco|comprendo|scus\w+|disagio|grazie per la pazienza"
    r"|desculp\w+|sinto muito|lamento|entendo|compreendo|transtorno|obrigad[oa] pela (?:sua )?paciência"
    r"|het spijt|excuses|begrijp|vervelend|ongemak|bedankt voor (?:uw|je) geduld)\b",
    re.I,
)
_HANDS_OVER = re.compile(
    r"\b(?:(?:connect|transferr?|pass|hand|put)(?:ing|ed)? (?:you|this|the (?:chat|conversation|case|matter))(?: \w+){0,2} (?:to"
    r"|over|through|with|on)"
    r"|(?:a|one of our|my|our) (?:human |support |service )?(?:agents?|colleagues?|advis[eo]rs?|team members?|specialists?"
    r"|representatives?|managers?|team|person)"
    r" (?:will|is going to|has been|have been|takes? over|is taking over|can take it)|escalat(?:ed|ing) (?:this|it|your|the|to)"
    r"|handed (?:this|you|it|the conversation) over|is taking over"
    r"|(?:verbinde|leite|übergebe|gebe) (?:ich )?(?:sie|dich|das|es|ihr)|(?:kolleg\w+|mitarbeiter\w*|mensch) (?:wird|übernimmt"
    r"|meldet|kümmert)"
    r"|(?:te|le|lo|la) (?:paso|transfiero|conecto|comunico)|(?:un|una) (?:agente|compañer[oa]|persona|especialista) (?:se|le|te"
    r"|va|continuar)"
    r"|(?:je vous|nous vous) (?:transfère|transférons|mets en relation|passe)|un (?:conseiller|agent|collègue) (?:va|prend|vous)"
    r"|(?:la|ti) (?:trasferisco|collego|metto in contatto|passo)|un (?:operatore|collega|addetto) (?:la|ti|si|prend)"
    r"|(?:vou|estou a?) (?:transferir|transferindo|encaminhar|passar)|um (?:agente|atendente|colega) (?:vai|irá)"
    r"|(?:ik )?(?:verbind|zet|geef) (?:u|je) (?:door|over)|een (?:medewerker|collega) (?:neemt|zal|gaat))",
    re.I,
)
_NOT_UNDERSTOOD = re.compile(
    r"\b(?:(?:didn['’]t|did not|don['’]t|do not|couldn['’]t|not sure i) (?:quite |fully )?(?:understand|get that|catch|follow)"
    r"|can you (?:rephrase|reword)"
    r"|could you (?:please )?(?:rephrase|reword|say that)|(?:not|isn['’]t|is not) in (?:my|your|the|our) (?:documents|knowledge"
    r"|articles)"
    r"|(?:don['’]t|do not) (?:have|know) (?:an answer|the answer|information|that)|i (?:can['’]t|cannot) (?:answer|help with) that"
    r"|nicht (?:ganz )?verstanden|anders formulieren|weiß ich (?:leider )?nicht|no (?:le |te )?(?:he )?entend\w+|reformul\w+|otra "
    r"manera"
    r"|pas (?:bien )?compris|non ho capito|riformul\w+|não entendi|niet begrepen|anders (?:zeggen|formuleren))",
    re.I,
)


def acknowledges(text: str) -> bool:
    """Whether an answer has a word of understanding."""
    return _ACKNOWLEDGES.search(text) is not None


def hands_over(text: str) -> bool:
    """Whether an answer says that a person takes over. A question whether one should is none."""
    for found in _HANDS_OVER.finditer(text):
        end = min((n for mark in (".", "!", "?", "\n") if (n := text.find(mark, found.end())) >= 0), default=-1)
        if end < 0 or text[end] != "?":
            return True
    return False


def not_understood(text: str) -> bool:
    """Whether an answer says that it has none."""
    return _NOT_UNDERSTOOD.search(text) is not None


GENERAL = tuple(  # questions that an answer to another one is not nearer to
    line.strip()
    for line in """
    Where is my order?
    When will my package arrive?
    Can I cancel my order?
    I want to change the delivery address.
    How do I return an item?
    When do I get my money back?
    My refund has not arrived yet.
    The item that I received is broken.
    I received the wrong item.
    One item is missing from my parcel.
    Can I exchange this for another size?
    Is this product in stock?
    How much does shipping cost?
    Do you deliver abroad?
    What payment methods do you accept?
    My card was declined.
    I was charged twice.
    Why is there a fee on my statement?
    Can I get an invoice?
    How do I use a discount code?
    My voucher does not work.
    How many points do I have?
    I cannot log in to my account.
    How do I reset my password?
    How do I change my e-mail address?
    Please delete my account.
    How do I unsubscribe from your newsletter?
    What is your privacy policy?
    How long is the warranty?
    How do I repair or replace my device?
    The app crashes when I open it.
    My internet connection is slow.
    I have no signal on my phone.
    How much data have I used this month?
    I want to upgrade my plan.
    How do I cancel my subscription?
    When is my next bill due?
    Why is my bill higher than last month?
    How do I transfer money to another account?
    What is the exchange rate?
    My transfer has not arrived.
    I lost my card.
    How do I activate my new card?
    I do not recognise this payment.
    How do I increase my limit?
    What are your opening hours?
    Where is your nearest shop?
    Can I speak to a person?
    I want to make a complaint.
    How do I book an appointment?
    Can I change my booking?
    Is breakfast included?
    How much luggage may I take?
    My flight was cancelled.
    Can you recommend a gift?
    What is the difference between these two models?
    What size should I take?
    How do I wash this?
    Does this work with my phone?
    Are you hiring?
    """.strip().split("\n")
)
