"""Step 15 over a real broker: receipts whose roots stand on a real chain; and redaction of them."""

import copy
import json
from datetime import UTC, datetime
from importlib import import_module

import pytest

from ledger.broker import protocol, signing
from ledger.canonical import canonical_json
from ledger.errors import ClaimMismatch, LedgerError, UnknownRecord, UsageError, VerificationError
from ledger.evidence import release_steps
from ledger.evidence.bundle import CUSTODY, contents_of, pack, parse_bundle, read_bundle
from ledger.evidence.custody import append
from ledger.evidence.layout import BrokerWord, broker_slot
from ledger.evidence.redaction import choose, restore, withhold
from ledger.evidence.trust import TrustRoot
from ledger.evidence.verify import Result, Verdict, examine
from ledger.ids import LicenseId
from ledger.investigation import collect_model_evidence

pytestmark = pytest.mark.chain
NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
WHO = {"time": "2026-11-28T13:00:00Z", "actor": "counsel", "note": "", "software": "a test"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with import_module("release_world").world(tmp_path_factory.mktemp("releases")) as made:
        yield made


def collect(world, dest, *names, **options):
    published = world.made.published
    return collect_model_evidence(
        world.network,
        published.claim,
        published.manifest,
        published.fingerprint,
        dest=dest,
        releases=[world.proofs[name] for name in names],
        **({"now": NOW, "cards": [world.made.card(of) for of in world.licenses]} | options),
    )


@pytest.fixture(scope="module")
def both(world, tmp_path_factory):
    dest = tmp_path_factory.mktemp("both") / "b.evidence.zip"
    sealings = [world.made.published.record]
    return read_bundle(
        collect(
            world, dest, "refused", "first", "second", sealings=sealings, terms=[world.made.terms]
        )
    )


def step(report, number=15):
    return report.steps[number - 1]


def forged(bundle, changed, contracts=None):
    """The bundle with other members, as a careful forger closes it."""
    members = {**bundle.members, **changed}
    members = {name: data for name, data in members.items() if data is not None}
    log = append(
        (),
        time=WHO["time"],
        actor="a forger",
        action="collected",
        contents=contents_of(bundle.subject, members),
        software="none",
    )
    members[CUSTODY] = canonical_json([entry.to_json() for entry in log])
    return examine(parse_bundle(pack(bundle.subject, members)))


def test_receipts_are_proved_with_the_blocks_that_anchored_them(world, both):
    trust = TrustRoot(frozenset({both.subject.block_hash}))
    report = examine(both, trust=trust)
    assert report.verdict is Verdict.VERIFIED, report.text()
    assert step(report).result is Result.PASS
    told = report.statement["releases"]
    numbers = [one["sequence"] for one in told]
    assert numbers == sorted(numbers)
    assert [one["granted"] for one in told] == [True, True, False]
    assert told[0]["block"] == told[1]["block"] < told[2]["block"]
    assert {one["license"] for one in told} == {str(one) for one in world.licenses}
    text = both.member("report.txt").decode()
    assert "key released, receipt" in text
    assert "refused, receipt" in text


def test_the_words_of_a_broker_are_those_of_the_contract(world):
    made = world.made
    address = made.chain.deployment.addresses["BrokerRegistry"]

    def word(number):
        slot = hex(broker_slot(made.broker.id, number))
        return bytes.fromhex(
            made.chain.rpc.call("eth_getStorageAt", [str(address), slot, "latest"])[2:]
        )

    first = BrokerWord.parse(word(0))
    seq, root = made.chain.view("BrokerRegistry", "receiptsOf", made.broker.id)
    shown = made.chain.view("BrokerRegistry", "brokerOf", made.broker.id)
    assert (first.operator, first.epoch, first.anchorings) == (shown[0], shown[1], seq)
    assert word(1) == shown[2].raw
    assert word(4) == root.raw


def test_the_tags_are_the_brokers():
    assert release_steps._KEYS_TAG == signing.KEYS_TAG
    assert release_steps._REPLY_TAG == signing.REPLY_TAG
    assert release_steps._REQUEST_TAG == protocol.REQUEST_TAG
    assert release_steps._RECEIPT_TAG == protocol.RECEIPT_TAG


def test_evidence_of_one_receipt_shows_its_license_and_nothing_of_the_other(world, tmp_path):
    path = collect(world, tmp_path / "r.evidence.zip", "second", one=True, cards=())
    bundle = read_bundle(path)
    report = examine(bundle)
    assert report.verdict is Verdict.CONDITIONAL, report.text()
    other, mine = (str(of) for of in world.licenses)
    assert bundle.subject.kind == "release"
    assert bundle.subject.about["license"] == mine
    assert json.loads(bundle.member("licenses.json")) == [mine]
    assert f'"{other}"' not in "".join(
        data.decode("latin-1") for name, data in bundle.members.items() if name.endswith(".json")
    )


def test_evidence_of_one_license_says_so_and_lists_no_other(world, tmp_path):
    which = world.licenses[1]
    path = collect(world, tmp_path / "l.evidence.zip", licenses=[which], one=True, cards=())
    bundle = read_bundle(path)
    assert (bundle.subject.kind, bundle.subject.about) == ("license", str(which))
    assert examine(bundle).verdict is Verdict.CONDITIONAL
    both = json.dumps(sorted(str(of) for of in world.licenses), separators=(",", ":")).encode()
    assert step(forged(bundle, {"licenses.json": both}), 13).result is Result.FAIL
    without = {"licenses.json": None}
    assert step(forged(bundle, without), 13).needed


GONE = object()


def changed(document, path, value):
    holder = altered = copy.deepcopy(document)
    for key in path[:-1]:
        holder = holder[key]
    assert holder.pop(path[-1], None) != value
    if value is not GONE:
        holder[path[-1]] = value
    return altered


OTHER = "0x" + "5a" * 32


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("entry.reply.granted", 0),
        ("entry.reply.granted", GONE),
        ("entry.reply.time", 5),
        ("entry.reply.type", "heartbeat"),
        ("entry.reply.audience", "someone else"),
        ("entry.reply.signature.mldsa65", "AAAA"),
        ("entry.request.license", "1.9"),
        ("entry.request.issued_at", 1),
        ("anchor.root", OTHER),
        ("anchor.index", 63),
        ("anchor.count", 64),
        ("anchor.sequence", 2),
        ("anchor.transaction", OTHER),
        ("anchor.transaction", GONE),
        ("chain.id", 1),
        ("chain.brokers", "0x" + "11" * 20),
        ("broker", 2),
        ("sequence", 77),
        ("signing.ed25519", OTHER),
        ("version", 2),
        ("remark", "x"),
    ],
)
def test_a_receipt_changed_anywhere_fails_in_its_step(both, path, value):
    altered = changed(json.loads(both.member("releases/1.json")), path.split("."), value)
    report = forged(both, {"releases/1.json": canonical_json(altered)})
    assert next(one.number for one in report.steps if one.result is Result.FAIL) == 15


