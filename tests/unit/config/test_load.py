"""A good file becomes settings; a bad one names everything that is wrong with it, each with its path."""

from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from textwrap import dedent
from typing import get_args

import pytest

from gateway.config import availability, model_section
from gateway.config.load import MAX_FILE_BYTES, load_settings, parse_settings
from gateway.config.model import MediaSettings, Secret, Settings
from gateway.config.problems import ConfigurationError
from gateway.routing.catalog import VARIANTS
from gateway.values import DialectName

ENVIRON = {"KEY": "from-the-environment", "VLLM_KEY": "worker-key", "PORT": "9000", "SIZE": "1.5", "EMPTY": ""}

MINIMAL = """
models:
  - name: google/gemma-3-4b-it
    workers: [{url: "http://127.0.0.1:8000"}]
"""

FULL = """
server: {host: 0.0.0.0, port: 1, workers: 4, max_body_mb: 1, drain_s: 2.5, request_timeout_s: 3,
         stream_idle_timeout_s: 4, keepalive_s: 5}
redis: {url: "redis://:pw@127.0.0.1:6379/0", prefix: acme, on_failure: closed}
admin: {key: "${KEY}"}
models:
  - name: google/gemma-3-4b-it
    variant: gemma-3-4b-it
    aliases: [gemma-3-4b, gpt-4o-mini]
    workers:
      - {url: "http://127.0.0.1:8000/", weight: 2, api_key: ${VLLM_KEY}}
      - {url: "https://worker.example:8443"}
    served_name: gemma
    dialect: gemma3-python
    balance: prefix
    fallbacks: [big]
    context_length: 8192
  - {name: big, variant: gemma-3-12b-it, workers: [{url: "http://[::1]:8000"}]}
  - {name: google/shieldgemma-2b, workers: [{url: "http://shield:8000"}]}
tenants:
  - id: acme
    models: ["google/gemma-3-*", big]
    priority: -1
    limits: {requests_per_minute: 1, requests_per_hour: 2, tokens_per_minute: 3, tokens_per_day: 4,
             concurrent_requests: 5}
    model_limits: {google/gemma-3-4b-it: {requests_per_minute: 6}}
    count_cached: false
    filter: strict
    keys:
      - {id: acme-dev, secret: ${KEY}-dev, models: ["*-4b-*", big]}
      - {id: acme-prod, secret_sha256: "%s", limits: {requests_per_minute: 7}, expires: 2027-01-01}
filters:
  strict:
    input:
      - {kind: keywords, words: [violence]}
      - {kind: patterns, set: markup}
      - {kind: pii, types: [email, iban], action: block}
      - {kind: classifier, model: google/shieldgemma-2b, policies: [hate], threshold: 0.7, on_error: open}
    output: [{kind: keywords, words: [hate], action: redact}]
    limits: {max_messages: 50, max_chars: 8192, over: truncate}
fallback_providers: {gemini: {model: gemini/gemma-3-27b-it, api_key: "${KEY}", api_base: "http://g"}}
observability:
  log_content: off
  alerts: {max_response_time_s: 10, min_tokens_per_s: 5, min_success_rate: 0.95, window_s: 60}
""" % ("AB" * 32)


def problems_of(text: str) -> dict[str, str]:
    """The message for each path of a file that is expected to be wrong."""
    with pytest.raises(ConfigurationError) as caught:
        parse_settings(dedent(text), ENVIRON, VARIANTS)
    return {problem.path: problem.message for problem in caught.value.problems}


def with_model(lines: str) -> str:
    """A file whose one model has these further lines."""
    return MINIMAL + "".join(f"    {line}\n" for line in dedent(lines).strip().splitlines())


