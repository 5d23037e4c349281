"""Endpoints: what may be asked for, whose they are, and what is written down."""

from __future__ import annotations

import hashlib
import hmac
import importlib
import json
from typing import Any

import pytest
from sqlalchemy import select

from ledger.errors import ConfigurationError, RateLimited, UnknownRecord, UsageError
from ledger.index.access_tables import access_audit
from ledger.index.webhook_tables import webhook_delivery
from ledger.webhooks.endpoints import MAX_ENDPOINTS, MAX_TESTS, Endpoints
from ledger.webhooks.keys import KeyRing

world: Any = importlib.import_module("webhook_world")
stories: Any = importlib.import_module("story_world")

BOTH = pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
OTHER = "key:AAAAAAAAAA"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a.example/",
        "https://",
        "https:///x",
        "https://user@a.example/",
        "https://user:pw@a.example/",
        "https://a.example/#part",
        "https://a.example/ x",
        "https://a.example/\n",
        "https://a.example:0/",
        "https://a.example:99999/",
        "https://[::1/",
        "https://ä.example/",
        "https://a.example/" + "x" * 2048,
        "https://10.0.0.1/",
        "https://169.254.169.254/latest",
        "https://[::ffff:10.0.0.1]/",
        "https://[::1]/",
        "http://8.8.8.8/",
        "javascript:alert(1)",
        "",
    ],
)
def test_a_url_that_could_never_be_sent_to_is_refused_in_words(hooks, url):
    with pytest.raises(UsageError) as refused:
        hooks.add(url)
    assert refused.value.hint


@pytest.mark.parametrize(
    "url", ["https://a.example/x?y=z", "https://a.example:8443", "https://8.8.8.8/"]
)
def test_a_url_that_can_be_sent_to_is_taken(hooks, url):
    endpoint, secret = hooks.add(url)
    assert hooks.endpoints.get(world.OWNER, endpoint.id).asked.url == url
    assert secret.startswith("whsec_")


def test_without_a_network_for_it_there_is_no_plain_http(hooks):
    strict = Endpoints(hooks.index, KeyRing.read(hooks.path))
    asked = world.Asked
    for url in ("http://a.example/", "http://127.0.0.1/"):
        with pytest.raises(UsageError):
            strict.create(world.BY, world.OWNER, asked(url, world.EVERYTHING))


@BOTH
def test_anothers_endpoint_is_not_there(stand, hooks, receiver):
    endpoint, _ = hooks.add(receiver.url)
    message = hooks.endpoints.test(world.OWNER, endpoint.id, {}).message
    ask, id_ = hooks.endpoints, endpoint.id
    for call in (
        lambda: ask.get(OTHER, id_),
        lambda: ask.change(world.BY, OTHER, id_, {"url": "https://b.example/"}, enabled=None),
        lambda: ask.delete(world.BY, OTHER, id_),
        lambda: ask.rotate(world.BY, OTHER, id_),
        lambda: ask.test(OTHER, id_, {}),
        lambda: ask.deliveries(OTHER, id_),
        lambda: ask.retry(OTHER, id_, message),
        lambda: ask.retry(world.OWNER, id_, "msg_" + "0" * 32),
        lambda: ask.get(world.OWNER, "wh_" + "0" * 16),
    ):
        with pytest.raises(UnknownRecord):
            call()
    assert ask.all(OTHER) == []
    assert [each.id for each in ask.all(world.OWNER)] == [id_]


def test_an_owner_has_so_many_and_no_more(hooks):
    for _ in range(MAX_ENDPOINTS):
        hooks.add("https://a.example/")
    with pytest.raises(UsageError, match="20 webhooks"):
        hooks.add("https://a.example/")
    hooks.add("https://a.example/", owner=OTHER)


