/* ---------------------------------------------------------------- step 1: the file ------------ */
// A zip archive in its one form: rebuilt from what was read, it must be the same bytes.
const MAX_ARCHIVE = 256 * 2 ** 20;
const MAX_MEMBER = 64 * 2 ** 20;
const MAX_MEMBERS = 10000;
const MAX_JSON_PARTS = 4000000;
const INDEX = "bundle.json";
const FORMAT = "modeldeed evidence bundle";
const MEMBER_NAME = /^(?:[A-Za-z0-9][A-Za-z0-9._-]{0,95}\/){0,3}[A-Za-z0-9][A-Za-z0-9._-]{0,95}$/;
const MEMBER = new RegExp(
  "^(?:" +
    [
      "README\\.txt",
      "(?:bundle|claim|manifest|fingerprint|commitment|sealing|licenses|custody|report|match)\\.json",
      "report\\.txt",
      "headers/(?:0|[1-9][0-9]{0,17})\\.rlp",
      "(?:state|code)/[A-Za-z]{1,40}\\.(?:json|bin)",
      "receipts/[0-9]{1,18}-[0-9]{1,9}\\.json",
      "(?:tensors|terms)/[0-9a-f]{64}\\.json",
      "cards/[0-9]{1,10}\\.[0-9]{1,10}\\.json",
      "releases/[1-9][0-9]{0,8}\\.json",
      "timestamps/(?:[1-9][0-9]{0,2}\\.(?:tsr|pem|crl)|bitcoin\\.ots|[1-9][0-9]{0,8}\\.header)",
      "verify\\.(?:py|html)",
      "(?:summary|report)\\.pdf",
      "report\\.html",
      "certification\\.txt",
    ].join("|") +
    ")$",
);
const WITHHOLDABLE = /^(?:fingerprint\.json|match\.json|(?:tensors|cards|terms|releases)\/.+)$/s;
const PRINTED = ["summary.pdf", "report.pdf", "report.html", "certification.txt"];
const VERIFIERS = ["verify.py", "verify.html"];
const BESIDE = [INDEX, "README.txt", "custody.json", "report.json", "report.txt", ...PRINTED, ...VERIFIERS];
const KIND_KEYS = { model: null, license: "license", release: "release", match: "suspect" };
function refuse(why, code) {
  throw new Refused(why, code);
}

function readArchive(data) {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  if (data.length > MAX_ARCHIVE) refuse("the file is larger than a bundle can be", "LIMIT_EXCEEDED");
  if (data.length < 22 || view.getUint32(0) !== 0x504b0304 || view.getUint32(data.length - 22) !== 0x504b0506)
    refuse("this is not an evidence bundle, or it is cut off");
  const count = view.getUint16(data.length - 12, true);
  let at = view.getUint32(data.length - 6, true);
  if (count > MAX_MEMBERS) refuse("a bundle has at most 10,000 members", "LIMIT_EXCEEDED");
  const entries = [];
  let total = 0;
  for (let i = 0; i < count; i++) {
    if (at + 46 > data.length) refuse("the archive's directory is cut off");
    const u16 = (offset) => view.getUint16(at + offset, true);
    const u32 = (offset) => view.getUint32(at + offset, true);
    const [flags, method, crc, stored, size] = [u16(8), u16(10), u32(16), u32(20), u32(24)];
    const nameSize = u16(28);
    const begin = u32(42) + 30 + nameSize;
    if (flags & 1) refuse("the archive is encrypted; a bundle never is");
    if (method || stored !== size) refuse("the archive is compressed; a bundle never is");
    if (size > MAX_MEMBER) refuse("a member is larger than a bundle's can be", "LIMIT_EXCEEDED");
    let name = "";
    for (const byte of data.subarray(at + 46, at + 46 + nameSize)) name += String.fromCharCode(byte);
    if (!MEMBER_NAME.test(name)) refuse(`${JSON.stringify(name.slice(0, 80))} is not a member name of a bundle`);
    if (i && !(entries[i - 1].name < name)) refuse(`${name} repeats or is out of order`);
    const content = data.subarray(begin, begin + size);
    entries.push({ name, content, crc });
    total += content.length;
    if (total > data.length) refuse("the archive's members overlap");
    at += 46 + nameSize;
  }
  compareRebuilt(entries, data, view);
  return entries;
}

