"""OpenAI's request, reply and chunk types. Decoding validates; unknown client fields are dropped."""
