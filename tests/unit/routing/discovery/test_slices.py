"""The feed of EndpointSlices: what lists and watches make known, and when everything is asked for anew."""

import json
from typing import Any

import pytest

from gateway.routing.discovery.endpoint import Endpoint
from gateway.routing.discovery.slices import MAX_LINE_BYTES, PAGE_SIZE, ListRequest, SliceFeed, WatchRequest
from tests.support.slices import bookmark, endpoint_slice, event, gone, slice_list


def synced(*slices: dict[str, Any], port: str | int | None = None, version: int = 10) -> SliceFeed:
    """A feed that has listed these."""
    feed = SliceFeed(port)
    feed.take_page(slice_list(slices, version=version))
    return feed


def hosts(feed: SliceFeed) -> set[str]:
    return {endpoint.host for endpoint in feed.endpoints}


def test_it_begins_with_a_list() -> None:
    """Nothing is known before the first list, which is asked for in pages."""
    feed = SliceFeed(None)
    assert feed.request == ListRequest(PAGE_SIZE)
    assert not feed.synced
    assert feed.endpoints == frozenset()


def test_a_list_leads_to_a_watch_from_its_version() -> None:
    """The watch begins where the list ends."""
    feed = synced(endpoint_slice("a", ["10.0.0.1", "10.0.0.2"]), endpoint_slice("b", ["10.0.0.3"]), version=77)
    assert feed.request == WatchRequest("77")
    assert feed.synced
    assert feed.endpoints == {Endpoint(f"10.0.0.{n}", 8000) for n in (1, 2, 3)}


def test_pages_count_when_the_last_has_come() -> None:
    """What was known stays until a list in pages is complete."""
    feed = synced(endpoint_slice("old", ["10.0.0.9"]))
    feed.relist()
    feed.take_page(slice_list([endpoint_slice("a", ["10.0.0.1"])], version=20, continue_token="more"))
    assert feed.request == ListRequest(PAGE_SIZE, "more")
    assert hosts(feed) == {"10.0.0.9"}
    feed.take_page(slice_list([endpoint_slice("b", ["10.0.0.2"])], version=20))
    assert hosts(feed) == {"10.0.0.1", "10.0.0.2"}


def test_events_change_slices() -> None:
    """Added, modified and deleted slices; the version of each is where the next watch goes on."""
    feed = synced(endpoint_slice("a", ["10.0.0.1"]))
    feed.feed(event("ADDED", endpoint_slice("b", ["10.0.0.2"], version=11)))
    assert hosts(feed) == {"10.0.0.1", "10.0.0.2"}
    feed.feed(event("MODIFIED", endpoint_slice("a", ["10.0.0.3"], version=12)))
    assert hosts(feed) == {"10.0.0.2", "10.0.0.3"}
    feed.feed(event("DELETED", endpoint_slice("b", [], version=13)))
    assert hosts(feed) == {"10.0.0.3"}
    assert feed.request == WatchRequest("13")


def test_a_bookmark_moves_the_version_only() -> None:
    """After a bookmark the next watch begins there."""
    feed = synced(endpoint_slice("a", ["10.0.0.1"]))
    feed.feed(bookmark(99))
    assert feed.request == WatchRequest("99")
    assert hosts(feed) == {"10.0.0.1"}


@pytest.mark.parametrize(
    "line",
    [
        gone(),
        event("ERROR", {"kind": "Status", "code": 500}),
        event("LATER", {}),
        b"nonsense\n",
        b'{"type":"ADDED","object":[]}\n',
    ],
    ids=["gone", "error", "unknown kind", "no JSON", "no slice"],
)
def test_what_cannot_be_gone_on_with_leads_to_a_list(line: bytes) -> None:
    """What is known stays in use, and nothing behind the line is read."""
    feed = synced(endpoint_slice("a", ["10.0.0.1"]))
    feed.feed(line + event("DELETED", endpoint_slice("a", [], version=50)))
    assert feed.request == ListRequest(PAGE_SIZE)
    assert hosts(feed) == {"10.0.0.1"}


