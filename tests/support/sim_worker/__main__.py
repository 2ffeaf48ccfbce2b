"""``python -m tests.support.sim_worker``: a simulated vLLM worker in the foreground."""

import argparse
import asyncio
import os
import socket
import sys
from typing import get_args

from .app import App
from .server import make_server, send_at_once
from .settings import DEFAULT_MODEL, Settings, Template

_USAGE = """
Answers like vLLM 0.32, without a model: by default it echoes the last user message.
POST /sim/script sets the next answer, for example
  {"text": "Hello", "delay_s": 0.05}   {"fault": {"kind": "cut_mid_stream", "at_chunk": 3}, "times": null}
A user message "/sim {json}" is such a script for that one request.
GET /sim/requests shows what arrived; GET /sim/stats counts running, finished, aborted and cut requests.
"""


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.support.sim_worker",
        description=_USAGE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one (default 8000)")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="the served model name")
    parser.add_argument("--max-model-len", type=int, default=4096)
    parser.add_argument("--api-key-env", metavar="VAR", help="guard /v1 with the key in this environment variable")
    parser.add_argument(
        "--lora", action="append", default=[], metavar="NAME", help="an adapter to list and serve; may be repeated"
    )
    parser.add_argument("--runtime-lora", action="store_true", help="load and unload adapters by /v1/load_lora_adapter")
    parser.add_argument(
        "--tool-parser", action="store_true", help="accept tools, as an engine started with parser flags does"
    )
    parser.add_argument(
        "--template", choices=get_args(Template), default="gemma3", help="plain accepts any order of roles"
    )
    parser.add_argument(
        "--no-embeddings", action="store_true", help="answer 404 on /v1/embeddings, as generating engines do"
    )
    parser.add_argument("--embedding-size", type=int, default=640)
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    args = _arguments(argv)
    key = None
    if args.api_key_env:
        key = os.environ.get(args.api_key_env)
        if not key:
            print(f"environment variable {args.api_key_env} is not set", file=sys.stderr)
            return 2
    settings = Settings(
        model=args.model,
        max_model_len=args.max_model_len,
        lora_modules=tuple(args.lora),
        runtime_lora=args.runtime_lora,
        api_key=key,
        tool_parser=args.tool_parser,
        template=args.template,
        embeddings=not args.no_embeddings,
        embedding_size=args.embedding_size,
    )
    listener = socket.create_server((args.host, args.port))
    send_at_once(listener)
    host, port = listener.getsockname()[:2]
    print(f"simulated worker ready on http://{host}:{port}", flush=True)
    asyncio.run(make_server(App(settings), host, port).serve(sockets=[listener]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
