"""vLLM's endpoints: check the request, plan the answer, send it in vLLM's shape, broken where the script says so."""

import asyncio
import base64
import hashlib
import math
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from . import replies, template, tokens
from .adapters import Adapters
from .errors import bad_request, ill_typed, no_such_model
from .exchange import Exchange
from .exposition import render_metrics
from .faults import DONE, after_stream, break_reply, break_stream, frame, replaces_reply, send_frame
from .fields import (
    ChatRequest,
    CompletionRequest,
    DetokenizeRequest,
    EmbeddingRequest,
    Sampling,
    TokenizeRequest,
    check_sampling,
    parse,
)
from .generate import Choice, Plan, Prompt, check_length, check_room, plan_choices
from .journal import Journal
from .script import Script, ScriptBook
from .settings import Settings
from .special_tokens import tokenizer_of
from .tokens import Tokenizer


class Handler(Protocol):
    async def __call__(self, exchange: Exchange) -> None: ...


@dataclass(slots=True)
class Worker:
    """One engine: its settings, its scripts, its journal."""

    settings: Settings
    scripts: ScriptBook
    journal: Journal
    started_s: int
    adapters: Adapters

    @property
    def tokenizer(self) -> Tokenizer:
        return tokenizer_of(self.settings)

    async def chat(self, exchange: Exchange) -> None:
        request = parse(exchange.raw_body, exchange.seen.header("content-type") or "", ChatRequest)
        self._check_model(request.model)
        if request.tools and not self.settings.tool_parser:
            _refuse_tools(request.tool_choice if request.tool_choice is not None else "auto")
        messages = [msgspec.to_builtins(message) for message in request.messages]
        rendered = template.render(self.settings.template, {**exchange.seen.body, **_turns(self.settings, messages)})
        prompt = Prompt(rendered, tuple(self.tokenizer.encode(rendered)), template.last_user_text(messages))
        wanted, name = request.max_completion_tokens, "max_completion_tokens"
        if wanted is None:
            wanted, name = request.max_tokens, "max_tokens"
        script = self.scripts.take(exchange.seen.path, prompt.said)
        plan = self._plan(request, script, [prompt], wanted, name)
        request.check_logprobs(request.top_logprobs)
        wants_logprobs = bool(request.logprobs)
        shape = self._shape(exchange, request, script, "chatcmpl-", wants_logprobs, request.top_logprobs or 0)
        if not request.stream:
            reply = replies.chat_completion(plan, shape)
            for choice in reply["choices"] if self.settings.tool_parser else ():
                choice["message"]["content"] = choice["message"]["content"] or None
            await self._send_reply(exchange, plan, reply)
            return
        first = replies.chat_role_frames(plan, shape)
        await self._send_stream(exchange, plan, shape, first, replies.chat_frames(plan, shape), "chat.completion.chunk")

    async def completion(self, exchange: Exchange) -> None:
        request = parse(exchange.raw_body, exchange.seen.header("content-type") or "", CompletionRequest)
        self._check_model(request.model)
        prompts = _prompts(request, self.tokenizer)
        script = self.scripts.take(exchange.seen.path, prompts[0].said)
        plan = self._plan(request, script, prompts, request.max_tokens, "max_tokens")
        request.check_logprobs(request.logprobs)
        wants_logprobs = request.logprobs is not None
        shape = self._shape(exchange, request, script, "cmpl-", wants_logprobs, request.logprobs or 0)
        if not request.stream:
            await self._send_reply(exchange, plan, replies.text_completion(plan, shape, echo=request.echo))
            return
        frames = replies.completion_frames(plan, shape, echo=request.echo)
        await self._send_stream(exchange, plan, shape, iter(()), frames, "text_completion")

    async def embeddings(self, exchange: Exchange) -> None:
        request = parse(exchange.raw_body, exchange.seen.header("content-type") or "", EmbeddingRequest)
        self._check_model(request.model)
        texts = _embedding_inputs(request.input)
        script = self.scripts.take(exchange.seen.path, texts[0])
        size = request.dimensions or self.settings.embedding_size
        data = [
            {
                "index": i,
                "object": "embedding",
                "embedding": _vector(text, size, as_base64=request.encoding_format == "base64"),
            }
            for i, text in enumerate(texts)
        ]
        count = sum(len(tokens.encode(text, add_bos=True)) for text in texts)
        used = replies.usage(count, 0)
        reply_id = f"embd-{self._request_id(exchange)}"
        body = {
            "id": reply_id,
            "object": "list",
            "created": int(time.time()),
            "model": self.settings.model,
            "data": data,
            "usage": used,
        }
        await self._send_reply(exchange, Plan((), count, script), body)

    async def models(self, exchange: Exchange) -> None:
        cards = [self._model_card(self.settings.model, self.settings.model, None)]
        cards += [self._model_card(name, path, self.settings.model) for name, path in self.adapters.paths.items()]
        await exchange.reply_json(200, {"object": "list", "data": cards})

    async def tokenize(self, exchange: Exchange) -> None:
        request = parse(exchange.raw_body, exchange.seen.header("content-type") or "", TokenizeRequest)
        self._check_model(request.model)
        if request.messages is not None:
            messages = [msgspec.to_builtins(message) for message in request.messages]
            body = {**exchange.seen.body, **_turns(self.settings, messages)}
            ids = self.tokenizer.encode(template.render(self.settings.template, body))
        elif request.prompt is not None:
            ids = self.tokenizer.encode(request.prompt, add_bos=request.add_special_tokens is not False)
        else:
            raise ill_typed("Field required", "body.TokenizeCompletionRequest.prompt")
        strings = [self.tokenizer.decode([i]) for i in ids] if request.return_token_strs else None
        await exchange.reply_json(
            200, {"count": len(ids), "max_model_len": self.settings.max_model_len, "tokens": ids, "token_strs": strings}
        )

    async def detokenize(self, exchange: Exchange) -> None:
        request = parse(exchange.raw_body, exchange.seen.header("content-type") or "", DetokenizeRequest)
        self._check_model(request.model)
        await exchange.reply_json(200, {"prompt": self.tokenizer.decode(request.tokens)})

    async def health(self, exchange: Exchange) -> None:
        await exchange.reply(200, b"", "")

    async def version(self, exchange: Exchange) -> None:
        await exchange.reply_json(200, {"version": "0.32.0"})

    async def metrics(self, exchange: Exchange) -> None:
        text = render_metrics(self.settings.model, self.journal)
        await exchange.reply(200, text.encode(), "text/plain; version=1.0.0; charset=utf-8")

    def _check_model(self, name: str | None) -> None:
        if name and name != self.settings.model and name not in self.adapters.paths:
            raise no_such_model(name, self.settings.model)

    def _plan(self, request: Sampling, script: Script, prompts: list[Prompt], wanted: int | None, param: str) -> Plan:
        choices: list[Choice] = []
        for prompt in prompts:
            check_length(prompt.text, self.settings)
            budget = check_room(len(prompt.ids), wanted, param, self.settings)
            check_sampling(request, budget)
            choices.extend(plan_choices(request, script, prompt, budget, self.settings))
        counted = sum(len(prompt.ids) for prompt in prompts)
        return Plan(tuple(choices), counted if script.prompt_tokens is None else script.prompt_tokens, script)

    def _request_id(self, exchange: Exchange) -> str:
        return exchange.seen.header("x-request-id") or f"{exchange.seen.number:032x}"

    def _shape(
        self, exchange: Exchange, request: Sampling, script: Script, prefix: str, logprobs: bool, top: int
    ) -> replies.Shape:
        options = request.stream_options
        include = bool(options and options.include_usage)
        return replies.Shape(
            id=prefix + self._request_id(exchange),
            created=int(time.time()),
            model=request.model if request.model in self.adapters.paths else self.settings.model,
            include_usage=include,
            continuous_usage=include and bool(options and options.continuous_usage_stats),
            logprobs=logprobs,
            top_logprobs=top,
            return_token_ids=bool(request.return_token_ids),
            ids_as_tokens=bool(request.return_tokens_as_token_ids),
            watched=self._watched(request, script),
        )

    def _watched(self, request: Sampling, script: Script) -> tuple[tuple[str, float], ...] | None:
        if not request.logprob_token_ids:
            return None
        texts = {number: self.tokenizer.decode([number]) for number in request.logprob_token_ids}
        said = dict.fromkeys(texts.values(), -9.0) | {"No": -0.01}
        if script.token_logprobs is not None:
            said = script.token_logprobs
        return tuple(
            (f"token_id:{number}" if request.return_tokens_as_token_ids else text, said[text])
            for number, text in texts.items()
            if text in said
        )

    def _model_card(self, name: str, root: str, parent: str | None) -> dict[str, Any]:
        permission = {
            "id": f"modelperm-{hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()}",
            "object": "model_permission",
            "created": self.started_s,
            "allow_create_engine": False,
            "allow_sampling": True,
            "allow_logprobs": True,
            "allow_search_indices": False,
            "allow_view": True,
            "allow_fine_tuning": False,
            "organization": "*",
            "group": None,
            "is_blocking": False,
        }
        return {
            "id": name,
            "object": "model",
            "created": self.started_s,
            "owned_by": "vllm",
            "root": root,
            "parent": parent,
            "max_model_len": None if parent else self.settings.max_model_len,
            "permission": [permission],
        }

    def _count(self, plan: Plan) -> None:
        self.journal.prompt_tokens += plan.prompt_tokens
        self.journal.generation_tokens += plan.completion_tokens
        for choice in plan.choices:
            reasons = self.journal.finish_reasons
            reasons[choice.finish_reason] = reasons.get(choice.finish_reason, 0) + 1

    async def _send_reply(self, exchange: Exchange, plan: Plan, body: dict[str, Any]) -> None:
        """A plain reply; it takes as long as a stream of the same text would."""
        script = plan.script
        pieces = max((len(choice.pieces) for choice in plan.choices), default=0)
        await self.scripts.meet(script)
        await asyncio.sleep(script.first_delay_s + script.delay_s * pieces)
        self._count(plan)
        if script.fault is None or not replaces_reply(exchange, script.fault, streaming=False):
            await exchange.reply_json(200, body)
            return
        if script.fault.kind == "big_body" and body.get("choices"):
            _swell(body, script.fault.size_bytes)
        await break_reply(exchange, script.fault, msgspec.json.encode(body))

    async def _send_stream(
        self,
        exchange: Exchange,
        plan: Plan,
        shape: replies.Shape,
        first: Iterator[dict[str, Any]],
        rest: Iterator[dict[str, Any]],
        kind: str,
    ) -> None:
        script, fault = plan.script, plan.script.fault
        replaced = fault is not None and replaces_reply(exchange, fault, streaming=True)
        if not replaced:
            await exchange.start_stream()  # before any token, as Starlette's StreamingResponse does in vLLM
        await self.scripts.meet(script)
        await asyncio.sleep(script.first_delay_s)
        if fault is not None and replaced:
            await break_reply(exchange, fault, b"{}")
            return
        if fault is not None and fault.kind == "error_first" and not await break_stream(exchange, fault):
            return
        for value in first:
            await send_frame(exchange, fault, frame(value))
        for number, value in enumerate(rest):
            if fault is not None and number == fault.at_chunk and not await break_stream(exchange, fault):
                return
            if script.delay_s and number:
                await asyncio.sleep(script.delay_s)
            await send_frame(exchange, fault, frame(value))
            exchange.seen.frames_sent += 1
        if fault is not None and fault.at_chunk > exchange.seen.frames_sent and not await break_stream(exchange, fault):
            return
        self._count(plan)
        if shape.include_usage:
            await send_frame(exchange, fault, frame(replies.usage_frame(plan, shape, kind)))
        await send_frame(exchange, fault, DONE)
        if fault is not None and fault.kind == "linger_after_done":
            await exchange.wait_disconnect()
            return
        await exchange.end_stream()
        await after_stream(exchange, fault)


