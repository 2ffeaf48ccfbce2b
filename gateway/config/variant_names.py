"""From the name of a checkpoint to its entry in the catalogue."""

from collections.abc import Mapping

from gateway.values import Variant

_SEPARATORS = frozenset("-_.:@")
_INSTRUCTION_TUNED = "-it"


def named_variant(name: str, variants: Mapping[str, Variant]) -> Variant | None:
    """The entry that `name` spells out: in any case, with or without `google/`."""
    return spellings(variants).get(name.lower().removeprefix("google/"))


def guess_variant(name: str, variants: Mapping[str, Variant]) -> Variant | None:
    """The entry of a checkpoint called `name`, whoever published it and however it was quantised or tuned further.

    The longest entry that the name (without its owner) begins with: `acme/gemma-3-4b-it-awq` is `gemma-3-4b-it`. The
    pretrained twin of an instruction-tuned checkpoint (`gemma-3-4b-pt`, `gemma-3-270m`) is the same entry.
    """
    base = name.lower().rpartition("/")[2]
    known = spellings(variants)
    matches = [spelling for spelling in known if _begins_with(base, spelling)]
    return known[max(matches, key=len)] if matches else None


def spellings(variants: Mapping[str, Variant]) -> dict[str, Variant]:
    """Entries by every lower-case name they go by."""
    pretrained = {name.lower().removesuffix(_INSTRUCTION_TUNED): variant for name, variant in variants.items()}
    return pretrained | {name.lower(): variant for name, variant in variants.items()}


def _begins_with(base: str, spelling: str) -> bool:
    return base.startswith(spelling) and (len(base) == len(spelling) or base[len(spelling)] in _SEPARATORS)
