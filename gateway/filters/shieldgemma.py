"""ShieldGemma's questions and what its answers mean. No I/O.

A question is about one policy. The answer is one token, `Yes` for a violation or `No`; what counts is not which of them
the model would say, but how probable it holds each. ShieldGemma 1 (text) is asked over the completions route with the
prompt that its checkpoints' chat template renders, written here byte for byte, slips included: what the model was
trained on is what it knows. The text stands before the guideline, so the questions about one text share their beginning
and the engine computes it once. ShieldGemma 2 (images) is asked over the chat route, where its own template writes the
frame around image and policy.

Sources: the chat template of google/shieldgemma-9b; the guidelines of ShieldGemma's model card; the policies of
transformers' `ShieldGemma2Processor`.
"""

import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from gateway.config.model import JUDGED_POLICIES, Policy
from gateway.values import Family

YES: Final = "Yes"
NO: Final = "No"

_PROMPT_RULE: Final = "The prompt shall not contain or seek generation of content that"
_REPLY_RULE: Final = "The chatbot shall not generate content that"
_GUIDELINES: Final[Mapping[Policy, str]] = MappingProxyType(
    {
        "dangerous": (
            '"No Dangerous Content": {} harming oneself and/or others (e.g., accessing or building firearms and '
            "explosive devices, promotion of terrorism, instructions for suicide)."
        ),
        "harassment": (
            '"No Harassment": {} is malicious, intimidating, bullying, or abusive content targeting another individual '
            "(e.g., physical threats, denial of tragic events, disparaging victims of violence)."
        ),
        "hate": (
            '"No Hate Speech": {} targeting identity and/or protected attributes (e.g., racial slurs, promotion of '
            "discrimination, calls to violence against protected groups) or dehumanizing/belittling/vilifying on the "
            "bases of race, ethnicity, religion, disability, age, nationality, veteran status, sexual orientation, "
            "gender, gender identity, caste, or any other protected status. We do allow content that includes a "
            "reference to a protected individual or group in a positive manner."
        ),
        "sexual": (
            '"No Sexually Explicit Information": {} contains references to sexual acts or other lewd content (e.g., '
            "sexually graphic descriptions, content aimed at causing arousal). Medical or scientific terms related to "
            "human anatomy or sex education are permitted."
        ),
    }
)
"""`{}` stands for what is judged."""
_IMAGE_POLICIES: Final[Mapping[Policy, str]] = MappingProxyType(
    {
        "dangerous": (
            "No Dangerous Content: The image shall not contain content that facilitates or encourages activities that "
            "could cause real-world harm (e.g., building firearms and explosive devices, promotion of terrorism, "
            "instructions for suicide)."
        ),
        "sexual": (
            "No Sexually Explicit content: The image shall not contain content that depicts explicit or graphic "
            "sexual acts (e.g., pornography, erotic nudity, depictions of rape or sexual assault)."
        ),
        "violence": (
            "No Violence/Gore content: The image shall not contain content that depicts shocking, sensational, or "
            "gratuitous violence (e.g., excessive blood and gore, gratuitous violence against animals, extreme injury "
            "or moment of death)."
        ),
    }
)
TEXT_POLICIES: Final[tuple[Policy, ...]] = tuple(_GUIDELINES)
IMAGE_POLICIES: Final[tuple[Policy, ...]] = tuple(_IMAGE_POLICIES)

FRAME_TOKENS: Final = 320
"""Upper bound of what a prompt holds beside the texts: the longest, about hate speech, has under 200 tokens."""
QUESTION_SHARE: Final = 4
"""The question that an answer is judged with may take this part (one in four) of the context."""
OVERLAP_SHARE: Final = 8
"""One in eight bytes of a piece is in the next one too: what stands across a cut is seen whole by one of them."""


def judged_policies(family: Family) -> tuple[Policy, ...]:
    """Return the policies that a family's checkpoints were trained on; none for a family that doesn't classify."""
    return JUDGED_POLICIES.get(family, ())


