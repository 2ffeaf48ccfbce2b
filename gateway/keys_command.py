"""`gateway keys`: making, listing, rotating and revoking keys from a shell, in the store of a configuration file.

A secret goes to standard output, alone on its line, once; what else there is to say goes to standard error. `--json`
puts both into one object on standard output. No secret is ever an argument: those can be seen in the process list.
"""

import argparse
import asyncio
import getpass
import os
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final, Literal

import msgspec

from gateway.api.admin.views import KeyView, key_view, new_key_view, read_moment
from gateway.auth.administration import DEFAULT_OVERLAP_S, KeyAdministration, MadeKey, NewKey
from gateway.auth.keys import KeyRing
from gateway.auth.records import Actor
from gateway.auth.redis_client import open_redis
from gateway.auth.redis_key_store import RedisKeyStore
from gateway.auth.store import StoreUnavailableError
from gateway.config.load import load_settings
from gateway.config.model import LimitSettings, RedisSettings
from gateway.config.problems import ConfigurationError, Problem
from gateway.errors import GatewayError
from gateway.routing.catalog import VARIANTS
from gateway.values import KeyId, TenantId

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
"""The store refused, or doesn't answer."""
LIMITS: Final = tuple(LimitSettings.__dataclass_fields__)
_MAX_LIMIT: Final = 10**15
_NO_STORE: Final = (
    "this file has no `redis`: keys that are made at run time would be kept by a running gateway alone, and a key made "
    "here would be lost at once.\n"
    "\n"
    "Either put keys into the file, under tenants[].keys, and reload (kill -HUP, or POST /admin/v1/config/reload);\n"
    "or make them in the running gateway, until it ends: POST /admin/v1/keys;\n"
    "or add a `redis` section, and every replica shares the keys made here."
)

_ABOUT: Final = (
    "Make, list, rotate and revoke API keys, in the Redis of a configuration file: every gateway on it knows within a "
    "second. A secret goes to standard output, alone on its line, once; all else to standard error. With --json both "
    "are one object on standard output. No secret is ever an argument: the process list shows those."
)

_Action = Callable[[argparse.Namespace, KeyAdministration, Actor], Coroutine[Any, Any, None]]


def add_keys_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    add_config: Callable[[argparse.ArgumentParser], None],
) -> None:
    """Add `keys` and its verbs to the command line; `add_config` adds `--config`."""
    keys = commands.add_parser("keys", help="make, list, rotate and revoke API keys", description=_ABOUT)
    verbs = keys.add_subparsers(required=True, metavar="VERB")

    def verb(name: str, text: str, action: _Action) -> argparse.ArgumentParser:
        parser = verbs.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        add_config(parser)
        parser.add_argument("--json", action="store_true", help="one JSON object or list on standard output")
        parser.set_defaults(command=partial(_run, action))
        return parser

    create = verb("create", "make a key and print its secret, once", _create)
    create.add_argument("--tenant", required=True, metavar="ID", help="whose key it is")
    create.add_argument("--id", metavar="ID", help="the key's public name (default: the tenant's with a random end)")
    create.add_argument("--model", action="append", metavar="GLOB", help="a model it may use; may be repeated")
    create.add_argument(
        "--limit", action="append", type=_limit, metavar="NAME=NUMBER", help=f"one of {', '.join(LIMITS)}; repeatable"
    )
    create.add_argument("--expires", metavar="DATE", help="2027-01-01 or 2027-01-01T12:00:00Z")
    listing = verb("list", "list the keys of the file and of the store", _list)
    listing.add_argument("--tenant", metavar="ID", help="only this tenant's")
    rotate = verb("rotate", "give a key a new secret and print it, once", _rotate)
    rotate.add_argument("--id", required=True, metavar="ID", help="which key")
    rotate.add_argument(
        "--overlap-s",
        type=float,
        default=DEFAULT_OVERLAP_S,
        metavar="S",
        help=f"how long the old secret lives (default {DEFAULT_OVERLAP_S:.0f}: a day)",
    )
    revoke = verb("revoke", "end a key for good", _revoke)
    revoke.add_argument("--id", required=True, metavar="ID", help="which key")


