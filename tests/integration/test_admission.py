"""Requests that the named model can't serve, and requests that leave the model open, in front of real gateways."""

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support.gateway_process import TEST_KEY, GatewayProcess
from tests.support.gateway_view import log_line, wait_until_up
from tests.support.raw_http import RawAnswer, ask, chat_body, request
from tests.support.sim_worker import Settings, SimWorker
from tests.unit.pipeline.test_admission import wav
from tests.unit.pipeline.test_image_size import png, url

SMALL, MIDDLE, HEARING, EMBEDDING = (
    "google/gemma-3-1b-it",
    "google/gemma-3-4b-it",
    "google/gemma-3n-E2B-it",
    "google/embeddinggemma-300m",
)
HIDDEN = "google/gemma-3-12b-it"
"""No key may use it."""
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64.b64encode(bytes(64)).decode()}}
Fleet = tuple[GatewayProcess, dict[str, SimWorker]]


def _settings(name: str, length: int) -> Settings:
    """Of the templates of simulated workers only one takes media."""
    return Settings(model=name, max_model_len=length, template="gemma4" if name == HEARING else "gemma3")


@pytest.fixture(scope="module")
def lasting_fleet() -> Iterator[Fleet]:
    """A gateway with five models on a worker each; one worker has a context of 512 tokens, one of 8,192."""
    lengths = {SMALL: 512, MIDDLE: 8192, HEARING: 4096, EMBEDDING: 2048, HIDDEN: 100_000}
    with ExitStack() as stack:
        workers = {name: stack.enter_context(SimWorker(_settings(name, length))) for name, length in lengths.items()}
        config: dict[str, Any] = {
            "models": [{"name": name, "workers": [{"url": worker.url}]} for name, worker in workers.items()],
            "tenants": [
                {"id": "acme", "models": [*lengths][:-1], "keys": [{"id": "acme-test", "secret": TEST_KEY}]},
            ],
        }
        config["models"][1]["media"] = {"images": 2}
        gateway = stack.enter_context(GatewayProcess(config))
        wait_until_up(gateway, len(workers))
        yield gateway, workers


@pytest.fixture
def fleet(lasting_fleet: Fleet) -> Fleet:
    """What the workers were asked before is forgotten."""
    for worker in lasting_fleet[1].values():
        worker.reset()
    return lasting_fleet


def send(fleet: Fleet, content: Any, model: str, **fields: Any) -> RawAnswer:
    """One user message to a model."""
    messages = [{"role": "user", "content": content}]
    return ask(fleet[0].port, request(chat_body(messages=messages, model=model, **fields)))


def audio(seconds: float) -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": {"data": wav(seconds, 1_000), "format": "wav"}}


def nobody_was_asked(fleet: Fleet) -> bool:
    return all(worker.generation_requests == [] for worker in fleet[1].values())


@pytest.mark.parametrize(
    ("content", "model", "able"),
    [([IMAGE], SMALL, [MIDDLE, HEARING]), ([audio(1)], MIDDLE, [HEARING])],
    ids=["image", "audio"],
)
def test_a_refusal_names_who_could(fleet: Fleet, content: Any, model: str, able: list[str]) -> None:
    """Only models that the key may use; no engine sees the request."""
    answer = send(fleet, content, model)
    assert answer.status == 400
    assert answer.error["code"] == "unsupported_modality"
    assert answer.error["message"].endswith(f"Of the models you may use, these can: {', '.join(able)}.")
    assert nobody_was_asked(fleet)


def test_a_model_of_another_task_names_those_of_this(fleet: Fleet) -> None:
    """An embedding model isn't chatted with, a chat model doesn't embed."""
    chat = send(fleet, "Hello", EMBEDDING)
    body = json.dumps({"model": SMALL, "input": "Hello"}).encode()
    embedding = ask(fleet[0].port, request(body, path="/v1/embeddings"))
    assert chat.status == embedding.status == 400
    assert SMALL in chat.error["message"]
    assert EMBEDDING in embedding.error["message"]
    assert HIDDEN not in chat.error["message"]
    assert nobody_was_asked(fleet)


