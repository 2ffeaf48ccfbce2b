"""Workers that break: what the client sees, and that the next request is served as if nothing had happened."""

import json
from collections.abc import Callable, Iterator

import pytest

from tests.support.gateway_process import TEST_KEY, GatewayProcess, gateway_config
from tests.support.gateway_view import wait_until_idle, wait_until_up
from tests.support.raw_http import RawAnswer, RawClient, ask, chat_body, request
from tests.support.sim_worker import Fault, FaultKind, Script, SimWorker

TEXT = "one two three four five six"
SECRET = "EngineCore exploded at http://10.0.0.7:8000/secret"
NO_ANSWER: tuple[FaultKind, ...] = (
    "cut_before_headers",
    "cut_in_headers",
    "garbage",
    "raw_body",
)


@pytest.fixture
def worker(shared_gateway: GatewayProcess, shared_worker: SimWorker) -> Iterator[SimWorker]:
    """The worker without scripts; after the test nothing is in flight and a good request is served."""
    shared_worker.reset()
    wait_until_up(shared_gateway)
    yield shared_worker
    shared_worker.reset()
    wait_until_up(shared_gateway)
    wait_until_idle(shared_gateway)
    answer = ask(shared_gateway.port, request(chat_body("still here")))
    assert json.loads(answer.body)["choices"][0]["message"]["content"] == "still here"


def ask_broken(gateway: GatewayProcess, worker: SimWorker, fault: Fault, *, stream: bool) -> RawAnswer:
    """Asks once while the worker breaks in this way, however often it is asked."""
    worker.script(Script(text=TEXT, fault=fault, times=None, path="/v1/chat/completions"))
    answer = ask(gateway.port, request(chat_body(stream=stream)))
    assert SECRET.encode() not in answer.body
    assert TEST_KEY.encode() not in answer.body
    return answer


def events(answer: RawAnswer) -> list[str]:
    """The data of a stream's events."""
    frames = answer.body.decode().split("\n\n")
    assert frames.pop() == ""
    return [frame.removeprefix("data: ") for frame in frames if not frame.startswith(":")]


def said(answer: RawAnswer) -> str:
    """The text of a stream that may end in an error."""
    chunks = [json.loads(event) for event in events(answer) if event != "[DONE]"]
    return "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c.get("choices"))


def assert_broken_stream(answer: RawAnswer) -> None:
    """An error event last, no `[DONE]`, no proper end of the transfer."""
    assert answer.status == 200
    last = events(answer)[-1]
    assert last.startswith('{"error":')
    assert json.loads(last)["error"]["code"] == "worker_error"
    assert "[DONE]" not in events(answer)
    assert not answer.whole


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("kind", NO_ANSWER)
def test_no_answer_is_a_bad_gateway(
    shared_gateway: GatewayProcess, worker: SimWorker, kind: FaultKind, stream: bool, reset: bool
) -> None:
    """A worker that breaks before its first byte of content gives a 502, streaming or not."""
    answer = ask_broken(shared_gateway, worker, Fault(kind=kind, reset=reset, body=SECRET, status=200), stream=stream)
    assert answer.status == 502
    assert answer.error["code"] == "worker_error"
    assert answer.error["type"] == "server_error"


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind="cut_in_body"),
        Fault(kind="cut_in_body", reset=True),
        Fault(kind="long_content_length"),
        Fault(kind="short_content_length"),
        Fault(kind="huge_headers", size_bytes=100_000),
        Fault(kind="huge_headers", size_bytes=1_000_000),
        Fault(kind="big_body", size_bytes=70_000_000),
        Fault(kind="raw_body", status=200, body="null"),
        Fault(kind="raw_body", status=200, body="[" * 100_000),
        Fault(kind="raw_body", status=200, body='{"object":"chat.completion"}'),
        Fault(kind="raw_body", status=200, body='{"id":1,"created":"x","choices":[null]}'),
        Fault(kind="raw_body", status=204),
        Fault(kind="raw_body", status=301, body=SECRET),
    ],
    ids=lambda fault: f"{fault.kind} {fault.body[:12]}{fault.size_bytes if fault.size_bytes != 65_536 else ''}",
)
def test_a_broken_reply_is_a_bad_gateway(shared_gateway: GatewayProcess, worker: SimWorker, fault: Fault) -> None:
    """A reply that is cut, too large or not what it should be is a 502, and its connection is not used again."""
    answer = ask_broken(shared_gateway, worker, fault, stream=False)
    assert answer.status == 502, answer
    assert answer.error["code"] == "worker_error"


