"""`models[].workers` with `dns` and `kubernetes`."""

import pytest

from gateway.config.load import parse_settings
from gateway.config.model import DnsWorkers, KubernetesService, KubernetesWorkers, ModelSettings, Secret
from gateway.config.problems import ConfigurationError
from gateway.routing.catalog import VARIANTS


def read(workers: str) -> ModelSettings:
    """The model of a file with these workers. Raises ConfigurationError."""
    text = f"models: [{{name: gemma-3-4b-it, workers: [{workers}]}}]"
    return parse_settings(text, {"KEY": "vllm-key-123"}, VARIANTS).models[0]


def problems(workers: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        read(workers)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("{dns: vllm.example, port: 8000}", DnsWorkers("vllm.example", 8000)),
        ("{dns: vllm, port: 8000, weight: 2}", DnsWorkers("vllm", 8000, 2)),
        ("{dns: _http._tcp.vllm.example}", DnsWorkers("_http._tcp.vllm.example", None)),
        ("{dns: a.b., port: 1, api_key: '${KEY}'}", DnsWorkers("a.b.", 1, api_key=Secret("vllm-key-123"))),
        ("{kubernetes: {service: vllm}}", KubernetesWorkers(KubernetesService("vllm"))),
        (
            "{kubernetes: {service: vllm, namespace: models, port: http}, weight: 3}",
            KubernetesWorkers(KubernetesService("vllm", "models", "http"), weight=3),
        ),
        ("{kubernetes: {service: vllm, port: 8000}}", KubernetesWorkers(KubernetesService("vllm", port=8000))),
        (
            "{kubernetes: {service: vllm, api: 'http://127.0.0.1:8001/'}}",
            KubernetesWorkers(KubernetesService("vllm", api="http://127.0.0.1:8001")),
        ),
    ],
)
def test_what_can_be_said(item: str, expected: DnsWorkers | KubernetesWorkers) -> None:
    """Such an item is enough: no worker needs to be listed."""
    model = read(item)
    assert model.discovery == (expected,)
    assert model.workers == ()


def test_listed_and_found_workers_stand_side_by_side() -> None:
    """A list may hold items of every kind."""
    model = read("{dns: vllm, port: 8000}, {url: 'http://a:1'}, {kubernetes: {service: vllm}}")
    assert [worker.url for worker in model.workers] == ["http://a:1"]
    assert len(model.discovery) == 2


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("{dns: vllm}", "models[0].workers[0].port: is required beside a host name"),
        ("{dns: _http._tcp.vllm, port: 80}", "models[0].workers[0].port: comes from the SRV records"),
        ("{dns: 10.0.0.1, port: 80}", "models[0].workers[0].dns: must be a name; write an address as `url`"),
        ("{dns: 'a b', port: 80}", "models[0].workers[0].dns: must be a host name"),
        ("{dns: vllm, port: 0}", "models[0].workers[0].port: must be from 1 to 65535"),
        ("{dns: vllm, port: 80, url: 'http://a'}", "models[0].workers[0].url: unknown key"),
        (
            "{dns: vllm, port: 80, kubernetes: {service: a}}",
            "models[0].workers[0].kubernetes: can't stand beside `dns`",
        ),
        ("{kubernetes: {}}", "models[0].workers[0].kubernetes.service: is required"),
        ("{kubernetes: vllm}", "models[0].workers[0].kubernetes: must be a mapping"),
        ("{kubernetes: {service: A_b}}", "models[0].workers[0].kubernetes.service: must be a name of Kubernetes"),
        ("{kubernetes: {service: a, port: 0}}", "models[0].workers[0].kubernetes.port: must be from 1"),
        ("{kubernetes: {service: a, port: [1]}}", "models[0].workers[0].kubernetes.port: must be a whole number"),
        (
            "{kubernetes: {service: a, port: '8000'}}",
            "models[0].workers[0].kubernetes.port: must be a whole number, not text",
        ),
        ("{kubernetes: {service: a, sevrice: b}}", "models[0].workers[0].kubernetes.sevrice: unknown key"),
        ("{kubernetes: {service: a, api: 'http://u:p@h'}}", "models[0].workers[0].kubernetes.api: must be http://"),
        ("{kubernetes: {service: a, api: 'http://h:x'}}", "models[0].workers[0].kubernetes.api: must be http://"),
        ("{kubernetes: {service: a, api: ftp}}", "models[0].workers[0].kubernetes.api: must be a URL"),
    ],
)
def test_what_is_wrong_is_named(item: str, expected: str) -> None:
    """Each problem with its place and what to do."""
    found = problems(item)
    assert any(problem.startswith(expected) for problem in found), found


def test_a_worker_that_is_listed_twice_is_named_by_its_place_in_the_file() -> None:
    """Items of other kinds count too."""
    found = problems("{url: 'http://a:1'}, {dns: vllm, port: 8000}, {url: 'http://a:1'}")
    assert found == ['models[0].workers[2].url: the worker "http://a:1" is taken by models[0].workers[0].url']
