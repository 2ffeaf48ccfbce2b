"""A configuration with one tenant of the file, for tests of keys."""

from collections.abc import Callable

from gateway.auth.keys import KeyRing
from gateway.auth.records import Actor
from gateway.config.load import parse_settings
from gateway.routing.catalog import VARIANTS
from gateway.values import ModelName

SMALL, LARGE = ModelName("google/gemma-3-4b-it"), ModelName("google/gemma-3-27b-it")
FILE_SECRET = "file-secret-0123456789"
ADMIN = Actor("admin")

FILE = f"""
models:
  - {{name: {SMALL}, aliases: [gpt-4o-mini], workers: [{{url: "http://127.0.0.1:9"}}]}}
  - {{name: {LARGE}, aliases: [gpt-4o], workers: [{{url: "http://127.0.0.1:9"}}]}}
tenants:
  - id: acme
    models: ["google/gemma-3-*"]
    priority: 3
    limits: {{requests_per_minute: 600}}
    model_limits: {{gpt-4o: {{requests_per_minute: 60}}}}
    keys:
      - {{id: acme-dev, secret: {FILE_SECRET}}}
"""


def ring(text: str = FILE, now_s: Callable[[], float] = lambda: 1_800_000_000.0) -> KeyRing:
    """The keys of a file."""
    return KeyRing.from_settings(parse_settings(text, {}, VARIANTS), now_s=now_s)
