"""Whatever changes and however the stream is cut, the feed knows what the API server knows."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.discovery.slices import SliceFeed, WatchRequest
from tests.support.slices import bookmark, endpoint_slice, event, slice_list

NAMES = st.sampled_from(["a", "b", "c"])
ADDRESSES = st.lists(st.integers(1, 5), max_size=4)
CHANGES = st.lists(st.tuples(st.sampled_from(["put", "delete", "bookmark"]), NAMES, ADDRESSES), max_size=12)


@given(CHANGES, st.lists(st.integers(0, 4000), max_size=8))
def test_any_changes_cut_anywhere(changes: list[tuple[str, str, list[int]]], cuts: list[int]) -> None:
    """The endpoints are those of the slices that exist at the end, and the version is the last one told."""
    existing: dict[str, set[str]] = {}
    stream = b""
    version = 100
    for kind, name, numbers in changes:
        version += 1
        addresses = [f"10.0.0.{number}" for number in numbers]
        if kind == "bookmark":
            stream += bookmark(version)
        elif kind == "put":
            stream += event(
                "MODIFIED" if name in existing else "ADDED", endpoint_slice(name, addresses, version=version)
            )
            existing[name] = set(addresses)
        elif name in existing:
            del existing[name]
            stream += event("DELETED", endpoint_slice(name, addresses, version=version))
        else:
            version -= 1
    feed = SliceFeed(None)
    feed.take_page(slice_list([], version=100))
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    for start, end in itertools.pairwise(places):
        feed.feed(stream[start:end])
    assert {endpoint.host for endpoint in feed.endpoints} == set[str]().union(*existing.values())
    assert feed.request == WatchRequest(str(version))


@given(st.lists(st.binary(max_size=60), max_size=10))
def test_no_bytes_break_it(pieces: list[bytes]) -> None:
    """Nonsense from the server leads to a list at worst."""
    feed = SliceFeed(None)
    feed.take_page(slice_list([endpoint_slice("a", ["10.0.0.1"])], version=1))
    for piece in pieces:
        feed.feed(piece)
    assert {endpoint.host for endpoint in feed.endpoints} == {"10.0.0.1"}
