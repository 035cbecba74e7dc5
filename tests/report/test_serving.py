"""The loopback server: exact ranges, nothing outside the store, nothing for other hosts."""

from __future__ import annotations

import http.client
import shutil
import socket
import threading
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.core.errors import ConfigError
from etl.io.opening import open_objects
from etl.report.catalogue import catalogue
from etl.report.cross_origin import checked_origins
from etl.report.served_headers import EVERY_ANSWER
from etl.report.serving import Site, make_server
from etl.store.reader import Store, open_store
from tests.support.browser import serving
from tests.support.s3_server import Bucket

BODY = bytes(range(100))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    objects = open_objects(str(tmp_path / "store"))
    objects.write("a/b.bin", BODY)
    (tmp_path / "secret").write_bytes(b"outside")
    return Site(Store(objects, {}))


@pytest.mark.parametrize(
    ("asked", "status", "body", "content_range"),
    [
        (None, 200, BODY, None),
        ("bytes=0-3", 206, BODY[:4], "bytes 0-3/100"),
        ("bytes=2-2", 206, BODY[2:3], "bytes 2-2/100"),
        ("bytes=90-", 206, BODY[90:], "bytes 90-99/100"),
        ("bytes=90-1000", 206, BODY[90:], "bytes 90-99/100"),
        ("bytes=-16", 206, BODY[-16:], "bytes 84-99/100"),
        ("bytes=-1000", 206, BODY, "bytes 0-99/100"),
        ("bytes=100-", 416, b"", "bytes */100"),
        ("bytes=-0", 416, b"", "bytes */100"),
        (f"bytes={'9' * 5000}-", 416, b"", "bytes */100"),
        (f"bytes=90-{'9' * 5000}", 206, BODY[90:], "bytes 90-99/100"),
        (f"bytes=-{'9' * 5000}", 206, BODY, "bytes 0-99/100"),
        # Not a single byte range, so it is ignored.
        ("bytes=5-4", 200, BODY, None),
        ("bytes=-", 200, BODY, None),
        ("bytes=0-1,4-5", 200, BODY, None),
        ("lines=0-3", 200, BODY, None),
    ],
)
def test_a_range_is_answered_exactly(
    site: Site, asked: str | None, status: int, body: bytes, content_range: str | None
) -> None:
    answer = site.answer("/store/a/b.bin", asked)
    assert (answer.status, answer.body, answer.headers.get("Content-Range")) == (status, body, content_range)


def test_for_a_head_nothing_is_read(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object) -> bytes:
        raise AssertionError("an object was read")

    for name in ("read", "read_range"):
        monkeypatch.setattr(type(site.store.objects), name, read)
    answer = site.answer("/store/a/b.bin", "bytes=0-3", head=True)
    assert (answer.status, answer.body, answer.length) == (200, b"", 100)
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert "Content-Range" not in answer.headers
    assert site.answer("/store/a/none", head=True).status == HTTPStatus.NOT_FOUND


@pytest.mark.parametrize("path", ["/store/a/none", "/store/", "/store/a", "/elsewhere", "/viewer/x/y"])
def test_what_is_not_there_is_not_found(site: Site, path: str) -> None:
    assert site.answer(path).status == HTTPStatus.NOT_FOUND


def test_a_url_that_is_none_is_a_bad_request(site: Site) -> None:
    assert [site.answer(path).status for path in ("http://[/", "//[/x", "http://[::1/")] == [400] * 3


@pytest.mark.parametrize("path", ["/store/../secret", "/store/%2e%2e/secret", "/store/a/..%2f..%2f../secret"])
def test_nothing_outside_the_store_is_served(site: Site, path: str) -> None:
    answer = site.answer(path)
    assert answer.status == HTTPStatus.NOT_FOUND
    assert b"outside" not in answer.body


