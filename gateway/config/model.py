"""The configuration, one frozen dataclass per section of the YAML file; attributes are named as the file's keys.

A file needs no more than this:

    models:
      - name: google/gemma-3-4b-it
        workers: [{url: "http://127.0.0.1:8000"}]
    tenants:
      - id: acme
        keys: [{id: acme-dev, secret: "${ACME_DEV_KEY}"}]

Durations end in `_s` and sizes in `_mb`. `${NAME}` in a value takes an environment variable, and is an error when that
is unset; `$$` stands for a plain `$`. Unknown keys are errors. Only `models` is required.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Final, Literal, final

from gateway.values import DialectName, Family, KeyId, ModelName, TenantId, Variant

OnFailure = Literal["local", "open", "closed"]
Balance = Literal["least-load", "prefix", "round-robin"]
Action = Literal["block", "redact", "flag"]
"""`block` ends the request or the answer, `redact` puts a placeholder in the match's place, `flag` only notes it."""
PatternSet = Literal["markup", "injection"]
PiiType = Literal[
    "email",
    "phone",
    "credit_card",
    "iban",
    "ip",
    "api_key",
    "ssn",
    "aadhaar",
    "codice_fiscale",
    "cpf",
    "cpr",
    "dni",
    "fodselsnummer",
    "hetu",
    "nino",
    "nir",
    "personnummer",
    "pesel",
    "steuer_id",
]
Policy = Literal["dangerous", "harassment", "hate", "sexual", "violence"]
JUDGED_POLICIES: Final[Mapping[Family, tuple[Policy, ...]]] = MappingProxyType(
    {"shieldgemma": ("dangerous", "harassment", "hate", "sexual"), "shieldgemma2": ("dangerous", "sexual", "violence")}
)
"""What the checkpoints of a family were trained to judge: ShieldGemma 1 in texts, ShieldGemma 2 in images."""
OnError = Literal["open", "closed"]
Over = Literal["reject", "truncate"]
LogContent = Literal["hash", "off", "full"]
MAX_SECRET_CHARS: Final = 512
"""Of an API key."""

Scalar = str | int | float | bool | None


@final
class Secret:
    """A text that must not reach logs, tracebacks or `repr`; `reveal` is the only way to it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the one place that sends or hashes it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """`server`: the listening side."""

    host: str = "127.0.0.1"
    """Address to listen on; `0.0.0.0` or `::` for every interface."""
    port: int = 8080
    """0 takes any free port; the `ready` line tells which."""
    workers: int = 1
    """Gateway processes that share the port; more than one needs `redis`, or each would count limits alone."""
    max_body_mb: float = 32
    """Largest request body, unpacked; a larger one is answered 413."""
    drain_s: float = 30
    """How long open streams may go on after SIGTERM."""
    request_timeout_s: float = 600
    """Deadline of a whole request, its stream included."""
    stream_idle_timeout_s: float = 120
    """A stream ends in an error when the worker sent nothing for this long."""
    keepalive_s: float = 15
    """A comment line is sent to the client whenever a stream was silent for this long."""


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """`redis`: the store that several replicas share. Without it each process counts for itself."""

    url: Secret
    """`redis://`, `rediss://` (TLS) or `unix://`, or several hosts behind `redis+sentinel://` or `redis+cluster://`
    (config/redis_url.py); secret because it may hold a password."""
    prefix: str = "gw"
    """Begins every key, so that several gateways can share one Redis."""
    on_failure: OnFailure = "local"
    """When Redis is gone: `local` allows each live replica its share of the limits, `open` allows everything, `closed`
    refuses."""


@dataclass(frozen=True, slots=True)
class AdminSettings:
    """`admin`: the `/admin` API, which doesn't exist without this section."""

    key: Secret
    """8 or more visible ASCII characters."""


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """One of `models[].workers`: a vLLM server."""

    url: str
    """`http://host:port` or `https://host:port`, without a path; vLLM's paths are appended."""
    weight: float = 1
    """Share of the model's requests relative to its other workers."""
    api_key: Secret | None = None
    """What vLLM was given as `--api-key`."""


@dataclass(frozen=True, slots=True)
class DnsWorkers:
    """An item of `models[].workers` with `dns`: a worker for each address that a name has, which is looked up again
    whenever its time to live has passed.
    """

    dns: str
    """A host name (its A records, or AAAA where it has none), or a service name such as `_http._tcp.vllm.example`,
    whose SRV records tell hosts and ports."""
    port: int | None
    """Of every worker; None for a service name."""
    weight: float = 1
    api_key: Secret | None = None


@dataclass(frozen=True, slots=True)
class KubernetesService:
    """`models[].workers[].kubernetes`: a Service of the cluster."""

    service: str
    """Its name."""
    namespace: str | None = None
    """None: the gateway's own."""
    port: str | int | None = None
    """Name or number of the Pods' port; None: the Service's only or first one."""
    api: str | None = None
    """URL of an API server that needs no token, such as that of `kubectl proxy`; None: the cluster's, with the Pod's
    service account, which may `list` and `watch` `endpointslices`."""