// Local headers and contents back to back, the directory, the end record, and nothing else.
function compareRebuilt(entries, data, view) {
  const outside = () => refuse("the archive has bytes outside its members");
  const size = entries.reduce((sum, of) => sum + 76 + 2 * of.name.length + of.content.length, 22);
  if (size !== data.length) outside();
  let at = 0;
  const u16 = (value) => {
    if (view.getUint16(at, true) !== value) outside();
    at += 2;
  };
  const u32 = (value) => {
    if (view.getUint32(at, true) !== value) outside();
    at += 4;
  };
  const bytes = (expected) => {
    if (!same(data.subarray(at, at + expected.length), expected)) outside();
    at += expected.length;
  };
  const shared = (of) => {
    for (const value of [20, 0, 0, 0, 0x0021]) u16(value); // version, flags, method, time, date
    for (const value of [of.crc, of.content.length, of.content.length]) u32(value);
    for (const value of [of.name.length, 0]) u16(value);
  };
  for (const of of entries) {
    of.at = at;
    u32(0x04034b50);
    shared(of);
    bytes(ascii(of.name));
    bytes(of.content);
  }
  const directory = at;
  for (const of of entries) {
    u32(0x02014b50);
    u16((3 << 8) | 20);
    shared(of);
    for (const value of [0, 0, 0]) u16(value);
    u32((0o100644 << 16) >>> 0);
    u32(of.at);
    bytes(ascii(of.name));
  }
  const end = at;
  u32(0x06054b50);
  for (const value of [0, 0, entries.length, entries.length]) u16(value);
  for (const value of [end - directory, directory]) u32(value);
  u16(0);
}

// How many values a reader would make objects of: commas and opening brackets of all JSON.
function boundJson(entries) {
  let parts = 0;
  for (const { name, content } of entries)
    if (name.endsWith(".json")) for (const byte of content) if (byte === 0x2c || byte === 0x5b || byte === 0x7b) parts++;
  if (parts > MAX_JSON_PARTS) refuse("the JSON has more commas and opening brackets than a bundle's can have", "LIMIT_EXCEEDED");
}

// bundle.json: what the file says it is about, and which members it lists.
function readIndex(entries) {
  boundJson(entries);
  const found = entries.find((entry) => entry.name === INDEX);
  if (!found) refuse(`there is no ${INDEX}: this zip file is not an evidence bundle`);
  let document;
  try {
    document = parseJson(found.content, INDEX);
    if (!same(canonical(document), found.content)) fail("it is not in canonical form");
  } catch (error) {
    if (!(error instanceof Failed)) throw error;
    refuse(`${INDEX} cannot be read: ${error.message}`);
  }
  if (!isObject(document) || document.format !== FORMAT) refuse(`${INDEX} is not a bundle's index`);
  if (document.version !== 1)
    refuse(`evidence bundles of version ${String(document.version).slice(0, 20)} are not read`, "UNSUPPORTED_VERSION");
  for (const { name } of entries) if (!MEMBER.test(name)) refuse(`${name} is not a member of a version 1 bundle`);
  const bundle = { indexBytes: found.content, document };
  try {
    readSubject(bundle, document);
    bundle.listed = new Map();
    bundle.withheld = [];
    demand(Array.isArray(document.members), "no members");
    for (const entry of document.members) {
      demand(isObject(entry) && isText(entry.name) && isWhole(entry.size), "a member");
      bundle.listed.set(entry.name, { size: entry.size, digest: digestOf(entry.sha256) });
      if (entry.withheld === true) bundle.withheld.push(entry.name);
    }
    bundle.contents = digestOf(document.contents);
    bundle.id = digestOf(document.id);
  } catch (error) {
    if (!(error instanceof Failed)) throw error;
    refuse(`${INDEX} does not describe a model's evidence and its members: ${error.message}`);
  }
  bundle.members = new Map(entries.filter((of) => of !== found).map((of) => [of.name, of.content]));
  bundle.damaged = new Set(entries.filter((of) => crc32(of.content) !== of.crc).map((of) => of.name));
  return bundle;
}

