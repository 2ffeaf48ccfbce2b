"""Reads `models`: names, variants and workers."""

import ipaddress
import re
from collections.abc import Mapping
from typing import Final, Literal, get_args
from urllib.parse import SplitResult, urlsplit

from gateway.config.model import Balance, ModelSettings, Secret, WorkerSettings
from gateway.config.problems import did_you_mean, quoted
from gateway.config.section import MODEL_NAME, Form, Section
from gateway.config.variant_names import guess_variant, named_variant
from gateway.values import DialectName, ModelName, Variant

_DialectChoice = DialectName | Literal["auto"]
_DIALECTS: Final[tuple[_DialectChoice, ...]] = (
    "auto",
    "gemma3-python",
    "gemma3-json",
    "gemma3-toolcode",
    "gemma3-functioncall",
    "functiongemma",
    "gemma4",
    "engine",
)

_URL: Final = Form(re.compile(r"[!-~]{1,2048}"), "a URL")
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252})")
_API_KEY: Final = Form(re.compile(r"[!-~]{1,4096}"), "visible ASCII characters without spaces")
_MAX_WEIGHT: Final = 1_000
_MAX_CONTEXT_TOKENS: Final = 100_000_000

_STAND_IN: Final = Variant("unknown", "gemma3", "chat", frozenset({"text"}), 8_192, None)
"""For a variant that isn't known, until the problem is reported."""


def read_models(root: Section, variants: Mapping[str, Variant]) -> tuple[ModelSettings, ...]:
    """`models`, which must have an item."""
    models = tuple(_read_model(section, variants) for section in root.children("models"))
    if not models:
        root.report("models", "at least one model is required")
    return models


def _read_model(section: Section, variants: Mapping[str, Variant]) -> ModelSettings:
    name = section.text("name", MODEL_NAME)
    variant = _read_variant(section, name, variants)
    chosen: _DialectChoice = section.choice("dialect", _DIALECTS, "auto")
    dialect = variant.dialect if chosen == "auto" else chosen
    workers = tuple(_read_worker(worker) for worker in section.children("workers"))
    if not workers:
        section.report("workers", 'at least one worker is required, such as {url: "http://127.0.0.1:8000"}')
    balance: Balance = section.choice("balance", get_args(Balance), "least-load")
    settings = ModelSettings(
        name=ModelName(name),
        variant=variant,
        workers=workers,
        served_name=section.optional_text("served_name") or name,
        dialect=dialect,
        context_length=section.integer("context_length", variant.context_tokens, low=1, high=_MAX_CONTEXT_TOKENS),
        aliases=section.texts("aliases", MODEL_NAME),
        balance=balance,
        fallbacks=section.texts("fallbacks", MODEL_NAME),
    )
    section.close()
    return settings


def _read_variant(section: Section, name: str, variants: Mapping[str, Variant]) -> Variant:
    written = section.optional_text("variant")
    if written is not None:
        variant = named_variant(written, variants)
        if variant is None:
            known = did_you_mean(written, variants) or "; `gateway models` lists them"
            section.report("variant", f"no such variant: {quoted(written)}{known}")
    elif section.has("variant") or not name:
        variant = None
    else:
        variant = guess_variant(name, variants)
        if variant is None:
            section.report(
                "variant",
                f"can't be guessed from the name {quoted(name)}: write which Gemma it is, such as"
                " `variant: gemma-3-4b-it`; `gateway models` lists them",
            )
    return variant or _STAND_IN


def _read_worker(section: Section) -> WorkerSettings:
    api_key = section.optional_text("api_key", _API_KEY)
    settings = WorkerSettings(
        url=_read_url(section),
        weight=section.number("weight", 1, low=0.001, high=_MAX_WEIGHT),
        api_key=None if api_key is None else Secret(api_key),
    )
    section.close()
    return settings


def _read_url(section: Section) -> str:
    """The worker's URL as `scheme://host[:port]`; its parts are never quoted in a problem, they may be secret."""
    text = section.text("url", _URL)
    if not text:
        return ""
    try:
        parts = urlsplit(text)
        url, fault = _base_url(parts), _url_fault(parts)
    except ValueError:
        url, fault = "", "is not a valid URL: look at its host and port"
    if fault is not None:
        section.report("url", fault)
        return ""
    return url


def _base_url(parts: SplitResult) -> str:
    """Raises ValueError for a port that isn't one."""
    host = parts.hostname or ""
    port = "" if parts.port is None else f":{parts.port}"
    return f"{parts.scheme}://[{host}]{port}" if ":" in host else f"{parts.scheme}://{host}{port}"


def _url_fault(parts: SplitResult) -> str | None:
    faults = (
        (parts.scheme not in {"http", "https"}, "must be http://host:port or https://host:port"),
        ("@" in parts.netloc, "must not hold credentials; give the worker's key as `api_key`"),
        (not _is_host(parts.hostname or ""), "must have a host name or an address"),
        (parts.port == 0, "must have a port from 1 to 65535"),
        (parts.path not in {"", "/"}, "must have no path: the gateway appends vLLM's own, `/v1` included"),
        (bool(parts.query or parts.fragment), "must have no query and no fragment"),
    )
    return next((message for broken, message in faults if broken), None)


def _is_host(host: str) -> bool:
    if ":" not in host:
        return _HOST_NAME.fullmatch(host) is not None
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True
