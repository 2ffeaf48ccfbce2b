"""What a tenant's filter does to an answer: a whole one, or a stream's chunks as they come.

Every text of a choice has a screener of its own: the content, the thoughts, each call's arguments. Where one ends and
another begins, the first gives out its rest. A block ends its choice with `content_filter`; when the stream has no
open choice left, the worker is aborted.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final, cast

import msgspec

from gateway.errors import WorkerError
from gateway.filters.judging import Classifier, Passage
from gateway.filters.policy import FilterPolicy
from gateway.filters.restoring import Placeholders, TextRestorer
from gateway.filters.rules import RuleSet
from gateway.filters.screener import Findings, TextScreener
from gateway.observability.record import FilterRecord, RequestRecord
from gateway.pipeline.off_loop import off_loop
from gateway.pipeline.plain_chunks import ChunkTemplate, PlainChunks, read_template
from gateway.pipeline.relay import ChunkEditor
from gateway.pipeline.screening import InputScreening, judge_content
from gateway.values import Usage
from gateway.wire.replies import NULL, ChatReply, CompletionReply, ReplyMessage, ToolCallBody, usage_body

CONTENT_FILTER: Final = "content_filter"
MAX_TEMPLATES: Final = 16
"""How often a stream's chunks are looked at for what they have in common."""
_IN_JSON: Final = frozenset({"call", "function_call"})
_THOUGHTS: Final = ("reasoning", "reasoning_content")

_CALLS = msgspec.json.Decoder(list[ToolCallBody])
_ENCODER = msgspec.json.Encoder()
Chunk = dict[str, Any]


class OutputScreening:
    """The answer to one request under a policy."""

    def __init__(
        self,
        policy: FilterPolicy,
        record: RequestRecord,
        asked: str = "",
        placeholders: Placeholders | None = None,
        *,
        json_content: bool = False,
    ) -> None:
        """`asked`: what the answer answers; `placeholders`: what comes back; `json_content`: the content is JSON."""
        self.placeholders = placeholders
        self.json_content = json_content
        self.policy = policy
        self.rules: RuleSet = policy.output.trusted
        self.findings = Findings()
        self.asked = asked
        self._record = record

    def close(self) -> None:
        """Leave what was found in the record."""
        record = self._record.filter
        if isinstance(record, FilterRecord):
            record.output = list(self.findings.all())
            record.output_blocked = self.findings.blocked_by is not None

    def screen(self, text: str, *, json: bool = False) -> tuple[str, bool]:
        """Return a whole text as its rules leave it, and whether one blocks."""
        screener = TextScreener(self.rules, self.findings, json=json)
        return screener.screen(text), screener.blocked

    async def screen_chat(self, reply: ChatReply, classifier: Classifier | None) -> None:
        """Screen a whole chat answer in place."""
        chars = sum(len(choice.message.content or "") for choice in reply.choices)
        await off_loop(chars, lambda: self._screen_chat(reply))
        blocks = await self._judge(classifier, [_said(choice.message) for choice in reply.choices])
        for choice, blocked in zip(reply.choices, blocks, strict=True):
            if blocked:
                choice.message = ReplyMessage(content="")
                choice.finish_reason, choice.logprobs = CONTENT_FILTER, NULL
            elif self._restore_message(choice.message):
                choice.logprobs = NULL
        self.close()

    async def screen_completion(self, reply: CompletionReply, classifier: Classifier | None) -> None:
        """Screen a whole text completion in place."""
        await off_loop(sum(len(choice.text) for choice in reply.choices), lambda: self._screen_completion(reply))
        blocks = await self._judge(classifier, [choice.text for choice in reply.choices])
        for choice, blocked in zip(reply.choices, blocks, strict=True):
            if blocked:
                choice.text, choice.finish_reason, choice.logprobs = "", CONTENT_FILTER, NULL
            elif (text := self._restored(choice.text)) != choice.text:
                choice.text, choice.logprobs = text, NULL
        self.close()

    def _restored(self, text: str, *, json: bool = False) -> str:
        return text if self.placeholders is None else self.placeholders.restore(text, json=json)

    def _restore_message(self, message: ReplyMessage) -> bool:
        """Put values back wherever the model has written their placeholders; return whether there were any."""
        if self.placeholders is None:
            return False
        before = message.content, message.reasoning
        if message.content:
            message.content = self._restored(message.content, json=self.json_content)
        if message.reasoning:
            message.reasoning = message.reasoning_content = self._restored(message.reasoning)
        if message.tool_calls is not msgspec.UNSET and message.tool_calls != NULL:
            calls = _CALLS.decode(message.tool_calls)
            for call in calls:
                call.function.arguments = self._restored(call.function.arguments, json=True)
            message.tool_calls = msgspec.Raw(_ENCODER.encode(calls))
        if message.function_call:
            message.function_call.arguments = self._restored(message.function_call.arguments, json=True)
        return (message.content, message.reasoning) != before

    async def _judge(self, classifier: Classifier | None, texts: list[str]) -> list[bool]:
        """Return which texts the classifier blocks; all are judged in parallel."""
        if not self.policy.output_checks:
            return [False] * len(texts)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.judge(classifier, [text]), name="judge answer") for text in texts]
        return [task.result() for task in tasks]

    async def judge(self, classifier: Classifier | None, texts: Sequence[str], max_s: float | None = None) -> bool:
        """Ask the classifier about texts of the answer, for at most `max_s`; return whether a rule blocks."""
        passages = [Passage(text, "output", self.asked) for text in texts if text.strip()]
        if not passages:
            return False
        checks = self.policy.output_checks
        if max_s is not None:
            checks = tuple(msgspec.structs.replace(each, timeout_s=min(each.timeout_s, max_s)) for each in checks)
        findings = await judge_content(classifier, checks, passages)
        for finding in findings:
            self.findings.add(finding)
        return any(finding.action == "block" for finding in findings)

    def _screen_chat(self, reply: ChatReply) -> None:
        for choice in reply.choices:
            before = choice.message.content, choice.message.reasoning
            if self._screen_message(choice.message):
                choice.finish_reason = CONTENT_FILTER
            if (choice.message.content, choice.message.reasoning) != before:
                choice.logprobs = NULL

    def _screen_completion(self, reply: CompletionReply) -> None:
        for choice in reply.choices:
            text, blocked = self.screen(choice.text)
            if text != choice.text:
                choice.text, choice.logprobs = text, NULL
            if blocked:
                choice.logprobs, choice.finish_reason = NULL, CONTENT_FILTER

    def _screen_message(self, message: ReplyMessage) -> bool:
        """Screen in the order in which it was written; what comes behind a block is dropped. Return whether one is."""
        blocked = False
        if message.reasoning:
            said, blocked = self.screen(message.reasoning)
            message.reasoning = message.reasoning_content = said
        if message.content:
            message.content, blocked = ("", True) if blocked else self.screen(message.content)
        if message.tool_calls is not msgspec.UNSET and message.tool_calls != NULL:
            kept: list[ToolCallBody] = []
            for call in _CALLS.decode(message.tool_calls):
                if not blocked:
                    call.function.arguments, blocked = self.screen(call.function.arguments, json=True)
                if not blocked:
                    kept.append(call)
            message.tool_calls = msgspec.Raw(_ENCODER.encode(kept)) if kept else msgspec.UNSET
        if message.function_call:
            said, blocked = self.screen(message.function_call.arguments, json=True)
            message.function_call.arguments = said
            if blocked:
                message.function_call = msgspec.UNSET
        return blocked


