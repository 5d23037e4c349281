"""Sealed models in a bucket: a real S3 server (moto) in a process of its own."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import obstore
import pytest
from obstore.store import S3Store

from ledger.broker import cards
from ledger.broker.fetching import fetch
from ledger.cli.main import main
from ledger.errors import (
    ConfigurationError,
    ObjectReplaced,
    StoreUnavailable,
    ToolMissing,
    UsageError,
)
from ledger.remote.objects import RemoteObject
from ledger.remote.opening import opened_source
from ledger.remote.places import Place
from ledger.sealed.file import inspect, open_sealed

from .conftest import KEY, same_tensors

SECRET = "wJalrXUtnFEMIbPxRfiCYEXAMPLEKEY"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def bucket(shop, tmp_path_factory):
    """A bucket ``models`` with the sealed file and its card beside it."""
    port = free_port()
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": SECRET}
    program = Path(sys.executable).with_name("moto_server")
    log = (tmp_path_factory.mktemp("moto") / "log").open("wb")
    server = subprocess.Popen(
        [program, "-H", "127.0.0.1", "-p", str(port)], env=environment, stdout=log, stderr=log
    )
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{url}/moto-api/", timeout=5).close()
                break
            except OSError:
                assert time.monotonic() < deadline
                assert server.poll() is None
                time.sleep(0.1)
        put(f"{url}/models", b"")
        put(f"{url}/models/shelf/my%20model.sealed", shop.path.read_bytes())
        card = json.dumps(shop.card("my%20model.sealed")).encode()
        put(f"{url}/models/shelf/a.license.json", card)
        put(f"{url}/models/shelf/noise.license.json", b"no card")
        yield url
    finally:
        server.terminate()
        server.wait()
        log.close()


def put(url, data):
    headers = {"Content-Type": "application/octet-stream"}  # not a form, which moto would parse
    request = urllib.request.Request(url, data=data or None, headers=headers, method="PUT")
    urllib.request.urlopen(request, timeout=60).close()


@pytest.fixture
def credentials(bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", bucket)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


SEALED = "s3://models/shelf/my%20model.sealed"


def remote(url=SEALED, timeout=10.0):
    return RemoteObject(Place.parse(url), timeout=timeout)


def test_a_sealed_model_is_read_from_a_bucket(shop, credentials):
    with open_sealed(remote(), KEY, record=shop.record) as file:
        name = "layers.3.weight"
        assert np.array_equal(file.get_tensor(name), shop.tensors[name])
        assert file._source.requests == 2
        assert same_tensors(file, shop.tensors)
    assert inspect(remote()).root == shop.record.root


@pytest.mark.parametrize("source", ["s3://models/shelf/a.license.json", SEALED])
def test_a_card_in_a_bucket_and_a_sealed_file_beside_its_card_are_found(shop, credentials, source):
    located = cards.locate(source)
    assert str(located.card.license) == "1.1"
    with open_sealed(located.take(), KEY, record=located.record) as file:
        assert set(file.keys()) == set(shop.tensors)
    located.forget()


def test_a_card_here_may_name_an_object_in_a_bucket(shop, credentials, tmp_path):
    path = tmp_path / "m.license.json"
    shop.card("https://127.0.0.1:9/gone.sealed", SEALED, path=path)
    located = cards.locate(path, timeout=1)
    assert located.file.name == "s3://models/shelf/my model.sealed"
    located.forget()


def test_fetch_downloads_from_a_bucket(shop, credentials, tmp_path):
    done = fetch("s3://models/shelf/a.license.json", tmp_path / "m.sealed")
    assert done.path.read_bytes() == shop.path.read_bytes()
    assert done.source == "s3://models/shelf/my model.sealed"


def test_the_command_inspects_and_fetches_by_url(shop, credentials, tmp_path, capsys):
    assert main(["inspect", SEALED, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["root"] == str(shop.record.root)
    assert main(["inspect", "s3://models/shelf/a.license.json", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["license"] == "1.1"
    out = str(tmp_path / "m.sealed")
    assert main(["fetch", "s3://models/shelf/a.license.json", "--out", out]) == 0
    assert main(["inspect", "s3://models/shelf/none.sealed"]) == 2


def test_an_object_replaced_in_the_bucket_is_refused(shop, credentials):
    store = S3Store("models", client_options={"allow_http": True})
    obstore.put(store, "changing.sealed", shop.path)
    with open_sealed(remote("s3://models/changing.sealed"), KEY) as file:
        file.get_tensor("small.bias")
        obstore.put(store, "changing.sealed", shop.folder / "again.sealed")
        with pytest.raises(ObjectReplaced):
            file.load_all()


def test_errors_name_what_failed_and_hold_no_credentials(bucket, credentials, monkeypatch):
    with pytest.raises(UsageError, match=r"s3://models/nothing is not there"):
        remote("s3://models/nothing")
    with pytest.raises((UsageError, StoreUnavailable), match="s3://none/m"):
        remote("s3://none/m", timeout=1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(StoreUnavailable) as caught:
        remote(timeout=1)
    shown = f"{caught.value} {caught.value.hint} {caught.value!r}"
    assert SECRET not in shown
    assert "AKIAEXAMPLE" not in shown


def test_plain_http_to_another_host_is_not_used(credentials, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://203.0.113.7:9000")
    with pytest.raises((StoreUnavailable, ConfigurationError)) as caught:
        remote(timeout=2)
    # Refused by its URL: whoever had asked that host would say that it does not answer.
    assert "plain http" in caught.value.message


def test_without_obstore_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(ToolMissing) as caught:
        remote()
    assert "modeldeed[s3]" in caught.value.hint


def test_a_url_with_the_key_opens_like_a_path(shop, credentials):
    with open_sealed(opened_source(SEALED), KEY) as far, open_sealed(shop.path, KEY) as here:
        assert far.public == here.public
        assert far.verify_content() == here.verify_content()
