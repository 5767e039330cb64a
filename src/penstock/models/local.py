"""Models on this machine: GGUF files, run by llama.cpp.

llama.cpp works in a process of its own, one for each model. Loading a model there holds up nobody here, a crash costs the
requests that ran on it and no more, what it prints goes nowhere, and closing frees the memory at once. Requests go to that
process as lines of JSON and pieces of answers come back as such; it works on several at a time, token by token.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import math
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import Any, TypedDict, TypeVar, cast

from penstock.errors import (
    BadRequest,
    MissingExtra,
    NotFound,
    NotOffered,
    NotReady,
    PenstockError,
    StorageError,
    UpstreamError,
    UpstreamRefused,
    UpstreamTimeout,
)
from penstock.models.shelf import read_header
from penstock.types import (
    ModelEvent,
    ModelRequest,
    ReasoningDelta,
    Stopped,
    StopReason,
    TextDelta,
    ToolCallDelta,
    Usage,
)

__all__ = ["Local", "is_installed"]

T = TypeVar("T")

CONTEXT = 4096  # tokens of one request where nobody says more: memory for it is taken once for each that may run
PROMPT_PIECE = 64  # tokens of a prompt that are read in one go: between them a request can be cancelled
DEFAULTS = {"temperature": 0.2}  # small models wander
PASSED_ON = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "seed")


class Local:
    """A model for the dialect `chat`. Loaded on first use, or by `warm()`; `close()` is for good.

    Up to `parallel` requests run at the same time, each with `context_tokens` for its input and output; more wait.
    """

    def __init__(
        self, path: Path, *, name: str = "", threads: int = 0, context_tokens: int = 0, parallel: int = 4
    ) -> None:
        """path: of a GGUF file. threads 0: every core but one. context_tokens 0: what it was trained on, at most 4096."""
        self.path = path
        self.name = name or (path.parent.name if path.name == "model.gguf" else path.stem)
        self._threads = threads or max(1, _cores() - 1)  # they wait for each other: with no core to spare all are slow
        self._context_tokens = context_tokens
        self._parallel = parallel
        self._lock = Lock()
        self._loading: Future[_Engine] | None = None
        self._closed = False

    async def warm(self) -> None:
        """Load the model now. Raises MissingExtra, NotFound, Unreadable, or StorageError where llama.cpp cannot."""
        await self._engine()

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        if request.dialect != "chat":
            raise NotOffered(f"'{self.name}' runs on this machine and takes chat requests, not '{request.dialect}'")
        wanted = chat_body(request.body, name=self.name)
        engine = await _within(self._engine(), request.deadline, self.name)
        if "tools" in wanted and not engine.header.tools:
            raise NotOffered(
                f"the chat template of '{self.name}' knows no tools", hint="ask a model that was made for them"
            )
        number, chunks = engine.ask(wanted)
        usage, reason = Usage(estimated=True), None
        deadline = request.deadline
        try:
            while (chunk := await _within(chunks.get(), deadline, self.name)) is not None:
                if isinstance(chunk, PenstockError):
                    raise chunk
                if "error" in chunk:
                    raise _refusal(chunk["error"], self.name)
                for event in events(chunk):
                    deadline = math.inf
                    yield event
                usage, reason = _usage(chunk) or usage, _reason(chunk) or reason
        finally:
            engine.cancel(number)  # nothing happens where it has ended
        if reason is None:
            raise UpstreamError(f"'{self.name}' stopped without an answer")
        yield Stopped(usage, reason)

    def close(self) -> None:
        """End what runs and free the memory. May be called more than once, from any thread."""
        with self._lock:
            self._closed, loading = True, self._loading
        if loading is not None:
            loading.add_done_callback(_close_engine)

    async def _engine(self) -> _Engine:
        """The engine, loaded. One that has crashed is replaced."""
        with self._lock:
            if self._closed:
                raise NotReady(f"'{self.name}' is closed")
            if self._loading is None or (self._loading.done() and not _is_alive(self._loading)):
                self._loading = Future()
                Thread(target=self._load, args=(self._loading,), name=f"load {self.name}", daemon=True).start()
            loading = self._loading
        return await asyncio.shield(asyncio.wrap_future(loading))

    def _load(self, loading: Future[_Engine]) -> None:
        try:
            loading.set_result(
                _Engine(
                    self.path,
                    name=self.name,
                    threads=self._threads,
                    context_tokens=self._context_tokens,
                    parallel=self._parallel,
                )
            )
        except BaseException as error:
            loading.set_exception(error)


def is_installed() -> bool:
    """Whether what runs models on this machine is there."""
    return importlib.util.find_spec("xllamacpp") is not None


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _is_alive(loading: Future[_Engine]) -> bool:
    return loading.exception() is None and loading.result().alive


def _close_engine(loading: Future[_Engine]) -> None:
    if loading.exception() is None:
        loading.result().close()


async def _within(waiting: Awaitable[T], deadline: float, name: str) -> T:
    """Wait, but not beyond the deadline, which is of the monotonic clock."""
    try:
        async with asyncio.timeout(None if deadline == math.inf else deadline - time.monotonic()):
            return await waiting
    except TimeoutError as error:
        raise UpstreamTimeout(f"'{name}' did not answer in time") from error


# ---------------------------------------------------------------- requests and answers, in llama.cpp's words

Chunk = Mapping[str, Any]


def chat_body(body: Mapping[str, Any], *, name: str) -> dict[str, Any]:
    """What llama.cpp is asked for. Raises BadRequest, or NotOffered for what would be left out of the answer."""
    for key in ("logprobs", "logit_bias", "functions", "audio"):
        if body.get(key):
            raise NotOffered(f"'{name}' runs on this machine and does not offer `{key}`")
    if body.get("n") not in (None, 1):
        raise NotOffered(f"'{name}' runs on this machine and gives one answer to a request, so `n` is 1")
    wanted: dict[str, Any] = {
        "messages": _messages(body.get("messages"), name),
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,  # a sign of life while a prompt is read: it is cancelled then
    }
    for key in PASSED_ON:
        if (value := body.get(key)) is not None:
            if not isinstance(value, int | float) or isinstance(value, bool):
                raise BadRequest(f"`{key}` must be a number, not {value!r:.50}")
            wanted[key] = value
    wanted = DEFAULTS | wanted
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    if limit is not None:
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
            raise BadRequest(f"the limit of output tokens must be a number from 1, not {limit!r:.50}")
        wanted["max_tokens"] = min(limit, 2**31 - 1)
    if (stop := body.get("stop")) is not None:
        stops = [stop] if isinstance(stop, str) else stop
        if not isinstance(stops, list) or not all(isinstance(one, str) and one for one in stops):
            raise BadRequest("`stop` must be a text or a list of texts")
        wanted["stop"] = stops
    if (form := body.get("response_format")) is not None:
        wanted["response_format"] = _response_format(form, name)
    if body.get("tools") and body.get("tool_choice") != "none":
        wanted |= {
            key: body[key] for key in ("tools", "tool_choice", "parallel_tool_calls") if body.get(key) is not None
        }
    return wanted


def _messages(messages: Any, name: str) -> list[dict[str, Any]]:
    if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
        raise BadRequest("`messages` must be a list of messages, and there must be one")
    for message in messages:
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            if not isinstance(part, dict) or part.get("type") != "text":
                kind = part.get("type") if isinstance(part, dict) else part
                raise NotOffered(f"'{name}' runs on this machine and reads text, not {kind!r:.50}")
    return [m | {"role": "system"} if m.get("role") == "developer" else m for m in messages]


def _response_format(form: Any, name: str) -> Any:
    kind = form.get("type") if isinstance(form, dict) else None
    if kind not in ("text", "json_object", "json_schema"):
        raise NotOffered(
            f"'{name}' runs on this machine and offers text, json_object and json_schema, not {kind!r:.50}"
        )
    schema = form.get("json_schema")
    if kind == "json_schema" and not (isinstance(schema, dict) and isinstance(schema.get("schema"), dict)):
        raise BadRequest("`response_format.json_schema.schema` must be a JSON schema")
    return form


def events(chunk: Chunk) -> Iterator[ModelEvent]:
    """What one chunk of a streamed chat completion says; nothing for those that only carry counts."""
    for choice in chunk.get("choices") or ():
        delta = choice.get("delta") or {}
        if delta.get("reasoning_content"):
            yield ReasoningDelta(delta["reasoning_content"])
        if delta.get("content"):
            yield TextDelta(delta["content"])
        for call in delta.get("tool_calls") or ():
            function = call.get("function") or {}
            yield ToolCallDelta(
                call.get("index", 0), function.get("arguments") or "", call.get("id") or "", function.get("name") or ""
            )


def _usage(chunk: Chunk) -> Usage | None:
    counts = chunk.get("usage")
    if not counts:
        return None
    cached = (counts.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    return Usage(counts["prompt_tokens"], counts["completion_tokens"], cached_tokens=cached)


def _reason(chunk: Chunk) -> StopReason | None:
    found = next(
        (choice["finish_reason"] for choice in chunk.get("choices") or () if choice.get("finish_reason")), None
    )
    return cast(StopReason, found) if found in ("length", "tool_calls") else "stop" if found else None


def _refusal(error: Mapping[str, Any], name: str) -> UpstreamError:
    """llama.cpp's refusal as ours."""
    message, status = str(error.get("message", "")), error.get("code", 500)
    if error.get("type") == "exceed_context_size_error":
        return UpstreamRefused(
            f"'{name}' reads {error.get('n_ctx'):,} tokens, and the request has {error.get('n_prompt_tokens'):,}",
            code="context_length_exceeded",
            param="messages",
            hint="leave out older messages, or raise context_tokens",
        )
    if isinstance(status, int) and 400 <= status < 500:
        return UpstreamRefused(f"'{name}' refused the request: {message}", status=status)
    return UpstreamError(f"'{name}' failed: {message}")


