"""Filters that ask a classifier: input, whole answers and streams, and what happens when it fails."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gateway.filters.shieldgemma import input_prompt, reply_prompt
from tests.support.gateway_process import TEST_KEY, GatewayProcess
from tests.support.gateway_view import metric, wait_until_idle, wait_until_up
from tests.support.raw_http import RawAnswer, ask
from tests.support.raw_http import request as raw_request
from tests.support.shield_deployment import CHAT, TEXT_JUDGE, YES, ShieldWorkers, shield_workers
from tests.support.sim_worker import Fault, Script

StartGateway = Callable[..., GatewayProcess]
NONSENSE = Script(fault=Fault(kind="raw_body", status=200, body="{}", content_type="application/json"), times=None)
WORDS = tuple(f"word{index:02} " for index in range(40))
"""280 characters: a window of 64 and more of them."""


@pytest.fixture(scope="module")
def _workers() -> Iterator[ShieldWorkers]:
    with shield_workers() as workers:
        yield workers


@pytest.fixture
def shields(_workers: ShieldWorkers) -> ShieldWorkers:
    """The workers, without what earlier tests told them."""
    _workers.reset()
    return _workers


@pytest.fixture
def start(start_gateway: StartGateway, shields: ShieldWorkers) -> StartGateway:
    """Starts a gateway whose tenant has a filter with one classifier rule on a side."""

    def started(side: str, window_s: float = 5, **rule: Any) -> GatewayProcess:
        judged = {"kind": "classifier", "model": "shield", "policies": ["hate", "sexual"], **rule}
        keys = [{"id": "acme-test", "secret": TEST_KEY}]
        gateway = start_gateway(
            shields.configuration(
                image=False,
                filters={"strict": {side: [judged], "stream": {"window_chars": 64, "window_s": window_s}}},
                tenants=[{"id": "acme", "filter": "strict", "keys": keys}],
            )
        )
        wait_until_up(gateway, 2)
        return gateway

    return started


def chat(gateway: GatewayProcess, text: str = "Hello", **fields: Any) -> RawAnswer:
    body = {"model": CHAT, "messages": [{"role": "user", "content": text}], **fields}
    return ask(gateway.port, raw_request(json.dumps(body).encode(), path="/v1/chat/completions"))


def streamed(answer: RawAnswer) -> tuple[str, list[str], bool]:
    """The text, the reasons to finish, and whether the stream ended well."""
    frames = [line[6:] for line in answer.body.split(b"\n") if line.startswith(b"data: ")]
    choices = [c for frame in frames if frame != b"[DONE]" for c in json.loads(frame).get("choices", ())]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    return text, [c["finish_reason"] for c in choices if c["finish_reason"]], frames[-1:] == [b"[DONE]"]


def test_input_is_judged_under_all_policies_at_once(start: StartGateway, shields: ShieldWorkers) -> None:
    """The worker answers no question before both are there; a violation reaches no model."""
    gateway = start("input")
    shields.text.script(Script(meet=2, times=2, token_logprobs=YES))
    answer = chat(gateway, "Something bad")
    assert (answer.status, json.loads(answer.body)["error"]["code"]) == (400, "content_filter")
    asked = {seen.body["prompt"] for seen in shields.text.generation_requests}
    assert asked == {input_prompt(policy, "Something bad") for policy in ("hate", "sexual")}
    assert shields.chat.generation_requests == []


@pytest.mark.parametrize(("on_error", "status"), [("closed", 400), ("open", 200)])
@pytest.mark.parametrize("script", [Script(fault=Fault(kind="status"), times=None), NONSENSE])
def test_a_classifier_that_fails(
    start: StartGateway, shields: ShieldWorkers, on_error: str, status: int, script: Script
) -> None:
    """`closed` refuses, `open` lets pass; both leave the finding in the header."""
    gateway = start("input", on_error=on_error)
    shields.text.script(script)
    answer = chat(gateway)
    assert answer.status == status
    assert "classifier.unavailable" in answer.headers["x-gateway-filters"]


def test_a_violation_counts_though_another_question_failed(start: StartGateway, shields: ShieldWorkers) -> None:
    """`on_error: open` forgives what is unknown, not what is known."""
    gateway = start("input", on_error="open")
    shields.text.script(Script(contains="No Hate Speech", token_logprobs=YES))
    shields.text.script(NONSENSE)
    assert chat(gateway).status == 400


def test_a_whole_answer_is_judged_with_what_it_answers(start: StartGateway, shields: ShieldWorkers) -> None:
    """A violation empties the answer and says why it ended."""
    gateway = start("output")
    shields.chat.script(Script(text="An answer."))
    shields.text.script(Script(contains="No Hate Speech", token_logprobs=YES))
    answer = chat(gateway, "A question")
    (choice,) = json.loads(answer.body)["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("", "content_filter")
    asked = {seen.body["prompt"] for seen in shields.text.generation_requests}
    assert reply_prompt("hate", "A question", "An answer.") in asked
    assert "output=classifier.hate block 1" in answer.headers["x-gateway-filters"]


def test_a_clean_stream_passes_in_windows(start: StartGateway, shields: ShieldWorkers) -> None:
    """Every window is judged together with as much of what went before, and all of the text arrives."""
    gateway = start("output")
    shields.chat.script(Script(chunks=WORDS, delay_s=0.01))
    assert streamed(chat(gateway, stream=True)) == ("".join(WORDS), ["stop"], True)
    asked = [
        seen.body["prompt"] for seen in shields.text.generation_requests if "No Hate Speech" in seen.body["prompt"]
    ]
    assert len(asked) > 2
    judged = [word for word in WORDS if sum(word in prompt for prompt in asked) > 1]
    assert judged
    assert all(any(word.strip() in prompt for prompt in asked) for word in WORDS)
    wait_until_idle(gateway)


def test_a_violation_in_a_stream_ends_it(start: StartGateway, shields: ShieldWorkers) -> None:
    """The windows before it have left, nothing of it does; the worker is aborted."""
    gateway = start("output")
    shields.chat.script(Script(chunks=WORDS, delay_s=0.01, repeat=1000))
    shields.text.script(Script(contains="word25 ", token_logprobs=YES, times=None))
    text, reasons, done = streamed(chat(gateway, stream=True))
    assert text
    assert "".join(WORDS).startswith(text)
    assert "word25" not in text
    assert (reasons, done) == (["content_filter"], True)
    shields.chat.wait_until(lambda worker: worker.running == 0)
    wait_until_idle(gateway)
    assert metric(gateway, "gateway_filter_findings_total", side="output", action="block") >= 1


@pytest.mark.parametrize(("on_error", "reason"), [("closed", "content_filter"), ("open", "stop")])
def test_a_stream_waits_for_a_classifier_no_longer_than_its_window(
    start: StartGateway, shields: ShieldWorkers, on_error: str, reason: str
) -> None:
    """One that doesn't answer in time counts as one that fails."""
    gateway = start("output", window_s=0.2, on_error=on_error)
    shields.chat.script(Script(chunks=WORDS))
    shields.text.script(Script(fault=Fault(kind="stall_before_headers"), times=None))
    text, reasons, done = streamed(chat(gateway, stream=True))
    assert (reasons, done) == ([reason], True)
    assert text == ("".join(WORDS) if on_error == "open" else "")
    shields.text.wait_until(lambda worker: worker.running == 0)


def test_little_text_is_judged_when_it_has_waited(start: StartGateway, shields: ShieldWorkers) -> None:
    """A model that pauses keeps nothing back: the window closes by time."""
    gateway = start("output", window_s=0.2)
    shields.chat.script(Script(chunks=("a few ", "words"), delay_s=0.6))
    text, reasons, _ = streamed(chat(gateway, stream=True))
    assert (text, reasons) == ("a few words", ["stop"])
    assert len({seen.body["prompt"] for seen in shields.text.generation_requests}) == 4


def test_a_worker_that_breaks_off_is_an_error_of_the_stream(start: StartGateway, shields: ShieldWorkers) -> None:
    """What was not judged by then is not sent; nothing is left running."""
    gateway = start("output")
    shields.chat.script(Script(chunks=WORDS, fault=Fault(kind="cut_mid_stream", at_chunk=5)))
    answer = chat(gateway, stream=True)
    assert b"[DONE]" not in answer.body
    wait_until_idle(gateway)
    assert metric(gateway, "gateway_classifier_questions_total", model=TEXT_JUDGE, outcome="answered") >= 0
