function readHeader(raw) {
  demand(raw.length <= 8192, `a header of ${raw.length} bytes is too long`);
  const fields = rlpDecode(raw);
  demand(
    Array.isArray(fields) && fields.length >= 15 && fields.every(isBytes) && [0, 3, 4, 5, 13].every((i) => fields[i].length === 32),
    "the header does not have a header's fields",
  );
  const number = (field) => {
    demand(field.length <= 8 && field[0] !== 0, "a header's number or time is malformed");
    return big(field);
  };
  return {
    hash: keccak256(raw),
    number: number(fields[8]),
    time: number(fields[11]),
    parent: fields[0],
    stateRoot: fields[3],
    transactionsRoot: fields[4],
    receiptsRoot: fields[5],
  };
}

// (3) Each raw header parses, has the number in its name, and, where the one before is present,
// names its hash as parent. The newest has the number and hash in bundle.json. Block 0, if
// present, is the genesis named.
function stepHeaders(c) {
  const headers = c.folder("headers").map((name) => {
    const header = readHeader(c.member(`headers/${name}`));
    demand(name === `${header.number}.rlp`, `headers/${name} is block ${header.number}`);
    return header;
  });
  demand(headers.length, "there is no block header");
  headers.sort((a, b) => (a.number < b.number ? -1 : 1));
  const runs = [[headers[0]]];
  for (const header of headers.slice(1)) {
    const below = runs.at(-1).at(-1);
    if (header.number > below.number + 1n) {
      runs.push([header]);
      continue;
    }
    demand(same(header.parent, below.hash), `block ${header.number} names another parent than block ${below.number}`);
    runs.at(-1).push(header);
  }
  const top = headers.at(-1);
  demand(
    top.number === c.bundle.block && same(top.hash, c.bundle.blockHash),
    `the newest header is block ${top.number}, ${hex0x(top.hash)}, not the block this bundle names`,
  );
  demand(headers[0].number !== 0n || same(headers[0].hash, c.bundle.genesis), "block 0 is not the genesis this bundle names");
  c.runs = runs.map((run) => run.at(-1));
  c.top = top;
  c.headers = new Map(headers.map((header) => [String(header.number), header]));
  if (runs.length === 1) return `${headers.length} headers, one unbroken chain up to block ${top.number} ${hex0x(top.hash)}`;
  const tops = c.runs.slice(0, -1).map((run) => run.number).join(", ");
  return `${headers.length} headers in ${runs.length} runs; nothing here links the runs that end with blocks ${tops} to block ${top.number}, so each stands on its own hash`;
}

/* ---------------------------------------------------------------- step 4: trust --------------- */
// (4) The hash of the newest header is among those given; so is the hash of the last header of
// each run that does not link up to it. Given addresses must be those in bundle.json.
const vouched = (c, header) => c.trust.blocks.has(hex(header.hash));
const unvouched = (c) => c.runs.filter((header) => !vouched(c, header));

function stepTrust(c) {
  const { state, trust } = c;
  for (const [name, address] of trust.contracts)
    demand(same(c.contract(name).address, address), `${name} is not at ${addressText(address)} in this bundle`);
  const loose = unvouched(c);
  const taken = "these blocks are taken from the bundle";
  const listed = loose.map((header) => `${header.number} ${hex0x(header.hash)}`).join(", ");
  if (!trust.blocks.size && loose.length > 1)
    throw new NotChecked(`${taken}; obtain their hashes elsewhere and compare: ${listed}`);
  if (!trust.blocks.size)
    throw new NotChecked(
      `the hash of block ${state.number} is taken from the bundle; obtain it elsewhere and compare: ${hex0x(state.hash)}`,
    );
  demand(
    vouched(c, state),
    `none of the block hashes given is that of block ${state.number}, whose state is proved here: ${hex0x(state.hash)}`,
  );
  if (loose.length) throw new NotChecked(`${taken}: ${listed}`);
  return `block ${state.number} ${hex0x(state.hash)} is one that you named`;
}

/* ---------------------------------------------------------------- step 5: contracts ----------- */
const STATE_FIELDS = ["address", "nonce", "balance", "codeHash", "storageHash", "accountProof", "storageProof"];
const FACTORY = unhex("4e59b44847b379578588920ca78fbf26c0b4956c");
const SALT = keccak256(ascii("modeldeed/deployment/1"));
const READS = { ModelRegistry: "Anchors", LicenseLedger: "ModelRegistry" };
const HELPERS = { LicenseLedger: ["LicenseRenderer", "LicenseExtension"] };
const SIGNING_NAMES = { ModelRegistry: "modeldeed ModelRegistry", LicenseLedger: "modeldeed LicenseLedger" };

