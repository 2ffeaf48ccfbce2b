"""What the file may already say although this version can't do it yet.

Such parts are read and checked like the rest, then refused: a limit or a filter that is silently ignored is worse than
one that can't be configured. A feature that lands takes its line out of the table.
"""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from gateway.config.problems import Problem, key_path
from gateway.config.yaml_tree import Tree


def _given(value: Tree) -> bool:
    return value is not None and value not in ({}, [])


UNAVAILABLE: Final[Mapping[str, Callable[[Tree], bool]]] = MappingProxyType(
    {
        "observability.alerts": _given,
    }
)
"""Path, `[]` for any item of a list, and whether the value there asks for the missing feature."""


def unavailable(tree: Tree) -> Iterator[Problem]:
    """A problem for each value in the file that asks for something this version can't do."""
    yield from _walk(tree, kind="", path="")


def _walk(tree: Tree, *, kind: str, path: str) -> Iterator[Problem]:
    asks = UNAVAILABLE.get(kind)
    if asks is not None and asks(tree):
        yield Problem(path, "is not available in this version of the gateway")
    elif isinstance(tree, dict):
        for key, value in tree.items():
            yield from _walk(value, kind=key_path(kind, key), path=key_path(path, key))
    elif isinstance(tree, list):
        for index, item in enumerate(tree):
            yield from _walk(item, kind=f"{kind}[]", path=f"{path}[{index}]")