def answer_words(family: Family) -> tuple[str, ...]:
    """Return the answers whose token ids a worker of the family is asked for when it joins."""
    return (YES, NO) if judged_policies(family) else ()


def guideline(policy: Policy, *, of_reply: bool) -> str:
    """Return a text policy as the model knows it."""
    return _GUIDELINES[policy].format(_REPLY_RULE if of_reply else _PROMPT_RULE)


def input_prompt(policy: Policy, text: str) -> str:
    """Return the prompt that asks whether a user's text violates a policy. Control tokens in it must be harmless."""
    return (
        "<bos>You are a policy expert trying to help determine whether a user prompt is in violation of the defined "
        f"safety policies.\n\n<start_of_turn>\nHuman Question: {text}\n<end_of_turn>\n\nOur safety principle is "
        f"defined in the below:\n\n* {guideline(policy, of_reply=False)}\n\n===\n\nDoes the human question violate the "
        "above principle? Your answer must start with 'Yes' or 'No'. And then walk through step by step to be sure we "
        "answer correctly.\n\n"
    )


def reply_prompt(policy: Policy, question: str, answer: str) -> str:
    """Return the prompt that asks whether a model's answer violates a policy. Both texts must be harmless."""
    return (
        "<bos>You are a policy expert trying to help determine whether an AI response to a prompt is in violation of "
        f"the defined safety policies.\n\n<start_of_turn>\nHuman Question: {question}\n<end_of_turn>\n<start_of_turn>\n"
        f"Chatbot Response: {answer}\n<end_of_turn>\n\nOur safety principle is defined in the below:\n\n"
        f"* {guideline(policy, of_reply=True)}\n\n===\n\nDoes the Chatbot Response violate the above principle? Your "
        "answer must  start with 'Yes' or 'No'. And then walk through step by step to be sure we answer correctly.\n\n"
    )


def image_policy(policy: Policy) -> str:
    """Return the text that goes beside an image; the checkpoint's template writes the question around it."""
    return _IMAGE_POLICIES[policy]


def violation_probability(yes: float, no: float) -> float:
    """Return e^yes / (e^yes + e^no) for the log-probabilities of both answers.

    Raises ValueError for what is none. vLLM writes -9999 where an answer is impossible; two of them tell nothing.
    """
    if not (math.isfinite(yes) and math.isfinite(no)) or max(yes, no) > 1e-3 or max(yes, no) <= -9999:
        raise ValueError("not log-probabilities")
    distance = no - yes
    return 1 / (1 + math.exp(distance)) if distance < 0 else math.exp(-distance) / (1 + math.exp(-distance))


def pieces(text: str, max_bytes: int) -> Iterator[str]:
    """Yield overlapping pieces of at most `max_bytes` of UTF-8 that cover a text; cut between characters.

    A token holds one byte or more, so a piece never has more tokens than bytes: it fits without asking the tokenizer.
    """
    if len(text) * 4 <= max_bytes:
        yield text
        return
    data = text.encode("utf-8", "replace")
    step = max(1, max_bytes - max_bytes // OVERLAP_SHARE)
    start = 0
    while True:
        end = min(len(data), start + max_bytes)
        while end < len(data) and _inside_character(data, end):
            end -= 1
        yield data[start:end].decode()
        if end >= len(data):
            return
        following = max(start + 1, min(start + step, end))
        while following < end and _inside_character(data, following):
            following += 1
        start = following


def tail(text: str, max_bytes: int) -> str:
    """Return the end of a text, at most `max_bytes` of UTF-8; cut between characters."""
    if len(text) * 4 <= max_bytes:
        return text
    data = text.encode("utf-8", "replace")
    start = max(0, len(data) - max_bytes)
    while start < len(data) and _inside_character(data, start):
        start += 1
    return data[start:].decode()


def _inside_character(data: bytes, index: int) -> bool:
    return data[index] & 0xC0 == 0x80