def test_a_clip_that_is_too_long_is_refused(fleet: Fleet) -> None:
    """Gemma hears thirty seconds; the error says where it is and how long."""
    assert send(fleet, [audio(29)], HEARING).status == 200
    answer = send(fleet, [{"type": "text", "text": "What is said?"}, audio(31.5)], HEARING)
    assert answer.status == 400
    assert answer.error["param"] == "messages[0].content[1].input_audio.data"
    assert "31.5 s" in answer.error["message"]


def test_too_many_and_too_large_images_are_refused(fleet: Fleet) -> None:
    """The error says what is too much and who could take it; a model within whose limits it is gets it."""
    images = [IMAGE, IMAGE, IMAGE]
    answer = send(fleet, images, MIDDLE)
    assert answer.status == 400
    assert answer.error["param"] == "messages"
    assert answer.error["message"] == (
        f"One request may have 2 images at most, this one has 3. Of the models you may use, these can: {HEARING}."
    )
    bomb = {"type": "image_url", "image_url": {"url": url(png(60_000, 60_000))}}
    answer = send(fleet, [bomb], MIDDLE)
    assert answer.status == 400
    assert answer.error["param"] == "messages[0].content[0].image_url.url"
    assert "60000 x 60000" in answer.error["message"]
    assert nobody_was_asked(fleet)
    assert send(fleet, images, HEARING).status == 200
    chosen = send(fleet, images, "auto-small")
    assert (chosen.status, chosen.headers["x-gateway-model"]) == (200, HEARING)


def test_a_prompt_that_does_not_fit_never_reaches_generation(fleet: Fleet) -> None:
    """The engine counts it exactly; one that fits after all is served."""
    long = "word " * 3_000
    answer = send(fleet, long, SMALL)
    assert answer.status == 400
    assert answer.error["code"] == "context_length_exceeded"
    assert "maximum context length is 512 tokens" in answer.error["message"]
    assert answer.error["message"].endswith(f"these can: {MIDDLE}.")
    assert nobody_was_asked(fleet)
    assert send(fleet, "antidisestablishmentarianism" * 400, MIDDLE).status == 200


@pytest.mark.parametrize(
    ("wish", "content", "fields", "expected"),
    [
        ("auto", "Hello", {}, MIDDLE),
        ("auto-small", "Hello", {}, SMALL),
        ("auto-small", "word " * 1_200, {}, MIDDLE),
        ("auto", [audio(1)], {}, HEARING),
        ("auto-large", "Hello", {"stream": True}, HEARING),
    ],
)
def test_auto_chooses(fleet: Fleet, wish: str, content: Any, fields: dict[str, Any], expected: str) -> None:
    """By what the request brings, and by size; the answer, a header and the log say which model it was."""
    messages = [{"role": "user", "content": content}]
    asked = chat_body(messages=messages, model=wish, **fields)
    answer = ask(fleet[0].port, request(asked, headers=f"x-request-id: {wish}-{len(asked)}\r\n".encode()))
    assert answer.status == 200, answer
    assert answer.headers["x-gateway-model"] == expected
    first = answer.body.split(b"\n")[0].removeprefix(b"data: ")
    assert json.loads(first)["model"] == expected
    assert len(fleet[1][expected].generation_requests) == 1
    line = log_line(fleet[0], f"{wish}-{len(asked)}")
    assert (line["asked_model"], line["model"]) == (wish, expected)


def test_auto_without_anybody_who_could_says_so(fleet: Fleet) -> None:
    """A video, which none of them takes."""
    answer = send(fleet, [{"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}}], "auto")
    assert answer.status == 400
    assert answer.error["param"] == "model"
    assert "video" in answer.error["message"]
    assert nobody_was_asked(fleet)
