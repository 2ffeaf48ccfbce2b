"""Gemma Gateway: OpenAI's API in front of vLLM workers that serve Gemma."""

__version__ = "0.1.0"
