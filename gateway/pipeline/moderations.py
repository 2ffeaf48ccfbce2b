"""`POST /v1/moderations`: OpenAI's reply, with ShieldGemma's scores behind it."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from gateway.auth.keys import ApiKey
from gateway.config.model import Policy
from gateway.dialects.content import check_url
from gateway.errors import (
    GatewayError,
    InvalidRequest,
    ModelNotFound,
    NoWorkerAvailable,
    UnsupportedModality,
    WorkerError,
    WorkerTimeout,
)
from gateway.filters.classifier_questions import TooLongError
from gateway.filters.judging import ClassifierFailedError, Judged, Passage, Picture
from gateway.filters.moderation_categories import InputType, category_scores
from gateway.filters.shieldgemma import IMAGE_POLICIES, judged_policies
from gateway.pipeline.classify import Answers, FleetClassifier, Question
from gateway.pipeline.deliver import answer_headers
from gateway.pipeline.limits import IMAGE_TOKENS, hold, release
from gateway.pipeline.media import check_media
from gateway.pipeline.services import Inbound, Services, admit
from gateway.pipeline.worker_errors import RETRY_AFTER_S
from gateway.ratelimit.estimates import estimate_prompt_tokens
from gateway.ratelimit.limiter import Demand
from gateway.routing.fleet import ServedModel
from gateway.values import Family, Task, Usage
from gateway.wire.messages import ImagePart
from gateway.wire.moderations import (
    ModerationReply,
    ModerationRequest,
    ModerationResult,
    parse_moderation_request,
)

TASKS: frozenset[Task] = frozenset({"classification"})
TEXT_NAMES: Final = frozenset({"text-moderation-latest", "text-moderation-stable"})
"""OpenAI's models that take text only. Like its others they stand for what is configured here."""
OPENAI_NAMES: Final = frozenset({*TEXT_NAMES, "omni-moderation-latest", "omni-moderation-2024-09-26"})

_FAMILIES: Final[Mapping[InputType, Family]] = {"text": "shieldgemma", "image": "shieldgemma2"}
_EXAMPLES: Final[Mapping[InputType, str]] = {
    "text": "google/shieldgemma-2b",
    "image": "google/shieldgemma-2-4b-it",
}
_ENCODER = msgspec.json.Encoder()


class Inputs(Struct, frozen=True):
    """What is to be judged, each text and image with the result that it counts for."""

    texts: list[tuple[int, str]]
    images: list[tuple[int, str]]
    """URLs."""
    results: int

    def kinds(self) -> list[InputType]:
        """Return which kinds there are."""
        kinds: list[InputType] = ["text"] if self.texts else []
        return [*kinds, "image"] if self.images else kinds


class _Asked(Struct, frozen=True):
    """What one model is asked about one kind of input."""

    kind: InputType
    model: ServedModel
    questions: list[Question]
    results: list[int]
    """By passage, the result that it counts for."""


class ModerationEndpoint:
    """Serves the endpoint with the classifier that filters use, its memory of verdicts included."""

    def __init__(self, classifier: FleetClassifier) -> None:
        self._classifier = classifier

    async def __call__(self, services: Services, inbound: Inbound) -> None:
        """Serve one request. Raises the GatewayError that the client gets."""
        record = inbound.record
        request = parse_moderation_request(inbound.body)
        inputs = inputs_of(request)
        asked = [
            await self._asked(_judge_of(services, inbound.key, request.model, kind), kind, inputs)
            for kind in inputs.kinds()
        ]
        record.model = asked[0].model.name
        await check_media({url: "image_url" for _, url in inputs.images if not _is_data(url)}, param="input")
        held = await hold(services, inbound, asked[0].model, _demand(asked, len(inputs.images)), _no_count)
        try:
            answers = await self._ask(services, inbound, asked)
        finally:
            release(held, inbound)
        scores = _scores(asked, answers, inputs.results)
        reply = ModerationReply(
            id=f"modr-{inbound.worker_request_id}",
            model=", ".join(each.model.name for each in asked),
            results=[_result(of_input) for of_input in scores],
        )
        await inbound.client.send_json(_ENCODER.encode(reply), answer_headers(record))

    async def _asked(self, model: ServedModel, kind: InputType, inputs: Inputs) -> _Asked:
        """Return the questions about all inputs of a kind. Raises InvalidRequest for more than may be asked."""
        given: list[Judged]
        if kind == "image":
            given = [Picture(url) for _, url in inputs.images]
            results = [result for result, _ in inputs.images]
        else:
            given = [Passage(text, "input") for _, text in inputs.texts]
            results = [result for result, _ in inputs.texts]
        try:
            questions = await self._classifier.questions(model, judged_policies(model.variant.family), given)
        except TooLongError as error:
            message = "The input is too long to be judged in one request. Send it in several."
            raise InvalidRequest(message, param="input") from error
        return _Asked(kind, model, questions, results)

    async def _ask(self, services: Services, inbound: Inbound, asked: Sequence[_Asked]) -> list[Answers]:
        """Return the answers to all questions. Raises the GatewayError of what stayed without one."""
        record = inbound.record
        deadline = record.started + services.server.request_timeout_s
        record.sent_at = services.clock()
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._classifier.ask(each.model, each.questions, deadline), name=f"judge {each.kind}")
                for each in asked
            ]
        answers = [task.result() for task in tasks]
        record.usage = Usage(0, 0)
        for each in answers:
            record.usage = record.usage.plus(each.usage)
            record.worker = each.worker or record.worker
        failure = next((each.failure for each in answers if each.failure is not None), None)
        if failure is not None:
            record.cause = f"classifier: {failure}"
            raise _error_of(failure) from failure
        return answers


