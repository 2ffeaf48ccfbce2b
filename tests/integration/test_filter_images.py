"""Filters that have images judged by ShieldGemma 2: what reaches the classifier, and what follows."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gateway.filters.classifier_questions import MAX_QUESTIONS
from gateway.filters.shieldgemma import IMAGE_POLICIES, image_policy
from tests.support.gateway_process import TEST_KEY, GatewayProcess
from tests.support.gateway_view import metric, wait_for, wait_until_idle, wait_until_up
from tests.support.raw_http import RawAnswer, RawClient, ask
from tests.support.raw_http import request as raw_request
from tests.support.shield_deployment import CHAT, IMAGE_JUDGE, PIXEL, YES, ShieldWorkers, shield_workers
from tests.support.sim_worker import Fault, Script

StartGateway = Callable[..., GatewayProcess]
VIOLENCE = "No Violence/Gore"


@pytest.fixture(scope="module")
def _workers() -> Iterator[ShieldWorkers]:
    with shield_workers(sees_images=True) as workers:
        yield workers


@pytest.fixture
def shields(_workers: ShieldWorkers) -> ShieldWorkers:
    """The workers, without what earlier tests told them."""
    _workers.reset()
    return _workers


@pytest.fixture
def start(start_gateway: StartGateway, shields: ShieldWorkers) -> StartGateway:
    """Starts a gateway whose chat model sees images, and whose tenant's input goes through these rules."""

    def started(*rules: dict[str, Any], **sections: Any) -> GatewayProcess:
        keys = [{"id": "acme-test", "secret": TEST_KEY}]
        configuration = shields.configuration(
            filters={"strict": {"input": [{"kind": "classifier", "model": IMAGE_JUDGE, **rule} for rule in rules]}},
            tenants=[{"id": "acme", "filter": "strict", "keys": keys}],
            **sections,
        )
        configuration["models"][0]["variant"] = "gemma-3-4b-it"
        gateway = start_gateway(configuration)
        wait_until_up(gateway, 3)
        return gateway

    return started


def image(url: str = PIXEL) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def body(*parts: dict[str, Any], **fields: Any) -> bytes:
    content = [{"type": "text", "text": "What is this?"}, *parts]
    return json.dumps({"model": CHAT, "messages": [{"role": "user", "content": content}], **fields}).encode()


def look(gateway: GatewayProcess, *parts: dict[str, Any], **fields: Any) -> RawAnswer:
    return ask(gateway.port, raw_request(body(*parts, **fields), path="/v1/chat/completions"))


def audit(gateway: GatewayProcess, count: int = 1) -> list[dict[str, Any]]:
    """The log lines of as many chat requests."""

    def lines() -> list[dict[str, Any]]:
        return [line for line in gateway.logs if line.get("endpoint") == "chat"]

    wait_for(lambda: len(lines()) >= count, "the requests are logged")
    return lines()


def test_every_image_is_judged_under_every_policy_at_once(start: StartGateway, shields: ShieldWorkers) -> None:
    """The worker answers no question before all six are there; each has one image, as it came, and one policy."""
    shields.image.script(Script(meet=6, times=6))
    answer = look(start({}), image(PIXEL), image(PIXEL + "AAAA"))
    assert answer.status == 200
    assert answer.headers["x-gateway-filters"] == "strict; input=passed"
    asked = sorted(
        (parts[0]["image_url"]["url"], parts[1]["text"])
        for seen in shields.image.generation_requests
        for parts in [seen.body["messages"][0]["content"]]
    )
    urls = (PIXEL, PIXEL + "AAAA")
    assert asked == sorted((url, image_policy(policy)) for url in urls for policy in IMAGE_POLICIES)
    assert shields.text.generation_requests == []


