"""The bench gives no figures for wrong answers, and its table says what was measured."""

import asyncio
import os
import shutil
from typing import Any

import pytest

from tests.bench import compare, process_tree
from tests.bench.arrivals import arrive
from tests.bench.candidates import KEY, MODEL, Running
from tests.bench.load import measure_unary
from tests.bench.report import Rounds, as_json, as_table
from tests.bench.streams import body_of, read_streams
from tests.bench.tools import BenchError
from tests.support.sim_worker import Fault, Script, SimWorker

CHUNKS = 5
STREAMS = 4


def read(worker: SimWorker) -> dict[str, Any]:
    return asyncio.run(read_streams(worker.port, STREAMS, CHUNKS, MODEL, KEY, deadline_s=5.0))


def test_complete_streams_are_counted(sim_worker: SimWorker) -> None:
    sim_worker.script(Script(chunks=(" token",) * CHUNKS, times=None))
    found = read(sim_worker)
    assert (found["complete"], found["chunks"], found["problem"]) == (STREAMS, STREAMS * (CHUNKS + 2), None)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind="cut_mid_stream", at_chunk=3),
        Fault(kind="end_without_done", at_chunk=CHUNKS),
        Fault(kind="error_mid_stream", at_chunk=3),
        Fault(kind="status", status=503),
    ],
    ids=lambda fault: fault.kind,
)
def test_one_bad_stream_is_a_problem(sim_worker: SimWorker, fault: Fault) -> None:
    sim_worker.script(Script(chunks=(" token",) * CHUNKS, fault=fault))
    sim_worker.script(Script(chunks=(" token",) * CHUNKS, times=None))
    found = read(sim_worker)
    assert found["complete"] == STREAMS - 1
    assert found["problem"]


def test_arrivals_tell_when_the_first_text_came(sim_worker: SimWorker) -> None:
    sim_worker.script(Script(chunks=(" token",) * CHUNKS, times=None))
    found: dict[str, Any] = asyncio.run(arrive(sim_worker.port, 40, 0.5, CHUNKS, MODEL, KEY))
    assert found["complete"] == found["streams"] > 5
    assert 0 < found["p50_ms"] <= found["p99_ms"]


def test_an_arrival_that_is_cut_is_a_problem(sim_worker: SimWorker) -> None:
    sim_worker.script(Script(chunks=(" token",) * CHUNKS, fault=Fault(kind="cut_mid_stream", at_chunk=3)))
    sim_worker.script(Script(chunks=(" token",) * CHUNKS, times=None))
    found: dict[str, Any] = asyncio.run(arrive(sim_worker.port, 40, 0.5, CHUNKS, MODEL, KEY))
    assert found["complete"] == found["streams"] - 1
    assert found["problem"]


def test_a_transfer_is_judged_without_its_coding() -> None:
    """An event may be cut anywhere, and what lacks its last chunk has not come whole."""
    reply = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nd\r\ndata: [DONE]\n\r\n1\r\n\n\r\n0\r\n\r\n"
    assert body_of(reply) == (b"data: [DONE]\n\n", True)
    for cut in range(reply.index(b"\r\n\r\n") + 4, len(reply)):
        assert not body_of(reply[:cut])[1]


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_errors_under_load_end_the_run(sim_worker: SimWorker) -> None:
    sim_worker.script(Script(fault=Fault(kind="status", status=500), contains="capital", times=3))
    with pytest.raises(BenchError, match="errors under load"):
        measure_unary(Running("sim", sim_worker.port, os.getpid()), connections=2, seconds=1)


def test_the_tree_of_a_process_holds_itself_and_its_cpu_time() -> None:
    assert os.getpid() in process_tree.members(os.getpid())
    assert process_tree.cpu_s(os.getpid()) > 0
    assert process_tree.peak_memory_mb(os.getpid()) > 1


def rounds(rate: float, cpu: float, share: float) -> Rounds:
    made = Rounds()
    for factor in (0.9, 1.0, 1.1):
        made.add(requests_per_s=rate * factor, cpu_us_per_request=cpu, core_share=share)
    return made


def test_table_shows_medians_spread_and_ratios() -> None:
    lines = as_table({"vllm-router": rounds(1000, 50, 1), "gateway": rounds(1500, 40, 1)}).splitlines()
    assert [cell.strip() for cell in lines[3].split("|")][1:4] == ["gateway", "1,500 ±10%", "40.0 ±0%"]
    assert [cell.strip() for cell in lines[3].split("|")][-4:-1] == ["1.50", "0.80", "-"]


def test_json_keeps_every_round() -> None:
    found = as_json({"gateway": rounds(1000, 50, 1)}, {"rounds": 3})["results"]["gateway"]["requests_per_s"]
    assert found == {"median": 1000, "spread": pytest.approx(0.2), "rounds": pytest.approx([900, 1000, 1100])}


def test_warnings_name_what_held_a_figure_back() -> None:
    results = {compare.PROBE: rounds(2000, 8, 0.5), "near": rounds(1900, 9, 1), "busy": rounds(500, 50, 0.4)}
    near, busy = compare.warnings({**results, "fine": rounds(900, 50, 1)})
    assert near.startswith("near: 95%")
    assert busy.startswith("busy: used 40%")
