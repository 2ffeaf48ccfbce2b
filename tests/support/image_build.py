"""Builds a stage of a Dockerfile without Docker: its steps run as plain scripts in a clean directory.

What Docker does for the instructions that our Dockerfiles use, and no more; an instruction that is not known here
raises. Absolute paths that the steps write to come from build arguments (`PREFIX`), so a test can move them.
"""

import fnmatch
import os
import re
import shutil
import string
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_CONTINUED: Final = re.compile(r"\\\n")
_FLAG: Final = re.compile(r"--([a-z-]+)(?:=(\S+))?\s+")
_PIP_SETTINGS: Final = ("PIP_FIND_LINKS", "PIP_CERT", "PIP_CONFIG_FILE", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")
"""How this machine reaches packages is the machine's business, as a proxy would be Docker's."""
STEP_DEADLINE_S: Final = 900.0


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction, its continued lines joined and its flags (`--from=build`) split off."""

    name: str
    argument: str
    flags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Stage:
    """From one FROM to the next."""

    name: str
    base: str
    instructions: tuple[Instruction, ...]

    def all(self, name: str) -> list[Instruction]:
        return [each for each in self.instructions if each.name == name]

    def one(self, name: str) -> Instruction:
        (found,) = self.all(name)
        return found


@dataclass(slots=True)
class Built:
    """What a stage left behind."""

    workdir: Path
    environment: dict[str, str] = field(default_factory=dict)
    output: str = ""


def read_dockerfile(path: Path) -> tuple[dict[str, str], list[Stage]]:
    """The arguments before the first FROM, and the stages in their order."""
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for each in _instructions(path.read_text()):
        if each.name == "FROM":
            base, _, name = each.argument.partition(" AS ")
            stages.append(Stage(name, _filled(base, arguments), ()))
        elif not stages:
            arguments.update([_pair(each.argument)])
        else:
            last = stages.pop()
            stages.append(Stage(last.name, last.base, (*last.instructions, each)))
    return arguments, stages


def build_context(checkout: Path, target: Path) -> None:
    """Copies to `target` what `.dockerignore` lets into the build's context, and nothing else."""
    rules = _ignore_rules((checkout / ".dockerignore").read_text())
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others"], cwd=checkout, check=True, capture_output=True, text=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        source = checkout / name
        if source.is_file() and not _ignored(name, rules):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target / name)


def build_stage(stage: Stage, context: Path, workdir: Path, arguments: Mapping[str, str]) -> Built:
    """Runs the stage's instructions in `workdir`, which stands for its WORKDIR; `arguments` as `--build-arg`.

    Raises AssertionError with the step and its output when one fails.
    """
    home = workdir.parent / "home"
    home.mkdir()
    keep = {name: os.environ[name] for name in _PIP_SETTINGS if name in os.environ}
    built = Built(workdir, {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", **keep})
    workdir.mkdir()
    for each in stage.instructions:
        match each.name:
            case "ARG":
                name, default = _pair(each.argument)
                built.environment[name] = arguments.get(name, _filled(default, built.environment))
            case "ENV":
                built.environment.update(_pairs(each.argument, built.environment))
            case "WORKDIR":
                pass
            case "COPY":
                _copy(each, context, built)
            case "RUN":
                _run(each, built)
            case _:
                raise ValueError(f"{each.name} has no place in a build stage")
    return built


def confined(command: Sequence[str | Path]) -> list[str | Path]:
    """`command` as a container with a read-only root, without capabilities and without root runs it.

    Nothing on the machine can be written to, `/tmp` included. Needs to be root to begin with, as CI is; for another
    user, who can't write to the image either, the command is returned as it is.
    """
    if os.geteuid() != 0:
        return list(command)
    enter = 'mount -o remount,bind,ro / && exec unshare --user --map-user=65532 --map-group=65532 -- "$@"'
    return ["unshare", "--mount", "--", "sh", "-c", enter, "sh", *command]


def stage_environment(stage: Stage, base: Mapping[str, str], arguments: Mapping[str, str]) -> dict[str, str]:
    """What a container of this stage has in its environment, on top of `base`."""
    values = dict(base)
    names: set[str] = set()
    for each in stage.instructions:
        if each.name == "ARG":
            name, default = _pair(each.argument)
            values[name] = arguments.get(name, default)
        elif each.name == "ENV":
            pairs = _pairs(each.argument, values)
            values.update(pairs)
            names |= pairs.keys()
    return {name: values[name] for name in (*base, *names)}


def _instructions(text: str) -> Iterator[Instruction]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in _CONTINUED.sub(" ", "\n".join(lines)).splitlines():
        if not line.strip():
            continue
        name, _, rest = line.strip().partition(" ")
        flags: dict[str, str] = {}
        while found := _FLAG.match(rest):
            flags[found[1]] = found[2] or ""
            rest = rest[found.end() :]
        yield Instruction(name, rest.strip(), flags)


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip(), value.strip().strip('"')


def _pairs(text: str, environment: Mapping[str, str]) -> dict[str, str]:
    found = re.findall(r'([A-Za-z0-9_.]+)=("[^"]*"|\S+)', text)
    return {name: _filled(value.strip('"'), environment) for name, value in found}


def _filled(text: str, values: Mapping[str, str]) -> str:
    return string.Template(text).substitute(values)


def _copy(each: Instruction, context: Path, built: Built) -> None:
    """COPY from the context, to a place under the working directory."""
    if each.flags:
        raise ValueError(f"COPY {each.flags} is not known here")
    *sources, target = each.argument.split()
    for source in sources:
        found, destination = context / source, built.workdir / target
        assert found.exists(), f"{source} is not in the build's context: see .dockerignore"
        if found.is_dir():
            shutil.copytree(found, destination, dirs_exist_ok=True)
        else:
            shutil.copy(found, destination)


def _run(each: Instruction, built: Built) -> None:
    ran = subprocess.run(
        ["/bin/sh", "-c", each.argument],
        cwd=built.workdir,
        env=built.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=STEP_DEADLINE_S,
        check=False,
    )
    built.output += ran.stdout
    assert ran.returncode == 0, f"RUN {each.argument}\nexit status {ran.returncode}\n{ran.stdout[-4000:]}"


def _ignore_rules(text: str) -> list[tuple[bool, str]]:
    """Whether each rule lets in, and its pattern."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.startswith("!"), line.removeprefix("!")) for line in lines]


def _ignored(name: str, rules: list[tuple[bool, str]]) -> bool:
    """The last rule that matches the file or a folder above it decides, as in Docker's own `.dockerignore`."""
    ignored = False
    parts = name.split("/")
    paths = ["/".join(parts[: count + 1]) for count in range(len(parts))]
    for lets_in, pattern in rules:
        if any(_matches(path, pattern) for path in paths):
            ignored = not lets_in
    return ignored


def _matches(path: str, pattern: str) -> bool:
    """Component by component: `*` stays inside one, `**/` stands for any number of them."""
    if pattern.startswith("**/"):
        return fnmatch.fnmatchcase(path.rsplit("/", 1)[-1], pattern[3:])
    ours, theirs = path.split("/"), pattern.split("/")
    return len(ours) == len(theirs) and all(map(fnmatch.fnmatchcase, ours, theirs))