def test_changes_keep_what_they_do_not_name_and_are_in_the_audit_log(stand, hooks, receiver):
    endpoint, _ = hooks.add(receiver.url, events=["LicenseIssued"])
    changed = hooks.endpoints.change(
        world.BY, world.OWNER, endpoint.id,
        {"filters": {"licensors": ["11" * 20]}, "expiring_days": 3}, enabled=None,
    )  # fmt: skip
    assert changed.asked.filters["events"] == ["LicenseIssued"]
    assert changed.asked.filters["licensors"] == ["11" * 20]
    assert (changed.asked.expiring_days, changed.asked.url) == (3, receiver.url)
    off = hooks.endpoints.change(world.BY, world.OWNER, endpoint.id, {}, enabled=False)
    assert (off.enabled, off.reason) == (False, "disabled by its owner")
    hooks.endpoints.rotate(world.BY, world.OWNER, endpoint.id)
    hooks.endpoints.delete(world.BY, world.OWNER, endpoint.id)
    with stand.engine.connect() as connection:
        entries = [
            json.loads(text)
            for text in connection.execute(
                select(access_audit.c.entry).order_by(access_audit.c.sequence)
            ).scalars()
        ]
    acts = ["webhook.created", *["webhook.changed"] * 2, "webhook.rotated", "webhook.deleted"]
    assert [each["act"] for each in entries] == acts
    assert {each["subject"] for each in entries} == {f"webhook:{endpoint.id}"}
    assert "hunter2" not in json.dumps(entries)


def test_what_waits_for_a_deleted_endpoint_is_gone_with_it(stand, hooks, receiver):
    endpoint, _ = hooks.add(receiver.url)
    hooks.endpoints.test(world.OWNER, endpoint.id, {})
    hooks.endpoints.delete(world.BY, world.OWNER, endpoint.id)
    assert hooks.send() == 0
    with stand.engine.connect() as connection:
        assert connection.execute(select(webhook_delivery)).all() == []


def test_tests_that_wait_are_not_heaped_up(hooks, receiver):
    endpoint, _ = hooks.add(receiver.url)
    for _ in range(MAX_TESTS):
        hooks.endpoints.test(world.OWNER, endpoint.id, {})
    with pytest.raises(RateLimited):
        hooks.endpoints.test(world.OWNER, endpoint.id, {})
    assert hooks.send() == MAX_TESTS
    hooks.endpoints.test(world.OWNER, endpoint.id, {})


def test_deliveries_come_in_pages_the_newest_first(stand, hooks, receiver):
    endpoint, _ = hooks.add(receiver.url)
    sent = [hooks.endpoints.test(world.OWNER, endpoint.id, {}).message for _ in range(5)]
    hooks.send()
    first = hooks.endpoints.deliveries(world.OWNER, endpoint.id, limit=3)
    rest = hooks.endpoints.deliveries(world.OWNER, endpoint.id, before=first[-1].number)
    assert [each.message for each in first + rest] == sent[::-1]
    assert hooks.endpoints.deliveries(world.OWNER, endpoint.id, state="dead") == []
    assert {each["type"] for each in receiver.bodies()} == {"webhook.test"}


# -- keys ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "\n", "xyz", "7f" * 31, "7f" * 32 + "\nshort", "é"])
def test_a_file_that_holds_no_keys_is_refused(tmp_path, text):
    path = tmp_path / "keys"
    path.touch(mode=0o600)
    path.write_text(text)
    with pytest.raises(ConfigurationError):
        KeyRing.read(path)


def test_a_file_that_others_can_read_is_refused_and_none_is_made_over_it(tmp_path):
    path = tmp_path / "keys"
    path.write_text("7f" * 32)
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="read by others"):
        KeyRing.read(path, make=True)


def test_a_key_is_made_once_where_none_is_there(tmp_path):
    path = tmp_path / "keys"
    with pytest.raises(ConfigurationError):
        KeyRing.read(path)
    made = KeyRing.read(path, make=True)
    assert path.stat().st_mode & 0o777 == 0o600
    again = KeyRing.read(path, make=True)
    assert again.newest == made.newest
    assert again.secret(made.newest, "wh_x", 1) == made.secret(made.newest, "wh_x", 1)


def test_each_endpoint_and_generation_has_a_secret_of_its_own(hooks):
    ring = KeyRing.read(hooks.path)
    found = {ring.secret(ring.newest, id_, n) for id_ in ("wh_a", "wh_b") for n in (1, 2, 257)}
    assert len(found) == 6
    assert {len(each) for each in found} == {32}
    # Computed by itself, by RFC 5869 and the page's words.
    prk = hmac.digest(bytes(32), bytes.fromhex(world.KEY), hashlib.sha256)
    info = b"modeldeed/webhook-secret/1\0wh_a" + (257).to_bytes(8, "big")
    assert ring.secret(ring.newest, "wh_a", 257) == hmac.digest(prk, info + b"\1", hashlib.sha256)
