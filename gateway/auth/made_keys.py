"""The form of keys that the gateway makes: `gk-<id>-<32 url-safe characters>`.

The id in the key lets a look-up ask for one record. The secret part has 192 random bits, so its plain SHA-256 can't be
searched: no slow hash is needed.
"""

import secrets
from hashlib import sha256
from typing import Final

from gateway.config.model import MAX_SECRET_CHARS
from gateway.values import KeyId, TenantId

_PREFIX: Final = "gk-"
_RANDOM_BYTES: Final = 24
_RANDOM_CHARS: Final = 32
_MAX_ID_CHARS: Final = 64
_MAX_CHARS: Final = len(_PREFIX) + _MAX_ID_CHARS + 1 + _RANDOM_CHARS
_ID_BYTES: Final = 4


def make_secret(key_id: KeyId) -> str:
    """Return a new secret for the key."""
    return f"{_PREFIX}{key_id}-{secrets.token_urlsafe(_RANDOM_BYTES)}"


def make_key_id(tenant: TenantId) -> KeyId:
    """Return a new id that begins like the tenant's."""
    return KeyId(f"{tenant[: _MAX_ID_CHARS - 1 - 2 * _ID_BYTES]}-{secrets.token_hex(_ID_BYTES)}")


def made_key_id(presented: str) -> KeyId | None:
    """Return the id inside a key of this form; None when the gateway can't have made it."""
    if presented[:3] != _PREFIX or presented[-33:-32] != "-" or not 36 < len(presented) <= _MAX_CHARS:
        return None
    return KeyId(presented[3:-33])


def digest_of(presented: str | None) -> bytes | None:
    """Return the SHA-256 of what was presented; None for what can't be a key, which isn't hashed at all."""
    if not presented or len(presented) > MAX_SECRET_CHARS or not presented.isascii():
        return None
    return sha256(presented.encode("ascii")).digest()
