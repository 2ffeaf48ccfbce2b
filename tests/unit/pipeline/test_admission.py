"""How long a clip is."""

import base64
import io
import wave

import pytest

from gateway.pipeline.admission import wav_length_s


def wav(seconds: float, rate: int = 16_000) -> str:
    """Silence, in base64."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(bytes(int(seconds * rate) * 2))
    return base64.b64encode(file.getvalue()).decode()


@pytest.mark.parametrize("seconds", [0.5, 29.9, 31.0])
def test_wav_tells_its_length(seconds: float) -> None:
    """By its header's rate and its size."""
    assert wav_length_s(wav(seconds)) == pytest.approx(seconds, abs=0.01)


@pytest.mark.parametrize("data", ["", "A", "????", base64.b64encode(b"ID3" + bytes(80)).decode(), wav(1)[:20]])
def test_what_is_no_wav_tells_nothing(data: str) -> None:
    """It is the engine's to judge."""
    assert wav_length_s(data) is None


def test_a_rate_of_nothing_is_no_wav() -> None:
    """A header that lies must not divide by zero."""
    head = bytearray(base64.b64decode(wav(1)))
    head[28:32] = bytes(4)
    assert wav_length_s(base64.b64encode(head).decode()) is None
