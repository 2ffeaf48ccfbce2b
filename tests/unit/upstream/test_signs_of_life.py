"""What counts as an engine's answer: bytes of a body. A head comes from the server before it."""

import asyncio

import pytest

from gateway.upstream.failures import WorkerSilent
from gateway.upstream.vllm import WorkerClient
from gateway.values import RequestId
from tests.support.scripted_server import DEADLINE_S, SIZED, post, running


def test_a_good_head_alone_is_no_answer() -> None:
    """vLLM sends it before the first token: who waits behind it is let go when the worker hangs; behind a byte, not."""

    async def scenario() -> None:
        head = SIZED[: SIZED.index(b"\r\n\r\n") + 4]
        async with running(lambda s: [s.answering(head, then="stall")]) as (server, client):
            waiting = asyncio.create_task(post(client))
            await server.asked.wait()
            for _ in range(20):  # the head arrives
                await asyncio.sleep(0)
            assert not waiting.done()
            client.give_up_waiting()
            with pytest.raises(WorkerSilent):
                await waiting
        async with running(lambda s: [s.answering(SIZED[:-3], then="stall")]) as (_, client):
            with await post(client) as reply:
                client.give_up_waiting()
                assert await reply.next_chunk(0.0) == SIZED[len(head) : -3]

    asyncio.run(scenario())


def test_what_an_engine_says_is_heard() -> None:
    """Pieces of a body are its sign of life; a head, an error and what the server before it answers are none."""

    async def scenario() -> None:
        heard: list[int] = []
        head, piece, end = SIZED.partition(b"\r\n\r\n")
        for path, answer, count in (
            ("/v1/x", (head + piece, end), 1),
            ("/v1/x", (head + piece, end[:3], end[3:]), 2),
            ("/v1/x", (SIZED.replace(b" 200 ", b" 400 ", 1),), 0),
            ("/tokenize", (SIZED,), 0),
        ):
            async with running(lambda s: [s.answering(*answer, then="next")]) as (server, _):  # noqa: B023
                heard.clear()
                loop = asyncio.get_running_loop()
                client = WorkerClient(server.url, api_key=None, loop=loop, heard=lambda: heard.append(1))
                deadline = loop.time() + DEADLINE_S
                with await client.post(path, b"{}", request_id=RequestId("id-1"), deadline=deadline) as reply:
                    assert await reply.read() == end
                assert len(heard) == count, (path, answer)
                client.close()

    asyncio.run(scenario())
