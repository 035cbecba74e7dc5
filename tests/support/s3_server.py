"""A real S3-compatible server on loopback. Tests take the fixture `s3_bucket`."""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

_endpoints = [""]


@dataclass(frozen=True)
class Bucket:
    """A bucket on the S3-compatible server that the environment names, looked at through boto3."""

    name: str

    @classmethod
    def make(cls, name: str) -> Bucket:
        bucket = cls(name)
        bucket.client.create_bucket(Bucket=name)
        return bucket

    @property
    def client(self) -> Any:
        return _client(os.environ["AWS_ENDPOINT_URL"])

    @property
    def url(self) -> str:
        return f"s3://{self.name}"

    def put(self, key: str, content: bytes) -> str:
        """Write an object; returns its URL."""
        self.client.put_object(Bucket=self.name, Key=key, Body=content)
        return f"{self.url}/{key}"

    def get(self, key: str) -> bytes:
        content: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return content

    def all_keys(self) -> list[str]:
        """All keys, in order; at most 1,000."""
        return [entry["Key"] for entry in self.client.list_objects_v2(Bucket=self.name).get("Contents", [])]


@functools.cache
def _client(endpoint: str) -> Any:
    import boto3

    return boto3.client("s3", endpoint_url=endpoint)


def use_s3(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Let s3fs and boto3 find a server, here and in processes started from here."""
    import s3fs

    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    # fsspec keeps its filesystems, and they keep the endpoint; to make one takes a while.
    if _endpoints[-1] != endpoint:
        s3fs.S3FileSystem.clear_instance_cache()
        _endpoints.append(endpoint)


@contextmanager
def serve_s3() -> Iterator[str]:
    """An S3-compatible server that enforces conditional writes; gives its URL."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@contextmanager
def serve_careless_s3() -> Iterator[str]:
    """The same buckets behind a server that ignores `If-None-Match`, as many small ones do; gives its URL."""

    def careless(environ: dict[str, Any], start_response: Any, careful: Any) -> Any:
        environ.pop("HTTP_IF_NONE_MATCH", None)
        return careful(environ, start_response)

    with _serve_behind(careless) as url:
        yield url


@contextmanager
def counting_s3(wait_s: float = 0.0) -> Iterator[tuple[str, list[str]]]:
    """The same buckets behind a server that notes each request as `METHOD /path`; gives its URL and the list.

    Args:
        wait_s: added to every request.
    """
    requests: list[str] = []

    def counting(environ: dict[str, Any], start_response: Any, careful: Any) -> Any:
        requests.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        time.sleep(wait_s)
        return careful(environ, start_response)

    with _serve_behind(counting) as url:
        yield url, requests


@dataclass
class Room:
    """Bytes that a server takes before it is full."""

    bytes: int = 2**40


@contextmanager
def serve_small_s3() -> Iterator[tuple[str, Room]]:
    """The same buckets behind a server that has room for so many bytes; gives its URL and the room."""
    room = Room()

    def small(environ: dict[str, Any], start_response: Any, careful: Any) -> Any:
        length = int(environ.get("CONTENT_LENGTH") or 0) if environ["REQUEST_METHOD"] == "PUT" else 0
        if length <= room.bytes:
            room.bytes -= length
            return careful(environ, start_response)
        environ["wsgi.input"].read(length)
        start_response("403 Forbidden", [("Content-Type", "application/xml")])
        return [b"<Error><Code>QuotaExceeded</Code><Message>The bucket is full.</Message></Error>"]

    with _serve_behind(small) as url:
        yield url, room


@contextmanager
def _serve_behind(answer: Callable[[dict[str, Any], Any, Any], Any]) -> Iterator[str]:
    """An S3-compatible server to which requests come through `answer`; gives its URL."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    careful = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, lambda *call: answer(*call, careful), threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
