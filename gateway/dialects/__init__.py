"""Between OpenAI's API and what each Gemma family was trained on: requests one way, replies the other. No I/O.

A dialect (`registry.dialect_for`) turns a chat request into `Prepared`: the worker's body and a maker of reply parsers.
Below it, in the order of a request: `control_tokens` keeps clients from writing a model's control tokens,
`conversation` makes any OpenAI conversation one that the family's chat template accepts, `tools`, `schema` and
`history` read what is said about tools, `stops` names what ends a turn.

In the order of a reply: `marked_parser` (Gemma 4, FunctionGemma) and `prompted_parser` (all older ones) take text in
any pieces, `call_reader`, `scanner` and `repair`, or `python_calls` and `json_calls`, read the calls in it, `arguments`
types their leaves by the tool's schema, and `reply` gives out events.
"""
