"""Text in which no dialect can find a call, a thought or anything else: it goes to the client as it is."""

import re
from typing import Final

_MARKUP: Final = re.compile(r"[\[{(<`]")
"""Every call has a brace or a parenthesis, every fence a backtick, every marker a `<`."""


def is_plain(text: str) -> bool:
    """Whether `text` is a whole reply of nothing but content; False says nothing. Quicker than any parser."""
    return _MARKUP.search(text) is None