def _swell(body: dict[str, Any], size_bytes: int) -> None:
    choice = body["choices"][0]
    if "message" in choice:
        choice["message"]["content"] = "x" * size_bytes
    else:
        choice["text"] = "x" * size_bytes


def _refuse_tools(choice: str | dict[str, Any]) -> None:
    """An engine without parser flags takes tools only with ``tool_choice: none``."""
    if choice == "none":
        return
    if choice == "auto":
        raise bad_request('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set')
    named = f'function "{choice["function"]["name"]}"' if isinstance(choice, dict) else f'"{choice}"'
    raise bad_request(f"tool_choice={named} requires --tool-call-parser to be set")


def _turns(settings: Settings, messages: list[dict[str, Any]]) -> dict[str, Any]:
    """The messages as Gemma 3's template sees them; Gemma 4's also looks at calls and names, as the body has them."""
    return {} if settings.template == "gemma4" else {"messages": messages}


def _prompts(request: CompletionRequest, tokenizer: Tokenizer) -> list[Prompt]:
    given = request.prompt
    if isinstance(given, str) or (isinstance(given, list) and given and all(type(i) is int for i in given)):
        given = [given]
    if not isinstance(given, list) or not given:
        raise ill_typed("Input should be a valid string or list", "body.prompt")
    return [_prompt(one, tokenizer, add_bos=request.add_special_tokens) for one in given]