def inputs_of(request: ModerationRequest) -> Inputs:
    """Return what a request holds: a result for each string, or one for all parts. Raises InvalidRequest."""
    if isinstance(request.input, str):
        return Inputs([(0, request.input)], [], 1)
    texts: list[tuple[int, str]] = []
    images: list[tuple[int, str]] = []
    for at, item in enumerate(request.input):
        if isinstance(item, str):
            texts.append((at, item))
        elif isinstance(item, ImagePart):
            check_url(item.image_url.url, f"input[{at}].image_url.url")
            images.append((0, item.image_url.url))
        else:
            texts.append((0, item.text))
    return Inputs(texts, images, len(request.input) if isinstance(request.input[0], str) else 1)


def _judge_of(services: Services, key: ApiKey, name: str | None, kind: InputType) -> ServedModel:
    """Return the model that judges inputs of a kind: the named one, or for OpenAI's names the first that may be used.

    Raises ModelNotFound, ModelNotAllowed, InvalidRequest or UnsupportedModality.
    """
    family = _FAMILIES[kind]
    if name is not None and (name not in OPENAI_NAMES or services.fleet.find(name) is not None):
        model = admit(services, key, name, TASKS)
        if model.variant.family != family:
            message = (
                f"The model '{name}' can't judge {kind}s. Leave 'model' out: each input gets the model of its kind."
            )
            raise UnsupportedModality(message, param="input")
        return model
    if kind == "image" and name in TEXT_NAMES:
        message = f"The model '{name}' judges text only. Send 'omni-moderation-latest' for images."
        raise UnsupportedModality(message, param="input")
    models = [model for model in services.fleet.models if model.variant.family == family and key.may_use(model.name)]
    if models:
        return models[0]
    message = (
        f"No model that judges {kind}s is served here, or none that your key may use. The gateway's operator can add "
        f"one, such as {_EXAMPLES[kind]}."
    )
    if kind == "image":
        raise UnsupportedModality(message, param="input")
    raise ModelNotFound(message, param="model")


def _demand(asked: Sequence[_Asked], images: int) -> Demand:
    """Return what all questions may use. It is held under the limits of the first model, and its window."""
    count = sum(len(each.questions) for each in asked)
    text_bytes = sum(question.text_bytes for each in asked for question in each.questions)
    media_tokens = images * len(IMAGE_POLICIES) * IMAGE_TOKENS
    return Demand(
        prompt_tokens=estimate_prompt_tokens(text_bytes, media_tokens),
        output_tokens=1,
        context_tokens=asked[0].model.context_tokens,
        choices=count,
        exact=True,
    )


async def _no_count() -> None:
    """The estimate stands: it is settled by what the questions used."""


def _is_data(url: str) -> bool:
    return url[:5].lower() == "data:"


def _scores(
    asked: Sequence[_Asked], answers: Sequence[Answers], results: int
) -> list[dict[InputType, dict[Policy, float]]]:
    """Return for each result the highest probability of each policy, by kind of input."""
    scores: list[dict[InputType, dict[Policy, float]]] = [{} for _ in range(results)]
    for each, answer in zip(asked, answers, strict=True):
        for passage, policy, probability in answer.answered:
            of_kind = scores[each.results[passage]].setdefault(each.kind, {})
            of_kind[policy] = max(probability, of_kind.get(policy, 0.0))
    return scores


def _result(scores: Mapping[InputType, Mapping[Policy, float]]) -> ModerationResult:
    found = category_scores(scores)
    return ModerationResult(
        flagged=any(category.flagged for category in found.values()),
        categories={name: category.flagged for name, category in found.items()},
        category_scores={name: category.score for name, category in found.items()},
        category_applied_input_types={name: category.applied_to for name, category in found.items()},
        policy_scores={
            str(kind): {str(policy): score for policy, score in of_kind.items()} for kind, of_kind in scores.items()
        },
    )


def _error_of(failure: ClassifierFailedError) -> GatewayError:
    match failure.reason:
        case "timeout":
            return WorkerTimeout("The moderation model did not answer in time. Please retry.")
        case "unavailable":
            return NoWorkerAvailable(
                "No worker of the moderation model is available at the moment. Please retry.",
                retry_after_s=RETRY_AFTER_S,
            )
        case _:
            return WorkerError("The moderation model gave an answer that can't be read.")
