"""A real S3 server on loopback, which can be told to misbehave."""

from __future__ import annotations

import io
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from stemfeatures._util import objects

KEY, SECRET = "AKIATESTKEY", "very-secret-word"
BUCKET = "music"


class Store:
    """The server, a client of it, and its faults.

    Attributes
    ----------
    requests : Counter
        Of requests so far, by ``"METHOD /path"`` without query.
    before : callable or None
        Called with the environment of each request; returns a status line to answer with, or None to go on.
    """

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.before: Callable[[dict[str, Any]], str | None] | None = None
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._serve, threaded=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self.client = boto3.client(
            "s3",
            endpoint_url=self.address,
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
        )

    def _serve(self, environment: dict[str, Any], start: Any) -> Any:
        self.requests[f"{environment['REQUEST_METHOD']} {environment['PATH_INFO']}"] += 1
        status = self.before(environment) if self.before is not None else None
        if status is None:
            return self._app(environment, start)
        known = {"404": "NoSuchKey", "403": "AccessDenied", "501": "NotImplemented"}
        code = known.get(status[:3], "InternalError") if " as " not in status else status.partition(" as ")[2]
        body = f"<Error><Code>{code}</Code><Message>as told</Message></Error>".encode()
        start(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return io.BytesIO(body) if environment["REQUEST_METHOD"] != "HEAD" else []

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=data)

    def names(self, prefix: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", ())]

    @contextmanager
    def failing(self, n: int, status: str, *, method: str = "", path: str = "") -> Iterator[list[str]]:
        """Answer the next ``n`` requests that fit with a status; the list fills with what was refused."""
        refused: list[str] = []

        def before(environment: dict[str, Any]) -> str | None:
            name = f"{environment['REQUEST_METHOD']} {environment['PATH_INFO']}"
            if len(refused) < n and name.startswith(method) and path in name:
                refused.append(name)
                return status
            return None

        self.before = before
        try:
            yield refused
        finally:
            self.before = None

    @contextmanager
    def silent(self, path: str, seconds: float) -> Iterator[None]:
        """Let requests of a path wait."""

        def before(environment: dict[str, Any]) -> None:
            if path in environment["PATH_INFO"]:
                time.sleep(seconds)

        self.before = before
        try:
            yield
        finally:
            self.before = None

    def close(self) -> None:
        self._server.shutdown()


@pytest.fixture(scope="session")
def _server() -> Iterator[Store]:
    store = Store()
    yield store
    store.close()


@pytest.fixture
def store(_server: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """The server with an empty bucket, which s3:// leads to."""
    for name in ("AWS_PROFILE", "AWS_CA_BUNDLE", "AWS_SESSION_TOKEN", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_ENDPOINT_URL": _server.address,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    objects.forget_filesystems()
    _server.before = None
    _server.client.create_bucket(Bucket=BUCKET)
    _server.requests.clear()
    yield _server
    _server.before = None
    for key in _server.names():
        _server.client.delete_object(Bucket=BUCKET, Key=key)
    _server.client.delete_bucket(Bucket=BUCKET)
    objects.forget_filesystems()
