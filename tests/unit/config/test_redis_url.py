"""`redis.url` in all its forms."""

import pytest

from gateway.config.redis_url import RedisUrlError, parse_redis_url


@pytest.mark.parametrize(
    ("url", "hosts", "db"),
    [
        ("redis://127.0.0.1", (("127.0.0.1", 6379),), 0),
        ("redis://127.0.0.1:7000/3", (("127.0.0.1", 7000),), 3),
        ("redis://store.example?db=4", (("store.example", 6379),), 4),
        ("redis://[::1]:7000", (("::1", 7000),), 0),
        ("redis+sentinel://a,b:1,c/main", (("a", 26379), ("b", 1), ("c", 26379)), 0),
        ("redis+sentinel://a/main/5", (("a", 26379),), 5),
        ("redis+cluster://a:1,b:2", (("a", 1), ("b", 2)), 0),
    ],
)
def test_reads_hosts_and_database(url: str, hosts: tuple[tuple[str, int], ...], db: int) -> None:
    """Ports may be left out; each kind has its own."""
    target = parse_redis_url(url)
    assert (target.hosts, target.db, target.tls) == (hosts, db, False)
    assert target.redis_py_tls() == {}


def test_reads_a_unix_socket() -> None:
    """The whole path, with a password and a database."""
    target = parse_redis_url("unix://:secret@/run/my%20redis.sock?db=2")
    assert (target.path, target.db, target.password, target.hosts) == ("/run/my redis.sock", 2, "secret", ())


def test_reads_login_and_service_with_what_urls_escape() -> None:
    """A password may hold any character."""
    target = parse_redis_url("redis+sentinel://gate:p%40ss%2Fw:rd@a/my%20master?sentinel_password=other")
    assert (target.username, target.password) == ("gate", "p@ss/w:rd")
    assert (target.service, target.options["sentinel_password"]) == ("my master", "other")


def test_never_shows_a_password() -> None:
    """Not in a traceback either."""
    assert "secret" not in repr(parse_redis_url("redis+sentinel://u:secret@a/m?sentinel_password=secret2"))


@pytest.mark.parametrize("scheme", ["rediss", "rediss+sentinel", "rediss+cluster"])
def test_checks_certificates_over_tls(scheme: str) -> None:
    """Name and authority, unless told otherwise."""
    target = parse_redis_url(f"{scheme}://host/m?ssl_ca_certs=/ca.pem" if "sentinel" in scheme else f"{scheme}://host")
    assert target.tls
    assert target.checks_hostname
    assert target.redis_py_tls()["ssl_check_hostname"] is True
    for option in ("ssl_check_hostname=False", "ssl_cert_reqs=none"):
        assert not parse_redis_url(f"rediss://host?{option}").checks_hostname


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://x", "must begin with"),
        ("redis:127.0.0.1", "must begin with"),
        ("unix+sentinel://x", "must begin with"),
        ("redis://a,b", "several hosts"),
        ("redis://", "can't be read"),
        ("redis://host:port", "can't be read"),
        ("redis://host/one", "no number"),
        ("redis+sentinel://a,b", "service"),
        ("redis://:secret@host?timeout=5", "unknown option: timeout"),
    ],
)
def test_says_what_is_wrong_without_the_password(url: str, says: str) -> None:
    """The message goes into logs."""
    with pytest.raises(RedisUrlError) as caught:
        parse_redis_url(url)
    assert says in str(caught.value)
    assert "secret" not in str(caught.value)