@pytest.fixture
def everything_available(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every feature had landed."""
    monkeypatch.setattr(availability, "UNAVAILABLE", {})


def test_a_minimal_file_is_filled_up_with_defaults() -> None:
    """A model and a worker are enough."""
    settings = parse_settings(MINIMAL, {}, VARIANTS)
    (model,) = settings.models
    assert settings == Settings(models=settings.models)
    assert model.variant is VARIANTS["gemma-3-4b-it"]
    assert model.served_name == "google/gemma-3-4b-it"
    assert model.dialect == VARIANTS["gemma-3-4b-it"].dialect
    assert model.context_length == 131_072
    assert model.workers[0].url == "http://127.0.0.1:8000"


@pytest.mark.usefixtures("everything_available")
def test_every_key_arrives_where_it_belongs() -> None:
    """The whole file, read once."""
    settings = parse_settings(FULL, ENVIRON, VARIANTS)
    assert (settings.server.host, settings.server.port, settings.server.drain_s) == ("0.0.0.0", 1, 2.5)
    assert settings.redis is not None
    assert settings.redis.url == Secret("redis://:pw@127.0.0.1:6379/0")
    assert settings.admin is not None
    assert settings.admin.key.reveal() == "from-the-environment"
    first, big, _ = settings.models
    assert [(worker.url, worker.weight) for worker in first.workers] == [
        ("http://127.0.0.1:8000", 2),
        ("https://worker.example:8443", 1),
    ]
    assert first.workers[0].api_key == Secret("worker-key")
    assert (first.served_name, first.dialect, first.balance) == ("gemma", "gemma3-python", "prefix")
    assert (first.fallbacks, first.context_length) == (("big",), 8192)
    assert big.workers[0].url == "http://[::1]:8000"
    (tenant,) = settings.tenants
    assert (tenant.id, tenant.models, tenant.priority) == ("acme", ("google/gemma-3-*", "big"), -1)
    assert tenant.limits is not None
    assert tenant.limits.concurrent_requests == 5
    assert tenant.model_limits["google/gemma-3-4b-it"].requests_per_minute == 6
    assert not tenant.count_cached
    dev, prod = tenant.keys
    assert (dev.models, prod.models) == (("*-4b-*", "big"), None)
    assert dev.secret_sha256 == sha256(b"from-the-environment-dev").digest()
    assert prod.secret_sha256 == b"\xab" * 32
    assert prod.expires == datetime(2027, 1, 1, tzinfo=UTC)
    rules = settings.filters["strict"]
    assert [type(rule).__name__ for rule in rules.input] == [
        "KeywordsRule",
        "PatternsRule",
        "PiiRule",
        "ClassifierRule",
    ]
    assert rules.limits is not None
    assert rules.limits.over == "truncate"
    gemini = settings.fallback_providers["gemini"]
    assert (gemini.name, gemini.model, gemini.variant.name) == ("gemini", "gemini/gemma-3-27b-it", "gemma-3-27b-it")
    assert gemini.options == {"api_key": Secret("from-the-environment"), "api_base": "http://g"}
    assert settings.observability.log_content == "off"
    assert settings.observability.alerts is not None
    assert settings.observability.alerts.window_s == 60


def test_what_is_not_built_yet_is_refused_and_not_ignored() -> None:
    """A limit that isn't enforced would be worse than one that can't be set."""
    refused = problems_of(FULL)
    assert set(refused.values()) == {"is not available in this version of the gateway"}
    assert set(refused) == {
        "observability.alerts",
    }


def test_an_empty_section_asks_for_nothing() -> None:
    """A feature that isn't there may be switched off explicitly."""
    parse_settings(
        with_model("fallbacks: []\nbalance: least-load")
        + "redis:\nfilters: {}\nfallback_providers: {}\nserver: {workers: 1}",
        {},
        VARIANTS,
    )


def test_no_secret_is_in_the_settings_repr() -> None:
    """Settings may be logged."""
    text = with_model("aliases: []").replace('8000"}', '8000", api_key: ${VLLM_KEY}}')
    settings = parse_settings(text + "tenants: [{id: a, keys: [{id: k, secret: ${KEY}}]}]", ENVIRON, VARIANTS)
    assert "worker-key" not in repr(settings)
    assert "from-the-environment" not in repr(settings)
    assert repr(sha256(b"from-the-environment").digest()) not in repr(settings)


def test_all_problems_come_at_once() -> None:
    """Nobody has to run the check ten times."""
    found = problems_of("""
        servr: {}
        server: {port: 70000, drain_s: long, host: [a]}
        models:
          - {name: "", wrokers: []}
          - {name: some-model, workers: [{url: "ftp://x"}, {url: "http://x", weight: 0}, 5]}
        tenants:
          - {keys: [{id: k, secret: short}]}
    """)
    assert found == {
        "server.port": "must be from 0 to 65535",
        "server.drain_s": "must be a number, not text",
        "server.host": "must be text, not a list",
        "models[0].name": "must be 1 to 256 letters, digits and any of . _ : / @ + -",
        "models[0].workers": 'at least one worker is required, such as {url: "http://127.0.0.1:8000"}',
        "models[0].wrokers": 'unknown key; did you mean "workers"?',
        "models[1].variant": found["models[1].variant"],
        "models[1].workers[0].url": "must be http://host:port or https://host:port",
        "models[1].workers[1].weight": "must be from 0.001 to 1000",
        "models[1].workers[2]": "must be a mapping, not a number",
        "models[1].workers[2].url": "is required",
        "tenants[0].id": "is required",
        "tenants[0].keys[0].secret": "must be 8 to 512 visible ASCII characters without spaces",
        "servr": 'unknown key; did you mean "server"?',
    }
    assert "variant: gemma-3-4b-it" in found["models[1].variant"]


@pytest.mark.parametrize(
    ("lines", "path", "message"),
    [
        ("variant: gemma-3-5b-it", "models[0].variant", 'no such variant: "gemma-3-5b-it"; did you mean "gemma-3-'),
        ("variant: llama", "models[0].variant", 'no such variant: "llama"; `gateway models` lists them'),
        ("variant: 3", "models[0].variant", "must be text, not a number; put it in quotes"),
        ("dialect: gemma5", "models[0].dialect", "must be auto, gemma3-python, "),
        ("balance: random", "models[0].balance", 'must be least-load, prefix or round-robin, not "random"'),
        ("context_length: 0", "models[0].context_length", "must be from 1 to"),
        ("context_length: yes", "models[0].context_length", "must be a whole number, not text"),
        ("context_length: true", "models[0].context_length", "must be a whole number, not true or false"),
        ("aliases: x", "models[0].aliases", "must be a list, not text"),
        ("aliases: [{}]", "models[0].aliases[0]", "must be text, not a mapping"),
        ("aliases: [ok, null]", "models[0].aliases[1]", "must be text, not empty"),
        ("aliases: [google/gemma-3-4b-it]", "models[0].aliases[0]", "is taken by models[0].name"),
        ("aliases: [a, a]", "models[0].aliases[1]", "is taken by models[0].aliases[0]"),
        ("aliases: ['a b']", "models[0].aliases[0]", "must be 1 to 256 letters"),
        ("fallbacks: [google/gemma-3-4b-at]", "models[0].fallbacks[0]", "no such model"),
        ("aliases: [me]\nfallbacks: [me]", "models[0].fallbacks[0]", "a model can't be its own fallback"),
        ("aliases: [x]\naliases: [y]", "models[0].aliases", "given twice in the same mapping (line 6)"),
        ("served_name: ''", "models[0].served_name", "must be not empty"),
    ],
)
def test_problems_of_a_model(lines: str, path: str, message: str) -> None:
    """Each names the value and says what is wrong."""
    assert message in problems_of(with_model(lines))[path]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("worker:8000", "must be http://host:port"),
        ("http://", "must have a host name"),
        ("http://user:pw@host:8000", "must not hold credentials"),
        ("http://host:8000/v1", "must have no path"),
        ("http://host:8000?a=b", "must have no query"),
        ("http://host:8000/#f", "must have no query"),
        ("http://host:99999", "is not a valid URL"),
        ("http://host:port", "is not a valid URL"),
        ("http://host:0", "must have a port from 1"),
        ("http://[::1", "is not a valid URL"),
        ("http://[zz::1]:80", "valid URL"),
        ("http://a:b:c:1", "valid URL"),
        ("http://[v1.a:b]:80", "must have a host name"),
        ("http://ho st", "must be a URL"),
        ("http://höst", "must be a URL"),
        ("http://{}", "must have a host name"),
    ],
)
def test_problems_of_a_worker_url(url: str, message: str) -> None:
    """Only a scheme, a host and a port; the URL itself isn't repeated, it may hold a password."""
    found = problems_of(MINIMAL.replace("http://127.0.0.1:8000", url))["models[0].workers[0].url"]
    assert message in found
    assert "pw" not in found


