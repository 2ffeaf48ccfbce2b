"""The simulated worker by itself: scripts, faults, journal and control API, as other tests rely on them."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import jsonschema
import openai
import pytest

from tests.support.replay import Case, load_cases, observe
from tests.support.sim_worker import Fault, FaultKind, Script, SimWorker, tokens
from tests.support.sim_worker.schema import minimal_instance

MESSAGES: list[Any] = [{"role": "user", "content": "hello world, how are you"}]
CHAT = "/v1/chat/completions"
_TIMEOUT_S = 10.0


@pytest.fixture
def client(sim_worker: SimWorker) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=sim_worker.url, timeout=_TIMEOUT_S) as client:
        yield client


def chat(client: httpx2.Client, **fields: Any) -> httpx2.Response:
    return client.post(CHAT, json={"messages": MESSAGES, **fields})


def frames_of(text: str) -> list[Any]:
    blocks = [block.removeprefix("data: ") for block in text.split("\n\n") if block]
    return [block if block == "[DONE]" else json.loads(block) for block in blocks]


def text_of(frames: list[Any]) -> str:
    return "".join(c["delta"].get("content") or "" for f in frames if f != "[DONE]" for c in f["choices"])


def raw_exchange(worker: SimWorker, body: dict[str, Any]) -> bytes:
    """All bytes the worker sends until it closes."""
    data = json.dumps(body).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
    received = b""
    with socket.create_connection(("127.0.0.1", worker.port), timeout=_TIMEOUT_S) as connection:
        connection.sendall(head.encode() + data)
        while part := connection.recv(65_536):
            received += part
    return received


@pytest.fixture(scope="module")
def shared_client() -> Iterator[httpx2.Client]:
    with SimWorker() as worker, httpx2.Client(base_url=worker.url, timeout=_TIMEOUT_S) as client:
        yield client


@pytest.mark.parametrize("case", load_cases(), ids=lambda case: case.name)
def test_every_replayed_request_gets_a_deliberate_answer(case: Case, shared_client: httpx2.Client) -> None:
    assert observe(shared_client, case).status in {200, 400, 404, 405}


def test_default_answer_echoes_the_last_user_message_and_the_seed(client: httpx2.Client) -> None:
    reply = chat(client, seed=7).json()
    assert reply["choices"][0]["message"]["content"] == "hello world, how are you [seed 7]"


def test_same_request_gets_the_same_answer(client: httpx2.Client) -> None:
    first, second = (chat(client, logprobs=True, top_logprobs=2).json() for _ in range(2))
    assert first["choices"] == second["choices"]
    assert first["usage"] == second["usage"]


def test_stream_and_plain_reply_say_the_same(client: httpx2.Client) -> None:
    frames = frames_of(chat(client, stream=True, stream_options={"include_usage": True}).text)
    plain = chat(client).json()
    assert text_of(frames) == plain["choices"][0]["message"]["content"]
    assert frames[-1] == "[DONE]"
    assert frames[-2]["usage"]["completion_tokens"] == plain["usage"]["completion_tokens"]


def test_scripted_chunks_come_one_frame_each_and_done_inside_text_ends_nothing(
    sim_worker: SimWorker, client: httpx2.Client
) -> None:
    sim_worker.script(Script(chunks=("one", "[DONE]", "data: [DONE]\n\n"), stop_reason=106))
    frames = frames_of(chat(client, stream=True).text)
    said = [frame["choices"][0]["delta"].get("content") for frame in frames[:-1]]
    assert said == ["", "one", "[DONE]", "data: [DONE]\n\n", ""]
    assert frames[-2]["choices"][0]["stop_reason"] == 106


def test_stop_strings_and_max_tokens_cut_the_text(sim_worker: SimWorker, client: httpx2.Client) -> None:
    sim_worker.script(Script(chunks=("ab", "cd", "ef"), times=None))
    stopped = chat(client, stop=["x", "de"]).json()["choices"][0]
    assert (stopped["message"]["content"], stopped["finish_reason"], stopped["stop_reason"]) == ("abc", "stop", "de")
    limited = chat(client, max_tokens=2).json()["choices"][0]
    assert (limited["message"]["content"], limited["finish_reason"]) == ("abcd", "length")


def test_scripts_match_by_text_and_path_and_are_used_up(sim_worker: SimWorker, client: httpx2.Client) -> None:
    sim_worker.script(Script(text="other", contains="no such words"))
    sim_worker.script(Script(text="completion", path="/v1/completions"))
    sim_worker.script(Script(text="twice", times=2))
    said = [chat(client).json()["choices"][0]["message"]["content"] for _ in range(3)]
    assert said == ["twice", "twice", MESSAGES[0]["content"]]
    assert client.post("/v1/completions", json={"prompt": "x"}).json()["choices"][0]["text"] == "completion"


def test_a_script_can_travel_in_the_prompt(client: httpx2.Client) -> None:
    message = {"role": "user", "content": '/sim {"text": "as told", "finish_reason": "length"}'}
    choice = chat(client, messages=[message]).json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("as told", "length")


def test_control_api_scripts_and_reports(client: httpx2.Client) -> None:
    assert client.post("/sim/script", json={"text": "scripted"}).status_code == 200
    assert client.post("/sim/script", json={"no_such_field": 1}).status_code == 400
    assert (
        client.post(CHAT, json={"messages": MESSAGES}, headers={"x-request-id": "abc-1"}).json()["id"]
        == "chatcmpl-abc-1"
    )
    report = client.get("/sim/requests").json()
    assert (report["finished"], report["running"], report["aborted"]) == (1, 0, 0)
    seen = report["requests"][0]
    assert seen["body"]["messages"] == MESSAGES
    assert ["x-request-id", "abc-1"] in seen["headers"]
    client.delete("/sim/requests")
    assert client.get("/sim/stats").json()["finished"] == 0


@pytest.mark.parametrize("stream", [True, False], ids=["streaming", "plain"])
@pytest.mark.parametrize(
    "script",
    [Script(text="a b c d", first_delay_s=30.0), Script(text="a b c d", delay_s=30.0)],
    ids=["before the first token", "while it speaks"],
)
def test_a_client_that_leaves_is_counted_as_aborted(sim_worker: SimWorker, script: Script, stream: bool) -> None:
    sim_worker.script(script)
    with (
        httpx2.Client(base_url=sim_worker.url, timeout=0.2) as impatient,
        pytest.raises(httpx2.TimeoutException),
    ):
        chat(impatient, stream=stream)
    sim_worker.wait_until(lambda worker: worker.aborted == 1 and worker.running == 0, timeout_s=1.0)


def test_stall_is_no_answer_until_the_client_gives_up(sim_worker: SimWorker) -> None:
    sim_worker.script(Script(fault=Fault(kind="stall_before_headers")))
    with httpx2.Client(base_url=sim_worker.url, timeout=0.2) as impatient, pytest.raises(httpx2.TimeoutException):
        chat(impatient)
    sim_worker.wait_until(lambda worker: worker.aborted == 1, timeout_s=1.0)


CUTS: list[tuple[FaultKind, bool, bytes | None]] = [
    ("cut_before_headers", False, b""),
    ("cut_before_headers", True, b""),
    ("cut_in_headers", False, rb"HTTP/1.1 200 OK\r\nserver: uvicorn(?!.*\r\n\r\n).*"),
    ("cut_in_body", False, rb"HTTP/1.1 200 OK\r\n.*content-length: \d+\r\n\r\n\{.*[^}]"),
    ("cut_mid_stream", True, rb"HTTP/1.1 200 OK\r\n.*\r\n\r\n(?:(?!\r\n0\r\n\r\n|DONE).)*"),
    ("garbage", False, rb"\x00\x01\x02.*"),
    ("long_content_length", False, rb"HTTP/1.1 200 OK\r\n.*\}"),
    ("short_content_length", False, rb"HTTP/1.1 200 OK\r\n.*\}"),
    ("slow_drip", False, rb"HTTP/1.1 200 OK\r\n.*\}"),
    ("close_after_reply", False, rb"HTTP/1.1 200 OK\r\n(?!.*connection: close).*\}"),
]


@pytest.mark.parametrize(
    ("kind", "stream", "wire"), CUTS, ids=lambda value: str(value) if not isinstance(value, bytes) else ""
)
def test_faults_leave_these_bytes_on_the_wire(
    sim_worker: SimWorker, kind: FaultKind, stream: bool, wire: bytes
) -> None:
    sim_worker.script(Script(text="a bc d e", fault=Fault(kind=kind, delay_s=0.0)))
    received = raw_exchange(sim_worker, {"messages": MESSAGES, "stream": stream})
    assert re.fullmatch(wire, received, re.DOTALL), received


def test_a_reset_is_no_orderly_end(sim_worker: SimWorker) -> None:
    sim_worker.script(Script(fault=Fault(kind="cut_before_headers", reset=True)))
    with pytest.raises(ConnectionResetError):
        raw_exchange(sim_worker, {"messages": MESSAGES})


def test_error_in_a_stream_is_followed_by_done_as_vllm_does(sim_worker: SimWorker, client: httpx2.Client) -> None:
    sim_worker.script(Script(text="a b c d", fault=Fault(kind="error_mid_stream", at_chunk=2)))
    frames = frames_of(chat(client, stream=True).text)
    assert text_of(frames[:-2]) == "a b"
    assert frames[-2]["error"]["code"] == 500
    assert frames[-1] == "[DONE]"
    sim_worker.script(Script(fault=Fault(kind="error_first")))
    assert "error" in frames_of(chat(client, stream=True).text)[0]


def test_a_stream_may_end_without_done(sim_worker: SimWorker, client: httpx2.Client) -> None:
    sim_worker.script(Script(text="a b c d", fault=Fault(kind="end_without_done", at_chunk=2)))
    frames = frames_of(chat(client, stream=True).text)
    assert (text_of(frames), "[DONE]" in frames) == ("a b", False)


def test_refusals_have_their_status_and_shape(sim_worker: SimWorker, client: httpx2.Client) -> None:
    sim_worker.script(Script(fault=Fault(kind="status", status=503, type="ServiceUnavailableError", message="full")))
    reply = chat(client, stream=True)
    assert reply.status_code == 503
    assert reply.json()["error"] == {"message": "full", "type": "ServiceUnavailableError", "param": None, "code": 503}
    sim_worker.script(Script(fault=Fault(kind="raw_body", status=502, body="<html>", content_type="text/html")))
    assert chat(client).text == "<html>"


def test_sizes_are_as_scripted(sim_worker: SimWorker, client: httpx2.Client) -> None:
    sim_worker.script(Script(fault=Fault(kind="big_body", size_bytes=200_000)))
    assert len(chat(client).json()["choices"][0]["message"]["content"]) == 200_000
    sim_worker.script(Script(fault=Fault(kind="chunked_body", size_bytes=7)))
    reply = chat(client)
    assert reply.headers["transfer-encoding"] == "chunked"
    assert reply.json()["object"] == "chat.completion"
    sim_worker.script(Script(fault=Fault(kind="huge_headers", size_bytes=20_000)))
    assert sum(len(value) for value in chat(client).headers.values()) > 20_000


def test_a_connection_can_go_stale_between_two_requests(sim_worker: SimWorker, client: httpx2.Client) -> None:
    sim_worker.script(Script(fault=Fault(kind="stale_connection"), times=None))
    assert chat(client).status_code == 200
    with pytest.raises(httpx2.RemoteProtocolError):
        chat(client)
    assert [seen.connection for seen in sim_worker.requests] == [1, 1]


def test_bytes_after_a_reply_arrive_on_the_kept_connection(sim_worker: SimWorker) -> None:
    sim_worker.script(Script(fault=Fault(kind="extra_bytes")))
    with socket.create_connection(("127.0.0.1", sim_worker.port), timeout=_TIMEOUT_S) as connection:
        body = json.dumps({"messages": MESSAGES})
        head = (
            f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        connection.sendall((head + body).encode())
        received = b""
        while not received.endswith(b"stray"):
            received += connection.recv(65_536)
    assert received.count(b"HTTP/1.1 200 OK") == 2


def test_fault_on_health_alone(sim_worker: SimWorker, client: httpx2.Client) -> None:
    sim_worker.script(Script(path="/health", fault=Fault(kind="status", status=503), times=None))
    assert client.get("/health").status_code == 503
    assert client.get("/v1/models").status_code == 200
    assert chat(client).status_code == 200


def test_the_worker_key_guards_v1_only(start_sim_worker: Callable[..., SimWorker]) -> None:
    worker = start_sim_worker(api_key="worker-secret")
    with httpx2.Client(base_url=worker.url, timeout=_TIMEOUT_S) as client:
        assert client.get("/health").status_code == 200
        refused = chat(client)
        assert (refused.status_code, refused.json()) == (401, {"error": "Unauthorized"})
        client.headers["authorization"] = "Bearer worker-secret"
        assert chat(client).status_code == 200


def test_lora_modules_are_listed_and_served(start_sim_worker: Callable[..., SimWorker]) -> None:
    worker = start_sim_worker(lora_modules=("tools",))
    with httpx2.Client(base_url=worker.url, timeout=_TIMEOUT_S) as client:
        cards = client.get("/v1/models").json()["data"]
        assert [(card["id"], card["parent"]) for card in cards] == [
            (worker.settings.model, None),
            ("tools", worker.settings.model),
        ]
        assert chat(client, model="tools").json()["model"] == "tools"


def test_adapters_come_and_go_as_in_vllm(start_sim_worker: Callable[..., SimWorker], tmp_path: Path) -> None:
    """Loading twice, without a name, at no adapter's path and unloading what isn't there fail in vLLM's own way."""
    (tmp_path / "adapter_config.json").write_text("{}")
    worker = start_sim_worker(runtime_lora=True, lora_modules=("static",))
    load, unload = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"
    with httpx2.Client(base_url=worker.url, timeout=_TIMEOUT_S) as client:

        def error_of(route: str, status: int, **body: Any) -> dict[str, Any]:
            answer = client.post(route, json=body)
            assert answer.status_code == status, answer.text
            error: dict[str, Any] = answer.json()["error"]
            assert error["code"] == status
            return error

        there = {"lora_name": "new", "lora_path": str(tmp_path)}
        answer = client.post(load, json=there)
        assert (answer.status_code, answer.text) == (200, "Success: LoRA adapter 'new' added successfully.")
        assert "content-type" not in answer.headers
        assert [(card["id"], card["root"]) for card in client.get("/v1/models").json()["data"][1:]] == [
            ("static", "static"),
            ("new", str(tmp_path)),
        ]
        assert chat(client, model="new").json()["model"] == "new"
        assert error_of(load, 400, **there)["type"] == "InvalidUserInput"
        assert client.post(load, json={**there, "load_inplace": True}).status_code == 200
        assert error_of(load, 400, **{**there, "lora_name": worker.settings.model})["type"] == "InvalidUserInput"
        assert error_of(load, 400, **{**there, "lora_name": ""})["type"] == "InvalidUserInput"
        missing = error_of(load, 404, lora_name="other", lora_path="/nowhere")
        assert (missing["type"], missing["message"]) == (
            "NotFoundError",
            "Loading lora other failed: No adapter found for /nowhere",
        )
        assert client.post(unload, json={"lora_name": "new"}).status_code == 200
        assert error_of(unload, 404, lora_name="new")["type"] == "NotFoundError"
        assert error_of(unload, 400, lora_name="")["type"] == "InvalidUserInput"
        assert error_of(unload, 400)["type"] == "Bad Request"
        assert chat(client, model="new").status_code == 404


