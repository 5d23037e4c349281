import pytest
import rlp

from ledger.errors import StateProofInvalid
from ledger.evidence.headers import Header, encode_header, segments

# Mainnet's genesis block as JSON-RPC gives it: a header of the oldest, fifteen-field form.
MAINNET_GENESIS = {
    "number": "0x0",
    "hash": "0xd4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3",
    "parentHash": "0x" + "00" * 32,
    "nonce": "0x0000000000000042",
    "sha3Uncles": "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347",
    "logsBloom": "0x" + "00" * 256,
    "transactionsRoot": "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421",
    "stateRoot": "0xd7f8974fb5ac78d9ac099b9ad5018bedc2ce0a72dad1827a1709da30580f0544",
    "receiptsRoot": "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421",
    "miner": "0x" + "00" * 20,
    "difficulty": "0x400000000",
    "extraData": "0x11bbe8db4e347b4e8c937c1c8370e4b5ed33adb3db69cbdb7a38e1e50b1b82fa",
    "gasLimit": "0x1388",
    "gasUsed": "0x0",
    "timestamp": "0x0",
    "mixHash": "0x" + "00" * 32,
}


def chain(members, numbers):
    return [Header.parse(members[f"headers/{number}.rlp"]) for number in numbers]


def test_the_genesis_of_ethereum_hashes_to_its_known_hash():
    header = encode_header(MAINNET_GENESIS)
    assert str(header.hash) == MAINNET_GENESIS["hash"]
    assert (header.number, header.timestamp) == (0, 0)


def test_a_header_with_one_field_changed_is_refused():
    with pytest.raises(StateProofInvalid, match="do not hash"):
        encode_header(MAINNET_GENESIS | {"gasLimit": "0x1389"})


def test_headers_that_link_make_one_segment(members):
    (segment,) = segments(chain(members, [9, 7, 8]))
    assert segment.top.number == 9


def test_a_gap_makes_two_segments(members):
    assert [run.top.number for run in segments(chain(members, [7, 8, 10]))] == [8, 10]


def test_a_block_whose_parent_is_another_is_refused(members):
    raw = rlp.decode(members["headers/8.rlp"])
    raw[0] = b"\x01" * 32
    forged = Header.parse(rlp.encode(raw))
    with pytest.raises(StateProofInvalid, match="as its parent"):
        segments([*chain(members, [7]), forged])


def test_two_headers_of_one_number_are_refused(members):
    with pytest.raises(StateProofInvalid, match="two headers"):
        segments(chain(members, [7, 7]))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x00",
        b"\xc0",
        b"\xff" * 40,
        rlp.encode([b""] * 15),
        rlp.encode([b"", [], *[b"\1" * 32] * 20]),
        b"\x01" * 9000,
    ],
)
def test_bytes_that_are_no_header_are_refused(raw):
    with pytest.raises(StateProofInvalid):
        Header.parse(raw)


def test_no_header_at_all_is_refused():
    with pytest.raises(StateProofInvalid, match="no block header"):
        segments([])
