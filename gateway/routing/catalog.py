"""The catalogue of Gemma variants. The data is in `variants.py`; here is how to find an entry.

The pretrained checkpoint of an instruction-tuned one (`google/gemma-3-270m`, `google/gemma-3-4b-pt`) has the same
entry: vLLM serves it as a chat model when it is given the family's chat template, and operators do.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from gateway.config.variant_names import guess_variant
from gateway.routing.variants import TABLE
from gateway.values import Variant

VARIANTS: Final[Mapping[str, Variant]] = MappingProxyType({variant.name: variant for variant in TABLE})
"""By short name, `gemma-3-4b-it`."""


def find_variant(name: str) -> Variant | None:
    """The entry of a checkpoint or served model of this name, quantised or tuned further; None when it isn't one."""
    return guess_variant(name, VARIANTS)