@pytest.mark.parametrize("link", ["a/link", "links/b.bin"], ids=["file", "folder"])
def test_a_link_out_of_the_store_is_not_followed(site: Site, tmp_path: Path, link: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.bin").write_bytes(b"outside")
    place = tmp_path / "store" / link
    if link == "a/link":
        place.symlink_to(tmp_path / "secret")
    else:
        place.parent.symlink_to(tmp_path / "elsewhere")
    for byte_range in (None, "bytes=0-3"):
        answer = site.answer(f"/store/{link}", byte_range)
        assert (answer.status, b"outside" in answer.body) == (HTTPStatus.NOT_FOUND, False)


@pytest.mark.parametrize(
    ("name", "is_shown"),
    [
        ("reports/000001/index.html", True),
        ("volumes/a/preview.png", True),
        ("reports/000001/other.html", False),
        ("volumes/a/index.html", False),
        ("reports/000001/picture.svg", False),
        ("zarr.json", False),
        ("volumes/a/0/c/0/0/0", False),
        ("a.xhtml", False),
        ("a.PNG", False),
    ],
)
def test_only_pictures_and_reports_of_a_store_are_shown(site: Site, name: str, is_shown: bool) -> None:
    site.store.objects.write(name, b"<script>1</script>")
    headers = site.answer(f"/store/{name}").headers
    assert ("Content-Disposition" not in headers) == is_shown
    policy = headers.get("Content-Security-Policy", EVERY_ANSWER["Content-Security-Policy"])
    # A sandbox without allow-same-origin: what runs in it reads nothing of this server.
    assert policy.startswith("sandbox")
    assert "allow-same-origin" not in policy
    assert "default-src 'none'" in policy
    assert headers["Content-Type"] not in ("image/svg+xml", "application/xhtml+xml")


@pytest.mark.slow
@given(st.text(max_size=40), st.one_of(st.none(), st.text(max_size=20)))
def test_any_request_has_an_answer(store: Store, path: str, asked: str | None) -> None:
    assert Site(store).answer(path, asked).status in set(HTTPStatus)


def test_the_catalogue_lists_every_volume_and_lesion(store: Store) -> None:
    listed = catalogue(store)
    assert listed["volumes"]["volume_id"] == store.volumes()["volume_id"].tolist()  # type: ignore[index]
    assert listed["lesions"]["lesion_id"] == store.lesions()["lesion_id"].tolist()  # type: ignore[index]
    columns = [len(values) for part in ("volumes", "lesions") for values in listed[part].values()]  # type: ignore[attr-defined]
    assert set(columns) == {len(store.volumes()), len(store.lesions())}


def test_a_store_in_a_bucket_is_served_too(s3_bucket: Bucket) -> None:
    objects = open_objects(f"{s3_bucket.url}/served")
    objects.write("a/b.bin", BODY)
    answer = Site(Store(objects, {})).answer("/store/a/b.bin", "bytes=-16")
    assert (answer.status, answer.body) == (HTTPStatus.PARTIAL_CONTENT, BODY[-16:])


class TestServer:
    @pytest.fixture
    def connection(self, store: Store) -> Iterator[http.client.HTTPConnection]:
        with serving(store) as address:
            connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
            yield connection
            connection.close()

    def test_head_has_the_size_and_no_body(
        self, connection: http.client.HTTPConnection, store: Store
    ) -> None:
        name = store.version["volumes"][0]["path"] + "/0/c/0/0/0"
        connection.request("HEAD", f"/store/{name}")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
        assert answer.headers["Content-Length"] == str(store.objects.size(name))
        assert answer.headers["Accept-Ranges"] == "bytes"

    def test_a_range_comes_over_the_wire(self, connection: http.client.HTTPConnection, store: Store) -> None:
        name = store.version["volumes"][0]["path"] + "/0/c/0/0/0"
        connection.request("GET", f"/store/{name}", headers={"Range": "bytes=10-19"})
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (206, store.objects.read(name)[10:20])

    @pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "[", "[::1", "a:b:c", "//"])
    def test_another_host_name_is_refused(self, connection: http.client.HTTPConnection, host: str) -> None:
        connection.request("GET", "/viewer/catalogue.json", headers={"Host": host})
        answer = connection.getresponse()
        assert answer.status == 403
        assert answer.headers["X-Content-Type-Options"] == "nosniff"

    def test_a_connection_that_says_nothing_is_closed(self, store: Store) -> None:
        with serving(store, idle_s=0.1) as address:
            host, _, port = address.removeprefix("http://").partition(":")
            for sent in (b"", b"GET /viewer/ HTTP/1.1\r\nHost: "):
                with socket.create_connection((host, int(port)), timeout=60) as silent:
                    silent.sendall(sent)
                    assert silent.recv(100) == b""

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
    def test_nothing_can_be_written(self, connection: http.client.HTTPConnection, method: str) -> None:
        connection.request(method, "/store/store.json", body=b"")
        assert connection.getresponse().status == 501

    def test_it_listens_on_the_loopback_interface_only(self, store: Store) -> None:
        with make_server(store, 0) as server:
            assert server.server_address[0] == "127.0.0.1"

    def test_a_page_may_load_nothing_from_elsewhere(self, connection: http.client.HTTPConnection) -> None:
        connection.request("GET", "/viewer/")
        answer = connection.getresponse()
        assert answer.status == 200
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self' 'unsafe-eval';" in policy


@pytest.mark.parametrize("table", ["volumes", "lesions"])
def test_a_damaged_store_is_said_to_be_damaged(store: Store, tmp_path: Path, table: str) -> None:
    copy = tmp_path / "store"
    shutil.copytree(store.objects.root, copy)
    (copy / store.version["tables"][table][0]["path"]).unlink()
    with serving(open_store(copy)) as address:
        connection = http.client.HTTPConnection(address.removeprefix("http://").rstrip("/"))
        connection.request("GET", "/viewer/catalogue.json")
        answer = connection.getresponse()
        assert (answer.status, b"a table's file is missing" in answer.read()) == (500, True)


PAGE = "https://viewer.example.org"


@pytest.mark.parametrize(
    ("origin", "method", "status", "shared"),
    [
        (PAGE, "GET", 200, PAGE),
        ("https://other.example.org", "GET", 200, None),
        (None, "GET", 200, None),
        (PAGE, "OPTIONS", 204, PAGE),
        ("https://other.example.org", "OPTIONS", 403, None),
        ("null", "OPTIONS", 403, None),
    ],
)
def test_pages_of_an_allowed_origin_may_read(
    store: Store, origin: str | None, method: str, status: int, shared: str | None
) -> None:
    server = make_server(store, 0, checked_origins([f"{PAGE}/"]))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
        connection.request(method, "/store/store.json", headers={"Origin": origin} if origin else {})
        answer = connection.getresponse()
        assert answer.status == status
        assert answer.getheader("Access-Control-Allow-Origin") == shared
        if method == "OPTIONS" and shared:
            assert answer.getheader("Access-Control-Allow-Headers") == "Range"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("origin", ["*", "viewer.example.org", f"{PAGE}/page", "null", "file:///", ""])
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(ConfigError, match="no origin"):
        checked_origins([origin])
