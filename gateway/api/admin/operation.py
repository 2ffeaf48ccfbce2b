"""`/admin/v1/config`, its reload, and `/admin/v1/audit`."""

import logging
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.api.admin.access import actor_of, reply
from gateway.api.admin.views import audit_view, moment
from gateway.auth.administration import KeyAdministration
from gateway.auth.store import StoreUnavailableError
from gateway.config.reload import ConfigVersion, Reloader
from gateway.errors import InvalidRequest

DEFAULT_ENTRIES: Final = 100
MAX_ENTRIES: Final = 1_000
logger = logging.getLogger("gateway.admin")


class OperationEndpoints:
    """Shows which configuration is in force and what was changed, and reads the file again."""

    def __init__(self, reloader: Reloader, administration: KeyAdministration, replica: str) -> None:
        """`replica` tells this process from the others, which are told to read their file too."""
        self._reloader = reloader
        self._administration = administration
        self._replica = replica

    async def config(self, request: Request) -> Response:
        """Answer with the version in force."""
        return reply(request, _version(self._reloader.version))

    async def reload(self, request: Request) -> Response:
        """Read the file again here, then on every other replica; a bad file changes nothing anywhere."""
        version = await self._reloader.reload()
        told = True
        try:
            await self._administration.tell_reload(self._replica, actor_of(request))
        except StoreUnavailableError as error:
            logger.warning("the other replicas were not told to reload: %s", error)
            told = False
        return reply(request, {**_version(version), "replicas_told": told})

    async def audit(self, request: Request) -> Response:
        """Answer with the last changes, newest first; `?limit=` tells how many."""
        text = request.query_params.get("limit", str(DEFAULT_ENTRIES))
        if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_ENTRIES):
            raise InvalidRequest(f"'limit' must be from 1 to {MAX_ENTRIES}.", param="limit")
        entries = await self._administration.audit(int(text))
        return reply(request, {"object": "list", "data": [audit_view(entry) for entry in entries]})


def _version(version: ConfigVersion) -> dict[str, object]:
    return {
        "version": version.version,
        "loaded_at": moment(version.loaded_at_s),
        "hash": version.sha256,
        "restart_needed": version.restart_needed,
    }
