"""What a tenant's filter does to a request, before a worker is asked."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.errors import ContentFiltered, InternalError, InvalidRequest
from gateway.filters.conversation import TextKind, image_urls, limit_conversation, screen_messages
from gateway.filters.declared_texts import screen_function, screen_tools
from gateway.filters.findings import Finding
from gateway.filters.judging import (
    Classifier,
    ClassifierCheck,
    ClassifierFailedError,
    Judged,
    Passage,
    Picture,
    decide,
)
from gateway.filters.policy import FilterPolicy
from gateway.filters.restoring import Placeholders
from gateway.filters.rules import RuleSet
from gateway.filters.screener import Findings, screen_text
from gateway.filters.view import View
from gateway.observability.record import FilterRecord, RequestRecord
from gateway.pipeline.off_loop import off_loop
from gateway.pipeline.services import Inbound, Services
from gateway.wire.chat import ChatRequest, TextFormat
from gateway.wire.completions import Prompt
from gateway.wire.messages import AnyMessage

BLOCKED = "The request was blocked by this tenant's content filter."


class InputScreening:
    """One request under a policy: its texts go through the rules, then what was found is acted upon."""

    def __init__(self, policy: FilterPolicy, record: RequestRecord) -> None:
        self.policy = policy
        self.record = record
        self._trusted: RuleSet = policy.input.trusted
        self._findings = Findings()
        self._texts: list[str] = []
        self.images: Sequence[str] = ()
        """URLs of the images that a classifier may judge."""
        self.placeholders: Placeholders | None = None
        """What comes back in the answer."""
        self.json_content = False
        """The request asks for content that is JSON."""
        self.asked = ""
        """The last text of a user or a tool: what the answer answers."""

    def screen(self, text: str, kind: TextKind) -> str:
        """Return a text as its rules leave it. Once something blocks, texts aren't read any more, and stay as they are:
        the refusal is not to look like a fault of what is left of them.
        """
        if self._findings.blocked_by is not None:
            return text
        rules = self.policy.input if kind == "untrusted" else self._trusted
        cleared = screen_text(rules, self._findings, text, json=kind == "arguments", placeholders=self.placeholders)
        screened = text if self._findings.blocked_by is not None else cleared
        self._texts.append(screened)
        if kind == "untrusted":
            self.asked = screened
        return screened

    async def prompt(self, prompt: Prompt, param: str, *, keep_end: bool) -> Prompt:
        """Return the prompts of a completion or the inputs of embeddings. Raises InvalidRequest."""
        texts: list[Any] = [prompt] if isinstance(prompt, str) else prompt
        if not all(isinstance(text, str) for text in texts):
            raise InvalidRequest("Token ids can't be screened: send text.", param=param)
        limited = [self._limited(text, param, keep_end=keep_end) for text in texts]
        if self.policy.input.restores:
            self.placeholders = Placeholders(limited)
        screened = await off_loop(sum(map(len, limited)), lambda: [self.screen(text, "untrusted") for text in limited])
        return screened[0] if isinstance(prompt, str) else screened

    def _limited(self, text: str, param: str, *, keep_end: bool) -> str:
        limits = self.policy.limits
        if limits is None or limits.max_chars is None or len(text) <= limits.max_chars:
            return text
        if limits.over == "reject":
            message = f"This text has {len(text)} characters; at most {limits.max_chars} are allowed."
            raise InvalidRequest(message, param=param)
        return text[-limits.max_chars :] if keep_end else text[: limits.max_chars]

    async def clear(self, services: Services) -> None:
        """Ask the classifier where rules let the texts pass, and record the outcome. Raises ContentFiltered."""
        if self._findings.blocked_by is None and self.policy.input_checks:
            given: list[Judged] = [Passage(text, "input") for text in self._texts if text.strip()]
            given += [Picture(url) for url in self.images]
            for finding in await judge_content(services.classifier, self.policy.input_checks, given):
                self._findings.add(finding)
        findings = self._findings.all()
        record = FilterRecord(self.policy.name, list(findings), has_output=self.policy.reads_answers)
        self.record.filter = record
        if findings:
            size = sum(map(len, self._texts)) + sum(map(len, self.images))
            record.content = await off_loop(size, lambda: self.policy.shown(self._texts, self.images))
        if self._findings.blocked_by is not None:
            record.input_blocked = True
            raise ContentFiltered(BLOCKED, header_lines=record.header_line())


async def judge_content(
    classifier: Classifier | None, checks: Sequence[ClassifierCheck], given: Sequence[Judged]
) -> list[Finding]:
    """Return what follows from the verdicts of all checks, asked in parallel."""

    async def one(check: ClassifierCheck) -> tuple[Finding, ...]:
        if classifier is None:
            return decide(check, ClassifierFailedError("unavailable"))
        try:
            return decide(check, await classifier.judge(check, given))
        except ClassifierFailedError as failure:
            return decide(check, failure)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(check), name="classifier") for check in checks]
    return [finding for task in tasks for finding in task.result()]


def policy_of(services: Services, inbound: Inbound) -> FilterPolicy | None:
    """Return the policy of the request's tenant. Raises InternalError for one that isn't there: nothing passes then."""
    name = inbound.key.tenant.filter
    if name is None:
        return None
    policy = services.policies.get(name)
    if policy is None:
        raise InternalError
    return policy


def screening_of(services: Services, inbound: Inbound) -> InputScreening | None:
    """Return the screening of a request whose tenant has a filter."""
    policy = policy_of(services, inbound)
    return None if policy is None else InputScreening(policy, inbound.record)


async def screen_chat(screening: InputScreening, request: ChatRequest, body_bytes: int) -> ChatRequest:
    """Return the request within the limits, with its texts as the rules leave them. Raises InvalidRequest."""
    messages = request.messages
    if screening.policy.limits is not None:
        messages = limit_conversation(messages, screening.policy.limits)
    if screening.policy.input_checks:
        screening.images = image_urls(messages)

    def screen() -> ChatRequest:
        if screening.policy.input.restores:
            screening.placeholders = Placeholders(_texts_of(request, messages))
            screening.json_content = not isinstance(request.response_format, TextFormat | None)
        return msgspec.structs.replace(
            request,
            messages=screen_messages(messages, screening.screen),
            tools=None if request.tools is None else screen_tools(request.tools, screening.screen),
            functions=request.functions and [screen_function(each, screening.screen) for each in request.functions],
        )

    return await off_loop(body_bytes, screen)


def _texts_of(request: ChatRequest, messages: list[AnyMessage]) -> list[str]:
    """Return all texts of a request, as the model reads them."""
    texts: list[str] = []

    def collect(text: str, kind: TextKind) -> str:
        texts.append(View(text, json=True).text if kind == "arguments" else text)
        return text

    screen_messages(messages, collect)
    screen_tools(request.tools or (), collect)
    for function in request.functions or ():
        screen_function(function, collect)
    return texts