@pytest.mark.parametrize(
    ("tenants", "path", "message"),
    [
        ("[{id: a}, {id: a}]", "tenants[1].id", 'the id "a" is taken by tenants[0].id'),
        ("{id: a}", "tenants", "must be a list, not a mapping"),
        ("[{id: a/b}]", "tenants[0].id", "must be 1 to 64 letters"),
        ("[{id: 7}]", "tenants[0].id", "must be text, not a number; put it in quotes"),
        ("[{id: a, models: [google/gemma-3-4b]}]", "tenants[0].models[0]", "did you mean"),
        ("[{id: a, models: [' ']}]", "tenants[0].models[0]", "must be a model's name"),
        ("[{id: a, filter: x}]", "tenants[0].filter", 'no such filter: "x"'),
        ("[{id: a, limits: {requests_per_minute: 0}}]", "tenants[0].limits.requests_per_minute", "must be from 1"),
        ("[{id: a, limits: {tokens_per_hour: 1}}]", "tenants[0].limits.tokens_per_hour", "unknown key"),
        (
            '[{id: a, keys: [{id: k, secret: "12345678", models: [x]}]}]',
            "tenants[0].keys[0].models[0]",
            "no such model",
        ),
        ("[{id: a, count_cached: 5}]", "tenants[0].count_cached", "true or false"),
        ("[{id: a, model_limits: {x/y: {}}}]", 'tenants[0].model_limits["x/y"]', "no such model"),
        ("[{id: a, keys: [{id: k}]}]", "tenants[0].keys[0].secret", "give either"),
        ("[{id: a, keys: [{id: k, secret: 12345678}]}]", "tenants[0].keys[0].secret", "put it in quotes"),
        ("[{id: a, keys: [{id: k, secret: ${NOPE}}]}]", "tenants[0].keys[0].secret", "NOPE is not set"),
        ("[{id: a, keys: [{id: k, secret: ${EMPTY}}]}]", "tenants[0].keys[0].secret", "must be 8 to 512"),
        ("[{id: a, keys: [{id: k, secret_sha256: abc}]}]", "tenants[0].keys[0].secret_sha256", "64 hexadecimal"),
        ("[{id: a, keys: [{id: k, secret: ${KEY}, expires: soon}]}]", "tenants[0].keys[0].expires", "must be a date"),
        (
            "[{id: a, keys: [{id: k, secret: ${KEY}}]}, {id: b, keys: [{id: k, secret: other-key}]}]",
            "tenants[1].keys[0].id",
            "is taken by tenants[0].keys[0].id",
        ),
        (
            "[{id: a, keys: [{id: k, secret: ${KEY}}]}, {id: b, keys: [{id: l, secret: ${KEY}}]}]",
            "tenants[1].keys[0].secret",
            "the same secret as tenants[0].keys[0].secret",
        ),
    ],
)
def test_problems_of_a_tenant(tenants: str, path: str, message: str) -> None:
    """Each names the value and says what is wrong; never a secret."""
    found = problems_of(MINIMAL + f"tenants: {tenants}")
    assert message in found[path]
    assert not any("from-the-environment" in text for text in found.values())