function readState(c, name) {
  const of = c.json(`state/${name}.json`);
  demand(hasExactly(of, STATE_FIELDS), "a state proof has other fields than EIP-1186's");
  demand(Array.isArray(of.storageProof) && of.storageProof.length <= 10000, "a state proof lists its slots");
  return {
    address: exactAddress(of.address),
    nonce: exactQuantity(of.nonce),
    balance: exactQuantity(of.balance),
    codeHash: exactDigest(of.codeHash),
    storageRoot: exactDigest(of.storageHash),
    nodes: exactNodes(of.accountProof),
    slots: of.storageProof.map((slot) => {
      demand(hasExactly(slot, ["key", "value", "proof"]), "a slot's proof has other fields");
      return { key: exactData(slot.key, 32), value: exactQuantity(slot.value), nodes: exactNodes(slot.proof) };
    }),
  };
}

function proveAccount(root, address, nodes) {
  const leaf = prove(root, keccak256(address), nodes);
  demand(leaf.length, `there is no account ${addressText(address)} in this state`);
  const fields = rlpDecode(leaf);
  demand(
    Array.isArray(fields) && fields.length === 4 && fields.every(isBytes) && fields[2].length === 32 && fields[3].length === 32,
    `${addressText(address)} has no account's fields`,
  );
  return { nonce: big(fields[0]), balance: big(fields[1]), storageRoot: fields[2], codeHash: fields[3] };
}

// The address that a release's creation code has, on every chain (EIP-1014).
const createdAt = (initCodeHash) => keccak256(join(Uint8Array.of(0xff), FACTORY, SALT, initCodeHash)).subarray(12);

// The release that `code` is `contract` of: its Keccak-256 with the immutables zeroed is known.
function identify(contract, code, address) {
  const matching = TABLES.RELEASES.filter((known) => {
    if (known.contract !== contract || known.size !== code.length) return false;
    const masked = code.slice();
    for (const [start, size] of known.immutables) masked.fill(0, start, start + size);
    return hex(keccak256(masked)) === known.masked_hash;
  });
  const there = matching.find((known) => same(createdAt(digestOf(known.init_code_hash)), address));
  return there ?? matching[0] ?? null;
}

function checkImmutables(c, name, address, code, known) {
  const values = new Set(known.immutables.map(([start, size]) => hex(code.subarray(start, start + size))));
  const allowed = new Set();
  if (READS[name]) {
    const read = hex(word(c.contract(READS[name]).address));
    demand(values.has(read), `${name} reads another ${READS[name]} than this bundle's`);
    allowed.add(read);
  }
  if (name === "ModelRegistry") allowed.add(hex(word(c.contract("LicenseLedger").address)));
  for (const helper of HELPERS[name] ?? []) {
    const ours = TABLES.RELEASES.filter((of) => of.contract === helper).map((of) => hex(word(createdAt(digestOf(of.init_code_hash)))));
    demand(ours.some((of) => values.has(of)), `${name} hands work to another ${helper} than modeldeed's`);
    ours.forEach((of) => allowed.add(of));
  }
  if (SIGNING_NAMES[name]) {
    const chainId = bytesOf(c.bundle.chainId, 32);
    const [nameHash, versionHash] = [keccak256(ascii(SIGNING_NAMES[name])), keccak256(ascii("1"))];
    const separator = domainSeparator(SIGNING_NAMES[name], c.bundle.chainId, address);
    for (const of of [word(address), chainId, nameHash, versionHash, separator]) allowed.add(hex(of));
  }
  demand(
    [...values].every((value) => allowed.has(value)),
    `${name} was deployed for another chain or address, or with other settings`,
  );
}

// EIP-712: where a signature counts.
function domainSeparator(name, chainId, contract) {
  const type = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
  return keccak256(
    join(keccak256(ascii(type)), keccak256(ascii(name)), keccak256(ascii("1")), bytesOf(chainId, 32), word(contract)),
  );
}

