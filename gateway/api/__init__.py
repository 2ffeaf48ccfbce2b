"""The HTTP edge: routes, ASGI messages in and out, OpenAI's envelope around errors."""