def test_both_secret_and_hash_are_one_too_many() -> None:
    """Which of them counts couldn't be told."""
    key = "{id: k, secret: ${KEY}, secret_sha256: '%s'}" % ("0" * 64)
    found = problems_of(MINIMAL + f"tenants: [{{id: a, keys: [{key}]}}]")
    assert found == {"tenants[0].keys[0].secret": "give either `secret` or `secret_sha256`"}


@pytest.mark.usefixtures("everything_available")
@pytest.mark.parametrize(
    ("rule", "path", "message"),
    [
        ("{kind: magic}", "kind", "must be keywords, patterns, pii or classifier"),
        ("{words: [a]}", "kind", "is required"),
        ("{kind: keywords}", "words", "at least one word"),
        ("{kind: keywords, words: [a], set: markup}", "set", "unknown key"),
        ("{kind: keywords, words: [a], leetspeak: 1}", "leetspeak", "must be true or false, not a number"),
        ("{kind: keywords, words: [a], restore: true}", "restore", "is for rules with `action: redact`"),
        ("{kind: pii, types: [email], action: flag, restore: true}", "restore", "is for rules with `action: redact`"),
        ("{kind: pii, types: [email], restore: 1}", "restore", "must be true or false"),
        ("{kind: classifier, model: nope, restore: true}", "restore", "unknown key"),
        ("{kind: patterns}", "set", "give either `set` or `patterns`"),
        ("{kind: patterns, set: markup, patterns: [x]}", "set", "give either `set` or `patterns`"),
        ("{kind: patterns, set: magic}", "set", "must be markup or injection"),
        ("{kind: patterns, patterns: ['a+']}", "patterns[0]", "can match any length"),
        ("{kind: patterns, patterns: ['(']}", "patterns[0]", "is no expression in RE2's syntax"),
        ("{kind: patterns, patterns: ['(?:a{100}){50}']}", "patterns[0]", "is no expression"),
        ("{kind: pii, types: [name]}", "types[0]", "must be email, phone"),
        ("{kind: pii, types: []}", "types", "at least one type"),
        ("{kind: classifier, model: nope}", "model", "no such model"),
        ("{kind: classifier, model: google/gemma-3-4b-it}", "model", "is no classifier"),
        ("{kind: classifier, model: nope, policies: []}", "policies", "at least one policy"),
        ("{kind: classifier, model: nope, action: redact}", "action", "must be block or flag"),
        ("{kind: classifier, model: nope, threshold: 1.1}", "threshold", "must be from 0 to 1"),
        ("{kind: classifier, model: nope, threshold: 1e999}", "threshold", "must be from 0 to 1"),
    ],
)
def test_problems_of_a_filter_rule(rule: str, path: str, message: str) -> None:
    """The kind says which keys a rule has."""
    found = problems_of(MINIMAL + f"filters: {{f: {{input: [{rule}]}}}}")
    assert message in found[f"filters.f.input[0].{path}"]