def test_a_violation_is_refused(start: StartGateway, shields: ShieldWorkers) -> None:
    """400 `content_filter` like that of a text; in the header, the metric and the log, and the image nowhere."""
    gateway = start({"policies": ["sexual", "violence"]})
    shields.image.script(Script(contains=VIOLENCE, token_logprobs=YES, times=None))
    for stream in (False, True):
        answer = look(gateway, image(f"{PIXEL}{stream:04}"), stream=stream)
        assert (answer.status, answer.error["code"]) == (400, "content_filter")
        assert answer.headers["x-gateway-filters"] == "strict; input=classifier.violence block 1"
    assert shields.chat.generation_requests == []
    assert len(shields.image.generation_requests) == 4
    wait_until_idle(gateway)
    assert metric(gateway, "gateway_filter_findings_total", side="input", rule="classifier.violence") == 2
    assert metric(gateway, "gateway_classifier_questions_total", model=IMAGE_JUDGE, outcome="answered") == 4
    hashes = {line["filter"]["content"] for line in audit(gateway, 2)}
    assert [len(each) for each in hashes] == [32, 32]
    assert "base64" not in json.dumps(gateway.logs)


def test_a_rule_that_flags_lets_pass(start: StartGateway, shields: ShieldWorkers) -> None:
    """The finding is in the header of the answer."""
    shields.image.script(Script(contains=VIOLENCE, token_logprobs=YES))
    answer = look(start({"action": "flag"}), image())
    assert (answer.status, answer.headers["x-gateway-filters"]) == (200, "strict; input=classifier.violence flag 1")


def test_a_verdict_is_kept(start: StartGateway, shields: ShieldWorkers) -> None:
    """A conversation that is sent again has its images judged once; another image is judged anew."""
    gateway = start({})
    assert [look(gateway, image()).status for _ in range(2)] == [200, 200]
    assert len(shields.image.generation_requests) == 3
    look(gateway, image(), image(PIXEL + "BBBB"))
    assert len(shields.image.generation_requests) == 6


@pytest.mark.parametrize(("on_error", "status"), [("closed", 400), ("open", 200)])
def test_a_classifier_that_fails(start: StartGateway, shields: ShieldWorkers, on_error: str, status: int) -> None:
    """`closed` refuses, `open` lets pass, within `timeout_s`; an image that the engine can't read (400), too.

    Without an image nobody is asked, and nothing fails.
    """
    gateway = start({"on_error": on_error, "timeout_s": 0.5})
    for fault in (
        Fault(kind="raw_body", status=200, body="{}", content_type="application/json"),
        Fault(kind="status"),
        Fault(kind="status", status=400),
        Fault(kind="stall_before_headers"),
    ):
        shields.image.reset()
        shields.image.script(Script(fault=fault, times=None))
        answer = look(gateway, image())
        assert answer.status == status, fault
        assert "classifier.unavailable" in answer.headers["x-gateway-filters"]
        shields.image.wait_until(lambda worker: worker.running == 0)
    assert look(gateway).headers["x-gateway-filters"] == "strict; input=passed"


def test_each_model_judges_its_kind(start: StartGateway, shields: ShieldWorkers) -> None:
    """ShieldGemma 1 gets the texts, ShieldGemma 2 the images; either can block."""
    gateway = start({"policies": ["violence"]}, {"model": "shield", "policies": ["hate"]})
    assert look(gateway, image()).status == 200
    assert [len(each.generation_requests) for each in (shields.image, shields.text)] == [1, 1]
    shields.text.script(Script(token_logprobs=YES))
    answer = look(gateway, {"type": "text", "text": "another text"}, image())
    assert answer.headers["x-gateway-filters"] == "strict; input=classifier.hate block 1"


def test_a_rule_for_texts_reads_no_images(start: StartGateway, shields: ShieldWorkers) -> None:
    """ShieldGemma 1 is asked about the text beside an image only."""
    assert look(start({"model": "shield", "policies": ["hate"]}), image()).status == 200
    (seen,) = shields.text.generation_requests
    assert "base64" not in json.dumps(seen.body)
    assert shields.image.generation_requests == []


