"""Reaching vLLM: a raw keep-alive HTTP/1.1 client and the reading of its streams."""
