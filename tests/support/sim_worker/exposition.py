"""/metrics as vLLM 0.32 exposes it: the names a router reads, in Prometheus text."""

from .journal import Journal


def render_metrics(model: str, journal: Journal) -> str:
    labels = f'engine="0",model_name="{model}"'
    running = journal.counts["running"]
    lines: list[str] = []

    def metric(name: str, kind: str, samples: list[tuple[str, float]]) -> None:
        lines.append(f"# HELP vllm:{name.removesuffix('_total')} {name}")
        lines.append(f"# TYPE vllm:{name} {kind}")
        lines.extend(f"vllm:{name}{{{given}}} {float(value)}" for given, value in samples)

    metric("num_requests_running", "gauge", [(labels, running)])
    metric("num_requests_waiting", "gauge", [(labels, 0)])
    metric(
        "num_requests_waiting_by_reason",
        "gauge",
        [(f'{labels},reason="capacity"', 0), (f'{labels},reason="deferred"', 0)],
    )
    metric("engine_sleep_state", "gauge", [(f'{labels},sleep_state="awake"', 1)])
    metric("kv_cache_usage_perc", "gauge", [(labels, min(1.0, running / 100))])
    metric("prefix_cache_queries_total", "counter", [(labels, journal.prompt_tokens)])
    metric("prefix_cache_hits_total", "counter", [(labels, 0)])
    metric("num_preemptions_total", "counter", [(labels, 0)])
    metric("prompt_tokens_total", "counter", [(labels, journal.prompt_tokens)])
    metric("generation_tokens_total", "counter", [(labels, journal.generation_tokens)])
    reasons = ("stop", "length", "abort", "error", "repetition")
    metric(
        "request_success_total",
        "counter",
        [(f'{labels},finished_reason="{reason}"', journal.finish_reasons.get(reason, 0)) for reason in reasons],
    )
    for name in (
        "time_to_first_token_seconds",
        "inter_token_latency_seconds",
        "e2e_request_latency_seconds",
        "request_queue_time_seconds",
    ):
        finished = sum(journal.finish_reasons.values())
        lines.append(f"# TYPE vllm:{name} histogram")
        lines.extend(
            f'vllm:{name}_bucket{{{labels},le="{bound}"}} {float(finished)}' for bound in ("0.1", "1.0", "+Inf")
        )
        lines.append(f"vllm:{name}_count{{{labels}}} {float(finished)}")
        lines.append(f"vllm:{name}_sum{{{labels}}} 0.0")
    return "\n".join(lines) + "\n"
