"""`/admin/v1/keys`."""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response

from gateway.api.admin.access import actor_of, read_body, reply
from gateway.api.admin.bodies import KEY, ROTATE
from gateway.api.admin.views import key_view, new_key_view, read_moment
from gateway.auth.administration import DEFAULT_OVERLAP_S, KeyAdministration, NewKey
from gateway.values import KeyId, TenantId


class KeyEndpoints:
    """Makes, shows, rotates and revokes keys."""

    def __init__(self, administration: KeyAdministration, now_s: Callable[[], float]) -> None:
        self._administration = administration
        self._now_s = now_s

    async def list_keys(self, request: Request) -> Response:
        """Answer with all keys, or those of `?tenant=`."""
        tenant = request.query_params.get("tenant")
        keys = await self._administration.keys(None if tenant is None else TenantId(tenant))
        now_s = self._now_s()
        return reply(request, {"object": "list", "data": [key_view(key, now_s) for key in keys]})

    async def create(self, request: Request) -> Response:
        """Make a key and answer with its secret, the only time it is shown."""
        body = await read_body(request, KEY)
        new = NewKey(
            tenant=TenantId(body.tenant),
            id=None if body.id is None else KeyId(body.id),
            models=body.models,
            limits=None if body.limits is None else body.limits.settings(),
            expires_s=None if body.expires is None else read_moment(body.expires, "expires"),
        )
        made = await self._administration.create_key(new, actor_of(request))
        return reply(request, new_key_view(made.key, made.secret, self._now_s()), 201)

    async def show(self, request: Request) -> Response:
        """Answer with one key."""
        return reply(request, key_view(await self._administration.key(_key_id(request)), self._now_s()))

    async def rotate(self, request: Request) -> Response:
        """Answer with a new secret; the old one lives for `overlap_s`."""
        body = await read_body(request, ROTATE)
        overlap_s = DEFAULT_OVERLAP_S if body.overlap_s is None else body.overlap_s
        made = await self._administration.rotate_key(_key_id(request), overlap_s, actor_of(request))
        return reply(request, new_key_view(made.key, made.secret, self._now_s()))

    async def revoke(self, request: Request) -> Response:
        """End a key."""
        key = await self._administration.revoke_key(_key_id(request), actor_of(request))
        return reply(request, key_view(key, self._now_s()))


def _key_id(request: Request) -> KeyId:
    return KeyId(request.path_params["key_id"])
