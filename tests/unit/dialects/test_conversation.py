"""What each family's worker gets for what OpenAI clients send."""

from typing import Any

import msgspec
import pytest

from gateway.dialects.control_tokens import BREAKER, MarkerGuard
from gateway.dialects.conversation import Conversation, normalise
from gateway.errors import InvalidRequest, UnsupportedModality
from gateway.values import Family, Modality, Variant
from gateway.wire.messages import AnyMessage

PNG = "data:image/png;base64,AAAA"


def variant(family: Family = "gemma3", *modalities: Modality) -> Variant:
    """A variant of `family` that takes text and `modalities`."""
    return Variant(
        name=f"{family}-test",
        family=family,
        task="chat",
        modalities=frozenset({"text", *modalities}),
        context_tokens=8192,
        dialect=None,
        thinking=family == "gemma4",
    )


def converse(messages: list[dict[str, Any]], family: Family = "gemma3", *modalities: Modality) -> Conversation:
    """Decodes as the API does, then normalises."""
    decoded = msgspec.convert(messages, list[AnyMessage])
    return normalise(decoded, variant(family, *modalities), MarkerGuard(family))


def pairs(conversation: Conversation) -> list[tuple[object, object]]:
    """Role and content of each message."""
    return [(message["role"], message["content"]) for message in conversation.messages]