def _limit(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if name not in LIMITS:
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(LIMITS)}, then = and a number")
    if not number.isdecimal() or not 1 <= int(number) <= _MAX_LIMIT:
        raise argparse.ArgumentTypeError(f"{name} must be from 1 to {_MAX_LIMIT}")
    return name, int(number)


def _run(action: _Action, arguments: argparse.Namespace) -> int:
    settings = load_settings(arguments.config, os.environ, VARIANTS)
    if settings.redis is None:
        raise ConfigurationError([Problem("", _NO_STORE)])
    ring = KeyRing.from_settings(settings, now_s=time.time)
    try:
        asyncio.run(_with_store(settings.redis, ring, arguments, action))
    except GatewayError as error:
        print(error.message, file=sys.stderr)
        return EXIT_FAILED
    except StoreUnavailableError as error:
        print(f"the store can't be reached: {error}", file=sys.stderr)
        return EXIT_FAILED
    return EXIT_OK


async def _with_store(redis: RedisSettings, ring: KeyRing, arguments: argparse.Namespace, action: _Action) -> None:
    client = open_redis(redis)
    try:
        administration = KeyAdministration(RedisKeyStore(client, redis.prefix), lambda: ring, now_s=time.time)
        await action(arguments, administration, Actor("cli", remote=_user()))
    finally:
        await client.aclose()


async def _create(arguments: argparse.Namespace, administration: KeyAdministration, actor: Actor) -> None:
    new = NewKey(
        tenant=TenantId(arguments.tenant),
        id=None if arguments.id is None else KeyId(arguments.id),
        models=None if arguments.model is None else tuple(arguments.model),
        limits=None if arguments.limit is None else LimitSettings(**dict(arguments.limit)),
        expires_s=None if arguments.expires is None else read_moment(arguments.expires, "--expires"),
    )
    _print_made(await administration.create_key(new, actor), "made", as_json=arguments.json)


async def _rotate(arguments: argparse.Namespace, administration: KeyAdministration, actor: Actor) -> None:
    made = await administration.rotate_key(KeyId(arguments.id), arguments.overlap_s, actor)
    _print_made(made, "rotated", as_json=arguments.json)


async def _revoke(arguments: argparse.Namespace, administration: KeyAdministration, actor: Actor) -> None:
    key = await administration.revoke_key(KeyId(arguments.id), actor)
    if arguments.json:
        _print_json(key_view(key, time.time()))
    else:
        print(f"revoked {key.id} of {key.tenant}", file=sys.stderr)


async def _list(arguments: argparse.Namespace, administration: KeyAdministration, actor: Actor) -> None:
    del actor
    keys = await administration.keys(None if arguments.tenant is None else TenantId(arguments.tenant))
    views = [key_view(key, time.time()) for key in keys]
    if arguments.json:
        _print_json(views)
    else:
        for line in _table(views):
            print(line)


def _print_made(made: MadeKey, what: str, *, as_json: bool) -> None:
    view = new_key_view(made.key, made.secret, time.time())
    if as_json:
        _print_json(view)
        return
    print(f"{what} {view.id} of {view.tenant}; this is its secret, shown only now:", file=sys.stderr, flush=True)
    print(made.secret, flush=True)
    for until in view.older_secrets_until:
        print(f"an older secret lives until {until}", file=sys.stderr)


def _print_json(value: object) -> None:
    print(msgspec.json.format(msgspec.json.encode(value)).decode())


def _table(views: Sequence[KeyView]) -> Sequence[str]:
    columns: Sequence[Literal["id", "tenant", "source", "status", "created", "expires"]] = (
        "id",
        "tenant",
        "source",
        "status",
        "created",
        "expires",
    )
    rows = [[column.upper() for column in columns], *([getattr(v, c) or "-" for c in columns] for v in views)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(columns))]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return None
