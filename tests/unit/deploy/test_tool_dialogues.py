"""The dialogues that the adapter is trained on: valid, varied, repeatable, and written as the gateway writes them."""

import json
import random
from collections.abc import Sequence
from typing import Any

import jsonschema
import pytest

from deploy.local.places import Places
from deploy.local.token_packs import ConversationTokenizer, TokenSequence, pack
from deploy.local.tool_dialogues import Dialogue, DialogueMaker
from deploy.local.tool_messages import worker_messages
from deploy.local.vocabulary_words import VocabularyWords, words_of
from gateway.wire.chat import Function

END_OF_TURN = "<end_of_turn>"
VOCABULARY = VocabularyWords(words=("harbour", "willow", "running"), names=("Hubert", "Wichita", "Fuji"))


class Characters:
    """A tokenizer with one token per character, and Gemma 3's number for the end of a turn."""

    bos_token = "<bos>"

    def apply_chat_template(self, conversation: Sequence[Any], **options: Any) -> str:
        from jinja2 import Environment

        template = Environment().from_string(options["chat_template"])
        return template.render(
            messages=conversation, bos_token=self.bos_token, add_generation_prompt=options["add_generation_prompt"]
        )

    def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, list[int]]:
        assert not add_special_tokens
        return {"input_ids": [ord(character) + 1000 for character in text.replace(END_OF_TURN, "\0")]}


def text_of(tokens: Sequence[int]) -> str:
    return "".join(chr(token - 1000) for token in tokens).replace("\0", END_OF_TURN)


@pytest.fixture(scope="module")
def dialogues() -> list[Dialogue]:
    maker = DialogueMaker(random.Random(5), VOCABULARY)
    return [dialogue for _ in range(300) for dialogue in maker.group(4)]


@pytest.fixture(scope="module")
def tokenizer() -> ConversationTokenizer:
    template = Places.from_environment().templates / "gemma3.jinja"
    return ConversationTokenizer(Characters(), template.read_text(encoding="utf-8"))


def calls_of(dialogue: Dialogue) -> list[tuple[str, Any]]:
    made = [call["function"] for message in dialogue.messages for call in message.get("tool_calls", ())]
    return [(call["name"], json.loads(call["arguments"])) for call in made]


def test_the_same_seed_gives_the_same_dialogues() -> None:
    first, second = (DialogueMaker(random.Random(7), VOCABULARY).group(20) for _ in range(2))
    assert first == second
    assert first != DialogueMaker(random.Random(8), VOCABULARY).group(20)


def test_every_call_satisfies_its_declaration(dialogues: list[Dialogue]) -> None:
    for dialogue in dialogues:
        declared = {tool["function"]["name"]: tool["function"]["parameters"] for tool in dialogue.tools}
        for name, arguments in calls_of(dialogue):
            jsonschema.validate(arguments, {**declared[name], "additionalProperties": False})


def test_arguments_come_in_the_order_of_the_declarations_that_the_model_reads(dialogues: list[Dialogue]) -> None:
    """An order that the prompt doesn't show can't be learned."""
    several = 0
    for dialogue in dialogues:
        shown = worker_messages(dialogue)[0]["content"]
        for name, arguments in calls_of(dialogue):
            declaration = shown[shown.index(f'{{"name": "{name}"') :]
            places = [declaration.index(f'"{parameter}": {{"type"') for parameter in arguments]
            assert places == sorted(places)
            several += len(places) > 1
    assert several > 100


def test_most_values_are_drawn_from_all_words_of_the_vocabulary(dialogues: list[Dialogue]) -> None:
    made = [json.dumps(arguments) for dialogue in dialogues for _, arguments in calls_of(dialogue)]
    drawn = [text for text in made if any(word in text for word in (*VOCABULARY.words, *VOCABULARY.names))]
    assert len(drawn) > len(made) / 4


def test_a_vocabulary_gives_whole_words_and_names_without_the_held_out() -> None:
    tokens = [
        "<bos>",
        "\u2581harbour",
        "ing",
        "\u2581Seville",
        "\u2581the",
        "\u2581Fuji",
        "\u2581mint",
        "\u2581NASA",
        "\u2581caf\u00e9",
    ]
    found = VocabularyWords.of_tokens(tokens, words_of("Weather in SEVILLE, flour and Mint"))
    assert found == VocabularyWords(words=("harbour",), names=("Fuji",))


def test_the_declarations_are_ones_that_openai_takes(dialogues: list[Dialogue]) -> None:
    names = {tool["function"]["name"] for dialogue in dialogues for tool in dialogue.tools}
    assert len(names) > 100
    assert all(Function(name).name and len(name) <= 64 for name in names)


def test_all_kinds_of_answers_occur(dialogues: list[Dialogue]) -> None:
    """No call with and without tools, one call, two calls, and answers after results."""
    kinds = {(bool(dialogue.tools), len(calls_of(dialogue)), dialogue.answers) for dialogue in dialogues}
    assert {(False, 0, 1), (True, 0, 1), (True, 1, 1), (True, 1, 2), (True, 2, 1), (True, 2, 2)} <= kinds


def test_only_the_answers_are_learned(dialogues: list[Dialogue], tokenizer: ConversationTokenizer) -> None:
    for dialogue in dialogues[:60]:
        messages = worker_messages(dialogue)
        sequence = tokenizer.sequence(messages)
        learned = [token for token, wanted in zip(sequence.tokens, sequence.learned, strict=True) if wanted]
        answers = [message["content"].strip() for message in messages if message["role"] == "assistant"]
        assert text_of(learned) == "".join(answer + END_OF_TURN for answer in answers)


def test_packed_sequences_lose_nothing(dialogues: list[Dialogue], tokenizer: ConversationTokenizer) -> None:
    """Beginning and branch together are the sequence again, each token at its place."""
    sequences = [tokenizer.sequence(worker_messages(dialogue)) for dialogue in dialogues[:4]]
    packed = pack(sequences)
    for branch, sequence in enumerate(sequences, start=1):
        seen = [index for index, other in enumerate(packed.branches) if other in (0, branch)]
        assert [packed.tokens[index] for index in seen] == sequence.tokens
        assert [packed.learned[index] for index in seen] == sequence.learned
        assert [packed.positions[index] for index in seen] == list(range(len(sequence.tokens)))


def test_a_pack_of_equal_sequences_still_learns_every_answer() -> None:
    """The common beginning ends before the first answer and the token before it, even if the answers are alike."""
    sequence = TokenSequence([1, 2, 3, 4], [False, False, True, True])
    packed = pack([sequence, sequence])
    assert packed.branches == [0, 1, 1, 1, 2, 2, 2]
