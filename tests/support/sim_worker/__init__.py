"""A simulated vLLM 0.32 worker: its endpoints, its reply and error shapes, and every way it can break.

Text comes from a script instead of a model, so a test decides what the worker says, when, and how it fails; the worker
in turn tells the test what it was asked (``SimWorker.requests``).
"""

from .script import Fault, FaultKind, Script
from .server import SimWorker
from .settings import Settings

__all__ = ["Fault", "FaultKind", "Script", "Settings", "SimWorker"]
