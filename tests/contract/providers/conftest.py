"""These tests run in `.venv-providers`, which has LiteLLM; elsewhere there is nothing to collect."""

from importlib.util import find_spec

if find_spec("litellm") is None:
    collect_ignore_glob = ["test_*.py"]