SHIELDS = (
    MINIMAL
    + """
  - {name: shield, variant: shieldgemma-2b, workers: [{url: "http://shield:8000"}]}
  - {name: shield-2, variant: shieldgemma-2-4b-it, aliases: [looker], workers: [{url: "http://shield-2:8000"}]}
"""
)


@pytest.mark.parametrize(
    ("side", "rule", "path", "message"),
    [
        ("input", "model: shield, policies: [hate, violence]", "policies[1]", "it judges dangerous, harassment, hate"),
        ("output", "model: shield, policies: [violence]", "policies[0]", '"shield" doesn\'t judge "violence"'),
        ("input", "model: looker, policies: [harassment]", "policies[0]", "it judges dangerous, sexual, violence"),
        ("output", "model: shield-2", "model", "judges images, and answers have none"),
    ],
)
def test_what_a_classifier_can_not_judge(side: str, rule: str, path: str, message: str) -> None:
    """ShieldGemma 1 knows texts and ShieldGemma 2 images, each under the policies that it was trained on."""
    found = problems_of(SHIELDS + f"filters: {{f: {{{side}: [{{kind: classifier, {rule}}}]}}}}")
    assert message in found[f"filters.f.{side}[0].{path}"]


def test_what_a_classifier_can_judge() -> None:
    """Policies that are left out are all that the model knows, whichever it is."""
    rules = "{kind: classifier, model: shield}, {kind: classifier, model: shield-2, policies: [violence]}"
    text = SHIELDS + f"filters: {{f: {{input: [{rules}, {{kind: classifier, model: looker}}]}}}}"
    listed = parse_settings(text, ENVIRON, VARIANTS).filters["f"].input
    assert [getattr(rule, "policies", None) for rule in listed] == [(), ("violence",), ()]


def test_answers_have_nothing_to_restore() -> None:
    """What a rule of `output` redacts was never the caller's."""
    rule = "{kind: pii, types: [email], restore: true}"
    found = problems_of(MINIMAL + f"filters: {{f: {{output: [{rule}]}}}}")
    assert "is for rules of `input`" in found["filters.f.output[0].restore"]