// (5) Each account proof leads from the newest header's state root to the account shown; its code
// hash is that of the code carried; the code is one that this verifier knows, once the immutables
// are zeroed; the immutables are this bundle's; the address is that of this release's creation
// code, or it is among the addresses given.
function stepContracts(c) {
  const state = c.state;
  const [unknown, foreign, named, releases] = [[], [], [], new Set()];
  for (const [name, { address, codeHash }] of c.bundle.contracts) {
    const proof = readState(c, name);
    demand(same(proof.address, address), `${name} is proved at ${addressText(proof.address)}`);
    const account = proveAccount(state.stateRoot, address, proof.nodes);
    const shown =
      proof.nonce === account.nonce && proof.balance === account.balance &&
      same(proof.storageRoot, account.storageRoot) && same(proof.codeHash, account.codeHash);
    demand(shown, `${name}'s account is not as shown`);
    const code = c.member(`code/${name}.bin`);
    demand(
      same(keccak256(code), account.codeHash) && same(codeHash, account.codeHash),
      `${name} has another code than shown`,
    );
    const known = identify(name, code, address);
    if (known === null) {
      unknown.push(name);
      continue;
    }
    checkImmutables(c, name, address, code, known);
    releases.add(known.release);
    if (!same(createdAt(digestOf(known.init_code_hash)), address)) {
      const given = c.trust.contracts.get(name);
      (given && same(given, address) ? named : foreign).push(name);
    }
  }
  if (unknown.length)
    throw new NotChecked(
      `the code of ${unknown.join(", ")} is none that this version knows; a newer verifier may know it, or the contract is not modeldeed's`,
    );
  if (foreign.length)
    throw new NotChecked(
      `${foreign.join(", ")} behaves as modeldeed's does, but its address does not show that modeldeed's creation code made it: its ` +
        "creator may have written any title and any event into it first; if you know from elsewhere that the address is modeldeed's, name it",
    );
  const origin = named.length ? `; ${named.join(", ")} at addresses that you named` : "";
  return `${[...c.bundle.contracts.keys()].join(", ")}: modeldeed's code, ${[...releases].sort().join(", ")}, from its creation on${origin}`;
}

/* ---------------------------------------------------------------- step 6: storage ------------- */
// (6) Each storage proof leads from the account's storage root to the value shown; absence is
// proved as zero.
function proveWord(root, slot, nodes) {
  const leaf = prove(root, keccak256(slot), nodes);
  if (!leaf.length) return new Uint8Array(32);
  const value = rlpDecode(leaf);
  demand(isBytes(value) && value.length <= 32 && value[0] !== 0, `slot ${hex0x(slot)} does not hold a word`);
  return word(value);
}

function stepStorage(c) {
  const words = new Map();
  let count = 0;
  for (const [name, { address }] of c.bundle.contracts) {
    const proof = readState(c, name);
    const account = proveAccount(c.state.stateRoot, address, proof.nodes);
    const held = new Map();
    for (const slot of proof.slots) {
      const found = proveWord(account.storageRoot, slot.key, slot.nodes);
      demand(big(found) === slot.value, `${name}: slot ${hex0x(slot.key)} does not hold what is shown`);
      held.set(hex(slot.key), found);
    }
    words.set(name, held);
    count += held.size;
  }
  c.words = words;
  return `${count} words of storage at block ${c.state.number}`;
}

