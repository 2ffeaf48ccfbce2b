"""Asking ShieldGemma: the classifier of filters and of `/v1/moderations`, on workers of the same fleet.

A question is one token long and goes the way of any request: the fleet picks a worker, another may be asked before the
first byte, the deadline ends it, and cancelling the task aborts it at the worker. All questions of a request go out
together, `MAX_CALLS_AT_ONCE` at a time; those about one text share their beginning, which the engine computes once.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgspec
from msgspec import Struct

from gateway.config.model import Policy
from gateway.errors import GatewayError, NoWorkerAvailable, WorkerTimeout
from gateway.filters.classifier_cache import Fingerprint, VerdictCache
from gateway.filters.classifier_questions import TextQuestion, TooLongError, check_count, text_questions, verdicts
from gateway.filters.judging import (
    ClassifierCheck,
    ClassifierFailedError,
    FailureReason,
    Judged,
    Passage,
    Picture,
    Verdict,
)
from gateway.filters.shieldgemma import NO, YES, image_policy, judged_policies, violation_probability
from gateway.observability.record import RequestRecord
from gateway.pipeline.deliver import fetch_reply
from gateway.pipeline.dispatch import WorkerCall, WorkerRequest
from gateway.pipeline.off_loop import off_loop
from gateway.pipeline.services import Services
from gateway.routing.fleet import ServedModel
from gateway.routing.worker import Worker
from gateway.values import ModelName, RequestId, Usage, WorkerId
from gateway.wire.logprobs import ScoredReply
from gateway.wire.replies import UsageBody

CHAT_PATH: Final = "/v1/chat/completions"
COMPLETIONS_PATH: Final = "/v1/completions"
MAX_CALLS_AT_ONCE: Final = 64
TOP_LOGPROBS: Final = 20
"""The most that an engine tells by default: asked for while the ids of the answers are unknown."""
ENDPOINT: Final = "classifier"
FRAME_BYTES: Final = 1_024
"""Upper bound of what ShieldGemma 2's template writes around an image, the policy included."""

logger = logging.getLogger("gateway.classifier")
_REPLY = msgspec.json.Decoder(ScoredReply)
_ENCODER = msgspec.json.Encoder()


class ClassifierObserver(Protocol):
    """Is told of every question."""

    def count(
        self,
        model: ModelName,
        policy: Policy,
        outcome: FailureReason | str,
        seconds: float | None = None,
        usage: Usage | None = None,
    ) -> None:
        """Count a question: `answered`, `cached`, `cancelled` or why it failed."""
        ...


class Question(Struct, frozen=True):
    """One question in the worker's terms."""

    passage: int
    policy: Policy
    fingerprint: Fingerprint
    path: str
    fields: dict[str, Any]
    text_bytes: int
    """Of the text that is ours or the client's, for estimates; without media."""


class _Call:
    """One question at one worker after the other, and how the last of them names its answers."""

    __slots__ = ("_no", "_question", "_yes")

    def __init__(self, question: Question) -> None:
        self._question = question
        self._yes, self._no = YES, NO

    def request_for(self, worker: Worker) -> WorkerRequest:
        """Return the request for a worker. Texts of tokens can be alike, so the answers are named by id if known."""
        path, fields = self._question.path, self._question.fields
        ids = answer_ids(worker)
        if ids is None:
            self._yes, self._no = YES, NO
            return WorkerRequest(path, _ENCODER.encode({**fields, _COUNT_FIELD[path]: TOP_LOGPROBS}))
        self._yes, self._no = (f"token_id:{each}" for each in ids)
        watched = {"logprob_token_ids": ids, "return_tokens_as_token_ids": True}
        return WorkerRequest(path, _ENCODER.encode({**fields, **watched}))

    def read(self, reply: ScoredReply) -> float:
        """Return the probability of a violation. Raises ValueError for a reply that doesn't tell it."""
        found = reply.first_token()
        if self._yes not in found or self._no not in found:
            raise ValueError("the worker's answer has no log-probabilities of Yes and No")
        return violation_probability(found[self._yes], found[self._no])