# ---------------------------------------------------------------- the process, seen from here


class _Engine:
    """llama.cpp with one model, in a process of its own. Making one takes as long as the model takes to load."""

    def __init__(self, path: Path, *, name: str, threads: int, context_tokens: int, parallel: int) -> None:
        if not is_installed():
            raise MissingExtra("xllamacpp, which runs models on this machine,", extra="local")
        if not path.is_file():
            raise NotFound("this model is not on the server's disk", hint="penstock models pull NAME, there")
        self.header = read_header(path)
        trained = self.header.context_tokens or CONTEXT
        self._name = name
        self._lock = Lock()
        self._last = 0
        self._asked: dict[int, tuple[asyncio.AbstractEventLoop, asyncio.Queue[Chunk | PenstockError | None]]] = {}
        self._closed = False
        context = min(context_tokens, trained) if context_tokens else min(CONTEXT, trained)
        with tempfile.TemporaryFile() as complaints:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, str(path), str(threads), str(context), str(parallel)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                start_new_session=True,  # Ctrl-C is for us: we say when it ends
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
            assert self._process.stdin
            assert self._process.stdout
            self._input, self._output = self._process.stdin, self._process.stdout
            if self._output.readline() != b"ready\n":
                self.close()
                self._input.close()
                self._output.close()
                complaints.seek(0)
                raise _cannot_load(complaints.read(), name)
        self._lines: SimpleQueue[bytes | None] = SimpleQueue()
        Thread(target=self._write, name=f"to {name}", daemon=True).start()
        Thread(target=self._read, name=f"from {name}", daemon=True).start()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, body: Mapping[str, Any]) -> tuple[int, asyncio.Queue[Chunk | PenstockError | None]]:
        """Begin to answer; the chunks come in the queue, and None or an error after the last. Never waits."""
        chunks: asyncio.Queue[Chunk | PenstockError | None] = asyncio.Queue()
        with self._lock:
            self._last += 1
            number = self._last
            self._asked[number] = asyncio.get_running_loop(), chunks
        if self.alive:
            self._lines.put(json.dumps({"id": number, "body": body}).encode())
        else:
            self._answer(number, self._gone())
        return number, chunks

    def cancel(self, number: int) -> None:
        """Stop with the next token, or the next piece of the prompt. Never waits."""
        with self._lock:
            running = self._asked.pop(number, None)
        if running:
            self._lines.put(json.dumps({"cancel": number}).encode())

    def close(self) -> None:
        self._closed = True
        self._process.kill()
        self._process.wait()

    def _write(self) -> None:
        with suppress(OSError), self._input:  # who reads there no more is missed by `_read`
            while (line := self._lines.get()) is not None:
                self._input.write(line + b"\n")
                self._input.flush()

    def _read(self) -> None:
        with self._output:
            for line in self._output:
                if not line.endswith(b"\n"):
                    break  # it ended in the middle of it
                message = json.loads(line)
                self._answer(message["id"], message.get("chunk"))
        self._process.wait()
        self._lines.put(None)
        with self._lock:
            left = list(self._asked)
        for number in left:
            self._answer(number, self._gone())

    def _answer(self, number: int, chunk: Chunk | PenstockError | None) -> None:
        with self._lock:
            asked = self._asked.get(number)
            if asked and (chunk is None or isinstance(chunk, PenstockError)):
                del self._asked[number]
        if asked:
            loop, chunks = asked
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(chunks.put_nowait, chunk)

    def _gone(self) -> PenstockError:
        if self._closed:
            return NotReady(f"'{self._name}' was closed while it answered")
        status = self._process.wait()
        short = "memory may have been short: fewer parallel requests, or a smaller context, take less"
        return UpstreamError(
            f"llama.cpp with '{self._name}' ended unexpectedly, with status {status}",
            hint=short if status == -9 else "",
        )