@dataclass(frozen=True, slots=True)
class KubernetesWorkers:
    """An item of `models[].workers` with `kubernetes`: a worker for each ready endpoint of a Service."""

    kubernetes: KubernetesService
    weight: float = 1
    api_key: Secret | None = None


Discovered = DnsWorkers | KubernetesWorkers


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """`models[].queue`: where requests wait when each worker has as many as it may; without it nothing is held back."""

    max_in_flight: int
    """Requests that a worker of weight 1 may have at once, those of other gateways counted where there is `redis`."""
    size: int = 100
    """How many may wait, in each gateway process; more are answered 503 at once."""
    timeout_s: float = 10
    """How long one waits before it is answered 503."""
    weights: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """Places go to tenants in turn; one of weight 2 (default 1) gets two for each one of the others."""


@dataclass(frozen=True, slots=True)
class MediaSettings:
    """`media` of a model: what one request may bring at most. The defaults are those of vLLM 0.32."""

    images: int = 999
    """As the engines' `--limit-mm-per-prompt` says for `image`; the default of a variant that takes one image is 1."""
    clips: int = 999
    """For `audio`."""
    videos: int = 999
    """For `video`."""
    image_pixels: int = 178_956_970
    """Of one image, as the engines' `VLLM_MAX_IMAGE_PIXELS`: a small file may unfold to gigabytes."""


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """One of `models`: a name that clients may send, and the workers behind it."""

    name: ModelName
    """What clients send, `/v1/models` lists and answers carry."""
    variant: Variant
    """The catalogue's entry (`gateway models` lists them). In the file it is the entry's name, or left out when the
    model's name begins like the checkpoint's: `google/gemma-3-4b-it`, `acme/gemma-3-4b-it-awq`."""
    workers: tuple[WorkerSettings, ...]
    """Those with a `url`. At least one item of the list is required, of whichever kind."""
    served_name: str
    """The name the engine knows (`--served-model-name`); the model's name when left out."""
    dialect: DialectName | None
    """How tool calls are written. `auto`, the default, becomes the variant's own; None: the variant has no tool use.
    `engine` leaves the parsing to the worker."""
    context_length: int
    """Tokens of prompt and answer together; the catalogue's when left out. The engine's `max_model_len` lowers it."""
    aliases: tuple[str, ...] = ()
    """Further names for the same model."""
    balance: Balance = "least-load"
    """How a worker is chosen: the least loaded one, the one that likely has the conversation's prefix cached, or the
    next in turn."""
    fallbacks: tuple[str, ...] = ()
    """Names of models and of `fallback_providers`, tried in this order when no worker of this one can serve."""
    discovery: tuple[Discovered, ...] = ()
    """The items of `workers` that tell where to find workers."""
    queue: QueueSettings | None = None
    canary_s: float | None = None
    """A worker of which no byte of an answer has come for so many seconds is asked for one token, and cut off when it
    makes none in as many again: that finds engines that hang while `/health` still answers. Longer than the longest
    prompt takes until its first token. Left out: never."""
    adapters: tuple[str, ...] = ()
    """LoRA adapters that the engines have loaded, by the engines' names; each is served as a model `name@adapter`."""
    media: MediaSettings = MediaSettings()
    adapter_of: ModelName | None = None
    """Not in the file: each name under a model's `adapters` becomes a model `name@adapter` on the same workers."""


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """`limits`: each over a sliding window, across all replicas; None: no limit."""

    requests_per_minute: int | None = None
    requests_per_hour: int | None = None
    tokens_per_minute: int | None = None
    """Prompt and completion tokens together."""
    tokens_per_day: int | None = None
    concurrent_requests: int | None = None
    """Requests in flight, streams included."""


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """One of `fallback_providers`: a Gemma elsewhere, reached through LiteLLM, for `models[].fallbacks` to name."""

    name: ModelName
    """What `fallbacks`, `tenants[].models` and `model_limits` call it; what answers and metrics show."""
    model: str
    """As LiteLLM writes it: `gemini/gemma-3-27b-it`, `vertex_ai/…`, `ollama_chat/gemma3:27b`, `nvidia_nim/…`."""
    variant: Variant
    """Which Gemma it is, by the entry's name in the file; left out when it can be told from `model`."""
    context_length: int
    """Tokens; the catalogue's when left out."""
    options: Mapping[str, Scalar | Secret] = field(default_factory=lambda: MappingProxyType({}))
    """LiteLLM's `api_key`, `api_base`, `vertex_project` and their like. Keys must come from the environment."""


@dataclass(frozen=True, slots=True)
class KeySettings:
    """One of `tenants[].keys`: an API key.

    The file has either `secret` (8 or more visible ASCII characters, best from the environment) or `secret_sha256`
    (`printf %s "$SECRET" | sha256sum`). Only the hash is kept.
    """

    id: KeyId
    """The key's public name, in logs, metrics and the admin API; unique in the file."""
    secret_sha256: bytes = field(repr=False)
    """32 bytes. Not shown: a short secret can be guessed from its hash."""
    models: tuple[str, ...] | None = None
    """Globs, within those of the tenant; None: all of the tenant's."""
    limits: LimitSettings | None = None
    """For this key alone, besides the tenant's."""
    expires: datetime | None = None
    """The key is refused from this moment on. A date means its first second in UTC, as does a time without a zone."""