def test_receipts_out_of_order_twice_or_with_a_gap_fail(both):
    one, two = both.member("releases/1.json"), both.member("releases/2.json")
    for members in (
        {"releases/1.json": two, "releases/2.json": one},
        {"releases/2.json": one},
        {"releases/1.json": None},
    ):
        assert step(forged(both, members)).result is Result.FAIL


def test_a_bundle_without_the_anchoring_or_the_key_fails(both):
    told = examine(both).statement["releases"]
    for name in both.folder("receipts"):
        block = int(name.split("-")[0])
        report = forged(both, {f"receipts/{name}": None})
        if block in {one["block"] for one in told}:
            assert step(report).result is Result.FAIL
    gone = forged(both, {name: None for name in both.members if name.startswith("releases/")})
    assert step(gone).result is Result.FAIL  # BrokerRegistry is named for nothing


def test_a_deposits_receipt_is_no_release(world, tmp_path):
    with pytest.raises(LedgerError, match="answer to a key request"):
        collect(world, tmp_path / "d.zip", "deposit")


def test_one_receipt_or_license_is_asked_of_one(world, tmp_path):
    with pytest.raises(UsageError):
        collect(world, tmp_path / "x.zip", "first", "second", one=True)
    with pytest.raises(UsageError):
        collect(world, tmp_path / "x.zip", one=True)


