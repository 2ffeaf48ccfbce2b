"""The flags that the Helm chart gives to `vllm serve` are flags of the real vLLM. No engine is started for it."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploy.local.places import Places, python_of
from tests.support.helm_chart import EXAMPLES, container, render

PARSE = """
import json, sys
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = make_arg_parser(FlexibleArgumentParser())
print(json.dumps([parser.parse_args(arguments).max_model_len for arguments in json.load(sys.stdin)]))
"""

FURTHER: list[dict[str, Any]] = [
    {
        "name": "google/gemma-3-4b-it",
        "engine": {"lora": {"modules": [{"name": "a", "path": "/a"}]}, "maxNumQueuedReqs": 9},
    },
    {"name": "google/gemma-4-12B-it", "engine": {"level": "efficiency", "revision": "main"}},
    {"name": "google/gemma-3-27b-it", "engine": {"multiNode": {"enabled": True}, "tensorParallel": 2}},
    {"name": "google/embeddinggemma-300m", "engine": {}},
    {"name": "google/shieldgemma-2-4b-it", "engine": {"multimodal": {"allowedDomains": ["a.example", "b.example"]}}},
    {
        "name": "google/gemma-4-E4B-it",
        "engine": {"multimodal": {"images": 0, "audios": 2}, "maxNumBatchedTokens": 8192},
    },
]


def _argument_lists() -> Iterator[list[str]]:
    further: dict[str, Any] = {"secrets": {"existingSecret": "keys"}, "models": FURTHER}
    everything: list[Path | dict[str, Any]] = [*EXAMPLES, further]
    for values in everything:
        for pod in render(values).engines():
            arguments: list[str] = container(pod)["args"]
            # Kubernetes puts in what a LeaderWorkerSet says of each pod.
            yield [
                text.replace("$(LWS_WORKER_INDEX)", "1").replace("$(LWS_LEADER_ADDRESS)", "a.b") for text in arguments
            ]


def test_vllm_understands_every_argument_list() -> None:
    """Of the examples, and of every kind of variant and option; a wrong flag or choice ends vLLM's parser."""
    lists = list(_argument_lists())
    python = python_of(Places.from_environment().engine_venv(gpu=False))
    done = subprocess.run(
        [python, "-c", PARSE], input=json.dumps(lists), capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lengths = json.loads(done.stdout.splitlines()[-1])
    assert len(lengths) == len(lists) > len(EXAMPLES)
    assert 65536 in lengths