@dataclass(frozen=True, slots=True)
class TenantSettings:
    """One of `tenants`: who shares a set of limits, models and filters."""

    id: TenantId
    models: tuple[str, ...] = ("*",)
    """Globs (`*`, `?`, `[abc]`, case counts) of the names and aliases it may use; a model is allowed when its name or
    any of its aliases matches."""
    priority: int = 0
    """Passed to engines that schedule by priority: lower goes first."""
    limits: LimitSettings | None = None
    """Across all the tenant's keys."""
    model_limits: Mapping[str, LimitSettings] = field(default_factory=lambda: MappingProxyType({}))
    """Further limits for single models, by name."""
    count_cached: bool = True
    """Whether prompt tokens that the engine had in its prefix cache count under limits of tokens."""
    filter: str | None = None
    """A name under `filters`."""
    keys: tuple[KeySettings, ...] = ()


@dataclass(frozen=True, slots=True)
class KeywordsRule:
    """`kind: keywords`: whole words and phrases, whatever their case or Unicode spelling."""

    words: tuple[str, ...]
    action: Action = "block"
    leetspeak: bool = False
    """Digits and signs are read as letters too: `h4t3`."""
    restore: bool = False
    """Redacted values get numbered placeholders, which become the values again in the answer to the request."""


@dataclass(frozen=True, slots=True)
class PatternsRule:
    """`kind: patterns`: a built-in set of expressions, or the operator's own.

    `markup`: active HTML and script URLs. `injection`: text that plays a turn, a tool's result or a call.
    """

    set: PatternSet | None
    patterns: tuple[str, ...] = ()
    """RE2 syntax, each of a bounded length: `[0-9]{1,12}`, not `[0-9]+`."""
    action: Action = "redact"
    restore: bool = False


@dataclass(frozen=True, slots=True)
class PiiRule:
    """`kind: pii`: personal data, checksums verified where there are any."""

    types: tuple[PiiType, ...]
    action: Action = "redact"
    restore: bool = False


@dataclass(frozen=True, slots=True)
class ClassifierRule:
    """`kind: classifier`: a ShieldGemma model of this gateway judges the texts, a ShieldGemma 2 the images."""

    model: str
    """Name or alias under `models`."""
    policies: tuple[Policy, ...] = ()
    """Empty: all that the model was trained on."""
    threshold: float = 0.5
    """Probability of a violation from which on the rule acts."""
    action: Literal["block", "flag"] = "block"
    on_error: OnError = "closed"
    """When the classifier doesn't answer: `closed` blocks, `open` lets pass."""
    timeout_s: float = 5
    """For all verdicts on one request or one window of a stream."""


FilterRule = KeywordsRule | PatternsRule | PiiRule | ClassifierRule


@dataclass(frozen=True, slots=True)
class FilterLimits:
    """`filters.NAME.limits`: the size of a conversation."""

    max_messages: int | None = None
    max_chars: int | None = None
    over: Over = "reject"
    """What happens to a longer one: `reject` answers 400, `truncate` drops the oldest."""


@dataclass(frozen=True, slots=True)
class StreamWindow:
    """`filters.NAME.stream`: how much of a streamed reply may wait for a classifier."""

    window_chars: int = 512
    """So much new text is judged at once, together with as much of what went before."""
    window_s: float = 2
    """Less is judged when it has waited so long. A classifier that takes longer counts as one that doesn't answer."""


@dataclass(frozen=True, slots=True)
class FilterSettings:
    """One of `filters`: rules in the order they run."""

    input: tuple[FilterRule, ...] = ()
    output: tuple[FilterRule, ...] = ()
    limits: FilterLimits | None = None
    stream: StreamWindow = field(default_factory=StreamWindow)


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """`observability.alerts`: bounds over a window; None: not watched."""

    max_response_time_s: float | None = None
    min_tokens_per_s: float | None = None
    min_success_rate: float | None = None
    """0 to 1."""
    window_s: float = 300


@dataclass(frozen=True, slots=True)
class ObservabilitySettings:
    """`observability`: what is recorded of a request."""

    log_content: LogContent = "hash"
    """Prompts and answers in the log: their hash, nothing, or the whole text."""
    alerts: AlertSettings | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole file."""

    models: tuple[ModelSettings, ...]
    """At least one."""
    server: ServerSettings = field(default_factory=ServerSettings)
    redis: RedisSettings | None = None
    admin: AdminSettings | None = None
    tenants: tuple[TenantSettings, ...] = ()
    filters: Mapping[str, FilterSettings] = field(default_factory=lambda: MappingProxyType({}))
    fallback_providers: Mapping[str, ProviderSettings] = field(default_factory=lambda: MappingProxyType({}))
    observability: ObservabilitySettings = field(default_factory=ObservabilitySettings)
    no_auth: bool = False
    """`--no-auth`: everybody may use every model. No key of the file sets it, so that no edit of the file opens the
    gateway by accident."""
