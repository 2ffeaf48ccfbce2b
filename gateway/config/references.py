"""What has to hold between the parts of the file: names are unique, and whoever is named exists."""

from collections.abc import Iterator
from hashlib import sha256

from gateway.config.model import JUDGED_POLICIES, ClassifierRule, Settings
from gateway.config.problems import Problem, did_you_mean, key_path, quoted
from gateway.values import Family, Variant


def broken_references(settings: Settings) -> Iterator[Problem]:
    """Every clash and every name that leads nowhere. Empty names are stand-ins, reported before, and skipped."""
    yield from _model_clashes(settings)
    yield from _tenant_clashes(settings)
    yield from _secret_clashes(settings)
    yield from _unknown_fallbacks(settings)
    yield from _unfit_classifiers(settings)
    yield from _unknown_in_tenants(settings)
    yield from counts_apart(settings)


def counts_apart(settings: Settings) -> Iterator[Problem]:
    """Several processes that each count limits for themselves: every limit would hold several times over."""
    if settings.server.workers > 1 and settings.redis is None:
        message = "several processes need `redis`, where they count limits together"
        yield Problem("server.workers", message)


def _clashes(named: Iterator[tuple[str, str]], what: str) -> Iterator[Problem]:
    """`named`: path and name of each; the second of two equal names is the one to mend."""
    first: dict[str, str] = {}
    for path, name in named:
        if name and first.setdefault(name, path) != path:
            yield Problem(path, f"{what} {quoted(name)} is taken by {first[name]}")


def _model_clashes(settings: Settings) -> Iterator[Problem]:
    def named() -> Iterator[tuple[str, str]]:
        for index, model in enumerate(settings.models):
            yield f"models[{index}].name", model.name
        for index, model in enumerate(settings.models):
            for alias_index, alias in enumerate(model.aliases):
                yield f"models[{index}].aliases[{alias_index}]", alias
        for name in settings.fallback_providers:
            yield key_path("fallback_providers", name), name

    yield from _clashes(named(), "the name")


def _tenant_clashes(settings: Settings) -> Iterator[Problem]:
    tenants = list(enumerate(settings.tenants))
    yield from _clashes(((f"tenants[{index}].id", tenant.id) for index, tenant in tenants), "the id")
    keys = (
        (f"tenants[{index}].keys[{at}].id", key.id) for index, tenant in tenants for at, key in enumerate(tenant.keys)
    )
    yield from _clashes(keys, "the id")


def _secret_clashes(settings: Settings) -> Iterator[Problem]:
    """Two keys with one secret: whose request it is couldn't be told."""
    first: dict[bytes, str] = {}
    if settings.admin is not None:
        first[sha256(settings.admin.key.reveal().encode()).digest()] = "admin.key"
    for index, tenant in enumerate(settings.tenants):
        for at, key in enumerate(tenant.keys):
            path = f"tenants[{index}].keys[{at}].secret"
            if key.secret_sha256 and first.setdefault(key.secret_sha256, path) != path:
                yield Problem(path, f"the same secret as {first[key.secret_sha256]}")


def _names(settings: Settings) -> set[str]:
    return {name for model in settings.models for name in (model.name, *model.aliases) if name}


def _names_with_providers(settings: Settings) -> set[str]:
    return _names(settings) | set(settings.fallback_providers)


def _unknown_model(path: str, name: str, names: set[str]) -> Iterator[Problem]:
    if name and name not in names:
        yield Problem(path, f"no such model: {quoted(name)}{did_you_mean(name, names)}")


def _unknown_fallbacks(settings: Settings) -> Iterator[Problem]:
    names = _names_with_providers(settings)
    variants = {name: model.variant for model in settings.models for name in (model.name, *model.aliases)}
    variants.update({name: provider.variant for name, provider in settings.fallback_providers.items()})
    written = [model for model in settings.models if model.adapter_of is None]
    for index, model in enumerate(written):
        for at, target in enumerate(model.fallbacks):
            path = f"models[{index}].fallbacks[{at}]"
            yield from _unknown_model(path, target, names)
            if target in {model.name, *model.aliases}:
                yield Problem(path, "a model can't be its own fallback")
            elif target in variants:
                yield from _unfit_fallback(path, model.variant, variants[target])


def _unfit_fallback(path: str, variant: Variant, other: Variant) -> Iterator[Problem]:
    """What clients couldn't use in place of the model's own answers."""
    if variant.task == "classification":
        yield Problem(path, "verdicts of another classifier can't stand in: list more workers instead")
    elif variant.task == "embedding" and variant.name != other.name:
        yield Problem(path, f"must be {variant.name} too: embeddings of another model can't be compared with its own")
    elif variant.task != other.task:
        yield Problem(path, f"is for {other.task}, not for {variant.task}")


def _unfit_classifiers(settings: Settings) -> Iterator[Problem]:
    families: dict[str, Family] = {
        name: model.variant.family for model in settings.models for name in (model.name, *model.aliases)
    }
    names = _names(settings)
    for name, rules in settings.filters.items():
        path = key_path("filters", name)
        for side, listed in (("input", rules.input), ("output", rules.output)):
            for at, rule in enumerate(listed):
                if isinstance(rule, ClassifierRule):
                    yield from _unknown_model(f"{path}.{side}[{at}].model", rule.model, names)
                    if rule.model in families:
                        yield from _unfit_classifier(f"{path}.{side}[{at}]", side, rule, families[rule.model])


def _unfit_classifier(path: str, side: str, rule: ClassifierRule, family: Family) -> Iterator[Problem]:
    judged = JUDGED_POLICIES.get(family)
    if judged is None:
        message = f"{quoted(rule.model)} is no classifier: a ShieldGemma judges texts, a ShieldGemma 2 images"
        yield Problem(f"{path}.model", message)
    elif side == "output" and family == "shieldgemma2":
        message = f"{quoted(rule.model)} judges images, and answers have none: a ShieldGemma 1 judges texts"
        yield Problem(f"{path}.model", message)
    else:
        for at, policy in enumerate(rule.policies):
            if policy not in judged:
                message = f"{quoted(rule.model)} doesn't judge {quoted(policy)}: it judges {', '.join(judged)}"
                yield Problem(f"{path}.policies[{at}]", message)


def _unknown_in_tenants(settings: Settings) -> Iterator[Problem]:
    names = _names_with_providers(settings)
    for index, tenant in enumerate(settings.tenants):
        path = f"tenants[{index}]"
        for at, glob in enumerate(tenant.models):
            if not set(glob) & set("*?["):
                yield from _unknown_model(f"{path}.models[{at}]", glob, names)
        for key_at, key in enumerate(tenant.keys):
            for at, glob in enumerate(key.models or ()):
                if not set(glob) & set("*?["):
                    yield from _unknown_model(f"{path}.keys[{key_at}].models[{at}]", glob, names)
        for name in tenant.model_limits:
            yield from _unknown_model(key_path(f"{path}.model_limits", name), name, names)
        if tenant.filter and tenant.filter not in settings.filters:
            known = did_you_mean(tenant.filter, settings.filters)
            yield Problem(f"{path}.filter", f"no such filter: {quoted(tenant.filter)}{known}")
