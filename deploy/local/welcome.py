"""What `deploy/local/up` prints when everything answers: how to talk to it, ready to be pasted."""

import textwrap

PRETRAINED_NOTE = (
    "The packaged Gemma is the pretrained one: it continues text rather than answers. With HF_TOKEN set on a machine\n"
    "that reaches the hub, the instruction-tuned google/gemma-3-270m-it is used instead.\n"
)
_QUESTION = "Write one sentence about the sea."


def welcome(base_url: str, model: str, key: str, *, tools_model: str | None, pretrained: bool) -> str:
    """`tools_model` is served beside `model` and calls tools; `pretrained`: `model` was never taught to answer."""
    parts = [_call(base_url, model, key)]
    if tools_model is not None:
        parts.append(_tool_call(base_url, tools_model, key))
    parts.append(f"{PRETRAINED_NOTE if pretrained else ''}Ctrl-C stops everything.\n")
    return "\n".join(parts)


def _call(base_url: str, model: str, key: str) -> str:
    text = f"""
        Base URL  {base_url}
        API key   {key}
        Model     {model}

        curl {base_url}/chat/completions \\
          -H "Authorization: Bearer {key}" -H "Content-Type: application/json" \\
          -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "{_QUESTION}"}}], "max_tokens": 40}}'

        # pip install openai
        from openai import OpenAI
        client = OpenAI(base_url="{base_url}", api_key="{key}")
        reply = client.chat.completions.create(
            model="{model}", max_tokens=40, messages=[{{"role": "user", "content": "{_QUESTION}"}}]
        )
        print(reply.choices[0].message.content)
        """
    return textwrap.dedent(text)


def _tool_call(base_url: str, model: str, key: str) -> str:
    text = f"""\
        # {model} calls tools:
        from openai import OpenAI
        client = OpenAI(base_url="{base_url}", api_key="{key}")
        city = {{"type": "object", "properties": {{"city": {{"type": "string"}}}}, "required": ["city"]}}
        weather = {{"name": "get_weather", "description": "Get the current weather in a city.", "parameters": city}}
        asked = dict(model="{model}", temperature=0, tools=[{{"type": "function", "function": weather}}])
        messages = [{{"role": "user", "content": "What is the weather in Lisbon?"}}]
        reply = client.chat.completions.create(messages=messages, **asked).choices[0].message
        print(reply.tool_calls)
        messages += [reply, {{"role": "tool", "tool_call_id": reply.tool_calls[0].id, "content": "21 degrees, sunny"}}]
        print(client.chat.completions.create(messages=messages, **asked).choices[0].message.content)
        """
    return textwrap.dedent(text)
