"""These tests run in `.venv-agents`, which has the frameworks; elsewhere there is nothing to collect."""

import importlib.util

if importlib.util.find_spec("agents") is None:
    collect_ignore_glob = ["test_*.py"]
