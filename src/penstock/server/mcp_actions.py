"""An app's actions as tools of the Model Context Protocol. A model asks, and the person who has the client agrees.

What reads is done at once. For what changes something the client is asked to put the machine's words before the person
(elicitation); their acceptance is the agreement, and the token for it travels in a state that the client cannot read. Where a
client cannot do that, the result says how a person agrees elsewhere. There is no tool with which a model could.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from penstock.agents.requests import Request
from penstock.assemble import House
from penstock.errors import BadRequest, BadSetting, PenstockError
from penstock.server.acting import Acting
from penstock.types import Caller

if TYPE_CHECKING:
    import mcp_types as types
    from mcp.server.context import ServerRequestContext
    from mcp.server.lowlevel import Server

    Context = ServerRequestContext[Any, Any]

__all__ = ["CALL", "PREFIX", "AppTools", "guarded"]

PREFIX: Final = "mcp/"  # what conversations of clients begin with
CALL: Final = "penstock/call"  # in a call's _meta: the same for every try of one call
AGREE: Final = "agree"
WAITS_S: Final = 600.0  # for a person, where the connection stays open meanwhile
ASKED: Final = {
    "type": "object",
    "properties": {AGREE: {"type": "boolean", "title": "I agree", "default": False}},
    "required": [AGREE],
}
OUT: Final = {
    "type": "object",
    "properties": {
        "id": {"type": "string"}, "action": {"type": "string"}, "state": {"type": "string"}, "arguments": {"type": "object"},
        "read_back": {"type": ["string", "null"]}, "result": {}, "reason": {"type": ["string", "null"]},
        "expires": {"type": ["string", "null"]}, "next": {"type": ["string", "null"]},
    },
    "required": ["id", "action", "state", "next"],
}  # fmt: skip
WAITS: Final = (
    "Nothing has been done. A person has to agree first, and no tool can do that for them: tell them what they are asked, and to "
    "agree with `{how}`. Do not say that it was done."
)
OVER: Final[Mapping[str, str]] = {
    "withdrawn": "The person did not agree. Nothing was done.",
    "expired": "Nobody agreed in time. Nothing was done.",
    "running": "It is not known yet whether it was done.",
}


@dataclass(frozen=True, slots=True)
class AppTools:
    """The tools of one app. acting: whose they are, at each call. keyed: whether the ids of calls tell them apart, which they do
    on one connection."""

    house: House
    acting: Callable[[], Acting]
    keyed: bool = False

    def listed(self, taken: Mapping[str, Any]) -> list[types.Tool]:
        """Those that the person may ask for. taken: names that are not free. Raises BadSetting."""
        import mcp_types as types

        found, tools = self.acting(), []
        for one in found.actions.of(found.person):
            if one.name in taken:
                raise BadSetting(f"the action '{one.name}' of '{found.app}' has the name of a tool", hint="rename it")
            told = one.tool()["function"]
            writes = one.effect == "writes"
            marks = types.ToolAnnotations(
                read_only_hint=not writes, destructive_hint=writes, idempotent_hint=not writes, open_world_hint=False
            )
            asks = " It is only asked for: a person has to agree before it is done." if one.confirms else ""
            tools.append(
                types.Tool(
                    name=one.name, description=told["description"] + asks, input_schema=told["parameters"], output_schema=OUT,
                    annotations=marks,
                )
            )  # fmt: skip
        return tools

    def has(self, name: str) -> bool:
        return any(one.name == name for one in self.acting().actions)

    async def call(
        self, context: Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:  # fmt: skip
        """Ask for an action, or take the person's answer to the question before. Raises PenstockError."""
        acting = await asyncio.to_thread(self.acting)
        if params.request_state is not None:  # opened by who sealed it: it is for this call of this caller
            number, _, token = params.request_state.partition("/")
            answer = (params.input_responses or {}).get(AGREE)
            return _result(await self._answered(acting, number, token, answer))
        key = self._key(context)
        given = params.arguments or {}
        asked = await asyncio.to_thread(
            lambda: acting.requests.propose(acting.person, acting.conversation, params.name, given, key=key)
        )
        if asked.state not in ("proposed", "read_back"):
            return _result(asked)
        return await self._put(acting, context, asked)

    def _key(self, context: Context) -> str:
        meta: Any = context.meta or {}
        named = meta.get(CALL) if isinstance(meta, Mapping) else getattr(meta, CALL, None)
        if named is not None:
            if not isinstance(named, str) or not 0 < len(named) <= 100:
                raise BadRequest(f"'{CALL}' must be a text of 1 to 100 characters")
            return f"call/{named}"
        return f"rpc/{context.request_id}" if self.keyed and context.request_id is not None else ""

    async def _put(
        self, acting: Acting, context: Context, asked: Request
    ) -> types.CallToolResult | types.InputRequiredResult:  # fmt: skip
        """Have the client ask the person, where it can."""
        import mcp_types as types
        from mcp.shared.exceptions import MCPError
        from mcp_types.version import MODERN_PROTOCOL_VERSIONS

        able = context.session.client_capabilities
        modern = context.protocol_version in MODERN_PROTOCOL_VERSIONS
        if able is None or able.elicitation is None or not (modern or context.session.can_send_request):
            return _result(asked)
        back = await asyncio.to_thread(acting.requests.read_back, acting.person, acting.conversation, asked.id)
        question = types.ElicitRequestFormParams(message=back.text, requested_schema=ASKED)
        if modern:
            return types.InputRequiredResult(
                input_requests={AGREE: types.ElicitRequest(params=question)}, request_state=f"{asked.id}/{back.token}"
            )
        answer: Any = None
        with suppress(MCPError, TimeoutError):  # a client that says it can and does not: the request waits
            async with asyncio.timeout(WAITS_S):
                answer = await context.session.elicit_form(back.text, ASKED, context.request_id)
        return _result(await self._answered(acting, asked.id, back.token, answer))

    async def _answered(self, acting: Acting, number: str, token: str, answer: Any) -> Request:
        """What comes of a person's answer. Whoever only closes the question has neither agreed nor refused."""
        action = getattr(answer, "action", "")
        content = getattr(answer, "content", None) or {}
        requests, person, conversation = acting.requests, acting.person, acting.conversation
        if action == "accept" and content.get(AGREE) is True:
            return await asyncio.to_thread(requests.confirm, person, conversation, number, token)
        if action in ("accept", "decline"):
            with suppress(PenstockError):  # it has ended meanwhile
                return await asyncio.to_thread(requests.withdraw, person, conversation, number)
        return await asyncio.to_thread(requests.get, person, conversation, number)


def _result(asked: Request) -> types.CallToolResult:
    """A request as a model is told it."""
    import mcp_types as types

    waits = asked.state in ("proposed", "read_back")
    then = WAITS.format(how=f"penstock actions confirm {asked.id}") if waits else OVER.get(asked.state)
    told = asked.plain() | {"next": then}
    failed = asked.state in ("refused", "failed")
    text = types.TextContent(type="text", text=json.dumps(told, ensure_ascii=False))
    return types.CallToolResult(content=[text], structured_content=told, is_error=failed)


def guarded(server: Server[Any], house: House, caller: Callable[[], Caller]) -> None:
    """Have states that travel through a client sealed, so that it can neither read nor change them, nor use another's."""
    from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity

    def principal(_: Any) -> str:
        who = caller()
        return f"{who.tenant}/{who.name}"

    security = RequestStateSecurity(
        keys=[house.envelope.secret("", "mcp")], ttl=WAITS_S, bind_principal=principal, audience="penstock"
    )
    server.middleware.append(RequestStateBoundary(security, default_audience=None))
