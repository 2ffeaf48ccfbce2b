"""A gateway with one model per dialect, each on a simulated worker that says whole turns in that dialect's syntax."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from gateway.values import DialectName
from tests.support.gateway_process import TEST_KEY, GatewayProcess
from tests.support.gateway_view import wait_until_up
from tests.support.model_text import Call, model_text
from tests.support.sim_worker import Script, Settings, SimWorker
from tests.support.sim_worker.journal import Seen
from tests.support.sim_worker.settings import Template


@dataclass(frozen=True, slots=True)
class Setup:
    """One model as an operator may run it."""

    model: str
    dialect: DialectName
    variant: str
    template: Template = "gemma3"
    tool_parser: bool = False
    """The worker was started with a tool parser, which would lose the calls."""


SETUPS: Mapping[str, Setup] = {
    "gemma4": Setup("google/gemma-4-E4B-it", "gemma4", "gemma-4-E4B-it", "gemma4"),
    "gemma4 behind a parser": Setup("gemma-4-parsed", "gemma4", "gemma-4-31B-it", "gemma4", tool_parser=True),
    "functiongemma": Setup(
        "google/functiongemma-270m-it", "functiongemma", "functiongemma-270m-it", template="functiongemma"
    ),
    "gemma3-json": Setup("gemma-json", "gemma3-json", "gemma-3-4b-it", template="gemma3-vision"),
    "gemma3-python": Setup("gemma-python", "gemma3-python", "gemma-3-12b-it"),
    "gemma3-toolcode": Setup("gemma-toolcode", "gemma3-toolcode", "gemma-3n-E4B-it"),
    "gemma3-functioncall": Setup("gemma-functioncall", "gemma3-functioncall", "gemma-2-9b-it"),
}


_WAITS: Mapping[DialectName, str] = {"gemma4": "<|tool_response>", "functiongemma": "<start_function_response>"}
"""With this token a model says that it waits for results."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """One setup at work."""

    setup: Setup
    worker: SimWorker
    gateway: GatewayProcess

    @property
    def model(self) -> str:
        return self.setup.model

    @property
    def base_url(self) -> str:
        return f"{self.gateway.url}/v1"

    @property
    def asked(self) -> list[Seen]:
        """The requests for text, in their order."""
        return self.worker.generation_requests

    def will_say(self, text: str, *others: str, delay_s: float = 0.0) -> None:
        """The next turn of the model; `others` are what further choices say."""
        self.worker.script(Script(text=text, others=others, whole_turn=True, delay_s=delay_s))

    def will_call(self, *calls: Call, before: str = "", after: str = "", delay_s: float = 0.0) -> None:
        """The next turn makes these calls."""
        self.will_say(self.turn_with(*calls, before=before, after=after), delay_s=delay_s)

    def turn_with(self, *calls: Call, before: str = "", after: str = "") -> str:
        """A turn that makes these calls, and ends as the family's models end a turn with calls."""
        text = "\n".join(part for part in (before, model_text(self.setup.dialect, calls), after) if part)
        end = _WAITS.get(self.setup.dialect)
        babble = f"{end}response:nothing{{}}{end}" if end else ""  # goes on unless the engine is told to stop there
        return text + babble


@contextmanager
def running_speakers() -> Iterator[dict[str, Speaker]]:
    """All setups behind one gateway that knows its workers; it must exit with 0 when the block ends."""
    with ExitStack() as stack:
        workers = {name: stack.enter_context(SimWorker(_settings(setup))) for name, setup in SETUPS.items()}
        models = [_model(setup, workers[name].url) for name, setup in SETUPS.items()]
        tenants = [{"id": "acme", "keys": [{"id": "acme-test", "secret": TEST_KEY}]}]
        gateway = stack.enter_context(GatewayProcess({"models": models, "tenants": tenants}))
        wait_until_up(gateway, len(workers))
        yield {name: Speaker(setup, workers[name], gateway) for name, setup in SETUPS.items()}


def _settings(setup: Setup) -> Settings:
    return Settings(model=setup.model, max_model_len=16_384, template=setup.template, tool_parser=setup.tool_parser)


def _model(setup: Setup, url: str) -> dict[str, Any]:
    return {"name": setup.model, "variant": setup.variant, "dialect": setup.dialect, "workers": [{"url": url}]}
