"""The log-probabilities of a worker's reply, over either route (vLLM 0.32)."""

from collections.abc import Mapping

from msgspec import Struct

from gateway.wire.replies import UsageBody


class TokenLogprob(Struct, frozen=True):
    token: str
    logprob: float


class _ChatToken(Struct, frozen=True):
    top_logprobs: list[TokenLogprob] = []


class _Logprobs(Struct, frozen=True):
    content: list[_ChatToken] | None = None
    """Of the chat route, by generated token."""
    top_logprobs: list[dict[str, float] | None] | None = None
    """Of the completions route, by generated token."""


class _ScoredChoice(Struct, frozen=True):
    logprobs: _Logprobs | None = None


class ScoredReply(Struct, frozen=True):
    """A reply of which only the log-probabilities matter."""

    choices: list[_ScoredChoice]
    usage: UsageBody | None = None

    def first_token(self) -> Mapping[str, float]:
        """Return the log-probabilities that come with the first generated token; empty when there are none."""
        logprobs = self.choices[0].logprobs if self.choices else None
        if logprobs is None:
            return {}
        if logprobs.content:
            return {each.token: each.logprob for each in logprobs.content[0].top_logprobs}
        return (logprobs.top_logprobs[0] or {}) if logprobs.top_logprobs else {}
