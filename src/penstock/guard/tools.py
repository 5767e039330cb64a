"""Which calls of tools may leave: rules as plain data, what speaks for a call, and the gate that holds a call until it is whole.

A model may be made to ask for anything by what it reads. So nothing here asks a model, nor judges what a text means. A call
passes where the tool is on the list, its arguments fit its schema, the user asked for what it does, and the addresses in it
stand literally in what the user or the system said. What documents or tools said can do none of that. In between, a person
is asked, who is told where each address came from.
"""

from __future__ import annotations

import base64
import difflib
import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, Final, Literal, TypeGuard, cast, get_args

from penstock.errors import BadRequest, BadSetting, Blocked, PenstockError
from penstock.guard.bodies import Piece, pieces, replaced
from penstock.guard.provenance import Context, apart, host_of, numbers, shown, squashed, url_of
from penstock.types import Dialect, Finding, ModelEvent, Stopped, TextDelta, ToolCallDelta, Wire

__all__ = [
    "Allowed",
    "CallGate",
    "Confirm",
    "Confirmations",
    "Held",
    "Refused",
    "TargetKind",
    "Tool",
    "ToolCall",
    "ToolRules",
    "Verdict",
    "check",
    "read_arguments",
    "unfit",
]

Effect = Literal["read", "write"]
Confirmation = Literal["never", "tainted", "always"]
Foreign = Literal["confirm", "refuse", "allow"]
TargetKind = Literal["recipient", "url", "host", "path", "account", "phone", "amount"]

LARGEST_ARGUMENTS: Final = 1 << 20  # characters
LONGEST_TARGET: Final = 500  # characters: a person has to be able to read it
LONGEST_TEXT: Final = 200  # characters of the other arguments that a person is shown
MOST_TARGETS: Final = 200


# ---------------------------------------------------------------- rules


@dataclass(frozen=True, slots=True)
class Tool:
    """What one tool may do, and for whom. The defaults are the careful ones."""

    effect: Effect = "write"  # "read" changes nothing anywhere
    confirm: Confirmation = "tainted"  # "never": nobody is there to ask, so what would have to be confirmed is refused
    foreign: Foreign = "confirm"  # what happens to a target that is not in the user's own words
    targets: Mapping[str, TargetKind] = field(
        default_factory=dict
    )  # name of an argument, at any depth -> what it names
    free: tuple[str, ...] = ()  # arguments that are text, also where all of it looks like an address
    hosts: tuple[str, ...] = ()  # that its URLs may go to: "example.com", "*.example.com", "example.com:8443"
    asked_by: tuple[str, ...] = ()  # words with which a user asks for it; () takes them from its name
    schema: Mapping[str, Any] | None = None  # of the arguments; None takes the request's own
    returns: Mapping[str, Any] | None = (
        None  # field -> type: of its results a model sees these fields, and nothing else
    )


@dataclass(frozen=True, slots=True)
class ToolRules:
    """The tools that may be called: by name, or by a pattern such as "calendar_*"."""

    tools: Mapping[str, Tool] = field(default_factory=dict)
    others: Literal["refuse", "guess"] = "refuse"  # "guess": from the names of the tool and of its arguments
    data_between: tuple[tuple[str, str], ...] = ()  # the marks that clients put around data in what a user says

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> ToolRules:
        """Rules from plain data. Raises BadSetting, naming what is wrong."""
        _known(data, {"tools", "others", "data_between"}, "guard.tools")
        tools = {str(name): _tool(str(name), value) for name, value in _table(data.get("tools", {}), "tools").items()}
        others = data.get("others", "refuse")
        if others not in ("refuse", "guess"):
            raise BadSetting(f"'others' is {others!r}, and must be refuse or guess")
        between = data.get("data_between", [])
        if not isinstance(between, list) or not all(
            isinstance(pair, list) and len(pair) == 2 and all(isinstance(mark, str) and mark for mark in pair)
            for pair in between
        ):
            raise BadSetting("'data_between' must be a list of pairs of marks", hint='[["<data>", "</data>"]]')
        return cls(tools, others, tuple((first, last) for first, last in between))

    def find(self, name: str) -> Tool | None:
        """The rule for a tool; None where it may not be called. An exact name goes before patterns, in their order."""
        found = self.tools.get(name)
        if found is None:
            found = next((tool for pattern, tool in self.tools.items() if fnmatchcase(name, pattern)), None)
        return _guessed(name) if found is None and self.others == "guess" else found

    def context(self, body: Mapping[str, Any], dialect: Dialect) -> Context:
        """Who said what in a request."""
        said = pieces(body, dialect)
        return Context(apart(said, self.data_between) if self.data_between else said)

    def unlisted(self, body: Mapping[str, Any]) -> list[str]:
        """The tools in a request that may not be called. A provider runs some itself, by their `type`: no gate sees those."""
        names = [_name_of(tool) for tool in _dicts(body.get("tools")) + _dicts(body.get("functions"))]
        names += [f"mcp:{server.get('name', '')}" for server in _dicts(body.get("mcp_servers"))]
        return [name for name in dict.fromkeys(names) if self.find(name) is None or _runs_elsewhere(name, self)]

    def reduced(self, body: Mapping[str, Any], dialect: Dialect) -> Mapping[str, Any]:
        """The body with the results of tools that have `returns` reduced to those fields: a number gives no orders."""
        if not any(tool.returns for tool in self.tools.values()):
            return body
        changes = {}
        for piece in pieces(body, dialect):
            if piece.origin.kind == "tool" and (tool := self.find(piece.origin.name)) and tool.returns:
                changes[piece.path] = _reduced(piece.text, tool.returns)
        return replaced(body, changes)


