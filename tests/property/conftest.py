"""A run in passing draws the same examples each time; `deploy/local/test --full` far more, and others each time."""

import os

from hypothesis import settings

settings.register_profile("full", max_examples=3000, deadline=None)
settings.register_profile("same", derandomize=True, deadline=None)
settings.load_profile("full" if os.environ.get("TESTS_FULL") else "same")
