"""The `gateway` command: argv → settings → the server, or an answer on the terminal.

Exit status: 0 done, 1 the key store refused or doesn't answer, 2 a wrong command line or configuration (argparse's own
number too).
"""

import argparse
import gc
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from gateway import __version__
from gateway.config.flags import Flags
from gateway.config.load import load_settings
from gateway.config.problems import ConfigurationError, Problem
from gateway.config.process_place import ProcessPlace
from gateway.config.reload import ConfigFile
from gateway.keys_command import add_keys_command
from gateway.routing.catalog import VARIANTS
from gateway.values import Precision, Variant

EXIT_OK: Final = 0
EXIT_WRONG: Final = 2

_MAX_PORT: Final = 65_535
_PRECISIONS: Final[tuple[Precision, ...]] = ("bf16", "8-bit", "4-bit")
_MODALITIES: Final = ("text", "image", "audio", "video")
_RIGHT_ALIGNED: Final = frozenset({"context", *_PRECISIONS})

_MEMORY_LEGEND: Final = (
    "bf16, 8-bit, 4-bit: GB of memory for the weights alone; the cache of conversations comes on top."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv`, or the process's own; returns the exit status."""
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        return command(arguments)
    except ConfigurationError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return EXIT_WRONG


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gateway", description="OpenAI's API in front of vLLM workers that serve Gemma."
    )
    parser.add_argument("--version", action="version", version=f"gateway {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="run the gateway", description="Run the gateway until SIGTERM.")
    _add_config(serve)
    serve.add_argument("--host", help="address to listen on (file: server.host; default 127.0.0.1)")
    serve.add_argument("--port", type=_port, help="port to listen on, 0 for any (file: server.port; default 8080)")
    serve.add_argument("--workers", type=_positive, help="gateway processes (file: server.workers; default 1)")
    serve.add_argument("--no-auth", action="store_true", help="let everybody use every model, without a key")
    serve.add_argument("--process", type=ProcessPlace.parse, help=argparse.SUPPRESS)  # for the supervisor
    serve.set_defaults(command=_serve)

    check = commands.add_parser(
        "check",
        help="validate a configuration file",
        description="Print everything that is wrong with a configuration file, each with its YAML path.",
        epilog="Exit status: 0 when the file is good, 2 when it isn't.",
    )
    _add_config(check)
    check.set_defaults(command=_check)

    add_keys_command(commands, _add_config)

    models = commands.add_parser(
        "models",
        help="list the Gemma variants",
        description="List the Gemma variants: what each takes in, how it calls tools, what memory its weights need.",
    )
    models.add_argument("--json", action="store_true", help="as JSON")
    models.set_defaults(command=_models)
    return parser


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the configuration file (YAML)")


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > _MAX_PORT:
        raise argparse.ArgumentTypeError(f"must be from 0 to {_MAX_PORT}")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return int(text)


def _serve(arguments: argparse.Namespace) -> int:
    flags = Flags(arguments.host, arguments.port, arguments.workers, arguments.no_auth)
    file = ConfigFile(arguments.config, os.environ, VARIANTS, flags)
    loaded = file.load()
    if loaded.settings.fallback_providers and find_spec("litellm") is None:
        message = "needs LiteLLM: pip install 'gemma-gateway[providers]'"
        raise ConfigurationError([Problem("fallback_providers", message)])
    # Imported here because the server's imports take longer than everything else the command does together.
    if loaded.settings.server.workers > 1 and arguments.process is None:
        from gateway.supervisor import supervise  # noqa: PLC0415

        return supervise(_without_workers(arguments), loaded.settings.server)
    gc.disable()  # nothing that a start makes is garbage; the server turns it on again
    from gateway.server import serve  # noqa: PLC0415

    return serve(file, loaded, arguments.process)


def _without_workers(arguments: argparse.Namespace) -> list[str]:
    """The arguments for each process that serves; how many there are and where they listen isn't theirs."""
    return ["--config", str(arguments.config), *(["--no-auth"] if arguments.no_auth else [])]


def _check(arguments: argparse.Namespace) -> int:
    settings = load_settings(arguments.config, os.environ, VARIANTS)
    models, tenants = len(settings.models), len(settings.tenants)
    print(f"ok: {_count(models, 'model')}, {_count(tenants, 'tenant')}")
    return EXIT_OK


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _models(arguments: argparse.Namespace) -> int:
    if arguments.json:
        text = json.dumps([_variant_json(variant) for variant in VARIANTS.values()], indent=2)
    else:
        table = "\n".join(_table([_variant_row(variant) for variant in VARIANTS.values()]))
        text = f"{table}\n\n{_MEMORY_LEGEND}"
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Whoever reads has seen enough (`| head`). The interpreter flushes once more at its end: let that succeed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_OK


def _variant_json(variant: Variant) -> dict[str, object]:
    return {
        "variant": variant.name,
        "family": variant.family,
        "task": variant.task,
        "dialect": variant.dialect,
        "modalities": _modalities(variant),
        "context_tokens": variant.context_tokens,
        "thinking": variant.thinking,
        "lora": variant.lora,
        "max_audio_s": variant.max_audio_s,
        "max_images": variant.max_images,
        "parameters_b": variant.parameters_b,
        "memory_gb": None if variant.memory_gb is None else dict(variant.memory_gb),
        "note": variant.note,
    }


def _variant_row(variant: Variant) -> dict[str, str]:
    memory = variant.memory_gb or {}
    return {
        "variant": variant.name,
        "task": variant.task,
        "dialect": variant.dialect or "-",
        "input": ",".join(_modalities(variant)),
        "context": f"{variant.context_tokens // 1024}K",
        "thinking": "yes" if variant.thinking else "-",
        "lora": "yes" if variant.lora else "-",
        **{precision: f"{memory[precision]:g}" if precision in memory else "-" for precision in _PRECISIONS},
        "note": variant.note,
    }


def _modalities(variant: Variant) -> list[str]:
    return [modality for modality in _MODALITIES if modality in variant.modalities]


def _table(rows: Sequence[dict[str, str]]) -> Iterable[str]:
    """Lines of aligned columns under a header made of the rows' keys."""
    header = {column: column.upper() for column in rows[0]}
    widths = {column: max(len(row[column]) for row in (header, *rows)) for column in header}
    for row in (header, *rows):
        cells = (
            text.rjust(widths[column]) if column in _RIGHT_ALIGNED else text.ljust(widths[column])
            for column, text in row.items()
        )
        yield "  ".join(cells).rstrip()