class Answers(Struct):
    """What came of a list of questions."""

    answered: list[tuple[int, Policy, float]]
    """Passage, policy and probability of a violation."""
    failure: ClassifierFailedError | None = None
    """The first one; the answers that came are in `answered` all the same."""
    usage: Usage = Usage(0, 0)
    worker: WorkerId | None = None
    """One of those that answered."""


_COUNT_FIELD: Final = {CHAT_PATH: "top_logprobs", COMPLETIONS_PATH: "logprobs"}


class FleetClassifier:
    """Implements `filters.judging.Classifier` with the ShieldGemma models of the fleet."""

    def __init__(self, services: Services, cache: VerdictCache, observer: ClassifierObserver) -> None:
        self._services = services
        self._cache = cache
        self._observer = observer
        self._failing: set[ModelName] = set()

    async def judge(self, check: ClassifierCheck, given: Sequence[Judged]) -> Sequence[Sequence[Verdict]]:
        """Return for each that the check's model judges a verdict per policy. Raises ClassifierFailedError."""
        model = self._services.fleet.find(check.model)
        if model is None:
            raise ClassifierFailedError("unavailable", f"no model {check.model}")
        deadline = self._services.clock() + check.timeout_s
        policies = check.policies or judged_policies(model.variant.family)
        try:
            questions = await self.questions(model, policies, given)
        except TooLongError as error:
            raise ClassifierFailedError("too_much", str(error)) from error
        answers = await self.ask(model, questions, deadline)
        found = verdicts(answers.answered, len(given), policies)
        if answers.failure is not None:
            raise ClassifierFailedError(answers.failure.reason, str(answers.failure), found)
        return found

    async def questions(
        self, model: ServedModel, policies: Sequence[Policy], given: Sequence[Judged]
    ) -> list[Question]:
        """Return the questions about what a model judges: pictures or passages. Raises TooLongError."""
        if model.variant.family == "shieldgemma2":
            pictures = [(at, each.url) for at, each in enumerate(given) if isinstance(each, Picture)]
            check_count(len(pictures), policies)
            size = sum(len(url) for _, url in pictures)
            return await off_loop(size, lambda: self._about_images(model, policies, pictures))
        passages = [(at, each) for at, each in enumerate(given) if isinstance(each, Passage)]
        size = sum(len(passage.text) for _, passage in passages)
        return await off_loop(size, lambda: self._about_texts(model, policies, passages))

    def _about_texts(
        self, model: ServedModel, policies: Sequence[Policy], passages: Sequence[tuple[int, Passage]]
    ) -> list[Question]:
        guard = self._services.guards[model.variant.family]
        harmless = [
            (at, Passage(guard.neutralise(passage.text), passage.side, guard.neutralise(passage.prompt)))
            for at, passage in passages
        ]
        return [self._about_text(model, each) for each in text_questions(harmless, policies, model.context_tokens)]

    def _about_text(self, model: ServedModel, question: TextQuestion) -> Question:
        fields = {
            "model": model.served_name,
            "prompt": question.prompt,
            "add_special_tokens": False,
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": 1,
        }
        fingerprint = self._cache.fingerprint(model.name, question.prompt)
        text_bytes = len(question.prompt.encode("utf-8", "replace"))
        return Question(question.passage, question.policy, fingerprint, COMPLETIONS_PATH, fields, text_bytes)

    def _about_images(
        self, model: ServedModel, policies: Sequence[Policy], pictures: Sequence[tuple[int, str]]
    ) -> list[Question]:
        return [question for at, url in pictures for question in self._about_image(model, policies, at, url)]

    def _about_image(self, model: ServedModel, policies: Sequence[Policy], at: int, url: str) -> list[Question]:
        digest = self._cache.digest(url)
        image = {"type": "image_url", "image_url": {"url": url}}
        return [
            Question(
                at,
                policy,
                self._cache.fingerprint(model.name, policy, digest),
                CHAT_PATH,
                {
                    "model": model.served_name,
                    "messages": [{"role": "user", "content": [image, {"type": "text", "text": image_policy(policy)}]}],
                    "max_tokens": 1,
                    "temperature": 0,
                    "logprobs": True,
                },
                FRAME_BYTES,
            )
            for policy in policies
        ]

    async def ask(self, model: ServedModel, questions: Sequence[Question], deadline: float) -> Answers:
        """Ask all questions at once and return what came; `deadline` is a time of the event loop's clock."""
        answers = Answers([])
        unknown: list[Question] = []
        now = self._services.clock()
        for question in questions:
            known = self._cache.get(question.fingerprint, now)
            if known is None:
                unknown.append(question)
            else:
                self._observer.count(model.name, question.policy, "cached")
                answers.answered.append((question.passage, question.policy, known))
        if unknown:
            room = asyncio.Semaphore(MAX_CALLS_AT_ONCE)
            async with asyncio.TaskGroup() as group:
                for question in unknown:
                    group.create_task(
                        self._ask_one(model, question, deadline, room, answers), name=f"classify {question.policy}"
                    )
            self._note(model, answers.failure)
        return answers

    async def _ask_one(
        self, model: ServedModel, question: Question, deadline: float, room: asyncio.Semaphore, answers: Answers
    ) -> None:
        services, observer = self._services, self._observer
        async with room:
            record = RequestRecord(_draw_id(services), ENDPOINT, services.clock())
            asked = _Call(question)
            call = WorkerCall(asked.request_for, record.request_id, deadline, "input")
            reply: ScoredReply | None = None
            try:
                reply = await fetch_reply(services, model, call, record, _REPLY)
                probability = asked.read(reply)
            except asyncio.CancelledError:
                observer.count(model.name, question.policy, "cancelled")
                raise
            except (GatewayError, ValueError) as error:
                failure = ClassifierFailedError(_reason_of(error), record.cause or str(error))
                answers.failure = answers.failure or failure
                outcome: str = failure.reason
            else:
                outcome = "answered"
                self._cache.put(question.fingerprint, probability, services.clock())
                answers.answered.append((question.passage, question.policy, probability))
                answers.worker = record.worker
            usage = (reply.usage or UsageBody()).to_usage() if reply is not None else Usage(0, 0)
            answers.usage = answers.usage.plus(usage)
            observer.count(model.name, question.policy, outcome, services.clock() - record.started, usage)

    def _note(self, model: ServedModel, failure: ClassifierFailedError | None) -> None:
        """Log when a model begins to fail and when it answers again: not each of a thousand failures."""
        if failure is None and model.name in self._failing:
            self._failing.discard(model.name)
            logger.info("classifier %s answers again", model.name)
        elif failure is not None and model.name not in self._failing:
            self._failing.add(model.name)
            logger.warning("classifier %s fails: %s: %s", model.name, failure.reason, failure)


def answer_ids(worker: Worker) -> tuple[int, int] | None:
    """Return the token ids of yes and no as the worker's tokenizer has them, None while they are unknown."""
    if worker.facts is None:
        return None
    yes, no = (worker.facts.marker_ids.get(word) for word in (YES, NO))
    return None if yes is None or no is None else (yes, no)


def _reason_of(error: Exception) -> FailureReason:
    if isinstance(error, WorkerTimeout):
        return "timeout"
    return "unavailable" if isinstance(error, NoWorkerAvailable) else "nonsense"


def _draw_id(services: Services) -> RequestId:
    """Return 24 hexadecimal characters: each question has its own id at the worker."""
    return RequestId(services.rng.getrandbits(96).to_bytes(12, "big").hex())