@pytest.mark.usefixtures("everything_available")
def test_problems_of_the_other_sections() -> None:
    """Each section checks its own values."""
    found = problems_of(
        MINIMAL
        + """
redis: {url: "http://x", on_failure: explode}
admin: {}
fallback_providers: {gemini: {options: {}}, openai: 1}
observability: {log_content: all, alerts: {min_success_rate: 2}}
tenants: [{id: a, filter: strct, keys: [{id: k, secret: same-secret}]}]
filters: {strict: {limits: {max_chars: 0, over: cut}, stream: {window_chars: 1, window_s: 0}}}
"""
    )
    assert set(found) == {
        "redis.url",
        "redis.on_failure",
        "admin.key",
        "fallback_providers.gemini.model",
        "fallback_providers.gemini.options",
        "fallback_providers.openai",
        "fallback_providers.openai.model",
        "observability.log_content",
        "observability.alerts.min_success_rate",
        "tenants[0].filter",
        "filters.strict.limits.max_chars",
        "filters.strict.limits.over",
        "filters.strict.stream.window_chars",
        "filters.strict.stream.window_s",
    }


@pytest.mark.usefixtures("everything_available")
def test_a_tenant_cannot_share_the_admin_key() -> None:
    """Else a client would be an administrator."""
    found = problems_of(MINIMAL + "admin: {key: ${KEY}}\ntenants: [{id: a, keys: [{id: k, secret: ${KEY}}]}]")
    assert found == {"tenants[0].keys[0].secret": "the same secret as admin.key"}


def test_a_number_may_come_from_the_environment() -> None:
    """Variables are texts; where a number is wanted it is read as one."""
    settings = parse_settings(MINIMAL + "server: {port: ${PORT}, max_body_mb: '${SIZE}'}", ENVIRON, VARIANTS)
    assert (settings.server.port, settings.server.max_body_mb) == (9000, 1.5)
    found = problems_of(MINIMAL + "server: {port: ${KEY}}\nobservability: {log_content: ${KEY}}")
    assert found == {
        "server.port": "must be a whole number, not text",
        "observability.log_content": "must be hash, off or full",
    }


def test_a_model_without_tool_use_has_no_dialect() -> None:
    """Embedders and classifiers don't call tools."""
    text = MINIMAL.replace("gemma-3-4b-it", "embeddinggemma-300m")
    assert parse_settings(text, {}, VARIANTS).models[0].dialect is None


def test_the_same_worker_twice_in_a_model_is_a_mistake() -> None:
    """It would count double; weight is for that."""
    text = MINIMAL.replace("}]", '}, {url: "http://127.0.0.1:8000/"}]')
    assert "is taken by" in problems_of(text)["models[0].workers[1].url"]


@pytest.mark.parametrize("text", ["", "models:", "models: []", "server: {}"])
def test_a_file_without_models_is_refused(text: str) -> None:
    """There would be nothing to serve."""
    assert problems_of(text) == {"models": "at least one model is required"}


def test_every_dialect_can_be_configured() -> None:
    """The list is written out for the type checker; it must not fall behind the type."""
    assert set(model_section._DIALECTS) == {"auto", *get_args(DialectName)}


def test_an_unreadable_file_is_a_problem(tmp_path: Path) -> None:
    """Missing, a directory, too large, not UTF-8."""
    large, latin, good = tmp_path / "large", tmp_path / "latin", tmp_path / "good"
    large.write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    latin.write_bytes("models: é".encode("latin-1"))
    good.write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    for path, message in (
        (tmp_path / "missing", "No such file"),
        (tmp_path, "Is a directory"),
        (large, "is larger than"),
        (latin, "is not UTF-8 at byte 8"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            load_settings(path, {}, VARIANTS)
    assert load_settings(good, {}, VARIANTS).models[0].name == "google/gemma-3-4b-it"


def test_what_a_request_may_bring_is_the_variants_unless_it_is_told() -> None:
    """The defaults are vLLM's; a variant of one image takes no more, whatever the file says."""
    model = "{{name: {}, workers: [{{url: 'http://a:1'}}]{}}}".format
    media = ", media: {images: 4, image_pixels: 1000000}"
    text = f"models: [{model('gemma-3-4b-it', media)}, {model('paligemma-3b', '')}]"
    told, single = parse_settings(text, {}, VARIANTS).models
    assert told.media == MediaSettings(images=4, image_pixels=1_000_000)
    assert single.media == MediaSettings(images=1)
    found = problems_of(f"models: [{model('paligemma-3b', ', media: {images: 2, clips: -1, sound: 1}')}]")
    assert set(found) == {"models[0].media.images", "models[0].media.clips", "models[0].media.sound"}