class _ChoiceStream:
    """One choice of a stream: the text that is being written, and what has come of it."""

    def __init__(self, screening: OutputScreening) -> None:
        self._screening = screening
        self._is_judged = bool(screening.policy.output_checks)
        self.place: tuple[str, int] | None = None
        """Which text is being written."""
        self.screener: TextScreener | None = None
        self._placeholders = screening.placeholders
        self._restorer: TextRestorer | None = None
        self.ended = False
        self.blocked = False
        self.changed = False
        """The last chunk doesn't say what the worker wrote: its log-probabilities would tell of other tokens."""
        self.said = ""
        """What has left, until somebody takes it from here to judge it."""

    def take(self, place: tuple[str, int], text: str) -> tuple[Chunk | None, str]:
        """Take more of the text at a place; return the delta that ends another text, and what leaves of this one."""
        rest = None
        if place != self.place:
            rest = self.rest()
            self.place = place
            in_json = place[0] in _IN_JSON
            self.screener = TextScreener(self._screening.rules, self._screening.findings, json=in_json)
            if self._placeholders is not None:
                in_json = in_json or (place[0] == "content" and self._screening.json_content)
                self._restorer = TextRestorer(self._placeholders, json=in_json)
        screener = self.screener
        if self.blocked or screener is None:
            self.changed = True
            return rest, ""
        said = screener.feed(text)
        if self._is_judged:
            self.said += said
        self.blocked = screener.blocked
        if self._restorer is not None:
            said = self._restorer.feed(said)
            if self.blocked:
                said += self._restorer.finish()
        self.changed = self.changed or said != text
        return rest, said

    def may_restore(self, text: str) -> bool:
        """Whether a text that comes next may have, or end, a placeholder."""
        return self._restorer is not None and ("[" in text or bool(self._restorer.held))

    def rest(self) -> Chunk | None:
        """End the text that is being written; return the delta with what was held of it."""
        if self.screener is None or self.place is None or self.blocked:
            return None
        said = self.screener.finish()
        if self._is_judged:
            self.said += said
        self.blocked = self.screener.blocked
        if self._restorer is not None:
            said = self._restorer.feed(said) + self._restorer.finish()
        return _delta(*self.place, said) if said else None