function readSubject(bundle, document) {
  demand(isObject(document.chain) && isObject(document.state) && isObject(document.contracts), "its fields");
  demand(isNatural(document.chain.id) && isNatural(document.state.block), "a number");
  demand(isText(document.kind) && Object.hasOwn(KIND_KEYS, document.kind) && isText(document.software), "its kind");
  bundle.chainId = document.chain.id;
  bundle.genesis = digestOf(document.chain.genesis);
  bundle.model = digestOf(document.model);
  bundle.block = BigInt(document.state.block);
  bundle.blockHash = digestOf(document.state.hash);
  bundle.kind = document.kind;
  bundle.software = document.software;
  bundle.contracts = new Map();
  for (const name of Object.keys(document.contracts).sort(compareText)) {
    const of = document.contracts[name];
    demand(isObject(of), "a contract");
    bundle.contracts.set(name, { address: addressOf(of.address), codeHash: digestOf(of.code_hash) });
  }
  const key = KIND_KEYS[bundle.kind];
  if (key === null) return;
  const value = document[key];
  let known;
  if (key === "license") {
    known = licenseText(licenseOf(value));
  } else if (key === "release") {
    demand(isObject(value), "its release");
    known = { license: licenseText(licenseOf(value.license)), receipt: hex0x(digestOf(value.receipt)) };
  } else {
    demand(isObject(value) && isNatural(value.size) && isText(value.name), "its suspect");
    demand([...value.name].every(isPlain) && length(value.name) > 0 && length(value.name) <= 200, "its suspect's name");
    known = { sha256: hex0x(digestOf(value.sha256)), size: value.size, name: value.name };
  }
  demand(canonicalText(known) === canonicalText(value), "what it is about");
  bundle.about = known;
}

function subjectJson(bundle) {
  const key = KIND_KEYS[bundle.kind];
  const contracts = Object.create(null);
  for (const [name, of] of bundle.contracts)
    contracts[name] = { address: addressText(of.address), code_hash: hex0x(of.codeHash) };
  return {
    ...(key === null ? {} : { [key]: bundle.about }),
    kind: bundle.kind,
    software: bundle.software,
    chain: { id: bundle.chainId, genesis: hex0x(bundle.genesis) },
    model: hex0x(bundle.model),
    state: { block: bundle.block, hash: hex0x(bundle.blockHash) },
    contracts,
  };
}

// The listing that the members here make; those withheld stand as they are listed.
function listing(bundle) {
  const entries = [];
  for (const [name, content] of bundle.members)
    entries.push({ name, size: content.length, sha256: hex0x(bundle.digests.get(name)) });
  for (const name of bundle.withheld)
    if (!bundle.members.has(name)) {
      const { size, digest } = bundle.listed.get(name);
      entries.push({ name, size, sha256: hex0x(digest), withheld: true });
    }
  return entries.sort((a, b) => compareText(a.name, b.name));
}

function contentsOf(bundle) {
  const members = listing(bundle)
    .filter(({ name }) => !BESIDE.includes(name) && !name.startsWith("timestamps/"))
    .map(({ name, size, sha256: digest }) => ({ name, size, sha256: digest }));
  return hashJson("modeldeed/bundle-contents/1", { ...subjectJson(bundle), members });
}

/* ---------------------------------------------------------------- the case -------------------- */
// What has been established so far. A field is set by the step that proves it, and not before.
class Case {
  constructor(bundle, trust) {
    Object.assign(this, { bundle, trust, runs: [], headers: new Map(), words: new Map() });
    Object.assign(this, { events: [], sealed: [], licenses: [], rivals: [], confirmed: [] });
    this.inputs = new Set(); // members that the step at work has read
    Object.assign(this, { releases: null, match: null, timestamps: null, named: "" });
    bundle.digests = new Map([...bundle.members].map(([name, content]) => [name, sha256(content)]));
    this.parsed = new Map();
  }
  need(field, what) {
    if (this[field] === undefined) throw new NotChecked(`${what} could not be established`);
    return this[field];
  }
  get state() {
    return this.need("top", "the block headers");
  }
  get opened() {
    return this.need("claim", "the claim");
  }
  get held() {
    return this.need("title", "the title");
  }
  get told() {
    return this.need("history", "the title's history");
  }
  has(name) {
    return this.bundle.members.has(name);
  }
  member(name) {
    if (!this.has(name)) fail(`the bundle has no ${name}`);
    this.inputs.add(name);
    return this.bundle.members.get(name);
  }
  // A JSON member; only its canonical form counts.
  json(name) {
    if (this.has(name)) this.inputs.add(name);
    if (!this.parsed.has(name)) {
      const document = parseJson(this.member(name), name);
      demand(same(canonical(document), this.member(name)), `${name} is not in canonical form`);
      this.parsed.set(name, document);
    }
    return this.parsed.get(name);
  }
  folder(name) {
    const prefix = name + "/";
    return [...this.bundle.members.keys()].filter((key) => key.startsWith(prefix)).map((key) => key.slice(prefix.length));
  }
  contract(name) {
    const found = this.bundle.contracts.get(name);
    if (!found) fail(`the bundle names no ${name} contract`);
    return found;
  }
  // A proven storage word, 32 bytes.
  word(contract, slot, what) {
    const words = this.words.get(contract);
    if (!words) throw new NotChecked(`the state of ${contract} was not proven`);
    const found = words.get(hex(slot));
    if (!found) fail(`the bundle does not prove ${what}`);
    return found;
  }
  eventsNamed(name) {
    return this.events.filter((event) => event.name === name);
  }
}

