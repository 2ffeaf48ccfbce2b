"""What the log may tell of a request that a rule acted on."""

import contextlib
from typing import cast

from gateway.config.model import FilterSettings, KeywordsRule, LogContent, PiiRule
from gateway.errors import ContentFiltered
from gateway.filters.policy import compile_policy
from gateway.observability.record import FilterRecord, RequestRecord
from gateway.pipeline.screening import InputScreening
from gateway.pipeline.services import Services
from gateway.values import RequestId
from tests.support.on_loop import on_loop

SETTINGS = FilterSettings(input=(KeywordsRule(("violence",)), PiiRule(("email",))))
NOTHING = cast("Services", None)
"""Without classifier rules nothing is asked of the services."""


async def content_of(text: str, log_content: LogContent) -> str | None:
    """What the log gets to tell of a text."""
    record = RequestRecord(RequestId("r"), "chat", 0.0)
    screening = InputScreening(compile_policy("p", SETTINGS, log_content=log_content, salt=b"s"), record)
    screening.screen(text, "untrusted")
    with contextlib.suppress(ContentFiltered):
        await screening.clear(NOTHING)
    assert isinstance(record.filter, FilterRecord)
    return record.filter.content


@on_loop
async def test_a_blocked_text_is_told_whole() -> None:
    """Not only what stands before the match: texts that differ behind it have hashes that differ."""
    assert await content_of("violence one", "full") == "violence one"
    hashes = {await content_of(text, "hash") for text in ("violence one", "violence two")}
    assert len(hashes) == 2
    assert await content_of("violence one", "off") is None


@on_loop
async def test_what_is_redacted_stays_so() -> None:
    """The log shows a text that passed as the model gets it; of one in which nothing is found it shows nothing."""
    assert await content_of("write to me@x.org", "full") == "write to [EMAIL]"
    assert await content_of("write to nobody", "full") is None
