"""What ShieldGemma was asked: questions, how long they took, what they cost."""

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.observability.metrics import LATENCY_BUCKETS_S, Distribution
from gateway.values import ModelName, Usage


class ClassifierMetrics(Collector):
    """Counts the questions of one gateway process; labels are models and policies of the configuration."""

    def __init__(self) -> None:
        self._questions: dict[tuple[str, str, str], int] = {}
        self._seconds: dict[str, Distribution] = {}
        self._tokens: dict[tuple[str, str], int] = {}

    def count(
        self, model: ModelName, policy: str, outcome: str, seconds: float | None = None, usage: Usage | None = None
    ) -> None:
        """Count a question by its outcome, which is of a closed set; `seconds` and `usage` of one that was sent."""
        identity = (model, policy, outcome)
        self._questions[identity] = self._questions.get(identity, 0) + 1
        if seconds is not None:
            self._seconds.setdefault(model, Distribution(LATENCY_BUCKETS_S)).observe(seconds)
        if usage is not None:
            for kind, tokens in (("prompt", usage.prompt_tokens), ("completion", usage.completion_tokens)):
                self._tokens[model, kind] = self._tokens.get((model, kind), 0) + tokens

    def collect(self) -> Iterable[Metric]:
        """Make Prometheus' families from the counts; called at a scrape."""
        questions = CounterMetricFamily(
            "gateway_classifier_questions",
            "Questions to classifiers, by outcome: answered, cached, cancelled, unavailable, timeout, nonsense.",
            labels=("model", "policy", "outcome"),
        )
        for labels, count in self._questions.items():
            questions.add_metric(labels, count)
        tokens = CounterMetricFamily(
            "gateway_classifier_tokens",
            "Tokens of those questions.",
            labels=("model", "kind"),
        )
        for pair, count in self._tokens.items():
            tokens.add_metric(pair, count)
        seconds = HistogramMetricFamily(
            "gateway_classifier_seconds", "Until a question was answered or failed.", labels=("model",)
        )
        for model, distribution in self._seconds.items():
            distribution.add_to(seconds, (model,))
        return (questions, tokens, seconds)