def _said(message: ReplyMessage) -> str:
    """Return all that a message says, in the order in which it was written."""
    parts = [message.reasoning or "", message.content or ""]
    if message.tool_calls is not msgspec.UNSET and message.tool_calls != NULL:
        parts += [call.function.arguments for call in _CALLS.decode(message.tool_calls)]
    if message.function_call:
        parts.append(message.function_call.arguments)
    return "\n".join(part for part in parts if part)


def _delta(kind: str, index: int, text: str) -> Chunk:
    match kind:
        case "thoughts":
            return dict.fromkeys(_THOUGHTS, text)
        case "call":
            return {"tool_calls": [{"index": index, "function": {"arguments": text}}]}
        case "function_call":
            return {"function_call": {"arguments": text}}
        case _:
            return {kind: text}


class ScreenedEditor:
    """Screens the chunks that another editor makes, or the worker's own. Implements `relay.ChunkEditor`."""

    def __init__(self, screening: OutputScreening, inner: ChunkEditor | None, *, model: str, choices: int) -> None:
        self.failure: WorkerError | None = None
        self._screening = screening
        self._inner = inner
        self._model = model
        self._choices = [_ChoiceStream(screening) for _ in range(choices)]
        self._common: Chunk = {}
        self._is_judged = bool(screening.policy.output_checks)
        self._restores = screening.placeholders is not None
        self._plain: PlainChunks | None = None
        self._template: ChunkTemplate | None = None
        self._templates_left = MAX_TEMPLATES if choices == 1 else 0
        self._misfit = True
        """The last chunk is not of the template's kind."""
        self._inner_passed = False
        """The inner editor has let a frame pass that is edited here."""

    @property
    def stopped(self) -> bool:
        """Whether nothing of the worker's stream is wanted any more."""
        if self._inner is not None and self._inner.stopped:
            return True
        return all(choice.ended for choice in self._choices) and any(choice.blocked for choice in self._choices)

    @property
    def idle(self) -> bool:
        """Never: all text is screened."""
        return False

    def pass_on(self, frame: bytes) -> bytes | None:
        """Take a frame with more of the text that is being written; return what may leave now, as it came."""
        plain = self._plain
        if plain is None:
            return None
        text = plain.text(frame)
        if not text:
            self._misfit = text is None
            return None
        if self._restores and self._choices[0].may_restore(text):
            return None
        if self._inner is not None:
            if self._inner.pass_on(frame) is None:
                return None
            self._inner_passed = True
        passed = plain.take(frame, text)
        if passed is not None:
            self._inner_passed = False
            if self._is_judged:
                self._choices[0].said += plain.released
        return passed

    def edit_text(self, text: str) -> None:
        """Return None: the screening reads whole chunks."""
        del text

    def edit(self, data: bytes) -> list[bytes]:
        """Return the chunks to send in place of this one."""
        inner = self._inner
        self._end_plain()
        if inner is None or self._inner_passed:
            chunks = [data]
            self._inner_passed = False
        else:
            chunks = inner.edit(data)
            self.failure = inner.failure
        out = [screened for chunk in chunks for screened in self._screen_chunk(chunk)]
        self._begin_plain(data)
        return out

    def _begin_plain(self, data: bytes) -> None:
        """Let chunks pass from here on if they are like this one."""
        if self._misfit and self._templates_left:
            self._templates_left -= 1
            self._template = read_template(data) or self._template
        choice, template = self._choices[0], self._template
        if template is not None and choice.place == template.place and not choice.ended:
            screener = choice.screener
            if screener is not None and screener.is_plain:
                self._plain = PlainChunks(template, screener)
                self._misfit = False

    def _end_plain(self) -> None:
        if self._plain is not None:
            self._plain.give_back()
            self._plain = None

    def finish(self) -> list[bytes]:
        """Return what is left when the stream ends."""
        self._end_plain()
        out: list[bytes] = []
        if self._inner is not None and not all(choice.ended for choice in self._choices):
            out = [screened for chunk in self._inner.finish() for screened in self._screen_chunk(chunk)]
            self.failure = self._inner.failure
        for index, choice in enumerate(self._choices):
            if not choice.ended and self._common:
                self._end(choice, index, "stop", out)
        self._screening.close()
        return out

    @property
    def ended(self) -> frozenset[int]:
        """The choices that have ended."""
        return frozenset(index for index, choice in enumerate(self._choices) if choice.ended)

    def take_said(self) -> list[tuple[int, str]]:
        """Return the text of each choice that has left since the last call."""
        said = [(index, choice.said) for index, choice in enumerate(self._choices) if choice.said]
        for choice in self._choices:
            choice.said = ""
        return said

    def end_blocked(self, ended: frozenset[int]) -> list[bytes]:
        """Return the chunks that end all choices but those whose end has gone out."""
        is_text = self._common.get("object") == "text_completion"
        return [
            self._chunk(index, {}, is_text=is_text, finish=CONTENT_FILTER)
            for index in range(len(self._choices))
            if index not in ended
        ]

    def usage_chunk(self, usage: Usage) -> bytes:
        """Return the chunk that tells the usage."""
        return _ENCODER.encode({**self._common, "choices": [], "usage": usage_body(usage)})

    def _screen_chunk(self, data: bytes) -> list[bytes]:
        chunk: Chunk = msgspec.json.decode(data)
        chunk["model"] = self._model
        if not self._common:
            self._common = {name: chunk[name] for name in ("id", "object", "created", "model") if name in chunk}
        out: list[bytes] = []
        for said in cast("list[Chunk]", chunk["choices"]):  # of a chunk that the relay has read
            index: int = said.get("index", 0)
            if 0 <= index < len(self._choices) and not self._choices[index].ended:
                self._screen_choice(self._choices[index], chunk, said, out)
        return out

    def _screen_choice(self, choice: _ChoiceStream, chunk: Chunk, said: Chunk, out: list[bytes]) -> None:
        index, finish = said.get("index", 0), said.get("finish_reason")
        said["finish_reason"] = None
        delta: Chunk | None = said.get("delta")
        texts = said if delta is None else delta
        choice.changed = False
        rests = self._screen_texts(choice, texts)
        out.extend(self._chunk(index, rest, is_text=delta is None) for rest in rests)
        if choice.changed:
            said["logprobs"] = None
        if delta is None or delta:
            out.append(_ENCODER.encode({**chunk, "choices": [said]}))
        if choice.blocked:
            self._end(choice, index, CONTENT_FILTER, out)
        elif finish is not None:
            self._end(choice, index, finish, out)

    def _screen_texts(self, choice: _ChoiceStream, texts: Chunk) -> list[Chunk]:
        """Screen the texts of a delta in place; return the deltas that end earlier texts."""
        rests: list[Chunk | None] = []
        thought = texts.get("reasoning") or texts.get("reasoning_content")
        if thought:
            rest, said = choice.take(("thoughts", 0), thought)
            rests.append(rest)
            texts.update({name: said for name in _THOUGHTS if texts.get(name)})
        for name in ("content", "text", "refusal"):
            if texts.get(name):
                rest, texts[name] = choice.take((name, 0), texts[name])
                rests.append(rest)
        for call in texts.get("tool_calls") or ():
            function: Chunk = call.get("function") or {}
            rest, said = choice.take(("call", call.get("index", 0)), function.get("arguments") or "")
            rests.append(rest)
            if "arguments" in function:
                function["arguments"] = said
        if call := texts.get("function_call"):
            rest, said = choice.take(("function_call", 0), call.get("arguments") or "")
            rests.append(rest)
            if "arguments" in call:
                call["arguments"] = said
        if choice.blocked and texts.get("tool_calls"):
            texts["tool_calls"] = [
                call for call in texts["tool_calls"] if (call.get("function") or {}).get("arguments")
            ]
        return [rest for rest in rests if rest is not None]

    def _end(self, choice: _ChoiceStream, index: int, reason: str, out: list[bytes]) -> None:
        rest = choice.rest()
        is_text = self._common.get("object") == "text_completion"
        if rest is not None:
            out.append(self._chunk(index, rest, is_text=is_text))
        out.append(self._chunk(index, {}, is_text=is_text, finish=CONTENT_FILTER if choice.blocked else reason))
        choice.ended = True

    def _chunk(self, index: int, delta: Chunk, *, is_text: bool, finish: str | None = None) -> bytes:
        said = {"text": delta.get("text", "")} if is_text else {"delta": delta}
        choice = {"index": index, **said, "logprobs": None, "finish_reason": finish}
        return _ENCODER.encode({**self._common, "choices": [choice]})


def screening_of_answer(request: InputScreening) -> OutputScreening | None:
    """Return the screening of the answer to a screened request, where there are rules for it or values come back."""
    policy = request.policy
    placeholders = request.placeholders or None
    if not policy.reads_answers and placeholders is None:
        return None
    return OutputScreening(policy, request.record, request.asked, placeholders, json_content=request.json_content)
