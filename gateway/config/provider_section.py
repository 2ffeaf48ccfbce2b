"""Reads `fallback_providers`: models that LiteLLM reaches."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from gateway.config.model import ProviderSettings, Scalar, Secret
from gateway.config.problems import did_you_mean, quoted
from gateway.config.section import MODEL_NAME, Form, Section
from gateway.config.variant_names import guess_variant, named_variant
from gateway.config.yaml_tree import FromEnvironment, Tree
from gateway.values import ModelName, Variant

OPTIONS: Final = frozenset(
    {
        "api_base",
        "api_key",
        "api_version",
        "aws_access_key_id",
        "aws_region_name",
        "aws_secret_access_key",
        "aws_session_token",
        "organization",
        "region_name",
        "vertex_credentials",
        "vertex_location",
        "vertex_project",
    }
)
"""What LiteLLM is told besides the model: where it is and how to get in."""
SECRETS: Final = frozenset(
    {"api_key", "aws_access_key_id", "aws_secret_access_key", "aws_session_token", "vertex_credentials"}
)
_ROUTE: Final = Form(
    re.compile(r"[a-z0-9_]+/[!-~]{1,256}"), "a model as LiteLLM writes it, such as gemini/gemma-3-27b-it"
)
_MAX_CONTEXT_TOKENS: Final = 100_000_000


def read_providers(root: Section, variants: Mapping[str, Variant]) -> Mapping[str, ProviderSettings]:
    """`fallback_providers`, by name."""
    providers: dict[str, ProviderSettings] = {}
    section = root.child("fallback_providers")
    for name in section.names():
        if not MODEL_NAME.pattern.fullmatch(name):
            section.report(name, f"the name must be {MODEL_NAME.says}")
        providers[name] = _read_provider(name, section.child(name), variants)
    return MappingProxyType(providers)


def _read_provider(name: str, section: Section, variants: Mapping[str, Variant]) -> ProviderSettings:
    model = section.text("model", _ROUTE)
    variant = _read_variant(section, model, variants)
    context_tokens = section.integer("context_length", variant.context_tokens, low=1, high=_MAX_CONTEXT_TOKENS)
    options: dict[str, Scalar | Secret] = {}
    for key in sorted(OPTIONS):
        value = section.take(key)
        if value is not None:
            options[key] = _option(section, key, value)
    section.close()
    return ProviderSettings(
        name=ModelName(name),
        model=model,
        variant=variant,
        context_length=context_tokens,
        options=MappingProxyType(options),
    )


def _option(section: Section, key: str, value: Tree) -> Scalar | Secret:
    if isinstance(value, list | dict):
        section.report(key, "must be a single value")
        return None
    if isinstance(value, FromEnvironment):
        return Secret(str(value))
    if key in SECRETS:
        section.report(key, f"must come from the environment, such as ${{{key.upper()}}}")
        return None
    return value


def _read_variant(section: Section, model: str, variants: Mapping[str, Variant]) -> Variant:
    """Which Gemma it is: as written, or guessed from LiteLLM's name of the model."""
    written = section.optional_text("variant")
    found = guess_variant(model, variants) if written is None else named_variant(written, variants)
    if written is not None and found is None:
        known = did_you_mean(written, variants) or "; `gateway models` lists them"
        section.report("variant", f"no such variant: {quoted(written)}{known}")
    elif found is None and model:
        section.report(
            "variant",
            "can't be guessed from the model's name: write which Gemma it is, such as `variant: gemma-3-4b-it`",
        )
    elif found is not None and found.task != "chat":
        section.report("variant" if written else "model", "must be a chat model: only chats fall back to providers")
    return found or next(iter(variants.values()))