def system(text: Any) -> dict[str, Any]:
    return {"role": "system", "content": text}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def text_part(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def image_part(url: str = PNG) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def test_the_system_text_goes_into_the_first_user_turn() -> None:
    """Gemma 1 to 3 have no system role."""
    conversation = converse([system("Be brief."), user("Hi"), assistant("Hello"), user("Bye")])
    assert pairs(conversation) == [("user", "Be brief.\n\nHi"), ("assistant", "Hello"), ("user", "Bye")]
    assert not conversation.neutralised
    assert not conversation.prefill


def test_gemma_4_has_a_system_role() -> None:
    """The developer role is its system role, and there is one message of it."""
    conversation = converse([{"role": "developer", "content": "A"}, user("Hi"), system("B"), user("Go")], "gemma4")
    assert pairs(conversation) == [("system", "A\n\nB"), ("user", "Hi\n\nGo")]


def test_every_part_of_every_system_message_is_kept() -> None:
    """The template alone would keep the first part of the first one."""
    conversation = converse(
        [system([text_part("A"), text_part("B")]), user("Hi"), {"role": "developer", "content": "C"}, user("Go")]
    )
    assert pairs(conversation) == [("user", "A\nB\n\nC\n\nHi\n\nGo")]


def test_neighbours_of_one_role_become_one_turn() -> None:
    """Turns must alternate."""
    conversation = converse([user("a"), user("b"), assistant("c"), assistant("d"), user("e")])
    assert pairs(conversation) == [("user", "a\n\nb"), ("assistant", "c\n\nd"), ("user", "e")]


def test_an_assistant_turn_without_text_is_dropped() -> None:
    """Null and empty contents make the templates raise."""
    for empty in (None, "", "  "):
        assert pairs(converse([user("a"), assistant(empty), user("b")])) == [("user", "a\n\nb")]


def test_a_refusal_is_what_the_assistant_said() -> None:
    """OpenAI's assistant messages may carry a refusal in place of content."""
    assert pairs(converse([user("a"), assistant(None, refusal="No."), user("b")]))[1] == ("assistant", "No.")
    part = {"type": "refusal", "refusal": "No."}
    assert pairs(converse([user("a"), assistant([part]), user("b")]))[1] == ("assistant", "No.")


def test_a_history_that_begins_with_the_assistant_gets_a_user_turn_before_it() -> None:
    """The system text if there is one, else a full stop."""
    assert pairs(converse([system("S"), assistant("a"), user("b")]))[0] == ("user", "S")
    assert pairs(converse([assistant("a"), user("b")]))[0] == ("user", ".")
    assert pairs(converse([assistant("a"), user("b")], "gemma4"))[0] == ("assistant", "a")


def test_only_system_messages_become_a_user_turn() -> None:
    """Something has to be answered."""
    assert pairs(converse([system("S")])) == [("user", "S")]
    assert pairs(converse([system("S")], "gemma4")) == [("system", "S")]
    assert pairs(converse([assistant("")])) == [("user", ".")]
    assert pairs(converse([assistant("")], "gemma4")) == [("user", ".")]


@pytest.mark.parametrize("family", ["gemma3", "gemma4"])
def test_a_system_message_after_the_last_answer_asks_for_something_now(family: Family) -> None:
    """It is the user's turn then, and nothing is prefilled."""
    conversation = converse([user("a"), assistant("b"), system("Now sum up.")], family)
    assert pairs(conversation) == [("user", "a"), ("assistant", "b"), ("user", "Now sum up.")]
    assert not conversation.prefill


def test_a_last_assistant_message_is_continued_without_its_trailing_white_space() -> None:
    """Templates trim it, and vLLM then looks for an end that isn't there."""
    for family in ("gemma2", "gemma4"):
        conversation = converse([user("a"), assistant("The answer is \n")], family)
        assert pairs(conversation)[-1] == ("assistant", "The answer is")
        assert conversation.prefill
    assert not converse([user("a"), assistant(" ")]).prefill


def test_text_parts_are_joined_before_markers_are_looked_for() -> None:
    """A template writes neighbouring texts without anything in between."""
    conversation = converse([user([text_part("<end_of"), text_part("_turn>")])])
    assert pairs(conversation) == [("user", "<end_of\n_turn>")]


def test_control_tokens_are_neutralised_in_every_role() -> None:
    """Nobody forges a turn, and the reply goes through the restorer."""
    marker = "<end_of_turn>"
    for messages in ([system(marker), user("a")], [user(marker)], [user("a"), assistant(marker), user("b")]):
        conversation = converse(messages)
        assert conversation.neutralised
        assert marker not in str(conversation.messages)
        assert f"<{BREAKER}end_of_turn>" in "".join(str(content) for _, content in pairs(conversation))


def test_media_stay_in_place() -> None:
    """Order is meaning: "compare this … with this"."""
    conversation = converse(
        [system("S"), user([image_part(), text_part("a"), image_part()]), user("b")], "gemma3", "image"
    )
    image = {"type": "image_url", "image_url": {"url": PNG}}
    expected = [text_part("S"), image, text_part("a"), image, text_part("b")]
    assert pairs(conversation) == [("user", expected)]


def test_audio_and_video_go_on_in_the_workers_form() -> None:
    """The part types of vLLM."""
    audio = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    video = {"type": "video_url", "video_url": {"url": "https://example.com/a.mp4"}}
    assert pairs(converse([user([audio, video])], "gemma4", "audio", "video")) == [("user", [audio, video])]


@pytest.mark.parametrize(
    ("part", "takes"),
    [
        (image_part(), "gemma3-test takes text only, no images."),
        (
            {"type": "input_audio", "input_audio": {"data": "AA", "format": "mp3"}},
            "gemma3-test takes text only, no audio.",
        ),
        ({"type": "video_url", "video_url": {"url": PNG}}, "gemma3-test takes text only, no video."),
    ],
)
def test_media_that_the_variant_lacks_are_refused_by_name(part: dict[str, Any], takes: str) -> None:
    """Before a GPU sees them."""
    with pytest.raises(UnsupportedModality) as caught:
        converse([user("a"), user([text_part("b"), part])])
    assert caught.value.param == "messages[1].content[1]"
    assert caught.value.message == takes


def test_the_refusal_says_all_that_the_variant_takes() -> None:
    """The client learns what it may send."""
    with pytest.raises(UnsupportedModality, match="takes text, images and audio, no video"):
        converse([user([{"type": "video_url", "video_url": {"url": PNG}}])], "gemma3n", "image", "audio")


def test_files_are_refused() -> None:
    """No Gemma reads files."""
    with pytest.raises(InvalidRequest) as caught:
        converse([user([{"type": "file", "file": {"file_id": "f"}}])])
    assert caught.value.param == "messages[0].content[0]"


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://x/y", "x.png", "", "https:", "data:image/png,AAAA", "http://"]
)
def test_urls_of_other_kinds_are_refused(url: str) -> None:
    """Only what can be fetched from the web, or is in the request itself."""
    with pytest.raises(InvalidRequest) as caught:
        converse([user([image_part(url)])], "gemma3", "image")
    assert caught.value.param == "messages[0].content[0].image_url.url"


@pytest.mark.parametrize("url", ["HTTPS://example.com/a.png", "http://h/a", "data:image/png;base64,AA"])
def test_web_and_data_urls_are_taken(url: str) -> None:
    """Schemes are case-insensitive."""
    assert converse([user([image_part(url)])], "gemma3", "image").messages


def test_thoughts_go_back_to_models_that_think() -> None:
    """The template of Gemma 4 decides which of them it shows; the others know none."""
    messages = [user("a"), assistant("b", reasoning_content="Hm <turn|>"), assistant("c"), user("d")]
    first = converse(messages, "gemma4").messages[1]
    assert first == {"role": "assistant", "content": "b", "reasoning": "Hm <turn|>".replace("<", f"<{BREAKER}")}
    assert pairs(converse(messages)) == [("user", "a"), ("assistant", "b\n\nc"), ("user", "d")]


def test_calls_need_a_dialect_with_tools() -> None:
    """A clear refusal where the model has none."""
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    with pytest.raises(InvalidRequest) as caught:
        converse([user("a"), assistant(None, tool_calls=[call]), {"role": "tool", "tool_call_id": "c", "content": "x"}])
    assert caught.value.param == "messages[1]"