def _table(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadSetting(f"'{name}' must be a table")
    return value


def _known(data: Mapping[str, Any], names: set[str], where: str) -> None:
    for name in data:
        if name not in names:
            near = difflib.get_close_matches(str(name), names, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(sorted(names))}"
            raise BadSetting(f"'{where}.{name}' is not a setting", hint=hint)


_CHOICES: Final = {"effect": Effect, "confirm": Confirmation, "foreign": Foreign}
_RETURNED: Final = ("number", "integer", "boolean", "date", "code")


def _tool(name: str, data: Any) -> Tool:
    where = f"tools.{name}"
    data = _table(data, where)
    _known(data, {entry.name for entry in fields(Tool)}, where)
    given: dict[str, Any] = dict(data)
    for key, choices in _CHOICES.items():
        if key in data and data[key] not in get_args(choices):
            raise BadSetting(f"'{where}.{key}' is {data[key]!r}, and must be one of {', '.join(get_args(choices))}")
    for key in ("free", "hosts", "asked_by"):
        if key in data:
            if not isinstance(data[key], list) or not all(isinstance(entry, str) and entry for entry in data[key]):
                raise BadSetting(f"'{where}.{key}' must be a list of texts")
            given[key] = tuple(data[key])
    for argument, kind in _table(data.get("targets", {}), f"{where}.targets").items():
        if kind not in get_args(TargetKind):
            raise BadSetting(f"'{where}.targets.{argument}' must be one of {', '.join(get_args(TargetKind))}")
    if "schema" in data:
        unfit({}, _table(data["schema"], f"{where}.schema"))
        _check_patterns(data["schema"], where)
    for key, kind in _table(data.get("returns", {}), f"{where}.returns").items():
        if kind not in _RETURNED and not (isinstance(kind, list) and all(isinstance(v, str) for v in kind)):
            raise BadSetting(f"'{where}.returns.{key}' must be one of {', '.join(_RETURNED)}, or a list of texts")
    return Tool(**given)


def _check_patterns(schema: Any, where: str) -> None:
    for value in _inside(schema):
        if isinstance(value, dict) and isinstance(value.get("pattern"), str) and _pattern(value["pattern"]) is None:
            raise BadSetting(f"'{where}.schema' has a pattern that takes more than linear time: {value['pattern']}")


def _inside(value: Any) -> Iterator[Any]:
    waiting = [value]
    while waiting:
        value = waiting.pop()
        yield value
        waiting += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _name_of(tool: Mapping[str, Any]) -> str:
    """The name a tool is called by; `type:…` where its provider runs it."""
    kind = tool.get("type")
    for inner in (tool.get("function"), tool.get("custom"), tool):
        if isinstance(inner, dict) and isinstance(inner.get("name"), str) and kind in (None, "function", "custom"):
            return str(inner["name"])
    return f"type:{kind}"


def _runs_elsewhere(name: str, rules: ToolRules) -> bool:
    """Whether a provider runs it, and nobody has put it on the list by that name."""
    return name.startswith(("type:", "mcp:")) and not any(fnmatchcase(name, pattern) for pattern in rules.tools)


# ---------------------------------------------------------------- a call


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that a model asks for."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Allowed:
    """The call may be passed on."""


@dataclass(frozen=True, slots=True)
class Confirm:
    """A person has to agree first. They are read this: every target, and where it came from."""

    read_back: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The call may not be made. The reason names the rule and the argument, never what stands in it."""

    why: str


Verdict = Allowed | Confirm | Refused


def read_arguments(text: str) -> dict[str, Any]:
    """The arguments of a call. Raises BadRequest where two readers may see two things: a name twice, or no JSON object."""
    if len(text) > LARGEST_ARGUMENTS:
        raise BadRequest("its arguments are too long")
    if not text.strip():
        return {}
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise BadRequest("its arguments are not plain JSON") from error
    if not isinstance(value, dict):
        raise BadRequest("its arguments are no JSON object")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name.casefold() for name, _ in pairs}) < len(pairs):  # some readers do not tell `To` from `to`
        raise ValueError("a name stands twice")
    return dict(pairs)


def _no_number(name: str) -> None:
    raise ValueError(name)


def check(
    call: ToolCall,
    context: Context | Sequence[Piece],
    rules: ToolRules,
    *,
    schema: Any = None,
    others: Sequence[ToolCall] = (),
) -> Verdict:
    """Whether a call may be made.

    schema: of its arguments, as the request has it, where the rule has none. others: calls of the same answer, before it.
    """
    context = context if isinstance(context, Context) else Context(context)
    tool = rules.find(call.name)
    if tool is None:
        return Refused("this tool is not on the list")
    if wrong := unfit(call.arguments, tool.schema if tool.schema is not None else schema or {}):
        return Refused(wrong)
    targets = list(_targets(call.arguments, tool))
    if len(targets) > MOST_TARGETS:
        return Refused(f"it names more than {MOST_TARGETS} targets")
    foreign: dict[int, str] = {}
    for place, target in enumerate(targets):
        match _judged(target, context, tool):
            case Refused() as refused:
                return refused
            case str(source) if source:
                foreign[place] = source
    if foreign and tool.foreign == "refuse":
        return Refused(f"'{targets[min(foreign)].name}' is not in the user's own words")
    unasked = unspoken = again = False
    if tool.effect == "write" and context.tainted:
        aim = _aim(targets)
        before = [*context.called(call.name), *(other.arguments for other in others if other.name == call.name)]
        again = any(_aim(list(_targets(arguments, tool))) == aim for arguments in before)
        unasked = not context.asked_for(call.name, tool.asked_by or _words_for(call.name))
        own = any(target.kind != "amount" for place, target in enumerate(targets) if place not in foreign)
        unspoken = unasked or not (own or tool.asked_by or context.asked_for(call.name, ()))
    if unasked and foreign:
        return Refused(f"nobody asked for it, and '{targets[min(foreign)].name}' is not in the user's own words")
    if not (unspoken or again or foreign or tool.confirm == "always"):
        return Allowed()
    if tool.confirm == "never":
        if foreign:
            return Refused(f"'{targets[min(foreign)].name}' is not in the user's own words")
        return Refused("nobody asked for it" if unspoken else "it is asked for more than once")
    remarks = []
    if unasked or (unspoken and not foreign):
        remarks.append("You did not ask for it in so many words.")
    if again:
        remarks.append("It is asked for more than once since you last spoke.")
    return Confirm(_read_back(call, targets, foreign, remarks))


def _aim(targets: Sequence[_Target]) -> frozenset[str]:
    """Where a call goes, however much, and whatever else it says."""
    return frozenset(squashed(target.value) for target in targets if target.kind != "amount")


# ---------------------------------------------------------------- targets


@dataclass(frozen=True, slots=True)
class _Target:
    """A value of a call that says where something goes, or how much."""

    name: str  # of the argument
    kind: TargetKind
    value: str
    sure: bool  # a rule says so; otherwise it has the looks


def _targets(arguments: Mapping[str, Any], tool: Tool) -> Iterator[_Target]:
    kinds = {name.casefold(): kind for name, kind in tool.targets.items()}
    guessed = tool.targets is _KEYS
    free = {name.casefold() for name in tool.free}
    waiting: list[tuple[str, TargetKind | None, Any]] = [("", None, arguments)]
    while waiting:
        name, kind, value = waiting.pop()
        if isinstance(value, Mapping):
            inner = [
                (str(key), (_kind_by_name(str(key)) if guessed else kinds.get(str(key).casefold())) or kind, entry)
                for key, entry in value.items()
            ]
            waiting += [entry for entry in reversed(inner) if entry[1] or entry[0].casefold() not in free]
        elif isinstance(value, list | tuple):
            waiting += [(name, kind, entry) for entry in reversed(value)]
        elif value is None or value is False or value is True or value == "":
            continue
        elif kind:
            yield _Target(name, kind, _plain(value), sure=True)
        elif isinstance(value, str) and (looks := _looks_like(value)):
            yield _Target(name, looks, value, sure=False)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


_LOOKS: Final[Mapping[TargetKind, re.Pattern[str]]] = {
    "url": re.compile(r"(?i)(?:[a-z][a-z0-9+.-]{1,20}:)?//\S+|(?:javascript|data|mailto|tel|sms|file):\S+"),
    "recipient": re.compile(r"[^\s@]+@[^\s@]+\.[^\s@]+|[^@<>]{0,100}<[^\s@]+@[^\s@]+>"),
    "account": re.compile(r"[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}|0x[0-9a-fA-F]{40}|(?:bc1|[13])[a-zA-HJ-NP-Z0-9]{25,60}"),
    "phone": re.compile(r"(?:\+|00)\d[\d ()./-]{6,20}\d"),
}


def _looks_like(value: str) -> TargetKind | None:
    value = value.strip()
    if len(value) > 4_000:
        return None
    return next((kind for kind, pattern in _LOOKS.items() if pattern.fullmatch(value)), None)


def _judged(target: _Target, context: Context, tool: Tool) -> Refused | str:
    """ "" where the value is the user's own, or may be anybody's; otherwise where it came from; Refused where no person may
    agree to it either."""
    value = target.value.strip(" \t\u00a0")
    if len(value) > LONGEST_TARGET and target.kind != "url":
        return Refused(f"'{target.name}' is longer than a person can check")
    if target.kind == "url" and not value.lower().startswith(("mailto:", "tel:", "sms:")):
        return _judged_url(target.name, value, context, tool)
    if _is_said(target.kind, value, context) or _is_allowed_host(target.kind, value, tool):
        return ""
    return "" if tool.foreign == "allow" else context.traced(value)


def _is_said(kind: TargetKind, value: str, context: Context) -> bool:
    match kind:
        case "amount":
            return _says_amount(value, context)
        case "path":
            return context.says_path(value)
        case "account" | "phone":
            return context.says_code(value) or (not any(c.isdigit() for c in value) and context.says_name(value))
        case "host":
            return context.says_host(host_of(value)) or context.says_name(value)
    value = re.sub(r"^(?:mailto|tel|sms):", "", value, flags=re.I)
    if context.says_name(value):
        return True
    parts = [part.strip(" ") for part in re.split(r"[,;]", value) if part.strip(" ")]
    return bool(parts) and all(_says_address(part, context) for part in parts)


def _says_address(part: str, context: Context) -> bool:
    """An address, also with a name before it, as mail programs write it."""
    named = re.fullmatch(r"\"?([^@<>\"]*)\"?\s*<([^\s@<>\"]+@[^\s@<>\"]+)>", part)
    return context.says_name(named[2] if named else part)


def _says_amount(value: str, context: Context) -> bool:
    try:
        return context.says_number(Decimal(value))
    except InvalidOperation:
        found = re.findall(r"\d[\d.,'’ ]*", value)
        return len(found) == 1 and any(context.says_number(number) for number in numbers(found[0]))


def _is_allowed_host(kind: TargetKind, value: str, tool: Tool) -> bool:
    return kind == "host" and _reaches(host_of(value), tool.hosts)


def _reaches(host: str, allowed: Sequence[str]) -> bool:
    return any(
        host.endswith(pattern[1:].lower()) if pattern.startswith("*.") else host == pattern.lower()
        for pattern in allowed
    )


def _judged_url(name: str, value: str, context: Context, tool: Tool) -> Refused | str:
    url = url_of(value)
    if url is None:
        return Refused(f"'{name}' is no plain web address")
    if context.says_url(url):
        return ""
    whole = value.partition("#")[0]
    written = context.is_written(whole)
    if not written and (source := context.carries(url.rest)):
        return Refused(f"'{name}' would take along text of {source}")
    if len(value) > LONGEST_TARGET:
        return Refused(f"'{name}' is longer than a person can check")
    if _reaches(f"{url.host}:{url.port}" if url.port else url.host, tool.hosts):
        if tool.foreign == "allow" or (tool.effect == "read" and (written or url.bare or not context.tainted)):
            return ""
    elif not written:
        return Refused(f"'{name}' leads to a host that is neither allowed nor named by the user")
    return context.traced(whole)


def _read_back(call: ToolCall, targets: Sequence[_Target], foreign: Mapping[int, str], remarks: Sequence[str]) -> str:
    """What a person is told: the targets first, whole, each with where it came from."""
    lines = [f"{shown(call.name, 64)}: may this be done?", *remarks]
    for place, target in enumerate(targets):
        value = shown(target.value, LONGEST_TARGET)
        letters = "" if value.isascii() else f" (letters: {value.encode('ascii', 'namereplace').decode()[:400]})"
        source = f"not your words: {foreign[place]}" if place in foreign else "in your own words"
        lines.append(f'- {shown(target.name, 64)}: "{value}"{letters} ({source})')
    told = {target.name for target in targets}
    for name, value in call.arguments.items():
        if name not in told:
            lines.append(f'- {shown(name, 64)}: "{shown(_plain(value), LONGEST_TEXT)}"')
    return "\n".join(lines)


# ---------------------------------------------------------------- tools that nobody has described

_READS: Final = frozenset(
    """get list read search find fetch query lookup view show describe check count summarize summarise browse retrieve
    explain analyze compare calculate convert translate""".split()
)
_KEYS: Final[Mapping[str, TargetKind]] = {
    **dict.fromkeys(
        """to cc bcc recipient recipients receiver payee attendee attendees invitee invitees guest guests participant
        participants email emails mail user username handle channel member members contact audience assignee""".split(),
        "recipient",
    ),
    **dict.fromkeys("url urls uri link href webhook callback endpoint redirect image src".split(), "url"),
    **dict.fromkeys("host hostname domain server".split(), "host"),
    **dict.fromkeys("path paths file files filename filepath folder directory dir destination".split(), "path"),
    **dict.fromkeys("account iban bic wallet address card payid".split(), "account"),
    **dict.fromkeys("phone telephone mobile number fax".split(), "phone"),
    **dict.fromkeys("amount price sum total value limit quantity".split(), "amount"),
}  # fmt: skip


def _kind_by_name(name: str) -> TargetKind | None:
    """What an argument names, judged by its name: the last word of `guest_email` counts, or else the first."""
    words = _parts(name)
    return next((_KEYS[word] for word in (*words[-1:], *words[:1]) if word in _KEYS), None)


def _parts(name: str) -> list[str]:
    return [part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]


def _guessed(name: str) -> Tool:
    """The rule for a tool that nobody described: it reads where its name says that it does nothing else."""
    words = _parts(name)
    writes = any(_VERBS_OF.get(word) for word in words if word not in _READS)
    reads = not writes and any(word in _READS for word in words)
    return Tool(effect="read" if reads else "write", targets=_KEYS)


# What people say who want something done, in the languages we know: `*` for any ending, `_` for a space. One entry for each thing
# that a tool does; in front of the colon are the English words that a tool is named by, which ask for it as well.
_VERBS: Final = """
send forward reply mail email message notify: send sends sending forwards respond mail_it email_it mail_this
  email_this mail_them email_them write_to message_to notify sende senden schick* verschick* weiterleit* leite
  antworte* envoi* envoy* transfère* réponds répondre envía envia enviar envíe envie envíale manda mandar
  mándale reenvía responde invia inviare mandare inoltra* rispondi encaminh* mande responda stuur* sturen
  verstuur* verzend* beantwoord* wyślij wyslij wysłać prześlij odpowiedz gönder* ilet* yanıtla* отправ* пошли
  перешли* вышли* ответь أرسل* ارسل* إرسال ابعث भेज* skicka* vidarebefordra* svara 送信 送って 送る 転送 返信
  보내 전송 전달 답장 发送 发给 發送 寄给 转发 回复
pay transfer wire withdraw donate: pay pays paying donate bezahl* zahl* überweis* paie payer paye payez virement
  paga pagar pague transfiere transferir pagare bonifico trasferisci transfira betaal* betalen overmaken zapłać
  zapłacić przelej przelew öde ödeme havale оплат* заплат* переведи* перечисл* ادفع حول حوّل भुगतान betala*
  överför* 支払 振込 送金 払って 결제 송금 이체 지불 支付 付款 转账 汇款 付给
delete remove erase drop cancel revoke: delete deletes revoke lösch* entfern* stornier* supprime* efface*
  annule* borra* elimina* cancela* cancella* apaga* remova verwijder* annuleer* usuń usun skasuj anuluj sil
  siler iptal удал* сотри отмен* احذف امسح ألغ* हटा* रद्द ta_bort radera* avboka* 削除 消して 取り消 キャンセル
  삭제 지워 취소 删除 取消
book reserve order buy purchase: book purchase buch* reservier* bestell* kauf* réserve* commande* achète*
  acheter reserva* pide compra* prenota* ordina* encomend* boek* reserveer* bestel* koop zarezerwuj zamów kup
  rezerve ayırt sipariş satın заброн* закаж* купи احجز اطلب اشتر* बुक खरीद* boka* beställ* köp 予約 注文 買って
  購入 예약 주문 구매 预订 预约 订购 购买
create add make schedule plan set update change edit write save upload post publish tweet submit: create submit
  erstell* leg anlegen trag* änder* speicher* veröffentlich* poste crée* créer ajoute* modifie* publie*
  enregistre* crea* añade* agrega* cambia* guarda* publica* aggiungi* modifica* salva* pubblica* cria* adicione*
  altere* publique maak* voeg* wijzig* bewaar plaats utwórz dodaj zmień zapisz opublikuj oluştur* ekle*
  değiştir* kaydet yayınla* созда* добав* измени* сохран* опублик* أنشئ أضف غيّر احفظ انشر बना* जोड़* skapa*
  lägg ändra* spara* publicera* 作成 追加 変更 保存 投稿 公開 만들 추가 변경 저장 게시 创建 添加 修改 发布
share invite grant give: share give teile* teilen freigeb* einlad* lade partage* invite* comparte* invita*
  condividi* compartilh* convide* deel* udostępnij zaproś paylaş* davet поделись пригласи* شارك ادع साझा dela*
  bjud 共有 招待 공유 초대 分享 共享 邀请
call dial phone: call phone ring_up ruf anruf* appelle* llama* chiama* ligue bel zadzwoń ara позвони* اتصل फ़ोन
  ring 電話 전화 打电话
open close lock unlock start stop run execute enable disable turn: open turn_on turn_off öffne* schließ* starte*
  ouvre* ferme* lance* abre* cierra* apri* chiudi* abra* otwórz aç* kapat* открой* закрой* запусти* افتح खोल*
  öppna* 開いて 起動 열어 실행 打开 关闭 运行
"""


_ALSO_NOUNS: Final = frozenset("mail email message reply order book share post call phone plan set start".split())
_TOO_COMMON: Final = frozenset({"mail", "email", "message"})  # "summarise this mail" asks for none to be sent


def _verbs() -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for line in re.sub(r"\n  ", " ", _VERBS).strip().splitlines():
        names, _, words = line.partition(": ")
        said = [word.replace("_", " ") for word in words.split()]
        asking = dict.fromkeys((*(name for name in names.split() if name not in _TOO_COMMON), *said))
        found |= dict.fromkeys(names.split(), tuple(asking))
    return found


_VERBS_OF: Final = _verbs()


def _words_for(name: str) -> tuple[str, ...]:
    """The words that ask for a tool of this name; its first word where none of them is known."""
    parts = _parts(name)
    known = [part for part in parts if part in _VERBS_OF]
    known.sort(key=lambda part: part in _ALSO_NOUNS)
    return _VERBS_OF[known[0]] if known else tuple(parts[:1])


# ---------------------------------------------------------------- schemas

_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,), "number": (int, float), "integer": (int, float), "boolean": (bool,), "null": (type(None),),
    "object": (dict, Mapping), "array": (list, tuple),
}  # fmt: skip


def unfit(value: Any, schema: Any) -> str:
    """What is wrong with a value by a JSON Schema; "" where nothing is. It knows what schemas of tools are made of.

    An object has the properties that are named, unless `additionalProperties` says otherwise: what nobody described, nobody
    checked. Names that came with the value are not repeated.
    """
    return _Fitting(schema).unfit(value, schema, "the arguments", 0)


class _Fitting:
    def __init__(self, root: Any) -> None:
        self._root = root
        self._steps = 20_000

    def unfit(self, value: Any, schema: Any, name: str, depth: int, *, closed: bool = True) -> str:
        self._steps -= 1
        if depth > 64 or self._steps < 0:
            return "its schema is too complicated"
        if schema is False:
            return f"{name} may not be given"
        if not isinstance(schema, Mapping):
            return ""
        if isinstance(reference := schema.get("$ref"), str):
            return self.unfit(value, self._found(reference), name, depth + 1, closed=closed)
        if not _is_of(value, schema.get("type")):
            return f"{name} must be {_listed(schema.get('type'))}"
        if "const" in schema and not _same(value, schema["const"]):
            return f"{name} must be the one value that its schema allows"
        if isinstance(schema.get("enum"), list) and not any(_same(value, entry) for entry in schema["enum"]):
            return f"{name} must be one of the values that its schema allows"
        return (
            self._choices(value, schema, name, depth, closed=closed)
            or self._bounds(value, schema, name)
            or (self._object(value, schema, name, depth, closed=closed) if isinstance(value, Mapping) else "")
            or (self._array(value, schema, name, depth) if isinstance(value, list | tuple) else "")
        )

    def _found(self, reference: str) -> Any:
        place = self._root
        for key in reference.removeprefix("#").strip("/").split("/"):
            place = (
                place.get(key.replace("~1", "/").replace("~0", "~")) if key and isinstance(place, Mapping) else place
            )
        return place if place is not None and reference.startswith("#") else False

    def _choices(self, value: Any, schema: Mapping[str, Any], name: str, depth: int, *, closed: bool) -> str:
        for entry in _schemas(schema.get("allOf")):
            if wrong := self.unfit(value, entry, name, depth + 1, closed=False):
                return wrong
        for key in ("anyOf", "oneOf"):
            entries = _schemas(schema.get(key))
            if entries and all(self.unfit(value, entry, name, depth + 1, closed=closed) for entry in entries):
                return f"{name} is none of what its schema allows"
        return ""

    def _bounds(self, value: Any, schema: Mapping[str, Any], name: str) -> str:
        size: float | None = None
        names = ("minimum", "maximum")
        match value:
            case bool():
                return ""
            case int() | float():
                size = value
                if _number(low := schema.get("exclusiveMinimum")) and not value > low:
                    return f"{name} is too small"
                if _number(high := schema.get("exclusiveMaximum")) and not value < high:
                    return f"{name} is too large"
            case str():
                size, names = len(value), ("minLength", "maxLength")
            case list() | tuple():
                size, names = len(value), ("minItems", "maxItems")
            case Mapping():
                size, names = len(value), ("minProperties", "maxProperties")
        least, most = schema.get(names[0]), schema.get(names[1])
        if size is not None and _number(least) and size < least:
            return f"{name} is too {'short' if isinstance(value, str) else 'small'}"
        if size is not None and _number(most) and size > most:
            return f"{name} is too {'long' if isinstance(value, str) else 'large'}"
        if isinstance(value, str) and isinstance(written := schema.get("pattern"), str):
            pattern = _pattern(written)
            if pattern is not None and pattern.search(value.encode("utf-8", "replace").decode()) is None:
                return f"{name} does not have the form that its schema asks for"
        return ""

    def _object(
        self, value: Mapping[str, Any], schema: Mapping[str, Any], name: str, depth: int, *, closed: bool
    ) -> str:
        known = schema.get("properties")
        properties: Mapping[str, Any] = known if isinstance(known, Mapping) else {}
        required = schema.get("required")
        for key in required if isinstance(required, list) else ():
            if isinstance(key, str) and key not in value:
                return f"'{key}' is missing"
        joined = any(key in schema for key in ("allOf", "anyOf", "oneOf", "patternProperties"))
        others = schema.get("additionalProperties", not (closed and isinstance(known, Mapping) and not joined))
        for key, entry in value.items():
            if key in properties:
                wrong = self.unfit(entry, properties[key], f"'{key}'", depth + 1)
            elif others is False:
                return f"{name} have something that the tool does not know"
            else:
                wrong = self.unfit(entry, others, f"something in {name}", depth + 1)
            if wrong:
                return wrong
        return ""

    def _array(self, value: Sequence[Any], schema: Mapping[str, Any], name: str, depth: int) -> str:
        first = _schemas(schema.get("prefixItems"))
        for place, entry in enumerate(value):
            wanted = first[place] if place < len(first) else schema.get("items", True)
            if wrong := self.unfit(entry, wanted, name, depth + 1):
                return wrong
        if schema.get("uniqueItems") is True:
            seen = {json.dumps(entry, sort_keys=True, default=str) for entry in value}
            return f"{name} has something twice" if len(seen) < len(value) else ""
        return ""


def _schemas(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_of(value: Any, kind: Any) -> bool:
    if isinstance(kind, list):
        return any(_is_of(value, entry) for entry in kind)
    types = _TYPES.get(kind) if isinstance(kind, str) else None
    if types is None:
        return True
    if isinstance(value, bool):
        return bool(kind == "boolean")
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return bool(isinstance(value, types))


def _same(value: Any, other: Any) -> bool:
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)


def _listed(kind: Any) -> str:
    return " or ".join(map(str, kind)) if isinstance(kind, list) else f"of the type {kind}"


def _pattern(written: str) -> Any:
    """The pattern in linear time; None where it cannot be had in that."""
    import re2

    try:
        return re2.compile(written, _quiet())
    except re2.error:
        return None


def _quiet() -> Any:
    import re2

    options = re2.Options()
    options.log_errors = False
    return options


# ---------------------------------------------------------------- results with fields and nothing else


def _reduced(text: str, returns: Mapping[str, Any]) -> str:
    """The fields of a JSON result, or of each in a list of them, that are what they are said to be."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = {}
    rows = value if isinstance(value, list) else [value]
    kept = [
        {name: row[name] for name, kind in returns.items() if name in row and _fits(row[name], kind)}
        for row in rows
        if isinstance(row, dict)
    ]
    return json.dumps(kept if isinstance(value, list) else (kept or [{}])[0])


def _fits(value: Any, kind: Any) -> bool:
    match kind:
        case "number":
            return _number(value)
        case "integer":
            return _is_of(value, "integer")
        case "boolean":
            return isinstance(value, bool)
        case "date":
            return (
                isinstance(value, str)
                and re.fullmatch(r"\d{4}-\d\d-\d\d(?:T[\d:.]{5,15}(?:Z|[+-]\d\d:?\d\d)?)?", value, re.A) is not None
            )
        case "code":  # an order number, an account: no spaces, and a digit in it
            return isinstance(value, str) and re.fullmatch(r"(?=[^0-9]*[0-9])[A-Za-z0-9_-]{1,40}", value) is not None
    return isinstance(value, str) and value in kind


# ---------------------------------------------------------------- what a person agreed to


class Confirmations:
    """Tokens for calls that a person has to agree to: each is for one call of one scope, for a while, and once.

    Used tokens are remembered in this process. Give several workers a `used` that they share.
    """

    def __init__(self, key: bytes, *, valid_s: float = 600.0, used: MutableMapping[str, float] | None = None) -> None:
        """key: at least 32 secret bytes, the same wherever a token may be brought back."""
        if len(key) < 32:
            raise BadSetting("the key for confirmations needs at least 32 bytes")
        self._key, self._valid_s = key, valid_s
        self._used: MutableMapping[str, float] = {} if used is None else used  # nonce -> when it expires

    def token(self, call: ToolCall, *, scope: str) -> str:
        """What the client sends back when its person has agreed. scope: whose request it is: a key, a conversation."""
        head = f"{int(time.time() + self._valid_s):x}.{secrets.token_hex(12)}"
        return f"{head}.{self._mac(head, call, scope)}"

    def confirmed(self, token: str, call: ToolCall, *, scope: str) -> bool:
        """Whether somebody agreed to this very call. A token that was good is used up."""
        head, _, mac = token.rpartition(".")
        expires, _, nonce = head.partition(".")
        if len(token) > 200 or not hmac.compare_digest(
            mac.encode(errors="replace"), self._mac(head, call, scope).encode()
        ):
            return False
        now, until = time.time(), float(int(expires, 16))
        if until < now or nonce in self._used:
            return False
        if len(self._used) > 10_000:
            for old in [nonce for nonce, at in self._used.items() if at < now]:
                self._used.pop(old, None)
        self._used[nonce] = until
        return True

    def _mac(self, head: str, call: ToolCall, scope: str) -> str:
        said = json.dumps([head, scope, call.name, call.arguments], sort_keys=True)
        digest = hmac.new(self._key, said.encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


# ---------------------------------------------------------------- the gate


@dataclass(frozen=True, slots=True)
class Held:
    """A call that was held back, and why. With a token it passes when a person has agreed."""

    call: ToolCall
    verdict: Confirm | Refused
    token: str = ""


@dataclass(slots=True)
class _Pending:
    """A call whose arguments still come."""

    id: str
    name: str
    pieces: list[str] = field(default_factory=list)
    size: int = 0
    depth: int = 0
    begun: bool = False
    quoted: bool = False
    escaped: bool = False
    done: bool = False

    def take(self, text: str) -> None:
        """Add a piece of the arguments; `done` when their object is closed. What comes after that is dropped."""
        end = len(text)
        for match in _STRUCTURE.finditer(text, 1 if self.escaped and text else 0):
            mark = match[0]
            if mark[0] == "\\":
                continue
            if mark == '"':
                self.quoted = not self.quoted
            elif self.quoted:
                continue
            elif mark in "{[":
                self.depth, self.begun = self.depth + 1, True
            else:
                self.depth -= 1
                if self.begun and self.depth <= 0:
                    self.done, end = True, match.end()
                    break
        if text:
            self.escaped = (len(text) - len(text.rstrip("\\")) + (self.escaped and not text.strip("\\"))) % 2 == 1
        self.pieces.append(text[:end])
        self.size += end


_STRUCTURE: Final = re.compile(r'\\[\s\S]?|["{}\[\]]')


class CallGate:
    """Between a model's events and the client: texts pass as they come, a call when it is whole and may be made.

    What it needs of the request is read when the first call comes; a stream without calls costs next to nothing.
    """

    def __init__(
        self,
        rules: ToolRules,
        body: Mapping[str, Any],
        dialect: Dialect,
        *,
        confirmations: Confirmations | None = None,
        scope: str = "",
        tokens: Sequence[str] = (),
    ) -> None:
        """confirmations: without them nobody can agree, and what a person would be asked is refused. tokens: those that came
        with this request."""
        self._rules, self._body, self._dialect = rules, body, dialect
        self._confirmations, self._scope, self._tokens = confirmations, scope, list(tokens[:16])
        self._pending: dict[int, _Pending] = {}
        self._finished: set[int] = set()
        self._passed = 0
        self._asked: list[ToolCall] = []  # that were not refused
        self.findings: list[Finding] = []
        self.held: list[Held] = []

    def feed(self, event: ModelEvent) -> list[ModelEvent]:
        """What of this may go on. Raises Blocked for bytes: what nobody has read, nobody has checked."""
        kind = type(event)
        if kind is TextDelta:
            return [event]
        if kind is ToolCallDelta:
            return self._take(cast(ToolCallDelta, event))
        if kind is Stopped:
            stopped = cast(Stopped, event)
            seen = bool(self._pending or self._finished)
            events = self.close()
            if seen and not self._passed and stopped.reason == "tool_calls":
                stopped = replace(stopped, reason="stop")
            return [*events, stopped]
        if kind is Wire:
            raise Blocked("the answer came in a form in which its calls of tools cannot be checked")
        return [event]

    def close(self) -> list[ModelEvent]:
        """The calls that are still open: their stream has ended."""
        events: list[ModelEvent] = []
        for index in list(self._pending):
            events += self._finish(index)
        return events

    @cached_property
    def _context(self) -> Context:
        return self._rules.context(self._body, self._dialect)

    @cached_property
    def _schemas(self) -> dict[str, Any]:
        """The schema of each tool's arguments, as the request has it."""
        found: dict[str, Any] = {}
        for tool in _dicts(self._body.get("tools")) + _dicts(self._body.get("functions")):
            inner = tool["function"] if isinstance(tool.get("function"), dict) else tool
            found[_name_of(tool)] = inner.get("parameters") or inner.get("input_schema")
        return found

    def _take(self, delta: ToolCallDelta) -> list[ModelEvent]:
        index = delta.index
        if index in self._finished:
            return []  # a call that was checked says nothing more
        events: list[ModelEvent] = []
        pending = self._pending.get(index)
        if pending is None:
            pending = self._pending[index] = _Pending(delta.id, delta.name)
        if pending.size <= LARGEST_ARGUMENTS:
            pending.take(delta.arguments)
        return events + self._finish(index) if pending.done else events

    def _finish(self, index: int) -> list[ModelEvent]:
        pending = self._pending.pop(index)
        self._finished.add(index)
        arguments = "".join(pending.pieces)
        call = ToolCall(pending.name, {})
        try:
            call = ToolCall(pending.name, read_arguments(arguments))
            schema = self._schemas.get(pending.name)
            verdict = check(call, self._context, self._rules, schema=schema, others=self._asked)
        except PenstockError as error:
            verdict = Refused(error.message)
        if not isinstance(verdict, Refused):
            self._asked.append(call)
        if isinstance(verdict, Confirm) and self._is_confirmed(call):
            verdict = Allowed()
        if isinstance(verdict, Allowed):
            self._passed += 1
            return [ToolCallDelta(self._passed - 1, arguments, pending.id, pending.name)]
        return [TextDelta(self._hold(call, verdict))]

    def _is_confirmed(self, call: ToolCall) -> bool:
        return self._confirmations is not None and any(
            self._confirmations.confirmed(token, call, scope=self._scope) for token in self._tokens
        )

    def _hold(self, call: ToolCall, verdict: Confirm | Refused) -> str:
        """Keep it, and say so in place of it."""
        name = shown(call.name, 64) if self._rules.find(call.name) else "a tool"
        if isinstance(verdict, Confirm) and self._confirmations is None:
            verdict = Refused("a person would have to agree, and nobody can be asked")
        if isinstance(verdict, Confirm):
            token = self._confirmations.token(call, scope=self._scope) if self._confirmations else ""
            self.held.append(Held(call, verdict, token))
            self.findings.append(Finding("TOOL_CALL", 0, 0, action="review", rule=f"{name}: a person has to agree"))
            return f"\n{verdict.read_back}\nTo agree, send the request again with this confirmation: {token}\n"
        self.held.append(Held(call, verdict))
        self.findings.append(Finding("TOOL_CALL", 0, 0, action="block", rule=f"{name}: {verdict.why}"))
        return f"\nThe call of {name} was held back: {verdict.why}.\n"