_LOADING = "error loading model: "


def _cannot_load(complaints: bytes, name: str) -> StorageError:
    lines = complaints.decode(errors="replace").splitlines()
    told = next((line for line in lines if _LOADING in line), lines[-1] if lines else "it gave no reason")
    reason = told.rpartition(_LOADING)[2]
    return StorageError(
        f"llama.cpp cannot load '{name}': {reason[-300:]}",
        hint="the file may be damaged, of a kind that this xllamacpp does not know, or larger than the memory",
    )


# ---------------------------------------------------------------- the process, from within


class _Order(TypedDict, total=False):
    id: int
    body: dict[str, Any]
    cancel: int


def _serve(path: str, threads: int, context_tokens: int, parallel: int) -> None:
    """Load, say so, and answer the orders that come on standard input until it ends."""
    out, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    server = _load(path, threads, context_tokens, parallel)
    os.dup2(nowhere, 2)
    sending = Lock()

    def send(line: bytes) -> None:
        with sending:
            while line:
                line = line[os.write(out, line) :]

    def answer(number: int, body: dict[str, Any], cancelled: Event) -> None:
        def pass_on(chunk: bytes) -> bool:
            if not cancelled.is_set():
                send(b'{"id": %d, "chunk": %b}\n' % (number, chunk))
            return cancelled.is_set()

        try:
            if not cancelled.is_set():
                server.handle_chat_completions(json.dumps(body).encode(), pass_on)
        except (ValueError, TypeError, RuntimeError) as error:  # a template or a schema that cannot be used
            pass_on(json.dumps({"error": {"code": 400, "message": str(error)}}).encode())
        finally:
            running.pop(number, None)
            send(b'{"id": %d}\n' % number)

    running: dict[int, Event] = {}
    workers = ThreadPoolExecutor(parallel)
    send(b"ready\n")
    for line in sys.stdin.buffer:
        order: _Order = json.loads(line)
        if "cancel" in order:
            if cancelled := running.get(order["cancel"]):
                cancelled.set()
        else:
            running[order["id"]] = cancelled = Event()
            workers.submit(answer, order["id"], order["body"], cancelled)
    os._exit(0)  # nobody waits for what still runs


def _load(path: str, threads: int, context_tokens: int, parallel: int) -> Any:
    import xllamacpp

    options = xllamacpp.CommonParams()
    options.model.path = path
    options.cpuparams.n_threads = options.cpuparams_batch.n_threads = threads
    options.n_parallel = parallel
    options.n_ctx = context_tokens * parallel  # shared out evenly
    options.n_batch = options.n_ubatch = max(PROMPT_PIECE, parallel)
    options.cache_ram_mib = 0  # prompts of others are not kept beyond what the slots hold
    options.fit_params = False  # the context is as it was asked for
    options.verbosity = 1  # errors only, for whoever started us
    # Its server listens on loopback whether we want it or not. Nobody has the key, and no page is served there.
    options.port = 0
    options.api_keys = [secrets.token_urlsafe(32)]
    options.ui = False
    options.endpoint_slots = False
    options.n_threads_http = 1
    try:
        return xllamacpp.Server(options)
    except (RuntimeError, ValueError, MemoryError) as error:
        sys.exit(f"error: {error}" if not isinstance(error, RuntimeError) else 1)


if __name__ == "__main__":
    _serve(sys.argv[1], *(int(argument) for argument in sys.argv[2:5]))
