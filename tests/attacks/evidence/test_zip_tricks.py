"""Archives made by other tools' rules: what a zip may be elsewhere, a bundle is not."""

import io
import struct
import warnings
import zipfile
from pathlib import Path

import page_calls
import pytest
from two_verifiers import script, trusting

from ledger.errors import FormatError, UsageError
from ledger.evidence import archive
from ledger.evidence.bundle import parse_bundle, read_bundle

GOOD = Path(__file__).resolve().parents[2] / "vectors" / "evidence" / "model.evidence.zip"
MEMBERS = dict(archive.parse(GOOD.read_bytes()).members)


def made(entries, **options):
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", **options) as file:
        warnings.simplefilter("ignore")
        for name, data in entries:
            info = name if isinstance(name, zipfile.ZipInfo) else zipfile.ZipInfo(name)
            info.compress_type = options.get("compression", zipfile.ZIP_STORED)
            file.writestr(info, data)
    return out.getvalue()


@pytest.fixture(scope="module")
def refused(tmp_path_factory):
    """No reader of the three takes such a file for a bundle, and all say why in the same way."""
    with page_calls.functions(tmp_path_factory.mktemp("page")) as page:

        def check(data):
            with pytest.raises(FormatError) as caught:
                parse_bundle(data)
            report = script().verify(data, trusting()[1])
            assert report["error"]["code"] == caught.value.code
            assert "could not be read" not in report["error"]["message"]
            found = page("(data) => verified_(data, {})", data)
            assert [(of["number"], of["code"]) for of in found["steps"]] == [(1, caught.value.code)]

        yield check


def test_a_duplicate_name_is_refused(refused):
    refused(made([*sorted(MEMBERS.items()), ("claim.json", b"{}")]))
    data = GOOD.read_bytes()
    at = data.rindex(b"PK\x01\x02")  # the last directory entry once more
    end = bytearray(data[-22:])
    entry = data[at:-22]
    count, size = struct.unpack_from("<H", end, 10)[0] + 1, struct.unpack_from("<I", end, 12)[0]
    struct.pack_into("<HHI", end, 8, count, count, size + len(entry))
    refused(data[:-22] + entry + bytes(end))


@pytest.mark.parametrize(
    "name",
    [
        "../claim.json",
        "/etc/passwd",
        "headers/../../x.rlp",
        "C:\\x",
        "headers//1.rlp",
        "headers/./1.rlp",
        "headers/1.rlp/",
        "a\x00b",
        "claim.json ",
        "Claim.json",
        "headers/01.rlp",
        "timestamps/01.tsr",
        "timestamps/0.tsr",
        "timestamps/bitcoin.OTS",
        "releases/0.json",
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(refused, name):
    refused(made([*sorted(MEMBERS.items()), (name, b"x")]))
    try:
        data = archive.serialise({**MEMBERS, name: b"x"})
    except FormatError:
        return
    refused(data)


def test_compressed_bombs_are_refused_before_they_unfold(refused):
    bomb = made([("claim.json", b"\0" * (64 << 20))], compression=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 1 << 20
    refused(bomb)
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        refused(made(sorted(MEMBERS.items()), compression=method))


def test_links_and_other_files_in_front_or_behind_are_refused(refused):
    link = zipfile.ZipInfo("claim.json")
    link.external_attr = 0o120777 << 16
    refused(made([(link, b"/etc/passwd")]))
    data = GOOD.read_bytes()
    for changed in (b"#!/bin/sh\n" + data, data + b"\n", data + data, data[:-1], b"", data[:4]):
        refused(changed)
    inner = archive.serialise({"claim.json": data})
    refused(inner)


def test_a_few_bytes_do_not_unfold_into_memory(refused):
    """Twelve megabytes of JSON that a reader would make four million objects and commas of."""
    refused(archive.serialise({**MEMBERS, "fingerprint.json": b"[" + b"{}," * 2_000_000 + b"{}]"}))


def test_a_folder_a_device_or_no_file_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(UsageError, match="cannot read"):
            read_bundle(path)
    for path in (Path("/dev/zero"), Path("/dev/null")):
        with pytest.raises(FormatError):
            read_bundle(path)
