"""What screening costs: whole texts, and the chunks of a stream.

CPU time of the fastest of several rounds, so that other work on the machine counts little. Run it as
`python -m tests.bench.filters`.
"""

import random
import time
from collections.abc import Callable
from typing import get_args

import msgspec

from gateway.config.model import FilterRule, FilterSettings, KeywordsRule, PatternsRule, PiiRule, PiiType
from gateway.filters.policy import compile_policy
from gateway.filters.rules import RuleSet, compile_rules
from gateway.filters.screener import Findings, screen_text
from gateway.observability.record import RequestRecord
from gateway.pipeline.relay import ChunkEditor, StreamRelay
from gateway.pipeline.screening_reply import OutputScreening, ScreenedEditor
from gateway.values import RequestId

ROUNDS = 7
TURNS = 25
CHUNKS = 2_000
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_ASCII = (
    "The committee met on a bright morning to discuss the new library, its opening hours and the rooms upstairs. "
    "Nobody had read all of the report; still, most agreed that the budget for 2027 would do, and chairs come first. "
)
_MIXED = (
    "Комитет собрался утром, чтобы обсудить новую библиотеку. 委员会在早上开会讨论新的图书馆。 "
    "Το συμβούλιο συνεδρίασε. Udvalget mødtes på en lys morgen for at drøfte åbningstiderne. "
    "اجتمعت اللجنة في الصباح. Überall hörte man Café-Lärm. "
)


def _keywords(count: int) -> KeywordsRule:
    rng = random.Random(5)  # words of no meaning
    words = {"".join(rng.choices(_LETTERS, k=rng.randint(5, 12))) for _ in range(count + 200)}
    return KeywordsRule(tuple(sorted(words)[:count]))


def _text(unit: str, chars: int) -> str:
    return (unit * (chars // len(unit) + 1))[:chars]


def _microseconds(run: Callable[[], object], times: int, rounds: int = ROUNDS) -> float:
    best = float("inf")
    for _ in range(rounds):
        started = time.process_time()
        for _ in range(times):
            run()
        best = min(best, time.process_time() - started)
    return best / times * 1e6


def _whole_texts() -> None:
    ten_thousand = _keywords(10_000)
    everything: tuple[FilterRule, ...] = (ten_thousand, PiiRule(get_args(PiiType)))
    sets: dict[str, tuple[FilterRule, ...]] = {
        "10,000 keywords": (ten_thousand,),
        "all personal data": (PiiRule(get_args(PiiType)),),
        "markup": (PatternsRule("markup"),),
        "injection": (PatternsRule("injection"),),
        "10,000 keywords and all personal data": everything,
    }
    print("us per 1,000 characters, texts of 10,000 characters:   ASCII   mixed scripts")
    for name, rules in sets.items():
        compiled = compile_rules(rules)
        costs = [_microseconds(_screening(compiled, _text(unit, 10_000)), 20) / 10 for unit in (_ASCII, _MIXED)]
        print(f"{name:50} {costs[0]:9.1f} {costs[1]:9.1f}")


def _screening(rules: RuleSet, text: str) -> Callable[[], str]:
    return lambda: screen_text(rules, Findings(), text)


def _chunk(text: str) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None}
    body = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gemma", "choices": [choice]}
    return b"data: %b\n\n" % msgspec.json.encode(body)


def _stream(editor: Callable[[], ChunkEditor | None], chunks: list[bytes]) -> Callable[[], None]:
    def run() -> None:
        relay = StreamRelay(show_usage=False, editor=editor())
        for chunk in chunks:
            relay.feed(chunk)

    return run


def _streams() -> None:
    words = _text(_ASCII, CHUNKS * 5).split(" ")
    chunks = [_chunk(f" {word}") for word in words]
    rules: dict[str, tuple[FilterRule, ...]] = {
        "four keywords": (KeywordsRule(("violence", "hate", "illegal", "harmful")),),
        "four keywords with leetspeak": (KeywordsRule(("violence", "hate", "illegal", "harmful"), leetspeak=True),),
        "10,000 keywords": (_keywords(10_000),),
        "email, phone, cards, IBAN": (PiiRule(("email", "phone", "credit_card", "iban")),),
        "10,000 keywords and all personal data": (_keywords(10_000), PiiRule(get_args(PiiType))),
    }
    runs = {"passed": _stream(lambda: None, chunks)}
    for name, listed in rules.items():
        for choices in (1, 2):
            said = name if choices == 1 else f"{name}, of two choices"
            runs[said] = _stream(_screened(listed, choices), chunks)
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(TURNS):  # in turns: what else the machine does meets all alike
        for name, run in runs.items():
            best[name] = min(best[name], _microseconds(run, 1, rounds=1) / len(chunks))
    passed = best.pop("passed")
    print(f"\nus per chunk of one word, passed as it is: {passed:.2f}; more with rules for answers:")
    for name, cost in best.items():
        print(f"{name:55} {cost - passed:9.2f}")


def _screened(listed: tuple[FilterRule, ...], choices: int) -> Callable[[], ChunkEditor]:
    policy = compile_policy("bench", FilterSettings(output=listed))

    def editor() -> ChunkEditor:
        screening = OutputScreening(policy, RequestRecord(RequestId("r"), "chat", 0.0))
        return ScreenedEditor(screening, None, model="gemma", choices=choices)

    return editor


if __name__ == "__main__":
    _whole_texts()
    _streams()