def test_more_images_than_may_be_judged_are_refused(start: StartGateway, shields: ShieldWorkers) -> None:
    """With `on_error: open`, too: it would be a way past the rule. Nothing of it is asked."""
    gateway = start({"on_error": "open"})
    answer = look(gateway, *[image()] * (MAX_QUESTIONS // len(IMAGE_POLICIES) + 1))
    assert (answer.status, answer.error["code"]) == (400, "content_filter")
    assert answer.headers["x-gateway-filters"] == "strict; input=classifier.too_much block 1"
    assert shields.image.generation_requests == []
    assert shields.chat.generation_requests == []


def test_a_huge_image_is_judged(start: StartGateway, shields: ShieldWorkers) -> None:
    """Eight megabytes of base64 reach the classifier and the model unchanged."""
    huge = "data:image/png;base64," + "iVBORw0K" * 1_000_000
    answer = look(start({"timeout_s": 30, "policies": ["violence"]}), image(huge))
    assert answer.status == 200
    (judged,) = shields.image.generation_requests
    (answered,) = shields.chat.generation_requests
    assert judged.body["messages"][0]["content"][0] == image(huge)
    assert image(huge) in answered.body["messages"][0]["content"]


MISPLACED: list[tuple[dict[str, Any], str]] = [
    ({"role": "tool", "tool_call_id": "call_1", "content": [image()]}, "messages[0].content[0]"),
    ({"role": "system", "content": [image()]}, "messages[0].content[0]"),
    ({"role": "user", "content": [image("data:image/png,iVBORw0KGgo=")]}, "messages[0].content[0].image_url.url"),
    ({"role": "user", "content": [image("file:///etc/passwd")]}, "messages[0].content[0].image_url.url"),
    ({"role": "user", "content": [image("http://127.0.0.1/a.png")]}, "messages"),
    ({"role": "user", "content": [image("http://[::ffff:169.254.169.254]/a.png")]}, "messages"),
]


def test_images_where_none_may_be(start: StartGateway, shields: ShieldWorkers) -> None:
    """In the result of a tool, of no base64 or from inside the network: refused before a classifier sees them."""
    gateway = start({})
    for message, param in MISPLACED:
        answer = look(gateway, messages=[message])
        assert (answer.status, answer.error["type"]) == (400, "invalid_request_error"), message
        assert answer.error["param"].startswith(param)
    assert shields.image.generation_requests == []


def test_images_of_dropped_turns_are_not_judged(start_gateway: StartGateway, shields: ShieldWorkers) -> None:
    """What `truncate` leaves out reaches nobody."""
    configuration = shields.configuration(
        filters={
            "strict": {
                "input": [{"kind": "classifier", "model": IMAGE_JUDGE}],
                "limits": {"max_messages": 1, "over": "truncate"},
            }
        },
        tenants=[{"id": "acme", "filter": "strict", "keys": [{"id": "acme-test", "secret": TEST_KEY}]}],
    )
    configuration["models"][0]["variant"] = "gemma-3-4b-it"
    gateway = start_gateway(configuration)
    wait_until_up(gateway, 3)
    turns = [{"role": "user", "content": [image()]}, {"role": "user", "content": "And without it?"}]
    assert look(gateway, messages=turns).status == 200
    assert shields.image.generation_requests == []


def test_a_client_that_leaves_aborts_the_questions(start: StartGateway, shields: ShieldWorkers) -> None:
    """All three, at the worker; the model is not asked."""
    gateway = start({"timeout_s": 60})
    shields.image.script(Script(fault=Fault(kind="stall_before_headers"), times=None))
    with RawClient(gateway.port) as client:
        client.send(raw_request(body(image()), path="/v1/chat/completions"))
        wait_for(lambda: len(shields.image.generation_requests) == 3, "the questions are there")
    shields.image.wait_until(lambda worker: worker.aborted == 3)
    wait_until_idle(gateway)
    assert shields.chat.generation_requests == []
