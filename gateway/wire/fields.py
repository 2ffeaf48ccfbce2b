"""Fields that several endpoints share, with OpenAI's ranges."""

from typing import Annotated

from msgspec import Meta, Struct

MAX_SEQUENCES = 16
"""`n`. OpenAI allows 128; each one is generated and charged in full, so the cap is lower here."""

Model = Annotated[str, Meta(min_length=1, max_length=256)]
Temperature = Annotated[float, Meta(ge=0, le=2)]
Probability = Annotated[float, Meta(gt=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
SequenceCount = Annotated[int, Meta(ge=1, le=MAX_SEQUENCES)]
MaxTokens = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
TopLogprobs = Annotated[int, Meta(ge=0, le=20)]
StopString = Annotated[str, Meta(min_length=1, max_length=4096)]
Stop = StopString | Annotated[list[StopString], Meta(max_length=4)]
LogitBias = Annotated[
    dict[Annotated[str, Meta(pattern=r"^\d{1,9}$")], Annotated[float, Meta(ge=-100, le=100)]], Meta(max_length=1024)
]
TemplateValue = bool | int | float | Annotated[str, Meta(max_length=65_536)] | None
ChatTemplateKwargs = Annotated[dict[str, TemplateValue], Meta(max_length=32)]


class StreamOptions(Struct, frozen=True):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None
