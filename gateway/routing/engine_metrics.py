"""What a balancer wants from an engine's `/metrics`. Pure.

Only vLLM's own names are looked for, exactly (`num_requests_waiting` is the beginning of another), and summed over its
`engine` label. Source: vLLM 0.32, `vllm/v1/metrics/loggers.py`.
"""

import re
from typing import Final

from gateway.routing.worker import EngineLoad

_SAMPLE: Final = re.compile(
    rb"^vllm:(num_requests_running|num_requests_waiting|kv_cache_usage_perc|generation_tokens_total)"
    rb"(?:\{[^\n]*\})?[ \t]+([0-9.eE+-]{1,32})",
    re.MULTILINE,
)


def parse_engine_load(text: bytes) -> EngineLoad | None:
    """Return the load; None when the numbers that matter aren't there."""
    sums: dict[bytes, float] = {}
    kv_use = 0.0
    for name, value in _SAMPLE.findall(text):
        try:
            number = float(value)
        except ValueError:
            return None
        if name == b"kv_cache_usage_perc":
            kv_use = max(kv_use, number)
        sums[name] = sums.get(name, 0.0) + number
    running, waiting = sums.get(b"num_requests_running"), sums.get(b"num_requests_waiting")
    if running is None or waiting is None:
        return None
    return EngineLoad(
        running=max(0.0, running),
        waiting=max(0.0, waiting),
        kv_use=min(1.0, max(0.0, kv_use)),
        generated_tokens=sums.get(b"generation_tokens_total", 0.0),
    )
