"""`deploy/local/test --full` gives every property far more examples than a run in passing does."""

import os

from hypothesis import settings

settings.register_profile("full", max_examples=3000, deadline=None)
if os.environ.get("TESTS_FULL"):
    settings.load_profile("full")
