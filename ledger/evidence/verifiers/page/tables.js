// Data of this version, written by scripts/make_verifier_tables.py.
const TABLES = {
 "RELEASES": [
  {
   "release": "of this version",
   "contract": "Anchors",
   "size": 1369,
   "masked_hash": "8b92aa5fb9bebd387d3b2887eef66c2274ab8d855d95cd56a6b79932982be47b",
   "immutables": [],
   "init_code_hash": "f503ff46bcbc5e6d13fa9a88ff454c35e1e9b88265bcd56b023b2515e5894b1e"
  },
  {
   "release": "of this version",
   "contract": "ModelRegistry",
   "size": 8725,
   "masked_hash": "c07997f5a725cbc07f38269b8d6b813d13849d7d4ad8d9f282d0ffa348225499",
   "immutables": [
    [
     2458,
     32
    ],
    [
     4088,
     32
    ],
    [
     4883,
     32
    ],
    [
     4916,
     32
    ],
    [
     4951,
     32
    ],
    [
     5166,
     32
    ],
    [
     5204,
     32
    ],
    [
     7884,
     32
    ],
    [
     8280,
     32
    ]
   ],
   "init_code_hash": "7cb939ccb98c3db9c661b30723e0d3c61261568452bf53d07a50fc99e66baf58"
  },
  {
   "release": "of this version",
   "contract": "LicenseLedger",
   "size": 18749,
   "masked_hash": "af94760073f84459b62f34ab4fa36562f876f63ba314cf3096c000121bcc4366",
   "immutables": [
    [
     34,
     32
    ],
    [
     2231,
     32
    ],
    [
     4746,
     32
    ],
    [
     4779,
     32
    ],
    [
     4814,
     32
    ],
    [
     5207,
     32
    ],
    [
     5245,
     32
    ],
    [
     5830,
     32
    ],
    [
     6181,
     32
    ],
    [
     10066,
     32
    ],
    [
     14207,
     32
    ],
    [
     14766,
     32
    ]
   ],
   "init_code_hash": "ad3bbdd9399c6027e8697667cbedd43dad0def63551f16447411554be3645167"
  },
  {
   "release": "of this version",
   "contract": "BrokerRegistry",
   "size": 3742,
   "masked_hash": "e7bbe49bec7f9943125a22735c0419956632fde6fa0c78cfd29cf81ba6ae59c9",
   "immutables": [],
   "init_code_hash": "b8c45cf6ac0352cb1e329cf1eb46c5a8928186f308aee0feaee1eace9514e60b"
  },
  {
   "release": "of this version",
   "contract": "LicenseRenderer",
   "size": 5093,
   "masked_hash": "3df1fd3b48683a8f665bf059aae14b63d80179284e869b622effc02a4a4f6609",
   "immutables": [],
   "init_code_hash": "d1bd0bea8adc9f58eb99b1649383ece2bfd7b33f983c8e2e9f72aa1acbc79972"
  },
  {
   "release": "of this version",
   "contract": "LicenseExtension",
   "size": 19408,
   "masked_hash": "3f53946ab83a53a4c7be0b5b6cead9c06b5c894e461a7cd2976ec151bd7aac41",
   "immutables": [
    [
     17624,
     32
    ],
    [
     17657,
     32
    ],
    [
     17692,
     32
    ],
    [
     17804,
     32
    ],
    [
     17842,
     32
    ]
   ],
   "init_code_hash": "3b38cfb9db335b36e69658236373c55c8178516af8a4a254817e96a8c08385d5"
  }
 ],
 "TEST_NETWORKS": [
  1337,
  17000,
  31337,
  84532,
  421614,
  560048,
  11155111,
  11155420
 ],
 "NO_VALUE": "test network: no evidentiary value",
 "LIMITS": [
  "A block's time says that something existed not later than then; it does not say who made it.",
  "A block's time is set by the block's proposer, within the tolerance of its chain's rules.",
  "The genesis hash and the chain's name are the collector's statement.",
  "Other registrations of the same tensors are those the collector's node showed.",
  "Such a list cannot be proved complete; other registries and chains were not asked.",
  "Acts undone by later ones (a suspension lifted, a renewal renewed) may be missing.",
  "Times in the custody log are claimed by whoever wrote the entry.",
  "Equal fingerprints say that two files hold the same values; they do not say who trained them."
 ],
 "STAMPS_IN_ALL": {
  "tokens": 32,
  "certificates": 128,
  "lists": 64,
  "list_bytes": 8388608
 },
 "README": "Verify this file with your own copy of the verifier, not with one that came with it.\n\nThis is an evidence bundle of modeldeed, format version 1 (docs/spec/evidence-bundle.md).\nGet a verifier from a source you trust, not from here. None needs a network:\n\n    deed evidence verify THIS_FILE --block HASH     of the modeldeed package\n    python verify.py THIS_FILE --block HASH         one file, Python's standard library\n    verify.html                                     a page: open it, drop THIS_FILE on it\n\nHASH is the hash of the block named in report.txt, obtained elsewhere: from a node of\nyour own, from two block explorers, from an expert. Without it the verifier says what\nthe bundle proves if that block belongs to the chain it names.\n\nDo not unpack this file and pack it again: it has exactly one valid form.\n"
};
