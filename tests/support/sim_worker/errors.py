"""The errors vLLM 0.32 answers with, in its own shapes."""

from typing import Any


class WorkerError(Exception):
    """Refuses a request; carries the exact JSON body."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


def error_body(message: str, kind: str, code: int, param: str | None = None) -> dict[str, Any]:
    """The ErrorResponse of vLLM: `code` is a number, unlike OpenAI's."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def bad_request(message: str, param: str | None = None) -> WorkerError:
    """What vLLM's own checks raise."""
    if param is not None:
        message = f"{message} (parameter={param})"
    return WorkerError(400, error_body(message, "BadRequestError", 400, param))


def ill_typed(message: str, param: str | None) -> WorkerError:
    """What the request models raise: the type is the HTTP phrase, the param a path from ``body``."""
    return WorkerError(400, error_body(f"1 validation error:\n  {message}", "Bad Request", 400, param))


def no_such_model(model: str, known: str) -> WorkerError:
    message = f"The model `{model}` does not exist. Valid aliases: {known}."
    return WorkerError(404, error_body(message, "NotFoundError", 404, "model"))


def framework_error(status: int, detail: str) -> WorkerError:
    """What the web framework answers before vLLM sees the request."""
    return WorkerError(status, {"detail": detail})


def unauthorized() -> WorkerError:
    return WorkerError(401, {"error": "Unauthorized"})