// A field of a document that must be spelled in exactly one way.
const exactDigest = (text) => {
  demand(isText(text) && /^0x[0-9a-f]{64}$/.test(text), "a digest is not 0x and 64 lower-case digits");
  return unhex(text.slice(2));
};
const exactAddress = (text) => {
  const bytes = addressOf(text);
  demand(addressText(bytes) === text, "an address is not in its checksum form");
  return bytes;
};
const exactData = (text, size) => {
  demand(isText(text) && /^0x(?:[0-9a-f]{2})*$/.test(text), "bytes are written as 0x and lower-case hex");
  const bytes = unhex(text.slice(2));
  demand(size === undefined || bytes.length === size, `${size} bytes were expected`);
  return bytes;
};
const exactQuantity = (text) => {
  demand(isText(text) && text.length <= 66 && /^0x(?:0|[1-9a-f][0-9a-f]*)$/.test(text), "a number is malformed");
  return BigInt(text);
};
const exactNodes = (value) => {
  demand(Array.isArray(value) && value.length <= MAX_NODES, "a proof is a list of trie nodes");
  return value.map((node) => exactData(node));
};
const exactDigests = (value, limit) => {
  demand(Array.isArray(value) && value.length <= limit, "a path is a list of digests");
  return value.map(exactDigest);
};

/* ---------------------------------------------------------------- steps 1 to 3 ---------------- */
function stepForm(c) {
  return `${c.bundle.members.size + 1} members, and no byte beside them`;
}

// (2) Every member is listed with its size and SHA-256, every listed member is here, CRC-32s are
// right, bundle.json is exactly the index these members make, JSON is canonical, README.txt is the
// fixed text. What is withheld may be, and is not here.
function stepContents(c) {
  const { bundle } = c;
  for (const name of bundle.withheld) {
    demand(WITHHOLDABLE.test(name) && MEMBER.test(name), `${name} may not be withheld`);
    demand(!bundle.members.has(name), `${name} is said to be withheld, and is here`);
  }
  for (const name of new Set([...bundle.listed.keys(), ...bundle.members.keys()])) {
    const [listed, here] = [bundle.listed.has(name), bundle.members.has(name)];
    if (listed && !here) demand(bundle.withheld.includes(name), `${name} is listed and missing`);
    demand(listed, `${name} is here and not listed`);
  }
  for (const [name, content] of bundle.members) {
    const { size, digest } = bundle.listed.get(name);
    const whole = size === content.length && same(digest, bundle.digests.get(name));
    demand(whole && !bundle.damaged.has(name), `${name} was altered`);
  }
  const index = {
    format: FORMAT,
    version: 1,
    ...subjectJson(bundle),
    members: listing(bundle),
    contents: hex0x(contentsOf(bundle)),
  };
  index.id = hex0x(hashJson("modeldeed/bundle/1", index));
  demand(!bundle.damaged.has(INDEX) && same(canonical(index), bundle.indexBytes), `${INDEX} was altered`);
  demand(same(c.member("README.txt"), utf8(TABLES.README)), "README.txt is not the text of this format");
  for (const name of bundle.members.keys()) if (name.endsWith(".json")) c.json(name);
  const left = bundle.withheld.length ? `; withheld: ${[...bundle.withheld].sort(compareText).join(", ")}` : "";
  return `${bundle.members.size} members, bundle ${hex0x(bundle.id)}${left}`;
}
