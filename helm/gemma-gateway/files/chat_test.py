"""What `helm test` runs: the gateway lists its models, and one of them answers. Exit status 0 when both are so."""

import json
import os
import sys
import time
import urllib.error
import urllib.request
from typing import Any

URL, MODEL, KEY = os.environ["GATEWAY_URL"], os.environ["CHAT_MODEL"], os.environ.get("API_KEY", "")
DEADLINE = time.monotonic() + float(os.environ["DEADLINE_S"])


def call(path: str, body: object = None) -> dict[str, Any]:
    """Ask until there is an answer: engines take minutes to load, and 503 says so."""
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    while True:
        try:
            with urllib.request.urlopen(urllib.request.Request(URL + path, data, headers), timeout=120) as reply:
                answer: dict[str, Any] = json.load(reply)
                return answer
        except urllib.error.HTTPError as error:
            text, status = error.read().decode(errors="replace"), error.code
            problem, wait_s = f"{status} {text}", int(error.headers.get("retry-after", "5"))
            if status not in (429, 502, 503, 504):
                sys.exit(f"{path}: {problem}")
        except OSError as error:
            problem, wait_s = str(error), 5
        if time.monotonic() + wait_s > DEADLINE:
            sys.exit(f"{path}: {problem}")
        print(f"{path}: {problem}; once more in {wait_s} s", flush=True)
        time.sleep(wait_s)


models = [model["id"] for model in call("/v1/models")["data"]]
print("models:", ", ".join(models))
if MODEL:
    question = {"role": "user", "content": "Write one word."}
    answer = call("/v1/chat/completions", {"model": MODEL, "messages": [question], "max_tokens": 16})
    print(f"{answer['model']} answers:", answer["choices"][0]["message"]["content"])
    if not answer["usage"]["completion_tokens"]:
        sys.exit("the answer has no token")
