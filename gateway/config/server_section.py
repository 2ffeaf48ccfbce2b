"""Reads the sections about the gateway itself: `server`, `redis`, `admin`, `fallback_providers`, `observability`."""

import re
from typing import Final, get_args

from gateway.config.model import (
    AdminSettings,
    AlertSettings,
    LogContent,
    ObservabilitySettings,
    OnFailure,
    RedisSettings,
    Secret,
    ServerSettings,
)
from gateway.config.redis_url import RedisUrlError, parse_redis_url
from gateway.config.section import SECRET, Form, Section

_DAY_S: Final = 86_400
_HOST: Final = Form(re.compile(r"[A-Za-z0-9._:%-]{1,255}"), "an address or a host name")
_PREFIX: Final = Form(re.compile(r"[A-Za-z0-9._:-]{1,64}"), "1 to 64 letters, digits and any of . _ : -")
_REDIS_URL: Final = Form(
    re.compile(r"(?:rediss?(?:\+(?:sentinel|cluster))?|unix)://[!-~]{1,1024}"),
    "a redis://, rediss:// or unix:// URL, or redis+sentinel:// or redis+cluster://",
)
_MAX_PROCESSES: Final = 1_024


def read_server(section: Section) -> ServerSettings:
    """`server`."""
    default = ServerSettings()
    settings = ServerSettings(
        host=section.optional_text("host", _HOST) or default.host,
        port=section.integer("port", default.port, low=0, high=65_535),
        workers=section.integer("workers", default.workers, low=1, high=_MAX_PROCESSES),
        max_body_mb=section.number("max_body_mb", default.max_body_mb, low=0.001, high=4_096),
        drain_s=section.number("drain_s", default.drain_s, low=0, high=_DAY_S),
        request_timeout_s=section.number("request_timeout_s", default.request_timeout_s, low=0.001, high=_DAY_S),
        stream_idle_timeout_s=section.number(
            "stream_idle_timeout_s", default.stream_idle_timeout_s, low=0.001, high=_DAY_S
        ),
        keepalive_s=section.number("keepalive_s", default.keepalive_s, low=0.001, high=_DAY_S),
    )
    section.close()
    return settings


def read_redis(section: Section) -> RedisSettings:
    """`redis`."""
    on_failure: OnFailure = section.choice("on_failure", get_args(OnFailure), "local")
    url = section.text("url", _REDIS_URL)
    if url:
        try:
            parse_redis_url(url)
        except RedisUrlError as error:
            section.report("url", str(error))
    settings = RedisSettings(
        url=Secret(url),
        prefix=section.optional_text("prefix", _PREFIX) or "gw",
        on_failure=on_failure,
    )
    section.close()
    return settings


def read_admin(section: Section) -> AdminSettings:
    """`admin`."""
    settings = AdminSettings(key=Secret(section.text("key", SECRET)))
    section.close()
    return settings


def read_observability(section: Section) -> ObservabilitySettings:
    """`observability`."""
    log_content: LogContent = section.choice("log_content", get_args(LogContent), "hash")
    alerts = section.child("alerts")
    settings = ObservabilitySettings(
        log_content=log_content,
        alerts=_read_alerts(alerts) if section.has("alerts") else None,
    )
    section.close()
    return settings


def _read_alerts(section: Section) -> AlertSettings:
    settings = AlertSettings(
        max_response_time_s=section.optional_number("max_response_time_s", low=0.001, high=_DAY_S),
        min_tokens_per_s=section.optional_number("min_tokens_per_s", low=0, high=1_000_000),
        min_success_rate=section.optional_number("min_success_rate", low=0, high=1),
        window_s=section.number("window_s", AlertSettings().window_s, low=1, high=_DAY_S),
    )
    section.close()
    return settings
