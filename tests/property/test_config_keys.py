"""No header and no secret breaks authentication or gets in by chance."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.keys import KeyRing, extract_key
from gateway.config.load import parse_settings
from gateway.routing.catalog import VARIANTS

SECRET = "the-only-secret"
SETTINGS = parse_settings(
    f"models: [{{name: gemma-3-4b-it, workers: [{{url: 'http://a'}}]}}]\n"
    f"tenants: [{{id: a, keys: [{{id: k, secret: {SECRET}}}]}}]",
    {},
    VARIANTS,
)
RING = KeyRing.from_settings(SETTINGS, now_s=lambda: 0)

names = st.sampled_from([b"authorization", b"api-key", b"x-api-key", b"accept"])
values = st.binary(max_size=600) | st.sampled_from([b"Bearer the-only-secret", b"the-only-secret", b"Bearer x"])


@given(st.none() | st.text())
def test_only_the_secret_opens(presented: str | None) -> None:
    """Any other text is refused without an error."""
    assert (RING.authenticate(presented) is not None) == (presented == SECRET)


@given(st.lists(st.tuples(names, values), max_size=4))
def test_headers_give_one_key_or_none(headers: list[tuple[bytes, bytes]]) -> None:
    """What comes out stood in a header, and is something that can be looked up."""
    secret = extract_key(headers)
    if secret is not None:
        assert any(secret.encode() in value for _, value in headers)
        RING.authenticate(secret)
