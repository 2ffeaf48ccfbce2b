"""Reading the file again while the gateway serves.

A reload reads and checks the whole file and then either applies it or changes nothing. Some sections can't change under
running requests: their old values stay in force until a restart, which the outcome names.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Final

from gateway.config.flags import Flags
from gateway.config.load import parse_settings, read_config
from gateway.config.model import Settings
from gateway.config.problems import ConfigurationError
from gateway.values import Variant

APPLIED_SECTIONS: Final = frozenset({"filters", "tenants"})
"""What a reload changes at once."""

logger = logging.getLogger("gateway.config")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A file that was read and found good."""

    settings: Settings
    """With the command line's flags."""
    sha256: str
    """Of the file's bytes."""


@dataclass(frozen=True, slots=True)
class ConfigVersion:
    """Which configuration is in force; never holds a value of it."""

    version: int
    """1 when the process started, one more for each reload."""
    loaded_at_s: float
    """Unix seconds."""
    sha256: str
    restart_needed: tuple[str, ...] = ()
    """Sections of the file whose new values aren't in force yet."""


class ConfigFile:
    """The file with what reading it takes; reading it again gives the same kind of outcome."""

    def __init__(
        self, path: Path, environ: Mapping[str, str], variants: Mapping[str, Variant], flags: Flags | None = None
    ) -> None:
        self._path = path
        self._environ = environ
        self._variants = variants
        self._flags = flags or Flags()

    def load(self) -> Loaded:
        """Read and check the file. Raises ConfigurationError with everything that is wrong."""
        text = read_config(self._path)
        settings = self._flags.apply(parse_settings(text, self._environ, self._variants))
        return Loaded(settings, sha256(text.encode()).hexdigest())


class Reloader:
    """Holds the settings in force; one reload at a time."""

    def __init__(
        self, file: ConfigFile, loaded: Loaded, apply: Callable[[Settings], None], *, now_s: Callable[[], float]
    ) -> None:
        """`apply` swaps in what was built from new settings; when it raises, it must have changed nothing."""
        self._file = file
        self._apply = apply
        self._now_s = now_s
        self._started_with = loaded.settings
        self._version = ConfigVersion(1, now_s(), loaded.sha256)
        self._settings = loaded.settings
        self._one_at_a_time = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def version(self) -> ConfigVersion:
        """What is in force."""
        return self._version

    @property
    def settings(self) -> Settings:
        """What is in force."""
        return self._settings

    async def reload(self) -> ConfigVersion:
        """Read the file and apply it. Raises ConfigurationError, having changed nothing."""
        async with self._one_at_a_time:
            try:
                loaded = await asyncio.to_thread(self._file.load)
            except ConfigurationError as error:
                for problem in error.problems:
                    logger.error("the configuration was not reloaded: %s", problem)  # noqa: TRY400  # no trace wanted
                raise
            waiting = _changed_sections(self._started_with, loaded.settings)
            kept = {section: getattr(self._settings, section) for section in waiting}
            settings = replace(loaded.settings, **kept)
            self._apply(settings)
            self._settings = settings
            self._version = ConfigVersion(self._version.version + 1, self._now_s(), loaded.sha256, waiting)
        logger.info("configuration version %d is in force", self._version.version)
        if waiting:
            logger.warning("changes in %s need a restart", ", ".join(waiting))
        return self._version

    def reload_soon(self) -> None:
        """Reload in the background; for signals. What is wrong with the file is in the log."""
        if len(self._tasks) > 1:
            return  # one runs, and one that waits will see what the file holds by then
        task = asyncio.get_running_loop().create_task(self._reload_quietly(), name="configuration reload")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait for reloads in the background."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _reload_quietly(self) -> None:
        try:
            await self.reload()
        except ConfigurationError:
            return  # `reload` has logged it
        except Exception:  # the task's outermost place: the old configuration stays in force
            logger.exception("the configuration was not reloaded")


def _changed_sections(before: Settings, after: Settings) -> tuple[str, ...]:
    """Return the names of the sections that differ and can't be changed while the gateway serves."""
    return tuple(
        section.name
        for section in fields(Settings)
        if section.name not in APPLIED_SECTIONS and getattr(before, section.name) != getattr(after, section.name)
    )
