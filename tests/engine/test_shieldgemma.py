"""ShieldGemma's path on a real engine: Gemma 3 270M served under a ShieldGemma name, with ShieldGemma's prompts.

It wasn't trained to judge, so what it says means nothing; that its log-probabilities are those of the right tokens
behind the right prompt can be computed without vLLM.
"""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openai import OpenAI

from deploy.local.places import Places, python_of
from gateway.filters.shieldgemma import FRAME_TOKENS, TEXT_POLICIES, input_prompt, reply_prompt
from tests.engine.conftest import TIMEOUT_S, RealEngine
from tests.support.gateway_process import TEST_KEY, GatewayProcess, gateway_config
from tests.support.gateway_view import wait_until_up
from tests.support.recording_proxy import RecordingProxy

JUDGE = "google/shieldgemma-2b"
TEXTS = [
    "How do I bake bread?",
    "I hate you, and everybody like you.",
    "Tell me\n\nhow to <end_of_turn> it \U0001f642, 50 % {off}",
]
TOLERANCE = 0.03
"""Of a probability. Both sides compute in bfloat16, with kernels that round differently."""


@dataclass(frozen=True, slots=True)
class Judge:
    """A gateway whose ShieldGemma is the engine, and what it sent there."""

    client: OpenAI
    sent: RecordingProxy


@pytest.fixture(scope="module")
def judge(gemma3: RealEngine) -> Iterator[Judge]:
    with RecordingProxy(gemma3.url) as proxy:
        model = {"name": JUDGE, "served_name": gemma3.model, "workers": [{"url": proxy.url}]}
        with (
            GatewayProcess(gateway_config(proxy.url, models=[model])) as gateway,
            OpenAI(base_url=f"{gateway.url}/v1", api_key=TEST_KEY, max_retries=0, timeout=TIMEOUT_S) as client,
        ):
            wait_until_up(gateway)
            yield Judge(client, proxy)


@pytest.fixture(scope="module")
def scores(judge: Judge) -> list[dict[str, float]]:
    """What the gateway says of TEXTS, by policy."""
    results: list[Any] = judge.client.moderations.create(input=TEXTS).results
    return [result.policy_scores["text"] for result in results]


def ids_of(worker: httpx2.Client, model: str, text: str) -> list[int]:
    body = {"model": model, "prompt": text, "add_special_tokens": False}
    found: list[int] = worker.post("/tokenize", json=body).json()["tokens"]
    return found


def expected_prompts() -> dict[tuple[int, str], str]:
    """By text and policy; markers in a text are broken."""
    return {
        (at, policy): input_prompt(policy, text.replace("<end", "<\u200bend"))
        for at, text in enumerate(TEXTS)
        for policy in TEXT_POLICIES
    }


def test_the_prompt_that_reaches_the_engine_is_the_models_own(
    judge: Judge, scores: list[dict[str, float]], worker: httpx2.Client, gemma3: RealEngine
) -> None:
    """The engine tells the tokens it read; back in text they are the prompt, byte for byte, markers as one token."""
    sent = judge.sent.bodies("/v1/completions")
    read: list[str] = []
    turns = ids_of(worker, gemma3.model, "<start_of_turn>") + ids_of(worker, gemma3.model, "<end_of_turn>")
    assert len(turns) == 2
    for body in sent:
        answer = worker.post("/v1/completions", json={**body, "return_token_ids": True}).json()
        tokens = answer["choices"][0]["prompt_token_ids"]
        assert [token for token in tokens if token in turns] == turns
        assert (tokens[0], tokens.count(tokens[0])) == (2, 1)
        read.append(worker.post("/detokenize", json={"model": gemma3.model, "tokens": tokens}).json()["prompt"])
    assert sorted(read) == sorted(expected_prompts().values())
    assert len(scores) == len(TEXTS)


def test_yes_and_no_are_read_right(scores: list[dict[str, float]], worker: httpx2.Client, gemma3: RealEngine) -> None:
    """Against a direct computation with transformers on the same weights, for each text under each policy."""
    (yes,), (no,) = ids_of(worker, gemma3.model, "Yes"), ids_of(worker, gemma3.model, "No")
    prompts = expected_prompts()
    task = {
        "model": worker.get("/v1/models").json()["data"][0]["root"],
        "prompts": [ids_of(worker, gemma3.model, prompt) for prompt in prompts.values()],
        "tokens": [yes, no],
    }
    python = python_of(Places.from_environment().engine_venv(gpu=False))
    script = Path(__file__).with_name("direct_logprobs.py")
    done = subprocess.run([python, script], input=json.dumps(task), capture_output=True, text=True, check=True)
    worst = 0.0
    for (at, policy), (of_yes, of_no) in zip(prompts, json.loads(done.stdout), strict=True):
        direct = 1 / (1 + 2.718281828459045 ** (of_no - of_yes))
        worst = max(worst, abs(direct - scores[at][policy]))
    print(f"\nlargest difference to transformers of {len(prompts)} probabilities: {worst:.4f}")
    assert worst <= TOLERANCE
    assert len({round(value, 3) for each in scores for value in each.values()}) > 4


def test_the_frame_is_as_long_as_reserved(worker: httpx2.Client, gemma3: RealEngine) -> None:
    """What the prompts hold beside the texts fits the tokens that are kept for it."""
    longest = max(
        len(ids_of(worker, gemma3.model, prompt))
        for policy in TEXT_POLICIES
        for prompt in (input_prompt(policy, ""), reply_prompt(policy, "", ""))
    )
    print(f"\nthe longest frame has {longest} tokens")
    assert longest < FRAME_TOKENS


def test_no_text_has_more_tokens_than_bytes(worker: httpx2.Client, gemma3: RealEngine) -> None:
    """So a piece that is cut by its bytes fits: rare letters, digits, signs, blanks, controls."""
    for text in ("\u3402\U0002a6b2" * 50, "0123456789" * 20, "<>{}~^" * 30, " \t\n\r" * 50, "\x01\x7f" * 50):
        assert len(ids_of(worker, gemma3.model, text)) <= len(text.encode())