def test_an_expired_page_is_followed_by_a_list_without_pages() -> None:
    """A list that is too long for its pages' lifetime is asked for as a whole."""
    feed = SliceFeed(None)
    feed.take_page(slice_list([endpoint_slice("a", ["10.0.0.1"])], version=5, continue_token="more"))
    feed.expired()
    assert feed.request == ListRequest(0)
    feed.take_page(slice_list([endpoint_slice("b", ["10.0.0.2"])], version=9))
    assert hosts(feed) == {"10.0.0.2"}


def test_an_expired_watch_is_followed_by_a_list() -> None:
    """410 as the answer to a watch."""
    feed = synced()
    feed.expired()
    assert feed.request == ListRequest(PAGE_SIZE)


def test_a_relist_finds_what_was_never_told() -> None:
    """A deletion whose event was lost is gone with the next list."""
    feed = synced(endpoint_slice("a", ["10.0.0.1"]), endpoint_slice("b", ["10.0.0.2"]))
    feed.relist()
    assert hosts(feed) == {"10.0.0.1", "10.0.0.2"}
    feed.take_page(slice_list([endpoint_slice("a", ["10.0.0.1"])], version=60))
    assert hosts(feed) == {"10.0.0.1"}


def test_a_line_that_was_cut_off_is_forgotten() -> None:
    """It comes again with the next watch, whose bytes must not be glued to it."""
    feed = synced()
    line = event("ADDED", endpoint_slice("a", ["10.0.0.1"], version=11))
    feed.feed(line[:40])
    feed.finish()
    assert feed.request == WatchRequest("10")
    feed.feed(line)
    assert hosts(feed) == {"10.0.0.1"}


def test_a_line_without_end_is_given_up() -> None:
    """Memory is bounded whatever the server sends."""
    feed = synced()
    feed.feed(b"x" * (MAX_LINE_BYTES + 1))
    assert feed.request == ListRequest(PAGE_SIZE)


@pytest.mark.parametrize(("ready", "used"), [(True, True), (None, True), (False, False)])
def test_only_endpoints_that_are_ready_are_used(ready: bool | None, used: bool) -> None:
    """An unknown state counts as ready; a Pod that ends is not ready."""
    feed = synced(endpoint_slice("a", ["10.0.0.1"], ready=ready))
    assert bool(feed.endpoints) == used


@pytest.mark.parametrize(("port", "found"), [(None, 8000), ("http", 8000), ("metrics", 9000), (9000, 9000), (1, None)])
def test_the_port_is_found_by_name_or_number(port: str | int | None, found: int | None) -> None:
    """Without one the first port of the slice counts."""
    item = endpoint_slice("a", ["10.0.0.1"])
    item["ports"].append({"name": "metrics", "port": 9000, "protocol": "TCP"})
    expected = frozenset[Endpoint]() if found is None else frozenset({Endpoint("10.0.0.1", found)})
    assert synced(item, port=port).endpoints == expected


def test_of_two_address_families_one_counts() -> None:
    """Else each Pod of a dual-stack Service would be two workers."""
    v4, v6 = endpoint_slice("a", ["10.0.0.1"]), endpoint_slice("b", ["fd00::1"], family="IPv6")
    assert hosts(synced(v4, v6)) == {"10.0.0.1"}
    assert hosts(synced(v6)) == {"fd00::1"}
    assert hosts(synced(endpoint_slice("c", ["a.example"], family="FQDN"))) == set()
    assert Endpoint("fd00::1", 8000).url == "http://[fd00::1]:8000"


def test_slices_without_endpoints_or_ports_are_empty() -> None:
    """The API server writes null for an empty list."""
    item = endpoint_slice("a", [])
    item["endpoints"] = None
    bare = endpoint_slice("b", ["10.0.0.1"])
    bare["ports"] = None
    assert synced(item, bare).endpoints == frozenset()


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", json.dumps({"items": []}).encode()])
def test_a_page_that_is_none_is_refused(body: bytes) -> None:
    """Nothing is forgotten because a proxy answered instead of the API server."""
    feed = synced(endpoint_slice("a", ["10.0.0.1"]))
    feed.relist()
    with pytest.raises(ValueError, match="not a list"):
        feed.take_page(body)
    assert hosts(feed) == {"10.0.0.1"}
