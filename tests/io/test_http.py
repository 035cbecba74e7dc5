from __future__ import annotations

import pickle
import socket
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.io.http import HttpBlob
from etl.io.opening import open_blob
from etl.io.places import BlobInfo, BlobRefused
from tests.support.http_archive import CONTENT, SECRET, SIZE, put
from tests.support.http_faults import Answer
from tests.support.processes import LIMIT_SECONDS
from tests.support.servers import HttpServer, serve

pytestmark = pytest.mark.usefixtures("impatient")


def test_a_look_and_a_read_are_one_request_each_on_one_connection(http_server: HttpServer) -> None:
    blob = put(http_server)
    info = blob.info()
    assert info == BlobInfo(SIZE, info.tag, True, CONTENT[:4])
    assert info.tag.startswith('"')
    assert blob.read(1000, 2_500_000, info.tag) == CONTENT[1000:2_500_000]
    assert http_server.ranges("/a.zip") == [(0, 4), (1000, 2_500_000)]
    assert sum(request.sent for request in http_server.requests) == 4 + 2_499_000
    assert http_server.connections == 1
    assert {request.headers["Accept-Encoding"] for request in http_server.requests} == {"identity"}


def test_nothing_is_asked_for_an_empty_range(http_server: HttpServer) -> None:
    assert put(http_server).read(5, 5) == b""
    assert http_server.requests == []


def test_open_blob_takes_http_urls(http_server: HttpServer) -> None:
    blob = open_blob(http_server.put("/a.zip", CONTENT))
    assert isinstance(blob, HttpBlob)
    assert b"".join(blob.stream()) == CONTENT
    assert http_server.ranges("/a.zip") == [None]


@given(st.integers(0, 2000), st.integers(0, 2000))
def test_reads_are_slices(http_server: HttpServer, start: int, end: int) -> None:
    blob = HttpBlob(http_server.put("/small.zip", CONTENT[:2000]))
    assert blob.read(start, end) == CONTENT[start:end]


def test_redirects_are_followed_each_time(http_server: HttpServer) -> None:
    http_server.put("/signed/1", CONTENT)
    to = Answer(302, {"Location": "/signed/1?token=one"})
    blob = HttpBlob(http_server.put("/static/a.zip", b"", to, to))
    assert blob.info().bytes == SIZE
    assert blob.read(10, 20) == CONTENT[10:20]
    assert http_server.ranges("/signed/1") == [(0, 4), (10, 20)]


def test_a_redirect_to_another_server_does_not_take_the_password_along(http_server: HttpServer) -> None:
    with serve() as elsewhere:
        location = elsewhere.put("/b.zip", CONTENT).replace("127.0.0.1", "localhost")
        url = http_server.put("/a.zip", b"", Answer(302, {"Location": location}))
        blob = HttpBlob(url.replace("://", "://reader:pass%20word@"))
        assert blob.read(0, 10) == CONTENT[:10]
        assert http_server.requests[0].headers["Authorization"] == "Basic cmVhZGVyOnBhc3Mgd29yZA=="
        assert "Authorization" not in elsewhere.requests[0].headers
    assert "word" not in str(blob)


@pytest.mark.parametrize(
    "location", ["/a.zip?token=" + SECRET, "ftp://x/?token=" + SECRET, "http://[?t=" + SECRET]
)
def test_a_redirect_that_leads_nowhere_is_refused(http_server: HttpServer, location: str) -> None:
    blob = put(http_server, *[Answer(302, {"Location": location})] * 50)
    with pytest.raises(BlobRefused, match=r"/a\.zip") as caught:
        blob.info()
    assert SECRET not in str(caught.value)
    assert len(http_server.requests) <= 11


def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        blob = HttpBlob(f"http://127.0.0.1:{taken.getsockname()[1]}/a.zip?sig={SECRET}")
        with pytest.raises(ConnectionError, match=r"/a\.zip: NewConnectionError") as caught:
            blob.info()
    assert SECRET not in str(caught.value)


def test_the_proxy_of_the_environment_is_used(
    http_server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    http_server.put("/a.zip", CONTENT)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("http_proxy", http_server.url.replace("://", "://user:word@"))
    assert HttpBlob("http://elsewhere.invalid/a.zip").read(0, 10) == CONTENT[:10]
    (request,) = http_server.requests
    assert request.headers["Host"] == "elsewhere.invalid"
    assert request.headers["Proxy-Authorization"] == "Basic dXNlcjp3b3Jk"


@pytest.mark.slow
def test_a_forked_process_has_connections_of_its_own(http_server: HttpServer) -> None:
    url = http_server.put("/a.zip", CONTENT)
    script = """
import os, sys
from etl.io.http import HttpBlob
blob = HttpBlob(sys.argv[1])
blob.info()
child = os.fork()
for at in range(0, 100):
    assert blob.read(at, at + 20_000) == blob.read(at, at + 20_000)
if not child:
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    subprocess.run([sys.executable, "-c", script, url], check=True, timeout=LIMIT_SECONDS)
    assert http_server.connections == 2


def test_blobs_travel_to_other_processes() -> None:
    blob = HttpBlob("https://host/a.zip")
    assert pickle.loads(pickle.dumps(blob)) == blob