def _prompt(given: object, tokenizer: Tokenizer, *, add_bos: bool) -> Prompt:
    if isinstance(given, str):
        return Prompt(given, tuple(tokenizer.encode(given, add_bos=add_bos)), given)
    if isinstance(given, list) and given and all(type(i) is int and i >= 0 for i in given):
        text = tokenizer.decode(given)
        return Prompt(text, tuple(given), text)
    raise ill_typed("Input should be a valid string or list", "body.prompt")


def _embedding_inputs(given: str | list[Any]) -> list[str]:
    if isinstance(given, str):
        return [given]
    if given and all(type(item) is int for item in given):
        return [tokens.decode(given)]
    if given and all(isinstance(item, str) for item in given):
        return list(given)
    if given and all(isinstance(item, list) and item and all(type(i) is int for i in item) for item in given):
        return [tokens.decode(item) for item in given]
    raise ill_typed("Input should be a valid string or list", "body.input")


def _vector(text: str, size: int, *, as_base64: bool) -> list[float] | str:
    """A unit vector that depends on the text alone."""
    raw = b"".join(hashlib.sha256(f"{n}:{text}".encode("utf-8", "replace")).digest() for n in range(-(-size // 16)))
    values = [(value - 32_767.5) / 32_767.5 for value in struct.unpack(f"<{size}H", raw[: size * 2])]
    length = math.sqrt(sum(value * value for value in values)) or 1.0
    unit = [value / length for value in values]
    return base64.b64encode(struct.pack(f"<{size}f", *unit)).decode() if as_base64 else unit
