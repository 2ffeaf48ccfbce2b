"""Looks through what the processes of a test run leave behind for the secrets that they were given or made.

Every `GatewayProcess` and `RedisServer` hands in its texts when it ends; `FOUND` says where a secret stood. At the end
of the integration ring it must be empty.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

SHORTEST: Final = 12
"""Characters; shorter ones could stand anywhere by chance."""
FOUND: Final[list[str]] = []
"""Places, never the secret."""
SEARCHED: Final[list[str]] = []
_MADE_KEY: Final = re.compile(r"\bgk-[a-z0-9][a-z0-9._-]*-[A-Za-z0-9_-]{32}\b")
_SECRET_FIELDS: Final = frozenset({"secret", "key", "api_key", "password"})
_known: set[str] = set()


def learn_secrets(config: Mapping[str, Any], environment: Mapping[str, str]) -> None:
    """Remember every secret of a gateway's configuration, also where it names a variable of the environment."""
    for value in _secrets(config):
        name = value[2:-1] if value.startswith("${") else ""
        secret = environment.get(name, "") if name else value
        if len(secret) >= SHORTEST:
            _known.add(secret)


def search(place: str, text: str) -> None:
    """Note the place if a known secret, or one that a gateway has made, stands in the text."""
    SEARCHED.append(place)
    if _MADE_KEY.search(text) or any(secret in text for secret in _known):
        FOUND.append(place)


def search_command_lines() -> None:
    """Search the arguments of every process that runs at the moment."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            search(f"command line of {path.parent.name}", path.read_bytes().decode(errors="replace"))
        except OSError:  # it has ended
            continue


def _secrets(section: Any) -> Iterator[str]:
    if isinstance(section, Mapping):
        for name, value in section.items():
            if isinstance(value, str) and name in _SECRET_FIELDS:
                yield value
            elif isinstance(value, str) and name == "url":
                yield urlsplit(value).password or ""
            else:
                yield from _secrets(value)
    elif isinstance(section, list | tuple):
        for item in section:
            yield from _secrets(item)