def test_a_receipt_of_an_anchoring_that_never_was_is_unknown(world, tmp_path):
    proof = copy.deepcopy(world.proofs["first"])
    proof["anchor"]["sequence"] = 900
    with pytest.raises(UnknownRecord, match="anchoring 900"):
        collect_model_evidence(
            world.network,
            world.made.published.claim,
            world.made.published.manifest,
            dest=tmp_path / "x.zip",
            releases=[proof],
        )


# -- withholding


def test_what_is_withheld_leaves_contents_and_every_proof_as_they_were(both):
    names = choose(both, ["releases", "fingerprint", "cards", "terms"])
    left = parse_bundle(withhold(both, names, **WHO))
    assert left.contents == both.contents
    assert left.withheld == frozenset(names)
    assert not set(names) & set(left.members)
    report = examine(left)
    assert report.verdict is Verdict.CONDITIONAL, report.text()
    assert (step(report).result, step(report).needed) == (Result.NOT_CHECKED, False)
    assert report.statement["withheld"] == sorted(names)
    assert "releases" not in report.statement
    log = json.loads(left.member(CUSTODY))
    assert [entry["action"] for entry in log] == ["collected", "redacted"]
    assert log[1]["actor"] == "counsel"
    assert all(name in log[1]["note"] for name in names)


def test_one_receipt_withheld_leaves_the_others_proved(both):
    left = parse_bundle(withhold(both, ["releases/2.json"], **WHO))
    told = examine(left).statement["releases"]
    whole = examine(both).statement["releases"]
    assert told == [whole[0], whole[2]]


def test_whoever_has_the_bytes_puts_them_back_and_nobody_else(both):
    names = choose(both, ["releases", "terms"])
    left = parse_bundle(withhold(both, names, **WHO))
    given = {name: both.member(name) for name in names}
    back = parse_bundle(restore(left, given, **WHO))
    assert back.contents == both.contents
    assert not back.withheld
    assert back.member("report.json") == both.member("report.json")
    other = {names[0]: both.member(names[0]) + b" "}
    with pytest.raises(ClaimMismatch):
        restore(left, other, **WHO)
    with pytest.raises(UsageError):
        restore(left, {"claim.json": both.member("claim.json")}, **WHO)


def test_only_some_cards_stay(world, both):
    first, second = world.licenses
    assert choose(both, [], keep=[first]) == (f"cards/{second}.json",)
    with pytest.raises(UsageError, match=r"holds no cards/9\.9"):
        choose(both, [], keep=[LicenseId.of(9, 9)])
    with pytest.raises(UsageError, match="nothing is to be withheld"):
        choose(both, [], keep=[first, second])


@pytest.mark.parametrize("name", ["claim", "claim.json", "headers", "state/ModelRegistry.json", ""])
def test_proofs_claim_and_log_cannot_be_withheld(both, name):
    with pytest.raises(UsageError):
        choose(both, [name])
    with pytest.raises(UsageError):
        withhold(both, [name], **WHO)


def test_a_bundle_that_does_not_hold_is_not_redacted(both):
    broken = parse_bundle(pack(both.subject, {**both.members, "report.txt": b"something else\n"}))
    with pytest.raises(VerificationError):
        withhold(broken, ["fingerprint.json"], **WHO)