/* ---------------------------------------------------------------- step 7: events -------------- */
const DECLARED = {
  Anchors: ["RootAnchored(bytes32 indexed root, address indexed sender)"],
  ModelRegistry: [
    "ModelRegistered(bytes32 indexed modelId, address indexed licensor, bytes32 indexed artifactRoot, bytes32 fingerprintDigest, " +
      "bytes32 watermarkCommitment, bytes32 manifestHash, uint40 registeredAt, uint40 committedAt)",
    "CommitmentProven(bytes32 indexed modelId, uint40 committedAt)",
    "ParentDeclared(bytes32 indexed modelId, bytes32 indexed parent)",
    "ParentConfirmed(bytes32 indexed modelId, bytes32 indexed parent, address indexed by)",
    "TitleTransferred(bytes32 indexed modelId, address indexed from, address indexed to, uint64 sequence)",
    "ModelStatusSet(bytes32 indexed modelId, uint8 status)",
    "RecordLodged(bytes32 indexed modelId, uint16 indexed kind, address indexed sender, uint64 epoch, bytes32 recordHash)",
  ],
  LicenseLedger: [
    "PlanCreated(uint32 indexed planId, address indexed licensor, bytes32 indexed modelId, bytes32 termsHash, bytes32 planDigest)",
    "PlanLicensorSynced(uint32 indexed planId, address indexed from, address indexed to, uint32 roleEpoch)",
    "LicenseIssued(uint256 indexed licenseId, uint32 indexed planId, address indexed to, uint40 notBefore, uint40 notAfter)",
    "LicenseRenewed(uint256 indexed licenseId, uint40 notAfter)",
    "LicenseSuspended(uint256 indexed licenseId, bytes32 reason)",
    "LicenseReinstated(uint256 indexed licenseId, bytes32 reason)",
    "LicenseRevoked(uint256 indexed licenseId, address indexed by, uint40 effectiveAt, bytes32 reason)",
    "Transfer(address indexed from, address indexed to, uint256 indexed id)",
  ],
  BrokerRegistry: [
    "BrokerKeysSet(uint64 indexed brokerId, uint32 indexed epoch, bytes32 signingKeyHash, bytes32 kemKeyHash, bytes32 urlHash, string url)",
    "ReceiptsAnchored(uint64 indexed brokerId, uint64 indexed seq, bytes32 prevRoot, bytes32 root, uint64 count)",
  ],
};
// By contract and first topic (the Keccak-256 of the signature).
const EVENT_KINDS = new Map();
for (const [contract, declarations] of Object.entries(DECLARED))
  for (const text of declarations) {
    const [name, list] = text.replace(")", "").split("(");
    const inputs = list.split(", ").map((argument) => {
      const words = argument.split(" ");
      return { type: words[0], name: words.at(-1), indexed: words.length === 3 };
    });
    const signature = `${name}(${inputs.map((input) => input.type).join(",")})`;
    EVENT_KINDS.set(contract + hex(keccak256(ascii(signature))), { name, inputs });
  }

// Name and arguments of a log of ours; null for an event that is not read. Digests and addresses
// are 0x text here, numbers BigInt.
function readLog(contract, topics, data) {
  const kind = topics.length ? EVENT_KINDS.get(contract + hex(topics[0])) : undefined;
  if (!kind) return null;
  const indexed = kind.inputs.filter((input) => input.indexed).length;
  const inputs = kind.inputs.filter((input) => input.type !== "string");
  const size = 32 * (inputs.length - indexed);
  // A text is not read: it takes a word for its place, one for its length, and what it has.
  const fits = inputs.length === kind.inputs.length ? data.length === size : data.length >= size + 64;
  demand(topics.length === indexed + 1 && fits, `a ${kind.name} event has the wrong shape`);
  const args = {};
  let [topic, place] = [1, 0];
  for (const { type, name, indexed: flag } of inputs) {
    const raw = flag ? topics[topic++] : data.subarray(place, (place += 32));
    if (type === "bytes32") {
      args[name] = hex0x(raw);
      continue;
    }
    const value = big(raw);
    const bits = type === "address" ? 160n : BigInt(type.replace(/\D/g, ""));
    demand(value >> bits === 0n, `a ${kind.name} event has a value out of range`);
    args[name] = type === "address" ? addressText(raw.subarray(12)) : value;
  }
  return { name: kind.name, args };
}

function payload(raw, what) {
  demand(raw.length, `a ${what} is empty`);
  const fields = rlpDecode(raw[0] >= 0xc0 ? raw : raw.subarray(1));
  demand(Array.isArray(fields), `a ${what} is not a list`);
  return fields;
}

function readLogs(raw) {
  const fields = payload(raw, "receipt");
  demand(fields.length === 4 && Array.isArray(fields[3]), "a receipt is malformed");
  return fields[3].map((log) => {
    demand(Array.isArray(log) && log.length === 3 && isBytes(log[0]) && log[0].length === 20, "a log is malformed");
    demand(Array.isArray(log[1]) && log[1].every((t) => isBytes(t) && t.length === 32) && isBytes(log[2]), "a log is malformed");
    return { emitter: log[0], topics: log[1], data: log[2] };
  });
}

// Where the signature begins, the chain id is the first field (EIP-2930, 1559, 4844, 7702).
const SIGNATURE_AT = { 1: 8, 2: 9, 3: 11, 4: 10 };
const TO_AT = { 1: 4, 2: 5, 3: 5, 4: 5 };
const DATA_AT = { 1: 6, 2: 7, 3: 7, 4: 7 };

