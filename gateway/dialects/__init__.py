"""Between OpenAI's API and what each Gemma family was trained on: requests one way, replies the other. No I/O.

`control_tokens` keeps clients from writing a model's control tokens, `conversation` makes any OpenAI conversation one
that the family's chat template accepts, `stops` names what ends a turn.
"""
