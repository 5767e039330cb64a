"""Every figure of a support evaluation: what is counted, by which method, and what it does not show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from penstock.evaluate.text_metrics import NOTES

__all__ = ["METRICS", "Kind", "Metric", "Unit", "of_name", "said"]

Kind = Literal["rate", "mean", "quantile", "survival"]
Unit = Literal["share", "ms", "tokens", "turns", "points", "usd"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A figure's card. of: what is counted. better: "" where neither end is. alarms: a change of it between releases is told."""

    name: str
    label: str
    kind: Kind
    unit: Unit
    of: str
    better: Literal["higher", "lower", ""]
    what: str
    method: str
    does_not_show: str
    alarms: bool = True

    def plain(self) -> dict[str, str]:
        """As JSON."""
        return {
            "name": self.name, "label": self.label, "kind": self.kind, "unit": self.unit, "of": self.of, "better": self.better,
            "what": self.what, "method": self.method, "does_not_show": self.does_not_show,
        }  # fmt: skip


def _rate(
    name: str, label: str, of: str, better: Literal["higher", "lower", ""], what: str, method: str, not_shown: str
) -> Metric:
    return Metric(
        name=name,
        label=label,
        kind="rate",
        unit="share",
        of=of,
        better=better,
        what=what,
        method=method,
        does_not_show=not_shown,
    )