def test_an_engine_that_keeps_its_adapters_has_no_routes_for_them(sim_worker: SimWorker) -> None:
    """Without `VLLM_ALLOW_RUNTIME_LORA_UPDATING` the web framework answers."""
    with httpx2.Client(base_url=sim_worker.url, timeout=_TIMEOUT_S) as client:
        answer = client.post("/v1/load_lora_adapter", json={"lora_name": "a", "lora_path": "/a"})
        assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})


def test_the_openai_sdk_is_content(sim_worker: SimWorker) -> None:
    with openai.OpenAI(base_url=f"{sim_worker.url}/v1", api_key="none", max_retries=0) as sdk:
        model = sim_worker.settings.model
        stream = sdk.chat.completions.create(model=model, messages=MESSAGES, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == MESSAGES[0]["content"]
        vectors = sdk.embeddings.create(model=model, input=["a", "b"], dimensions=8)
        assert [len(item.embedding) for item in vectors.data] == [8, 8]
        with pytest.raises(openai.BadRequestError):
            sdk.chat.completions.create(model=model, messages=[{"role": "assistant", "content": "x"}])


SCHEMAS: list[dict[str, Any]] = [
    {"type": "object", "properties": {"a": {"type": "integer", "minimum": 3}, "b": {}}, "required": ["a"]},
    {"type": "array", "items": {"enum": ["x", "y"]}, "minItems": 2},
    {"type": "object", "properties": {"t": {"$ref": "#/$defs/t"}}, "required": ["t"], "$defs": {"t": {"const": 4}}},
    {"anyOf": [{"type": "string", "minLength": 3}, {"type": "null"}]},
    {"allOf": [{"required": ["a"]}, {"properties": {"a": {"type": "boolean"}}}], "type": "object"},
    {"type": ["null", "number"], "exclusiveMaximum": -1, "multipleOf": 2},
    {"type": "string", "format": "date"},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=json.dumps)
def test_structured_output_satisfies_the_schema(schema: dict[str, Any], client: httpx2.Client) -> None:
    jsonschema.validate(minimal_instance(schema), schema)
    wanted = {"type": "json_schema", "json_schema": {"name": "wanted", "schema": schema}}
    text = chat(client, response_format=wanted).json()["choices"][0]["message"]["content"]
    jsonschema.validate(json.loads(text), schema)


@pytest.mark.parametrize("text", ["", "hello", "blåbærgrød 🫐", "<start_of_turn>user\nhi<end_of_turn>", "\0\n"])
def test_tokens_turn_back_into_their_text(text: str) -> None:
    assert tokens.decode(tokens.encode(text)) == text


def test_a_stream_of_fifty_megabytes_comes_whole(sim_worker: SimWorker, client: httpx2.Client) -> None:
    sim_worker.script(Script(chunks=("x" * 50_000,), repeat=1_000))
    with client.stream("POST", CHAT, json={"messages": MESSAGES, "stream": True, "max_tokens": 2_000}) as reply:
        size = sum(len(part) for part in reply.iter_raw())
    assert size > 50_000_000


def test_as_a_program_it_prints_where_it_listens_and_stops_on_sigterm() -> None:
    command = [
        sys.executable,
        "-m",
        "tests.support.sim_worker",
        "--port",
        "0",
        "--model",
        "m",
        "--api-key-env",
        "SIM_KEY",
    ]
    environment = {**os.environ, "SIM_KEY": "program-key"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            found = re.fullmatch(r"simulated worker ready on (http://127\.0\.0\.1:\d+)\n", process.stdout.readline())
            assert found
            models = httpx2.get(f"{found[1]}/v1/models", headers={"authorization": "Bearer program-key"})
            assert models.json()["data"][0]["id"] == "m"
        finally:
            process.terminate()
            process.wait(_TIMEOUT_S)
