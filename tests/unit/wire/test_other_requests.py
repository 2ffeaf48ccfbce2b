"""Completion and embedding requests."""

import json
from typing import Any

import pytest

from gateway.errors import InvalidRequest
from gateway.wire.completions import parse_completion_request
from gateway.wire.embeddings import parse_embedding_request


def completion(**fields: Any) -> Any:
    return parse_completion_request(json.dumps({"model": "m", "prompt": "x", **fields}).encode())


def embedding(**fields: Any) -> Any:
    return parse_embedding_request(json.dumps({"model": "m", "input": "x", **fields}).encode())


@pytest.mark.parametrize("prompt", ["", "x", ["a", "b"], [1, 2, 3], [[1, 2], [3]]])
def test_prompts_in_all_of_openais_forms(prompt: Any) -> None:
    """A string, strings, token ids, or lists of token ids."""
    assert completion(prompt=prompt).prompt == prompt


@pytest.mark.parametrize(
    ("prompt", "param"),
    [
        (1, "prompt"),
        (None, "prompt"),
        ([], "prompt"),
        ([1, "a"], "prompt[0]"),
        (["a", 1], "prompt[1]"),
        ([[1], "a"], "prompt[1]"),
        ([[]], "prompt[0]"),
        ([-1], "prompt[0]"),
        ([2**31], "prompt[0]"),
        ([True], "prompt[0]"),
        ([[1.5]], "prompt[0]"),
        ([None], "prompt[0]"),
        (["x"] * 257, "prompt"),
    ],
)
def test_prompts_that_are_none(prompt: Any, param: str) -> None:
    """Mixed, empty and negative ones are refused where they stand."""
    with pytest.raises(InvalidRequest) as caught:
        completion(prompt=prompt)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"suffix": "x"}, "suffix"),
        ({"best_of": 3}, "best_of"),
        ({"stream_options": {}}, "stream_options"),
        ({"logprobs": True}, "logprobs"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"n": 99}, "n"),
    ],
)
def test_completion_fields(fields: dict[str, Any], param: str) -> None:
    """What can't be served is named."""
    with pytest.raises(InvalidRequest) as caught:
        completion(**fields)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": []}, "input"),
        ({"dimensions": 0}, "dimensions"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"input": ["a"] * 2049}, "input"),
    ],
)
def test_embedding_fields(fields: dict[str, Any], param: str) -> None:
    """OpenAI's own limits hold."""
    with pytest.raises(InvalidRequest) as caught:
        embedding(**fields)
    assert caught.value.param == param


def test_null_encoding_is_absent() -> None:
    """vLLM fails on `encoding_format: null`; typed clients send it."""
    assert embedding(encoding_format=None, dimensions=None).encoding_format is None
