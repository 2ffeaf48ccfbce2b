"""Reads `models`: names, variants and workers."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final, Literal, get_args

from gateway.config.discovery_section import read_discovered
from gateway.config.model import (
    Balance,
    Discovered,
    MediaSettings,
    ModelSettings,
    QueueSettings,
    Secret,
    WorkerSettings,
)
from gateway.config.problems import did_you_mean, quoted
from gateway.config.section import MODEL_NAME, Form, Section
from gateway.config.variant_names import guess_variant, named_variant
from gateway.config.worker_url import worker_url
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

_ADAPTER: Final = Form(
    re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+-]{0,127}"),
    "the name of an adapter at the engine (letters, digits and . _ : / + -)",
)
_URL: Final = Form(re.compile(r"[!-~]{1,2048}"), "a URL")
_API_KEY: Final = Form(re.compile(r"[!-~]{1,4096}"), "visible ASCII characters without spaces")
_MAX_WEIGHT: Final = 1_000
_MAX_CONTEXT_TOKENS: Final = 100_000_000

_MAX_MEDIA: Final = 10_000
_MAX_PIXELS: Final = 1_000_000_000_000

_STAND_IN: Final = Variant("unknown", "gemma3", "chat", frozenset({"text"}), 8_192, None)
"""For a variant that isn't known, until the problem is reported."""


def read_models(root: Section, variants: Mapping[str, Variant]) -> tuple[ModelSettings, ...]:
    """`models`, which must have an item."""
    models = tuple(model for section in root.children("models") for model in _read_model(section, variants))
    if not models:
        root.report("models", "at least one model is required")
    return models


def _read_model(section: Section, variants: Mapping[str, Variant]) -> Iterator[ModelSettings]:
    """The model, then its adapters."""
    name = section.text("name", MODEL_NAME)
    variant = _read_variant(section, name, variants)
    chosen: _DialectChoice = section.choice("dialect", _DIALECTS, "auto")
    dialect = variant.dialect if chosen == "auto" else chosen
    workers, discovery = _read_workers(section)
    if not (workers or discovery):
        section.report("workers", 'at least one worker is required, such as {url: "http://127.0.0.1:8000"}')
    balance: Balance = section.choice("balance", get_args(Balance), "least-load")
    adapters = section.texts("adapters", _ADAPTER)
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
        discovery=discovery,
        queue=_read_queue(section.child("queue")) if section.has("queue") else None,
        canary_s=section.optional_number("canary_s", low=1, high=86_400),
        adapters=adapters,
        media=_read_media(section.child("media"), variant),
    )
    if adapters and name and not variant.lora:
        section.report("adapters", f"{quoted(variant.name)} can't have LoRA adapters in vLLM")
    section.close()
    yield settings
    for adapter in adapters:
        yield replace(
            settings,
            name=ModelName(f"{name}@{adapter}"),
            served_name=adapter,
            aliases=(),
            adapters=(),
            workers=(),
            discovery=(),
            fallbacks=(),
            adapter_of=settings.name,
        )


def _read_queue(section: Section) -> QueueSettings:
    default = QueueSettings(max_in_flight=1)
    weights = section.child("weights")
    settings = QueueSettings(
        max_in_flight=section.required_integer("max_in_flight", low=1, high=100_000),
        size=section.integer("size", default.size, low=0, high=1_000_000),
        timeout_s=section.number("timeout_s", default.timeout_s, low=0.001, high=3_600),
        weights=MappingProxyType(
            {tenant: weights.number(tenant, 1, low=0.001, high=1_000) for tenant in weights.names()}
        ),
    )
    section.close()
    return settings


def _read_media(section: Section, variant: Variant) -> MediaSettings:
    default = MediaSettings()
    images = default.images if variant.max_images is None else variant.max_images
    high = _MAX_MEDIA if variant.max_images is None else variant.max_images
    settings = MediaSettings(
        images=section.integer("images", images, low=0, high=high),
        clips=section.integer("clips", default.clips, low=0, high=_MAX_MEDIA),
        videos=section.integer("videos", default.videos, low=0, high=_MAX_MEDIA),
        image_pixels=section.integer("image_pixels", default.image_pixels, low=1, high=_MAX_PIXELS),
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


def _read_workers(section: Section) -> tuple[tuple[WorkerSettings, ...], tuple[Discovered, ...]]:
    """The workers that are listed, and where further ones are found."""
    workers: list[WorkerSettings] = []
    discovery: list[Discovered] = []
    places: dict[str, str] = {}
    for item in section.children("workers"):
        found = read_discovered(item)
        if found is None:
            worker = _read_worker(item)
            workers.append(worker)
            if worker.url and places.setdefault(worker.url, item.path) != item.path:
                item.report("url", f"the worker {quoted(worker.url)} is taken by {places[worker.url]}.url")
        else:
            discovery.append(found)
            item.close()
    return tuple(workers), tuple(discovery)


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
        return worker_url(text)
    except ValueError as error:
        section.report("url", str(error))
        return ""
