"""The only reader of the configuration file and of the environment."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from gateway.config.availability import unavailable
from gateway.config.filter_section import read_filters
from gateway.config.model import Settings
from gateway.config.model_section import read_models
from gateway.config.problems import ConfigurationError, Problem
from gateway.config.provider_section import read_providers
from gateway.config.references import broken_references
from gateway.config.section import Section
from gateway.config.server_section import read_admin, read_observability, read_redis, read_server
from gateway.config.tenant_section import read_tenants
from gateway.config.yaml_tree import read_tree
from gateway.values import Variant

MAX_FILE_BYTES: Final = 1_048_576


def load_settings(path: Path, environ: Mapping[str, str], variants: Mapping[str, Variant]) -> Settings:
    """Read the file at `path`, with `${NAME}` taken from `environ` and `models[].variant` from `variants`.

    Raises ConfigurationError with everything that is wrong, unreadable files included.
    """
    return parse_settings(read_config(path), environ, variants)


def read_config(path: Path) -> str:
    """Return the file's text. Raises ConfigurationError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigurationError([Problem("", f"can't read {path}: {error.strerror}")]) from error
    if len(content) > MAX_FILE_BYTES:
        raise ConfigurationError([Problem("", f"{path} is larger than {MAX_FILE_BYTES} bytes")])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigurationError([Problem("", f"{path} is not UTF-8 at byte {error.start}")]) from None


def parse_settings(text: str, environ: Mapping[str, str], variants: Mapping[str, Variant]) -> Settings:
    """Like `load_settings`, from the file's text."""
    problems: list[Problem] = []
    tree = read_tree(text, environ, problems)
    settings = _read_root(Section(tree, "", problems), variants)
    problems += broken_references(settings)
    problems += unavailable(tree)
    if problems:
        raise ConfigurationError(_first_per_path(problems))
    return settings


def _read_root(root: Section, variants: Mapping[str, Variant]) -> Settings:
    redis, admin = root.child("redis"), root.child("admin")
    settings = Settings(
        server=read_server(root.child("server")),
        models=read_models(root, variants),
        tenants=read_tenants(root),
        filters=read_filters(root),
        fallback_providers=read_providers(root, variants),
        observability=read_observability(root.child("observability")),
    )
    if root.has("redis"):
        settings = replace(settings, redis=read_redis(redis))
    if root.has("admin"):
        settings = replace(settings, admin=read_admin(admin))
    root.close()
    return settings


def _first_per_path(problems: list[Problem]) -> list[Problem]:
    """One problem for each place: what follows from an unset variable or a wrong type isn't worth a line."""
    first: dict[str, Problem] = {}
    for problem in problems:
        first.setdefault(problem.path, problem)
    return list(first.values())
