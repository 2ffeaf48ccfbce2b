"""LoRA adapters that come and go at run time: vLLM 0.32's `OpenAIServingModels`, without weights."""

from pathlib import Path

from .errors import WorkerError, error_body
from .exchange import Exchange
from .fields import LoadAdapterRequest, UnloadAdapterRequest, parse
from .settings import Settings


class Adapters:
    """Those that the worker has, and the path of each."""

    def __init__(self, settings: Settings) -> None:
        self._base = settings.model
        self.paths: dict[str, str] = {name: name for name in settings.lora_modules}

    async def load(self, exchange: Exchange) -> None:
        request = parse(exchange.raw_body, exchange.seen.header("content-type") or "", LoadAdapterRequest)
        name, path = request.lora_name, request.lora_path
        if not name or not path:
            raise _refused("Both 'lora_name' and 'lora_path' must be provided.")
        if name == self._base:
            raise _refused(f"The lora adapter '{name}' conflicts with a served base model.")
        if name in self.paths and not request.load_inplace:
            raise _refused(
                f"The lora adapter '{name}' has already been loaded. If you want to load the adapter in place, set "
                "'load_inplace' to True."
            )
        if not _has_adapter(path):
            raise _not_found(f"Loading lora {name} failed: No adapter found for {path}")
        self.paths[name] = path
        await exchange.reply(200, f"Success: LoRA adapter '{name}' added successfully.".encode(), "")

    async def unload(self, exchange: Exchange) -> None:
        request = parse(exchange.raw_body, exchange.seen.header("content-type") or "", UnloadAdapterRequest)
        name = request.lora_name
        if not name:
            raise _refused("'lora_name' needs to be provided to unload a LoRA adapter.")
        if name not in self.paths:
            raise _not_found(f"The lora adapter '{name}' cannot be found.")
        del self.paths[name]
        await exchange.reply(200, f"Success: LoRA adapter '{name}' removed successfully.".encode(), "")


def _has_adapter(path: str) -> bool:
    return Path(path, "adapter_config.json").is_file()


def _refused(message: str) -> WorkerError:
    return WorkerError(400, error_body(message, "InvalidUserInput", 400))


def _not_found(message: str) -> WorkerError:
    return WorkerError(404, error_body(message, "NotFoundError", 404))
