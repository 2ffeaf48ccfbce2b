"""Where a local installation keeps its things: the checkout, and one cache directory that survives it."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Places:
    """All paths of a local installation. `checkout` is shared with other tools; everything under `home` is ours."""

    checkout: Path
    home: Path

    @classmethod
    def from_environment(cls) -> Self:
        """`GEMMA_GATEWAY_HOME` moves the cache; it takes about 4 GB with the CPU engine."""
        home = os.environ.get("GEMMA_GATEWAY_HOME") or Path.home() / ".cache" / "gemma-gateway"
        return cls(checkout=Path(__file__).resolve().parents[2], home=Path(home).expanduser().resolve())

    @property
    def gateway_venv(self) -> Path:
        return self.checkout / ".venv"

    @property
    def openai2_venv(self) -> Path:
        return self.checkout / ".venv-openai2"

    @property
    def agents_venv(self) -> Path:
        return self.checkout / ".venv-agents"

    @property
    def providers_venv(self) -> Path:
        return self.checkout / ".venv-providers"

    @property
    def image_tools_venv(self) -> Path:
        return self.home / "image-tools"

    def engine_venv(self, *, gpu: bool) -> Path:
        return self.home / ("engine-gpu" if gpu else "engine-cpu")

    @property
    def helm_venv(self) -> Path:
        return self.home / "helm"

    @property
    def models(self) -> Path:
        return self.home / "models"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def api_key(self) -> Path:
        return self.home / "api-key"

    @property
    def locks(self) -> Path:
        return self.checkout / "deploy" / "local" / "locks"

    @property
    def templates(self) -> Path:
        return self.checkout / "deploy" / "local" / "templates"

    @property
    def adapters(self) -> Path:
        return self.checkout / "deploy" / "local" / "adapters"


def python_of(venv: Path) -> Path:
    """The interpreter of a virtual environment."""
    return venv / "bin" / "python"
