"""`redis.url`: which Redis, and how to reach it.

    redis://[user:password@]host[:port][/db]                        rediss:// with TLS
    unix://[user:password@]/path/to/socket[?db=N]
    redis+sentinel://[user:password@]host[:port],…/service[/db]     rediss+sentinel://
    redis+cluster://[user:password@]host[:port],…                   rediss+cluster://

TLS checks the server's certificate and name against the system's authorities; `?ssl_ca_certs=FILE` names others,
`ssl_certfile` and `ssl_keyfile` a certificate of our own, `ssl_check_hostname=false` and `ssl_cert_reqs=none` check
less.
`sentinel_username` and `sentinel_password` are for Sentinels that ask for another password than Redis does.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

Kind = Literal["server", "sentinel", "cluster"]
DEFAULT_PORT: Final = 6379
DEFAULT_SENTINEL_PORT: Final = 26379
_SCHEMES: Final = frozenset(
    {"redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"}
)
_OPTIONS: Final = frozenset(
    {
        "db",
        "sentinel_password",
        "sentinel_username",
        "ssl_ca_certs",
        "ssl_cert_reqs",
        "ssl_certfile",
        "ssl_check_hostname",
        "ssl_keyfile",
    }
)


class RedisUrlError(ValueError):
    """The URL can't be used; its text never has the password."""


@dataclass(frozen=True, slots=True)
class RedisTarget:
    """What the URL says."""

    kind: Kind
    hosts: tuple[tuple[str, int], ...]
    """Servers, or Sentinels; none with a Unix socket."""
    path: str = ""
    """Of a Unix socket."""
    service: str = ""
    """Of a Sentinel: the name of the master."""
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    options: dict[str, str] = field(default_factory=dict[str, str], repr=False)

    def redis_py_tls(self) -> dict[str, Any]:
        """Return the keyword arguments by which redis-py does the same."""
        if not self.tls:
            return {}
        named: dict[str, Any] = {key: text for key, text in self.options.items() if key.startswith("ssl_")}
        named["ssl"] = True
        named["ssl_check_hostname"] = self.checks_hostname
        return named

    @property
    def checks_hostname(self) -> bool:
        """Whether the certificate's name has to be the host's."""
        options = self.options
        return options.get("ssl_cert_reqs") != "none" and options.get("ssl_check_hostname", "").lower() != "false"


def parse_redis_url(url: str) -> RedisTarget:
    """Read a URL. Raises RedisUrlError."""
    scheme, separator, rest = url.partition("://")
    security, _, kind = scheme.partition("+")
    if not separator or scheme not in _SCHEMES:
        raise RedisUrlError("must begin with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://")
    place, _, query = rest.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    if unknown := sorted(options.keys() - _OPTIONS):
        raise RedisUrlError(f"has an unknown option: {unknown[0]}")
    login, _, place = place.rpartition("@")
    username, _, password = (unquote(part) for part in login.partition(":"))
    if scheme == "unix":
        target = RedisTarget("server", (), path=unquote(place), db=_db(options.get("db", "")))
    elif kind == "sentinel":
        target = _sentinel(place, options)
    else:
        authority, _, db = place.partition("/")
        hosts = tuple(_host(part, DEFAULT_PORT) for part in authority.split(","))
        if kind == "cluster":
            target = RedisTarget("cluster", hosts)
        elif len(hosts) > 1:
            raise RedisUrlError("has several hosts: say redis+sentinel:// or redis+cluster://")
        else:
            target = RedisTarget("server", hosts, db=_db(db or options.get("db", "")))
    tls = security == "rediss"
    return replace(target, username=username or None, password=password or None, tls=tls, options=options)


def _sentinel(place: str, options: dict[str, str]) -> RedisTarget:
    authority, _, path = place.partition("/")
    service, _, db = path.partition("/")
    if not service:
        raise RedisUrlError("must name the master's service behind the Sentinels: .../service")
    hosts = tuple(_host(part, DEFAULT_SENTINEL_PORT) for part in authority.split(","))
    return RedisTarget("sentinel", hosts, service=unquote(service), db=_db(db or options.get("db", "")))


def _host(text: str, default_port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise RedisUrlError("has a host or port that can't be read")
    return host, port or default_port


def _db(text: str) -> int:
    if text and not (text.isascii() and text.isdigit()):
        raise RedisUrlError("has a database that is no number")
    return int(text or 0)
