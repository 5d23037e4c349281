"""From a source to a verified card and its file: what a stranger's card may not make us do."""

import functools
import json
import secrets
import threading
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from safetensors.numpy import save_file

from ledger.broker import cards
from ledger.chain.wallet import dev_wallet
from ledger.errors import ContentMismatch, UsageError
from ledger.ids import Address, Digest, LicenseId, ModelId
from ledger.licensing import card as card_module
from ledger.licensing import terms as terms_module
from ledger.licensing.card import BrokerSet, CardBroker, CardFile
from ledger.sealed.file import seal
from ledger.sealed.header import Prelude
from ledger.sealed.record import SealingRecord
from ledger.tensors.model import open_model

LEDGER, REGISTRY, BROKERS = (Address(bytes([b]) * 20) for b in (0x11, 0x22, 0x33))
MODEL = ModelId(b"\x44" * 32)


class Made(NamedTuple):
    folder: Path
    path: Path
    record: SealingRecord


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A small sealed file in a folder of its own."""
    folder = tmp_path_factory.mktemp("cards") / "shop"
    folder.mkdir()
    plain = folder.parent / "plain.safetensors"
    values = np.random.default_rng(1).standard_normal((64, 48)).astype(np.float32)
    save_file({"layer.weight": values}, plain)
    with open_model(plain) as model:
        record = seal(
            model, folder / "model.sealed", content_key=secrets.token_bytes(32), model_id=MODEL,
            chain_id=31337, registry=REGISTRY, epoch=1, log2_segment=16,
        )  # fmt: skip
    return Made(folder, folder / "model.sealed", record)


@pytest.fixture
def web(made):
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(made.folder.parent))
    handler.log_message = lambda *a: None
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def card(made, *, who="licensor", number=1, url="model.sealed", size=None):
    terms = terms_module.parse(terms_module.TEMPLATE.encode()).document
    member = CardBroker(1, Digest(b"\x06" * 32), Digest(b"\x07" * 32), ("http://127.0.0.1:9",))
    real = made.path.stat().st_size
    return card_module.build(
        dev_wallet(who),
        chain_id=31337,
        ledger=LEDGER,
        registry=REGISTRY,
        broker_registry=BROKERS,
        license_id=LicenseId.of(1, number),
        model=MODEL,
        sealing=made.record.to_json(),
        sealing_hash=made.record.hash(),
        terms=terms,
        brokers=BrokerSet(1, 1, (member,)),
        files=[CardFile(url, real if size is None else size, made.record.root)],
    )


@pytest.fixture
def put(made):
    """Write a card beside the sealed file for one test."""
    written = []

    def write(name, document):
        path = made.folder / f"{name}{card_module.SUFFIX}"
        path.write_text(json.dumps(document))
        written.append(path)
        return path

    yield write
    for path in written:
        path.unlink(missing_ok=True)


# -- from the network


def test_a_card_from_the_network_names_no_file_of_this_machine(made, web, put):
    outside = made.folder.parent / "model.sealed"
    outside.write_bytes(made.path.read_bytes())
    for url in (
        made.path.as_uri(), "../model.sealed", "%2e%2e/model.sealed", "..\\model.sealed",
        "/model.sealed", "x/../../model.sealed", "ftp://127.0.0.1/model.sealed", "http://[",
    ):  # fmt: skip
        put("far", card(made, url=url))
        with pytest.raises(UsageError, match=r"cannot name the file|is no URL"):
            cards.locate(f"{web}/shop/far{card_module.SUFFIX}")


def test_a_card_from_the_network_may_name_what_lies_beside_it_or_a_url(made, web, put):
    for url in ("model.sealed", "./model.sealed", f"{web}/shop/model.sealed"):
        put("far", card(made, url=url))
        located = cards.locate(f"{web}/shop/far{card_module.SUFFIX}")
        assert located.path.read_bytes() == made.path.read_bytes()
        located.forget()


def test_a_card_on_this_machine_may_name_files_anywhere_on_it(made, tmp_path):
    path = tmp_path / "x.license.json"
    path.write_text(json.dumps(card(made, url=made.path.as_uri())))
    assert cards.locate(path).path == made.path


# -- sizes


@pytest.mark.parametrize("more", [-1, 1, 1 << 50])
def test_a_download_whose_card_tells_another_size_is_given_up_at_its_beginning(
    made, web, put, more, monkeypatch, tmp_path
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    put("far", card(made, size=made.path.stat().st_size + more))
    with pytest.raises(ContentMismatch):
        cards.locate(f"{web}/shop/far{card_module.SUFFIX}")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_says_it_is_larger_than_the_disk_is_not_begun(made, web, put):
    true = Prelude.parse(made.path.read_bytes())
    huge = replace(true, log2_segment=24, segments=1 << 24, index_bytes=1 << 30).to_bytes()
    size = Prelude.parse(huge).file_bytes
    assert size > 1 << 48
    (made.folder / "huge.sealed").write_bytes(huge + bytes(1 << 20))
    put("far", card(made, url="huge.sealed", size=size))
    with pytest.raises(UsageError, match="does not fit"):
        cards.locate(f"{web}/shop/far{card_module.SUFFIX}")


# -- several places


@pytest.mark.parametrize(
    "content",
    [b"<html>this domain is for sale</html>" * 9, b"", b"short"],
    ids=["a page", "nothing", "a part"],
)
@pytest.mark.parametrize("how", ["over http", "here"])
def test_where_something_else_lies_the_next_place_is_tried(made, web, put, content, how):
    odd = made.folder / "odd.sealed"
    odd.write_bytes(content)
    document = card(made)
    (good,) = document["files"]
    document["files"] = [{**good, "url": "odd.sealed"}, good]
    path = put("two", document)
    located = cards.locate(f"{web}/shop/{path.name}" if how == "over http" else path)
    assert located.path.read_bytes() == made.path.read_bytes()
    located.forget()


# -- beside a sealed file


def test_a_card_beside_a_file_counts_only_when_its_licensor_signed_it(made, put):
    put("a", card(made))
    forged = card(made, number=2)
    forged["license"] = "1.3"
    put("b", forged)
    assert str(cards.locate(made.path).card.license) == "1.1"


def test_several_cards_beside_a_file_are_listed_and_asked_about(made, put):
    put("a", card(made))
    put("b", card(made, number=2))
    with pytest.raises(UsageError, match=r"1\.1 by .*1\.2 by ") as caught:
        cards.locate(made.path)
    assert "license=" in caught.value.hint
    assert str(cards.locate(made.path, license_id=LicenseId.of(1, 2)).card.license) == "1.2"


def test_a_strangers_card_for_the_same_license_hides_no_other(made, put):
    put("a", card(made))
    put("z", card(made, who="rival"))
    with pytest.raises(UsageError, match="several license cards"):
        cards.locate(made.path, license_id=LicenseId.of(1, 1))


def test_what_is_not_admitted_is_not_fetched(made, put):
    path = put("a", card(made, url="http://127.0.0.1:9/nothing"))

    def refuse(_):
        raise UsageError("not this one")

    with pytest.raises(UsageError, match="not this one"):
        cards.locate(path, admit=refuse)
