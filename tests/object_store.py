"""An object store on loopback, which moto stands in for."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import Request, urlopen

import pytest


@contextmanager
def object_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty store, as s3fs sees it; skips the test where moto or s3fs is not installed."""
    server_module = pytest.importorskip("moto.server", reason="moto, which stands for an object store, is missing")
    s3fs = pytest.importorskip("s3fs", reason="s3fs, the extra ray, is not installed")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    # All servers of a process have one store.
    urlopen(Request(f"{address}/moto-api/reset", method="POST")).close()
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        yield s3fs.S3FileSystem(use_listings_cache=False)
    finally:
        server.stop()
