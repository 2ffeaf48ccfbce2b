"""YAML text to plain values, with environment variables put in.

The values are those of YAML 1.2's core schema: `off` and `no` are words, a date is text, only `true` and `false` are
booleans. What YAML allows and a configuration has no use for is a problem: duplicate keys, tags, keys that aren't
text. Aliases and merge keys (`<<`) work; how far they may unfold is bounded.

`${NAME}` is found before the YAML is read, because `{a: ${NAME}}` wouldn't be valid YAML, but is replaced afterwards,
so that no value of a variable can be taken for YAML.
"""

import re
from collections.abc import Mapping
from typing import Final, TypeAlias

import yaml

from gateway.config.problems import ConfigurationError, Problem, key_path, quoted

MAX_NODES: Final = 50_000
"""Values in a file, each use of an alias counted in full."""
MAX_DEPTH: Final = 32

Tree: TypeAlias = "str | int | float | bool | list[Tree] | dict[str, Tree] | None"


class FromEnvironment(str):
    """A text in which a variable was put; messages must not show it."""

    __slots__ = ()


_TAG: Final = "tag:yaml.org,2002:"
_STR, _NULL, _BOOL, _INT, _FLOAT, _MERGE = (_TAG + name for name in ("str", "null", "bool", "int", "float", "merge"))

_OPEN: Final = "\U0010fffe"
_CLOSE: Final = "\U0010ffff"
"""Stand for the braces of `${NAME}` while the YAML is read: noncharacters, so no text has them."""
_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_DOLLAR: Final = re.compile(rf"\$\$|\${_OPEN}([^{_CLOSE}]*){_CLOSE}|(\$\{{)|{_OPEN}|{_CLOSE}")


class _Loader(yaml.SafeLoader):
    """PyYAML's parser with the core schema in place of YAML 1.1's, under which `off` is false and `1:30` is 90."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 (PyYAML's own way: a class attribute that add_implicit_resolver fills)


_Loader.add_implicit_resolver(_NULL, re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver(_BOOL, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.add_implicit_resolver(_INT, re.compile(r"^[-+]?[0-9]{1,18}$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    _FLOAT, re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$"), list("-+.0123456789")
)
_Loader.add_implicit_resolver(_MERGE, re.compile(r"^<<$"), ["<"])


def read_tree(text: str, environ: Mapping[str, str], problems: list[Problem]) -> Tree:
    """The one document in `text`; None when it is empty.

    Appends to `problems` what is wrong with single values; raises ConfigurationError when there is no going on.
    """
    try:
        node = yaml.compose(_VARIABLE.sub(rf"${_OPEN}\1{_CLOSE}", text), Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        raise ConfigurationError([Problem("", _syntax_message(error))]) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # PyYAML lets chr() and int() fail on absurd escapes and directives. The error's text may quote the file.
        message = f"not valid YAML ({type(error).__name__}): is there a control character or a wrong escape in it?"
        raise ConfigurationError([Problem("", message)]) from None
    except RecursionError:
        raise ConfigurationError([_too_deep("")]) from None
    return None if node is None else _TreeBuilder(environ, problems).build(node, "", 0)


def _syntax_message(error: yaml.MarkedYAMLError) -> str:
    """Without PyYAML's excerpt of the file, which may show a secret."""
    mark = error.problem_mark or error.context_mark
    where = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
    what = ", ".join(part for part in (error.context, error.problem) if part)
    return f"not valid YAML: {where}{what}"


def _too_deep(path: str) -> Problem:
    return Problem(path, f"nested more than {MAX_DEPTH} levels deep")


class _TreeBuilder:
    """Turns PyYAML's nodes into values. Counts what it has built, so that aliases can't unfold without end."""

    def __init__(self, environ: Mapping[str, str], problems: list[Problem]) -> None:
        self._environ = environ
        self._problems = problems
        self._nodes = 0

    def build(self, node: yaml.Node, path: str, depth: int) -> Tree:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise ConfigurationError([Problem("", f"more than {MAX_NODES} values, aliases unfolded")])
        if depth > MAX_DEPTH:
            raise ConfigurationError([_too_deep(path)])
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self.build(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        return self._unusable(path, f"the tag {quoted(_braces(node.tag))} means nothing here", node)

    def _mapping(self, node: yaml.MappingNode, path: str, depth: int) -> dict[str, Tree]:
        merged: dict[str, Tree] = {}
        own: dict[str, Tree] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._report(path, "a key must be plain text", key_node)
                continue
            if key_node.tag == _MERGE:
                for key, value in self._merge_sources(value_node, path, depth):
                    merged.setdefault(key, value)
                continue
            key = _braces(key_node.value)
            if key in own:
                self._report(key_path(path, key), "given twice in the same mapping", key_node)
            own[key] = self.build(value_node, key_path(path, key), depth + 1)
        return merged | own

    def _merge_sources(self, node: yaml.Node, path: str, depth: int) -> list[tuple[str, Tree]]:
        tree = self.build(node, path, depth + 1)
        sources = tree if isinstance(tree, list) else [tree]
        pairs: list[tuple[str, Tree]] = []
        for source in sources:
            if isinstance(source, dict):
                pairs.extend(source.items())
            else:
                self._report(path, "`<<` takes a mapping or a list of mappings", node)
        return pairs

    def _scalar(self, node: yaml.ScalarNode, path: str) -> Tree:
        text: str = node.value
        match node.tag:
            case "tag:yaml.org,2002:str" | "tag:yaml.org,2002:merge":
                return self._substitute(text, path)
            case "tag:yaml.org,2002:null":
                return None
            case "tag:yaml.org,2002:bool" if text.lower() in {"true", "false"}:
                return text.lower() == "true"
            case "tag:yaml.org,2002:int" | "tag:yaml.org,2002:float":
                try:
                    return int(text) if node.tag == _INT else float(text)
                except ValueError:
                    return self._unusable(path, "not a number", node)
            case _:
                return self._unusable(path, f"the tag {quoted(_braces(node.tag))} means nothing here", node)

    def _substitute(self, text: str, path: str) -> str:
        if "$" not in text and _OPEN not in text and _CLOSE not in text:
            return text
        replaced = False

        def replace(match: re.Match[str]) -> str:
            nonlocal replaced
            if match[0] == "$$":
                return "$"
            if match[2] is not None:
                self._problems.append(Problem(path, "`${` must go on as `${NAME}`; write `$${` for the characters"))
                return match[0]
            if match[1] is None:
                return _braces(match[0])
            replaced = True
            value = self._environ.get(match[1])
            if value is None:
                self._problems.append(Problem(path, f"the environment variable {match[1]} is not set"))
            return value or ""

        result = _DOLLAR.sub(replace, text)
        return FromEnvironment(result) if replaced else result

    def _unusable(self, path: str, message: str, node: yaml.Node) -> Tree:
        """Report a value and return its stand-in."""
        self._report(path, message, node)
        return None

    def _report(self, path: str, message: str, node: yaml.Node) -> None:
        mark = node.start_mark
        where = "" if mark is None else f" (line {mark.line + 1})"
        self._problems.append(Problem(path, message + where))


def _braces(text: str) -> str:
    """`text` as it was written: names and keys aren't substituted."""
    return text.replace(_OPEN, "{").replace(_CLOSE, "}")
