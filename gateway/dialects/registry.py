"""Which dialect goes by which name."""

from typing import Final

from gateway.dialects.dialect import Dialect
from gateway.dialects.engine import EngineDialect
from gateway.dialects.functiongemma import FunctionGemmaDialect
from gateway.dialects.gemma4 import Gemma4Dialect
from gateway.dialects.prompted import PromptedDialect
from gateway.dialects.prompted_text import FunctionCallStyle, JsonStyle, PythonStyle, ToolCodeStyle
from gateway.values import DialectName

_DIALECTS: Final[dict[DialectName, Dialect]] = {
    "gemma3-python": PromptedDialect(PythonStyle()),
    "gemma3-json": PromptedDialect(JsonStyle()),
    "gemma3-toolcode": PromptedDialect(ToolCodeStyle()),
    "gemma3-functioncall": PromptedDialect(FunctionCallStyle()),
    "functiongemma": FunctionGemmaDialect(),
    "gemma4": Gemma4Dialect(),
    "engine": EngineDialect(),
}


def dialect_for(name: DialectName) -> Dialect:
    """The dialect of this name; it holds no state of requests."""
    return _DIALECTS[name]
