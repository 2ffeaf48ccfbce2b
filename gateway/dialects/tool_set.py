"""The tools of a request as its reply's parser knows them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from gateway.dialects.schema_view import SchemaView

NAME_PREFIXES: Final = ("functions.", "default_api:", "default_api.", "functions:")
"""What models put before a tool's name, from their training."""


@dataclass(frozen=True)
class DeclaredTool:
    """A tool that the model may call."""

    name: str
    """The client's name for it."""
    wire_name: str
    """Its name in the prompt: a dialect may not be able to write the client's."""
    description: str
    parameters: Mapping[str, Any]
    """The client's schema, untouched: arguments are typed and judged by it."""
    strict: bool = False
    position: int = 0
    """Its index in the request."""

    @cached_property
    def view(self) -> SchemaView:
        """The schema of the whole arguments."""
        return SchemaView.of(self.parameters)


class ToolSet:
    """Finds tools by what a model wrote."""

    def __init__(self, tools: Iterable[DeclaredTool]) -> None:
        self._tools: Final = tuple(tools)
        self._by_name: Final = {tool.name: tool for tool in self._tools} | {
            tool.wire_name: tool for tool in self._tools
        }
        self.longest: Final = max(map(len, self._by_name), default=0) + max(map(len, NAME_PREFIXES))
        """Characters of the longest name that can be found."""

    def __iter__(self) -> Iterator[DeclaredTool]:
        return iter(self._tools)

    def __bool__(self) -> bool:
        return bool(self._tools)

    @property
    def names(self) -> Iterable[str]:
        """All names under which tools are found, without prefixes."""
        return self._by_name.keys()

    def find(self, written: str) -> DeclaredTool | None:
        """The tool of this name; the spellings that models are known for are taken."""
        name = written.strip()
        found = self._by_name.get(name)
        if found is None:
            for prefix in NAME_PREFIXES:
                if name.startswith(prefix):
                    return self._by_name.get(name[len(prefix) :])
        return found

    def may_become(self, written: str) -> bool:
        """Whether more characters could make `written` a tool's name."""
        if len(written) > self.longest:
            return False
        if any(prefix.startswith(written) for prefix in NAME_PREFIXES):
            return True
        names = [written, *(written[len(prefix) :] for prefix in NAME_PREFIXES if written.startswith(prefix))]
        return any(known.startswith(name) for name in names for known in self._by_name)