_ALL = (
    _rate(
        "accuracy", "factual accuracy", "claims", "higher",
        "Of the numbers, amounts, dates, codes and states that answers say and that could be checked, how many are right.",
        "Each is held against the rows that the log gives for the answer or before it, the export given with --data, what the "
        "customer said, and the texts that the answer rests on. Sums, differences of amounts and counts of rows are allowed for.",
        "Words are not checked against rows: a wrong colour or name passes unless an export lists what else it could be. Rows are "
        "taken as true, and an export is of its own day. What nothing was given for is not counted.",
    ),
    _rate(
        "hallucination", "hallucination", "answers", "lower",
        "Of the answers with something to check, how many say at least one value or sentence that nothing given has.",
        "As for accuracy; where an answer has texts that it rests on, each of its sentences is held against them as well.",
        "An invention in words beside rows alone is not seen. A true statement from a source that the log lacks is counted.",
    ),
    _rate(
        "relevance", "relevance", "answers", "higher",
        "Of the answers to a question, how many answer that question more likely than another one.",
        "Nearness by the shipped encoder, beside its nearness to 60 questions of support in general, and shared content words; the "
        "share of those questions that are further away is the score, and an answer counts from .9 on.",
        "Whether the answer is right or complete. The encoder reads English: other languages are not scored. Calibrated on "
        "generated "
        "conversations; see the guide for how often it is right.",
    ),
    _rate(
        "coherence", "coherence", "answers", "higher",
        "Of the answers, how many neither contradict an earlier one, nor repeat one, nor leave a question without any answer.",
        "An earlier answer with most of the same words and another number, date or negation, and no row that changed since; the "
        "same "
        "words again to another message; a question with no reply, or one that says that it was not understood.",
        "A contradiction in other words is not seen.",
    ),
    _rate(
        "upset", "upset turns", "customer turns", "lower",
        "Of the customers' turns, how many would be called unsatisfying.",
        "The mean probability of a rating below 3, by word lists in seven languages and, in English, the shipped encoder.",
        "Text alone: no tone of voice, no silence. In other languages than the seven nothing is scored.",
    ),
    Metric(
        name="mood_change", label="change of mood", kind="mean", unit="share", of="conversations", better="lower",
        what="How much more or less upset a customer is at the last turn than at the first.",
        method="Difference of the probabilities of a rating below 3; of conversations with two turns of the customer at least.",
        does_not_show="Why. First turns are calm by their nature, so that a change above 0 is usual: compare releases, not with 0.",
    ),
    _rate(
        "empathy", "empathy", "upset turns", "higher",
        "Of the turns in which a customer is upset, how many are answered with a word of acknowledgement.",
        "An apology, thanks for patience or words of understanding, by lists in seven languages, in the next answer.",
        "Whether it was meant, or helped: a formula counts. Warmth without any of these words is missed.",
    ),
    _rate(
        "personalisation", "personalisation", "answers", "higher",
        "Of the answers for which the customer's own rows were there, how many use one of their values, or the name, rightly.",
        "A value that stands in the rows and that the customer had not said, or the first name in a greeting; a wrong one does "
        "not count.",
        "Whether it was of use. An answer that needs nothing personal lowers it.",
    ),
    Metric(
        name="latency_p50", label="response time, median", kind="quantile", unit="ms", of="answers", better="lower",
        what="Half of the answers were there within this time.",
        method="From the log's own time, else from the times of the two messages. Interval by order statistics, answers of a "
        "conversation taken together.",
        does_not_show="What customers waited for on their own line. From times of messages it holds the time to write them down.",
    ),
    Metric(
        name="latency_p95", label="response time, 95th percentile", kind="quantile", unit="ms", of="answers", better="lower",
        what="Nineteen of twenty answers were there within this time.",
        method="As the median.", does_not_show="As the median; it takes some hundred answers to say anything.",
    ),
    Metric(
        name="tokens_per_resolved", label="tokens for a resolved conversation", kind="mean", unit="tokens",
        of="resolved conversations",
        better="lower", what="All tokens, of resolved conversations and others, for each one that was resolved.",
        method="The log's own counts, input and output together. Resolved as for `resolved`.",
        does_not_show="Money: tokens cost differently. Nothing where the log has no counts.",
    ),
    Metric(
        name="csat", label="CSAT, given", kind="mean", unit="points", of="ratings", better="higher",
        what="The mean of the ratings that customers gave, 1 to 5.", method="As given; other scales are stretched to 1 to 5.",
        does_not_show="Those who said nothing, and they are most. Ratings are given by the delighted and the angry.",
    ),
    _rate(
        "unsatisfied_given", "unsatisfied, given", "ratings", "lower", "Of those who rated, how many gave less than 3.",
        "As CSAT.", "As CSAT. Beside it stands what was predicted for everybody.",
    ),
    _rate(
        "unsatisfied_predicted", "unsatisfied, predicted", "conversations", "lower",
        "The share of conversations that would be rated below 3.",
        "The mean probability at each customer's last turn, as for upset turns.",
        "It reads text, and was trained on no rating of yours: compare it with `unsatisfied_given` before you trust it.",
    ),
    _rate(
        "escalated", "escalation", "conversations", "lower", "Conversations in which a person took over, or was to.",
        "The log's own mark, or a turn of staff, a hand-over, or an answer that says it connects to a person.",
        "Whether it was right to: a good bot hands over what it should.",
    ),
    _rate(
        "contained", "containment", "conversations", "higher", "Conversations that ended without a person.",
        "All that did not escalate.",
        "Whether anybody was helped: someone who gave up is contained. Read it beside silent failures.",
    ),
    _rate(
        "resolved", "resolved", "conversations", "higher", "Conversations that ended with what was wanted, as far as it shows.",
        "The log's own mark, else signs: no person was needed, the customer's last turn is not upset, the last answer says neither "
        "that it failed nor that it did not understand, and no question is left open.",
        "A customer who leaves politely with nothing looks resolved.",
    ),
    _rate(
        "silent_failure", "silent failures", "conversations", "lower",
        "Conversations that no person took over and that failed all the same.",
        "Not escalated, and not resolved, left upset, or back within seven days for the same.",
        "Those who gave up and went elsewhere. Who came back within seven days is known only where customers are.",
    ),
    Metric(
        name="turns_to_resolution", label="turns to resolution", kind="mean", unit="turns", of="resolved conversations",
        better="lower",
        what="How many messages a customer wrote until it was resolved.", method="Of resolved conversations alone.",
        does_not_show="Anything of those that were not: a release that fails hard cases looks quicker.",
    ),
    _rate(
        "recontact_7d", "re-contact in 7 days", "conversations", "lower",
        "Conversations after which the same customer came back for the same within seven days.",
        "Same customer and intent. Only conversations after which the log goes on for seven days.",
        "Who called, wrote or went elsewhere. The other thing under the same name of intent counts as the same.",
    ),
    _rate(
        "recontact_30d", "re-contact in 30 days", "conversations", "lower", "As in 7 days, within thirty.",
        "As in 7 days; the log must go on for thirty.", "As in 7 days.",
    ),
    Metric(
        name="retention_7d", label="retention in 7 days", kind="survival", unit="share", of="customers", better="",
        what="The share of customers who come back for anything within seven days of a conversation.",
        method="Kaplan and Meier over customers' first conversations: who has not come back when the log ends counts until then. "
        "Interval by Greenwood on the log-log scale.",
        does_not_show="Good or bad: coming back for help is no loyalty. Nothing of customers that the log does not name.",
        alarms=False,
    ),
    Metric(
        name="retention_30d", label="retention in 30 days", kind="survival", unit="share", of="customers", better="",
        what="As in 7 days, within thirty.", method="As in 7 days.", does_not_show="As in 7 days.", alarms=False,
    ),
    *(
        Metric(
            name=name, label=label, kind="mean", unit="share", of="answers with references", better="higher",
            what=f"{label} of answers beside what a good answer would have said.",
            method="Of each answer against the nearest of its references, and the mean.", does_not_show=NOTES[name],
        )
        for name, label in (("bleu", "BLEU"), ("rougeL", "ROUGE-L"), ("meteor", "METEOR"), ("bertscore", "BERTScore"))
    ),
)  # fmt: skip

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}


def of_name(name: str) -> Metric:
    """The card of that name; one that stands for itself where it is none of ours."""
    return METRICS[name]


def said(value: float | None, unit: Unit) -> str:
    """A value as people read it."""
    if value is None:
        return "-"
    match unit:
        case "share":
            return f"{100 * value:.1f} %"
        case "ms":
            return f"{value:,.0f} ms"
        case "tokens":
            return f"{value:,.0f}"
        case "usd":
            return f"{value:.4f} USD"
        case "turns" | "points":
            return f"{value:.2f}"