@pytest.mark.parametrize(
    "body",
    [
        "no stream at all",
        '{"id":"chatcmpl-1","choices":[]}',
        "data: {not json}\n\ndata: [DONE]\n\n",
        "data: 1\n\n",
        "data: null\n\n",
        'data: {"choices":null}\n\ndata: [DONE]\n\n',
        'data: {"id":"x","choices":[1]}\n\ndata: [DONE]\n\n',
        "data: " + "[" * 100_000 + "\n\n",
        'data: {"error":{"message":"' + SECRET + '"}}\n\ndata: [DONE]\n\n',
        'data: {"error":"' + SECRET + '"}\n\ndata: [DONE]\n\n',
        "event: error\ndata: {}\n\n",
        "data: [DONE]\n\n",
        ": nothing\n\ndata: [DONE]\n\n",
        'data: {"choices":[{"index":"a"}]}\n\n',
        "",
    ],
)
@pytest.mark.parametrize("neutralised", [False, True], ids=["passed", "edited"])
def test_a_stream_of_nonsense_is_a_bad_gateway(
    shared_gateway: GatewayProcess, worker: SimWorker, body: str, neutralised: bool
) -> None:
    """Nonsense as the first thing of a stream is a real 502, whether its chunks would be edited or passed."""
    fault = Fault(kind="raw_body", status=200, body=body, content_type="text/event-stream")
    worker.script(Script(fault=fault, times=None, path="/v1/chat/completions"))
    prompt = "<start_of_turn>" if neutralised else "Hello"
    options = {} if neutralised else {"stream_options": {"include_usage": True}}
    answer = ask(shared_gateway.port, request(chat_body(prompt, stream=True, **options)))
    assert answer.status == 502, answer
    assert SECRET.encode() not in answer.body


@pytest.mark.parametrize("at_chunk", [1, 3])
@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
@pytest.mark.parametrize("kind", ["cut_mid_stream", "end_without_done", "error_mid_stream"])
def test_a_stream_that_breaks_ends_in_an_error_event(
    shared_gateway: GatewayProcess, worker: SimWorker, kind: FaultKind, reset: bool, at_chunk: int
) -> None:
    """What was said arrives, then an error event; never `[DONE]`, and the transfer is left without its end."""
    answer = ask_broken(
        shared_gateway, worker, Fault(kind=kind, at_chunk=at_chunk, reset=reset, message=SECRET), stream=True
    )
    assert_broken_stream(answer)
    assert reset or said(answer).split() == TEXT.split()[:at_chunk]


def test_an_error_as_the_first_frame_is_a_bad_gateway(shared_gateway: GatewayProcess, worker: SimWorker) -> None:
    """A stream that begins with an error has not begun: the client gets a status it can retry on."""
    answer = ask_broken(shared_gateway, worker, Fault(kind="error_first", message=SECRET), stream=True)
    assert answer.status == 502
    assert answer.error["code"] == "worker_error"


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize(
    ("status", "expected", "code"),
    [
        (500, 502, "worker_error"),
        (502, 502, "worker_error"),
        (503, 503, "no_worker_available"),
        (429, 503, "no_worker_available"),
        (504, 504, "worker_timeout"),
        (401, 502, "worker_error"),
        (403, 502, "worker_error"),
        (404, 502, "worker_error"),
        (413, 502, "worker_error"),
        (400, 400, None),
    ],
)
def test_a_workers_errors_become_ours(
    shared_gateway: GatewayProcess, worker: SimWorker, status: int, expected: int, code: str | None, stream: bool
) -> None:
    """Each status of a worker has its status here, in our words; a busy worker's comes with a time to retry."""
    message = "bad prompt" if status == 400 else SECRET
    answer = ask_broken(shared_gateway, worker, Fault(kind="status", status=status, message=message), stream=stream)
    assert answer.status == expected
    assert answer.error["code"] == code
    assert ("retry-after" in answer.headers) == (expected == 503)
    if expected == 503:
        assert int(answer.headers["retry-after"]) >= 1
        assert int(answer.headers["retry-after-ms"]) >= 1


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_a_stale_connection_is_retried_once_and_silently(
    shared_gateway: GatewayProcess, worker: SimWorker, stream: bool
) -> None:
    """A kept connection that the worker closes on us costs nothing: the request is executed once, elsewhere."""
    assert ask(shared_gateway.port, request(chat_body("keeps a connection"))).status == 200
    worker.script(Script(text=TEXT, fault=Fault(kind="stale_connection"), times=None, contains="retried"))
    for number in range(5):
        answer = ask(shared_gateway.port, request(chat_body(f"retried {number}", stream=stream)))
        assert answer.status == 200
        states = [
            seen.state
            for seen in worker.generation_requests
            if seen.body["messages"][0]["content"] == f"retried {number}"
        ]
        assert sorted(states) == ["cut", "finished"] if number == 0 or len(states) == 2 else states == ["finished"]


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("kind", ["extra_bytes", "close_after_reply", "chunked_body"])
def test_what_follows_a_reply_harms_nobody(
    shared_gateway: GatewayProcess, worker: SimWorker, kind: FaultKind, stream: bool
) -> None:
    """Bytes behind a reply, or a close without a word, spoil neither this answer nor the next."""
    worker.script(Script(text=TEXT, fault=Fault(kind=kind, size_bytes=7), times=None, contains="odd"))
    for number in range(10):
        content = "odd" if number % 2 == 0 else f"even {number}"
        answer = ask(shared_gateway.port, request(chat_body(content, stream=stream)))
        assert answer.status == 200
        assert answer.whole
        text = said(answer) if stream else json.loads(answer.body)["choices"][0]["message"]["content"]
        assert text == (TEXT if number % 2 == 0 else content)


