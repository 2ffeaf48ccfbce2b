"""YAML's core schema, environment variables, and bounds on what a file may do."""

import pytest

from gateway.config.problems import ConfigurationError, Problem
from gateway.config.yaml_tree import MAX_NODES, Tree, read_tree

ENVIRON = {"NAME": "value", "YAML": "a: [b] # ${NAME}", "DOLLARS": "$$ ${NAME}"}


def tree_of(text: str) -> Tree:
    """The tree of a text without problems."""
    problems: list[Problem] = []
    tree = read_tree(text, ENVIRON, problems)
    assert problems == []
    return tree


def problems_of(text: str) -> list[str]:
    """The problems of a text that can be read to its end."""
    problems: list[Problem] = []
    read_tree(text, ENVIRON, problems)
    return [str(problem) for problem in problems]


def fatal(text: str) -> str:
    """The one problem of a text that can't."""
    with pytest.raises(ConfigurationError) as caught:
        read_tree(text, ENVIRON, [])
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("off", "off"),
        ("no", "no"),
        ("1:30", "1:30"),
        ("2027-01-01", "2027-01-01"),
        ("0x10", "0x10"),
        ("010", 10),
        ("-3", -3),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("null", None),
        ("''", ""),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ("[<<]", ["<<"]),
        ("9999999999999999999", 9999999999999999999.0),
    ],
)
def test_scalars_follow_the_core_schema(text: str, value: Tree) -> None:
    """YAML 1.1's surprises are gone."""
    tree = tree_of(text)
    assert tree == value
    assert type(tree) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${NAME}", "value"),
        ("a: ${NAME}", {"a": "value"}),
        ("{a: ${NAME}, b: [${NAME}]}", {"a": "value", "b": ["value"]}),
        ("'x-${NAME}-${NAME}'", "x-value-value"),
        ("{a: ${YAML}}", {"a": "a: [b] # ${NAME}"}),
        ("${DOLLARS}", "$$ ${NAME}"),
        ("$${NAME}", "${NAME}"),
        ("{a: $${NAME}}", {"a": "${NAME}"}),
        ("$$${NAME}", "$value"),
        ("pa$word$", "pa$word$"),
        ("pa$$word", "pa$word"),
        ('"${NAME}"', "value"),
        ("${NAME}: 1", {"${NAME}": 1}),
        ("a: 1 # ${NOPE}", {"a": 1}),
    ],
)
def test_variables_are_put_in_as_text(text: str, value: Tree) -> None:
    """In any style of scalar, never read as YAML nor replaced again; not in keys and comments."""
    assert tree_of(text) == value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: ${NOPE}", "a: the environment variable NOPE is not set"),
        ("a: ['${}']", "a[0]: `${` must go on as `${NAME}`; write `$${` for the characters"),
        ("a: '${NAME:-x}'", "a: `${` must go on as `${NAME}`; write `$${` for the characters"),
        ("a: {b: 1, b: 2}", "a.b: given twice in the same mapping (line 1)"),
        ("? [a]\n: 1", "a key must be plain text (line 1)"),
        ("a: !secret x", 'a: the tag "!secret" means nothing here (line 1)'),
        ("a: !!binary eA==", 'a: the tag "tag:yaml.org,2002:binary" means nothing here (line 1)'),
        (
            "a: !!python/object:os.system {}",
            'a: the tag "tag:yaml.org,2002:python/object:os.system" means nothing here (line 1)',
        ),
        ("a: !!set {b}", 'a: the tag "tag:yaml.org,2002:set" means nothing here (line 1)'),
        ("a: !!int b", "a: not a number (line 1)"),
        ("a: !!bool b", 'a: the tag "tag:yaml.org,2002:bool" means nothing here (line 1)'),
        ("a: {<<: 1}", "a: `<<` takes a mapping or a list of mappings (line 1)"),
    ],
)
def test_what_a_configuration_has_no_use_for_is_a_problem(text: str, problem: str) -> None:
    """Each with its path and line."""
    assert problems_of(text) == [problem]


def test_anchors_and_merge_keys_work() -> None:
    """What a mapping says itself wins over what it merges, and the first of several merged ones over the others."""
    assert tree_of("a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {<<: [*a, *b], x: 3}\nd: {<<: *b}") == {
        "a": {"x": 1, "y": 1},
        "b": {"y": 2, "z": 2},
        "c": {"x": 3, "y": 1, "z": 2},
        "d": {"y": 2, "z": 2},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1, 2", "not valid YAML: line 1, column 9: while parsing a flow sequence, expected ',' or ']'"),
        ("a: b: sekret", "not valid YAML: line 1, column 5: mapping values are not allowed here"),
        ("a: *b", "not valid YAML: line 1, column 4: found undefined alias 'b'"),
        ("a: 1\n---\nb: 1", "not valid YAML: line 2, column 1: expected a single document in the stream"),
        ("a: \x00", "not valid YAML (ReaderError)"),
        ('a: "\\UFFFFFFFF"', "not valid YAML ("),
        ("&a [*a]", "nested more than 32 levels deep"),
        ("[" * 40 + "]" * 40, "nested more than 32 levels deep"),
        ("[" * 2_000, "nested more than 32 levels deep"),
    ],
)
def test_what_cannot_be_read_says_where(text: str, message: str) -> None:
    """Line and column, but no excerpt: there may be a secret on the line."""
    assert message in fatal(text)
    assert "sekret" not in fatal(text)


def test_aliases_cannot_unfold_without_end() -> None:
    """Ten levels of ten aliases would be ten thousand million values."""
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 11)]
    assert fatal("\n".join(lines)) == f"more than {MAX_NODES} values, aliases unfolded"
    lines = ["a0: &a0 {x: 1}"] + [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 11)]
    assert fatal("\n".join(lines)) == f"more than {MAX_NODES} values, aliases unfolded"


def test_nothing_is_an_empty_document() -> None:
    """Comments alone are nothing too."""
    assert tree_of("") is None
    assert tree_of("# ${NAME}\n") is None
