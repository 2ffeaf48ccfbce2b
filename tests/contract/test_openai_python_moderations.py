"""openai-python's `moderations.create`, as it comes, against the gateway and simulated ShieldGemma workers."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types import Moderation

from tests.support.gateway_process import TEST_KEY, GatewayProcess
from tests.support.gateway_view import wait_until_up
from tests.support.shield_deployment import (
    CHAT,
    IMAGE_JUDGE,
    PIXEL,
    TEXT_JUDGE,
    YES,
    ShieldWorkers,
    shield_workers,
)
from tests.support.sim_worker import Script

NO_SIGNAL = {
    "harassment/threatening",
    "hate/threatening",
    "illicit/violent",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual/minors",
}


@pytest.fixture(scope="module")
def _workers() -> Iterator[ShieldWorkers]:
    with shield_workers() as workers:
        yield workers


@pytest.fixture(scope="module")
def _gateway(_workers: ShieldWorkers) -> Iterator[GatewayProcess]:
    with GatewayProcess(_workers.configuration()) as gateway:
        wait_until_up(gateway, 3)
        yield gateway


@pytest.fixture
def shields(_workers: ShieldWorkers) -> ShieldWorkers:
    """The workers, without what earlier tests told them."""
    _workers.reset()
    return _workers


@pytest.fixture
def client(shields: ShieldWorkers, _gateway: GatewayProcess) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{_gateway.url}/v1", api_key=TEST_KEY, max_retries=0, timeout=15) as client:
        yield client


def flagged(result: Moderation) -> set[str]:
    """The categories that a result flags, by OpenAI's names."""
    return {name for name, value in result.categories.model_dump(by_alias=True).items() if value}


def test_a_text(client: OpenAI, shields: ShieldWorkers) -> None:
    """Every category is there and typed; what the classifier says under a policy reaches its categories."""
    shields.text.script(Script(contains="No Hate Speech", token_logprobs=YES))
    answer = client.moderations.create(input="A text that is judged.")
    assert answer.id.startswith("modr-")
    assert answer.model == TEXT_JUDGE
    (result,) = answer.results
    assert result.flagged is True
    assert flagged(result) == {"hate"}
    assert result.category_scores.hate == pytest.approx(0.905, abs=1e-3)
    assert result.categories.illicit is False
    assert result.categories.illicit_violent is None
    types = result.category_applied_input_types.model_dump(by_alias=True)
    assert {name for name in types if "/" in name and types[name]} == set()
    assert {name for name, kinds in types.items() if kinds == []} >= NO_SIGNAL
    assert Moderation.model_validate(result.model_dump(by_alias=True)).flagged


def test_a_list_has_a_result_for_each(client: OpenAI, shields: ShieldWorkers) -> None:
    """In the order of the inputs, whatever the order of the answers."""
    shields.text.script(Script(contains="bad one", token_logprobs=YES, times=None, first_delay_s=0.05))
    answer = client.moderations.create(input=["a good one", "a bad one", "another good one"])
    assert [result.flagged for result in answer.results] == [False, True, False]
    assert flagged(answer.results[1]) == {"hate", "harassment", "sexual", "illicit", "self-harm", "violence"}


def test_parts_have_one_result(client: OpenAI, shields: ShieldWorkers) -> None:
    """Text goes to one model, the image to the other; of both the higher score counts."""
    shields.image.script(Script(contains="No Violence/Gore", token_logprobs=YES))
    parts: Any = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    answer = client.moderations.create(model="omni-moderation-latest", input=parts)
    (result,) = answer.results
    assert answer.model == f"{TEXT_JUDGE}, {IMAGE_JUDGE}"
    assert flagged(result) == {"violence", "violence/graphic"}
    assert result.category_applied_input_types.violence == ["text", "image"]
    assert result.category_applied_input_types.violence_graphic == ["image"]
    assert result.category_applied_input_types.illicit == ["text"]
    assert (len(shields.text.generation_requests), len(shields.image.generation_requests)) == (4, 3)


def test_an_image_alone(client: OpenAI, shields: ShieldWorkers) -> None:
    """What images are not judged for has no signal, null where the SDK's types take it."""
    image: Any = [{"type": "image_url", "image_url": {"url": PIXEL + "Ag=="}}]
    (result,) = client.moderations.create(model="omni-moderation-latest", input=image).results
    assert result.flagged is False
    assert result.categories.illicit is None
    assert result.categories.hate is False
    assert result.category_applied_input_types.hate == []
    assert not shields.text.generation_requests


@pytest.mark.parametrize("name", ["omni-moderation-latest", "text-moderation-latest", TEXT_JUDGE, "shield"])
def test_names_of_the_model(client: OpenAI, name: str) -> None:
    """OpenAI's names stand for what is configured; its own name and aliases work too."""
    assert client.moderations.create(model=name, input="Hello").model == TEXT_JUDGE


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [("no-such-model", 404, "model_not_found"), (CHAT, 400, None), (IMAGE_JUDGE, 400, "unsupported_modality")],
)
def test_models_that_can_not_judge_text(client: OpenAI, model: str, status: int, code: str | None) -> None:
    """A chat model, an image model and one that isn't there: each error says so."""
    with pytest.raises(openai.APIStatusError) as caught:
        client.moderations.create(model=model, input="Hello")
    assert (caught.value.status_code, caught.value.code) == (status, code)


@pytest.mark.parametrize("model", [TEXT_JUDGE, "text-moderation-latest"])
def test_text_models_refuse_images(client: OpenAI, shields: ShieldWorkers, model: str) -> None:
    image: Any = [{"type": "image_url", "image_url": {"url": PIXEL}}]
    with pytest.raises(openai.BadRequestError) as caught:
        client.moderations.create(model=model, input=image)
    assert (caught.value.code, caught.value.param) == ("unsupported_modality", "input")
    assert not shields.image.generation_requests


@pytest.mark.parametrize(
    ("given", "param"),
    [
        (None, "input"),
        (3, "input"),
        ([], "input"),
        ([["a"]], "input[0]"),
        (["a", {"type": "text", "text": "b"}], "input"),
        ([{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}], "input[0].image_url.url"),
        ([{"type": "image_url", "image_url": {"url": "http://127.0.0.1/x.png"}}], "input"),
        ([{"type": "input_audio", "input_audio": {}}], "input[0].type"),
        (["a"] * 257, "input"),
        ("long " * 600_000, "input"),
    ],
)
def test_bad_inputs(client: OpenAI, shields: ShieldWorkers, given: Any, param: str) -> None:
    """400, with the field at fault, and no worker is asked."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.moderations.create(input=given)
    assert caught.value.param == param
    assert not shields.text.generation_requests
    assert not shields.image.generation_requests