def test_a_drip_arrives_intact(shared_gateway: GatewayProcess, worker: SimWorker) -> None:
    """A stream that comes byte by byte leaves as the same events."""
    options = {"stream_options": {"include_usage": True}}
    plain = ask(shared_gateway.port, request(chat_body(TEXT, stream=True, **options)))
    worker.script(Script(fault=Fault(kind="slow_drip", delay_s=0.0)))
    slow = ask(shared_gateway.port, request(chat_body(TEXT, stream=True, **options)))
    assert slow.whole
    assert said(slow) == said(plain) == TEXT
    without_ids = [
        [{**json.loads(e), "id": "", "created": 0} for e in events(answer) if e != "[DONE]"] for answer in (slow, plain)
    ]
    assert without_ids[0] == without_ids[1]
    assert events(slow)[-1] == "[DONE]"
    worker.script(Script(text=TEXT, fault=Fault(kind="slow_drip", delay_s=0.0)))
    whole = ask(shared_gateway.port, request(chat_body()))
    assert json.loads(whole.body)["choices"][0]["message"]["content"] == TEXT


@pytest.fixture
def impatient(
    start_gateway: Callable[..., GatewayProcess], start_sim_worker: Callable[..., SimWorker]
) -> tuple[GatewayProcess, SimWorker]:
    """A gateway with short deadlines and its worker."""
    worker = start_sim_worker()
    server = {"request_timeout_s": 0.6, "stream_idle_timeout_s": 0.3, "keepalive_s": 0.1}
    gateway = start_gateway(gateway_config(worker.url, server=server))
    wait_until_up(gateway)
    return gateway, worker


def test_a_worker_that_never_answers_times_out(impatient: tuple[GatewayProcess, SimWorker]) -> None:
    """Whole answers time out with 504; streams, kept alive by comments, end in the error event. The worker is freed."""
    gateway, worker = impatient
    worker.script(Script(fault=Fault(kind="stall_before_headers"), times=None))
    whole = ask(gateway.port, request(chat_body()))
    assert whole.status == 504
    assert whole.error["code"] == "worker_timeout"
    stream = ask(gateway.port, request(chat_body(stream=True)))
    assert stream.body.startswith(b": keep-alive\n\n")
    assert json.loads(events(stream)[-1])["error"]["code"] == "worker_timeout"
    assert not stream.whole
    wait_until_idle(gateway)
    worker.wait_until(lambda w: w.running == 0)
    assert worker.aborted == 2


def test_a_stream_that_falls_silent_times_out(impatient: tuple[GatewayProcess, SimWorker]) -> None:
    """Silence in the middle is bridged by comments for a while; then the stream ends in an error event."""
    gateway, worker = impatient
    worker.script(Script(text=TEXT, fault=Fault(kind="stall_mid_stream", at_chunk=2)))
    answer = ask(gateway.port, request(chat_body(stream=True)))
    assert said(answer) == "one two "[: len(said(answer))]
    assert b": keep-alive\n\n" in answer.body
    assert json.loads(events(answer)[-1])["error"]["code"] == "worker_timeout"
    assert not answer.whole
    wait_until_idle(gateway)
    worker.wait_until(lambda w: w.running == 0)


def test_a_stream_has_a_deadline_too(impatient: tuple[GatewayProcess, SimWorker]) -> None:
    """A stream that never ends is ended at the request's deadline."""
    gateway, worker = impatient
    worker.script(Script(chunks=("word ",), repeat=1_000, delay_s=0.02))
    answer = ask(gateway.port, request(chat_body(stream=True)))
    assert json.loads(events(answer)[-1])["error"]["code"] == "worker_timeout"
    worker.wait_until(lambda w: w.aborted == 1)


def test_a_worker_that_does_not_end_its_transfer_holds_nobody(
    shared_gateway: GatewayProcess, worker: SimWorker
) -> None:
    """Behind `[DONE]` the stream is whole: it ends, the connection's next request is served, the worker's is closed."""
    worker.script(Script(text=TEXT, fault=Fault(kind="linger_after_done"), path="/v1/chat/completions"))
    with RawClient(shared_gateway.port) as client:
        client.send(request(chat_body(stream=True)) + request(chat_body("next")))
        first, second = client.read_answer(), client.read_answer()
    assert (first.whole, said(first), events(first)[-1]) == (True, TEXT, "[DONE]")
    assert json.loads(second.body)["choices"][0]["message"]["content"] == "next"
    worker.wait_until(lambda w: not w.running)