function readTransaction(raw) {
  const fields = payload(raw, "transaction");
  const kind = raw[0] < 0x80 ? raw[0] : 0;
  const sender = (unsigned, parity, r, s) => {
    demand(isBytes(r) && isBytes(s) && r.length <= 32 && s.length <= 32, "a signature is malformed");
    demand(parity >= 0n && parity <= 255n, "a signature is malformed");
    return recover(keccak256(unsigned), join(word(r), word(s), Uint8Array.of(Number(parity))));
  };
  const plain = (nonce, to, data) => {
    const fits = isBytes(nonce) && isBytes(data) && isBytes(to) && (to.length === 0 || to.length === 20);
    demand(fits, "a transaction is malformed");
  };
  if (kind === 0) {
    demand(fields.length === 9 && isBytes(fields[6]) && isBytes(fields[5]), "a transaction is malformed");
    plain(fields[0], fields[3], fields[5]);
    const v = big(fields[6]);
    const body = fields.slice(0, 6);
    const chainId = v >= 35n ? (v - 35n) / 2n : null;
    if (chainId !== null) body.push(rlpNumber(chainId), EMPTY, EMPTY);
    const parity = v >= 35n ? (v - 35n) % 2n : v - 27n;
    return { hash: keccak256(raw), chainId, sender: sender(rlpEncode(body), parity, fields[7], fields[8]) };
  }
  const at = SIGNATURE_AT[kind];
  demand(at !== undefined, "a transaction is of an unknown type");
  demand(fields.length >= at + 3 && isBytes(fields[at]) && isBytes(fields[0]) && isBytes(fields[1]), "a transaction is malformed");
  plain(fields[1], fields[TO_AT[kind]], fields[DATA_AT[kind]]);
  const unsigned = join(Uint8Array.of(kind), rlpEncode(fields.slice(0, at)));
  return {
    hash: keccak256(raw),
    chainId: big(fields[0]),
    sender: sender(unsigned, big(fields[at]), fields[at + 1], fields[at + 2]),
  };
}

function proveItem(root, index, nodes) {
  const item = prove(root, rlpEncode(rlpNumber(index)), nodes);
  demand(item.length, `the block has no item ${index}`);
  return item;
}

// (7) Each receipt proof leads from its header's receipts root to the receipt shown, each
// transaction proof likewise; a transaction names this chain. Logs emitted by the three contracts
// are read as events.
function stepEvents(c) {
  const names = new Map([...c.bundle.contracts].map(([name, of]) => [hex(of.address), name]));
  const events = [];
  let transactions = 0;
  const members = c.folder("receipts");
  for (const member of members) {
    const of = c.json(`receipts/${member}`);
    demand(
      hasExactly(of, ["block", "index", "receipt", "receiptProof", "transaction", "transactionProof"]) &&
        isNatural(of.block) && isNatural(of.index),
      "a receipt proof is malformed",
    );
    demand(member === `${of.block}-${of.index}.json`, `receipts/${member} is of another place`);
    const receipt = exactData(of.receipt);
    const [nodes, transaction, sentNodes] = [exactNodes(of.receiptProof), exactData(of.transaction), exactNodes(of.transactionProof)];
    const header = c.headers.get(String(of.block));
    demand(header, `receipts/${member} has no header`);
    demand(same(proveItem(header.receiptsRoot, of.index, nodes), receipt), `receipts/${member} is not the proven receipt`);
    let sent = null;
    if (transaction.length) {
      const proven = proveItem(header.transactionsRoot, of.index, sentNodes);
      demand(same(proven, transaction), `receipts/${member} has another transaction than proven`);
      sent = readTransaction(proven);
      demand(
        sent.chainId === null || sent.chainId === BigInt(c.bundle.chainId),
        `transaction ${hex0x(sent.hash)} was signed for chain ${sent.chainId}, not ${c.bundle.chainId}`,
      );
      transactions++;
    }
    readLogs(receipt).forEach((log, index) => {
      const contract = names.get(hex(log.emitter));
      const read = contract && readLog(contract, log.topics, log.data);
      if (!read) return;
      events.push({
        contract,
        ...read,
        block: header.number,
        place: [header.number, BigInt(of.index), BigInt(index)],
        time: header.time,
        transaction: sent && hex0x(sent.hash),
        sender: sent && addressText(sent.sender),
      });
    });
  }
  const earlier = (a, b) => {
    for (let i = 0; i < 3; i++) if (a.place[i] !== b.place[i]) return a.place[i] < b.place[i] ? -1 : 1;
    return 0;
  };
  c.events = events.sort(earlier);
  return `${members.length} receipts with ${events.length} events of ours, ${transactions} transactions`;
}
