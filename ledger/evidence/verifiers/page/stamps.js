/* ---------------------------------------------------------------- tokens of RFC 3161 ---------- */
// Sections 2.4.2 and 4 of RFC 3161, section 5 of RFC 5652 (CMS), RFC 5816 (ESSCertIDv2): what
// docs/spec/timestamps.md reads of them.
const STAMP_MAX = { token: 64 << 10, pem: 64 << 10, certificates: 8, crl: 4 << 20, lists: 16 };
const [SIGNED_DATA, TST_INFO] = ["1.2.840.113549.1.7.2", "1.2.840.113549.1.9.16.1.4"];
const [CONTENT_TYPE, MESSAGE_DIGEST] = ["1.2.840.113549.1.9.3", "1.2.840.113549.1.9.4"];
const [SIGNING_V1, SIGNING_V2] = ["1.2.840.113549.1.9.16.2.12", "1.2.840.113549.1.9.16.2.47"];
const SHA256_NAME = "2.16.840.1.101.3.4.2.1";
const demandName = (node, wanted) => demand(derName(node) === wanted, "this is not a time-stamp token");

function hashNamed(name) {
  const hash = own(HASHES, name);
  demand(hash, `the hash ${name} is not read`);
  return hash;
}

// A token taken apart; nothing in it is verified yet.
function readToken(raw) {
  demand(raw.length <= STAMP_MAX.token, `a token has at most ${STAMP_MAX.token} bytes`);
  const outer = derFields(derRead(raw));
  demandName(outer.take(DER.OID), SIGNED_DATA);
  const inside = outer.take(0xa0);
  outer.end();
  const fields = derFields(derRead(inside.content));
  derInteger(fields.take(DER.INTEGER));
  fields.take(DER.SET);
  const wrapped = fields.open(DER.SEQUENCE);
  demandName(wrapped.take(DER.OID), TST_INFO);
  const content = derRead(wrapped.take(0xa0).content, DER.OCTETS).content;
  wrapped.end();
  const certificates = fields.maybe(0xa0);
  fields.maybe(0xa1);
  const signers = fields.take(DER.SET);
  fields.end();
  const info = derFields(derRead(signers.content)); // exactly one
  derInteger(info.take(DER.INTEGER));
  const who = info.open(DER.SEQUENCE);
  const [issuer, signerSerial] = [who.take(DER.SEQUENCE).raw, who.take(DER.INTEGER).content];
  who.end();
  const digest = derAlgorithm(info.take(DER.SEQUENCE)).name;
  const attributes = info.take(0xa0).content;
  const [algorithm, signature] = [info.take(DER.SEQUENCE), info.take(DER.OCTETS).content];
  info.maybe(0xa1);
  info.end();
  hashNamed(digest);
  if (certificates !== null) derParts(certificates);
  return { ...readTstInfo(content), content, digest, issuer, signerSerial, attributes, algorithm, signature };
}

function readTstInfo(content) {
  const fields = derFields(derRead(content));
  demand(derInteger(fields.take(DER.INTEGER)) === 1n, "the token is not version 1");
  const policy = derName(fields.take(DER.OID));
  const of = fields.open(DER.SEQUENCE);
  const kind = derAlgorithm(of.take(DER.SEQUENCE)).name;
  const imprint = of.take(DER.OCTETS).content;
  of.end();
  const serial = fields.take(DER.INTEGER);
  const right = kind === SHA256_NAME && imprint.length === 32 && derInteger(serial) >= 0n;
  demand(right, "the token does not date a SHA-256 digest");
  const generated = derTokenTime(fields.take(DER.FULL_TIME));
  const [stated, ordering, nonce] = [fields.maybe(DER.SEQUENCE), fields.maybe(DER.BOOLEAN), fields.maybe(DER.INTEGER)];
  fields.maybe(0xa0);
  const more = fields.maybe(0xa1);
  fields.end();
  if (ordering !== null) derBoolean(ordering);
  if (nonce !== null) derInteger(nonce);
  demand(more === null || !anyCritical(readExtensions(derParts(more))), "the token has a critical extension");
  const accuracy = stated === null ? null : readAccuracy(stated);
  const range = accuracy ?? 0n;
  return {
    imprint, policy, generated, accuracy,
    serial: serial.content,
    time: floorSeconds(generated),
    earliest: accuracy === null ? null : floorSeconds(generated - range),
    latest: -floorSeconds(-(generated + range)),
  };
}

// In microseconds.
function readAccuracy(stated) {
  const fields = derFields(stated);
  const parts = [DER.INTEGER, 0x80, 0x81].map((tag) => fields.maybe(tag));
  fields.end();
  const [seconds, millis, micros] = parts.map((part) => (part === null ? 0n : derInteger(part)));
  const small = (part, value) => part === null || (value >= 1n && value <= 999n);
  const right = seconds >= 0n && seconds >> 31n === 0n && small(parts[1], millis) && small(parts[2], micros);
  demand(right, "the token's accuracy is malformed");
  return seconds * 1000000n + millis * 1000n + micros;
}

// The attributes as they were signed: under the tag of a SET (RFC 5652 section 5.4).
function signedAttributes(content) {
  const size = content.length;
  if (size < 0x80) return join(Uint8Array.of(DER.SET, size), content);
  const digits = size.toString(16);
  const width = unhex(digits.length % 2 ? "0" + digits : digits);
  return join(Uint8Array.of(DER.SET, 0x80 | width.length), width, content);
}

function readAttributes(set) {
  const found = new Map();
  for (const one of derParts(derRead(set, DER.SET))) {
    demand(one.tag === DER.SEQUENCE, "the token's attributes are malformed");
    const fields = derFields(one);
    const name = derName(fields.take(DER.OID));
    const values = derParts(fields.take(DER.SET));
    fields.end();
    demand(!found.has(name) && values.length === 1, `the token's attribute ${name} is not there once`);
    found.set(name, values[0]);
  }
  return found;
}

// This certificate's key signed the token, which names it.
function checkTokenSigner(token, signer) {
  const set = signedAttributes(token.attributes);
  const found = readAttributes(set);
  const want = (name, tag) => {
    demand(found.get(name)?.tag === tag, `the token lacks the attribute ${name}`);
    return found.get(name);
  };
  // The fields of the first ESSCertID or ESSCertIDv2.
  const firstId = (name) => derFields(want(name, DER.SEQUENCE)).open(DER.SEQUENCE).open(DER.SEQUENCE);
  demandName(want(CONTENT_TYPE, DER.OID), TST_INFO);
  const stated = want(MESSAGE_DIGEST, DER.OCTETS).content;
  demand(same(stated, hashNamed(token.digest)(token.content)), "the token's digest is not that of its statement");
  const naming = found.has(SIGNING_V1) || found.has(SIGNING_V2);
  demand(naming, "the token does not name its signing certificate");
  const another = "the token names another signing certificate";
  if (found.has(SIGNING_V2)) {
    const fields = firstId(SIGNING_V2);
    const named = fields.maybe(DER.SEQUENCE);
    const hash = named === null ? sha256 : hashNamed(derAlgorithm(named).name);
    demand(same(fields.take(DER.OCTETS).content, hash(signer.raw)), another);
  }
  // RFC 2634: this attribute's hash is always SHA-1; it names, the signature proves.
  if (found.has(SIGNING_V1)) demand(same(firstId(SIGNING_V1).take(DER.OCTETS).content, sha1(signer.raw)), another);
  const whom = same(token.issuer, signer.issuer) && same(token.signerSerial, signer.serial);
  demand(whom, "the token names another signer");
  checkSignature(token.algorithm, signer.key, set, token.signature, token.digest);
}

// A token of `imprint` with the certificates and revocation lists behind it.
function verifyToken(raw, pem, crl, imprint) {
  const token = readToken(raw);
  demand(same(token.imprint, imprint), "the token dates something else");
  const chain = pemBlocks(pem, "CERTIFICATE", STAMP_MAX.pem, STAMP_MAX.certificates).map(readCertificate);
  const lists = crl === undefined ? [] : pemBlocks(crl, "X509 CRL", STAMP_MAX.crl, STAMP_MAX.lists).map(readRevocations);
  checkTokenSigner(token, chain[0]);
  checkCertificates(chain, token.time);
  checkRevocations(chain, lists, token.time);
  return { token, chain, root: chain.at(-1), until: chain[0].until, issued: lists.map((of) => of.issued) };
}

/* ---------------------------------------------------------------- step 17: time stamps -------- */
const sum = (numbers) => numbers.reduce((all, one) => all + one, 0);

// What all tokens may bring: nothing else bounds how long the signatures of a hostile bundle take.
function bounded(what, count) {
  const most = TABLES.STAMPS_IN_ALL[what];
  demand(count <= most, `a bundle's time-stamps have at most ${most} ${what.replace("_", " ")} in all`);
}

function readTokens(members, contents) {
  const [stamps, earlier, known] = [[], [], new Set(["bitcoin.ots"])];
  const tokens = [...members.keys()].filter((name) => name.endsWith(".tsr")).length;
  bounded("tokens", tokens);
  bounded("list_bytes", sum([...members].filter(([name]) => name.endsWith(".crl")).map(([, data]) => data.length)));
  for (let number = 1; number <= tokens; number++) {
    const [token, pem, crl] = [".tsr", ".pem", ".crl"].map((end) => number + end);
    for (const name of [token, pem, crl]) known.add(name);
    demand(members.has(token) && members.has(pem), `token ${number} or its certificates are not here`);
    const imprint = number === 1 ? contents : taggedHash("modeldeed/renewal/1", join(contents, ...earlier));
    try {
      stamps.push(verifyToken(members.get(token), members.get(pem), members.get(crl), imprint));
    } catch (error) {
      if (error instanceof Failed) error.message = `token ${number}: ${error.message}`;
      throw error;
    }
    earlier.push(sha256(members.get(token)));
    bounded("certificates", sum(stamps.map((of) => of.chain.length)));
    bounded("lists", sum(stamps.map((of) => of.issued.length)));
  }
  // Each was made after the one before, while that one's certificate still held.
  stamps.forEach((after, i) => {
    if (!i) return;
    const before = stamps[i - 1];
    demand(after.token.generated >= before.token.generated, `token ${i + 1} is older than the one it renews`);
    demand(after.token.time <= before.until, `token ${i + 1} came after the certificate before it ended`);
  });
  return { stamps, known };
}

function readStamps(members, contents) {
  const { stamps, known } = readTokens(members, contents);
  const blocks = new Map();
  for (const name of [...members.keys()].filter((one) => one.endsWith(".header")))
    blocks.set(BigInt(name.slice(0, -".header".length)), readBitcoinHeader(members.get(name)));
  for (const name of members.keys())
    demand(known.has(name) || name.endsWith(".header"), `timestamps/${name} belongs to no token`);
  let attested = [];
  if (members.has("bitcoin.ots")) {
    const proof = readOtsProof(members.get("bitcoin.ots"));
    demand(same(proof.digest, contents), "the OpenTimestamps proof dates something else");
    attested = proof.attested;
  }
  for (const [height, block] of blocks) {
    const roots = attested.filter((of) => of.height === height).map((of) => of.root);
    const led = roots.length && roots.every((root) => same(root, block.root));
    demand(led, `nothing leads to the root of Bitcoin block ${height}`);
  }
  const rising = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  const open = new Set(attested.map((of) => of.height).filter((height) => !blocks.has(height)));
  return {
    stamps,
    blocks: [...blocks].map(([height, block]) => ({ height, ...block })).sort((a, b) => rising(a.height, b.height)),
    open: [...open].sort(rising),
  };
}

// How far a chain's rules may let a block's time run ahead, in seconds: an hour on Arbitrum.
const BLOCK_AHEAD = 3600n;

// (17) Each stamp carried dates these contents; pass if the reader vouches for one of them.
// c.trust.tsaRoots has the SHA-256 of root certificates, c.trust.blocks hashes of blocks, in hex.
function stepTimestamps(c) {
  const members = new Map(c.folder("timestamps").map((name) => [name, c.member(`timestamps/${name}`)]));
  if (!members.size) throw new NotChecked("the bundle carries no time-stamp", false);
  const dated = readStamps(members, contentsOf(c.bundle));
  const { state } = c;
  const told = [
    ...dated.stamps.map((of, i) => [`token ${i + 1}`, of.token.latest]),
    ...dated.blocks.map((block) => [`Bitcoin block ${block.height}`, block.latest]),
  ];
  for (const [what, latest] of told)
    demand(
      BigInt(latest) + BLOCK_AHEAD >= state.time,
      `${what} is not later than ${utc(latest)}, but these contents name block ${state.number} of ${utc(state.time)}, ` +
        "which nobody knew before: it did not stamp them, or a clock is wrong",
    );
  c.timestamps = dated;
  const roots = c.trust.tsaRoots;
  const trusted = dated.stamps.map((of, i) => ({ of, number: i + 1 })).filter(({ of }) => roots.has(hex(of.root.digest)));
  const mined = dated.blocks.filter((block) => c.trust.blocks.has(hex(block.hash)));
  const strange = roots.size && dated.stamps.length && !trusted.length;
  demand(!strange, "none of the root certificates given is that of a token");
  const found = [
    ...trusted.map(({ of, number }) => `token ${number} is not later than ${utc(of.token.latest)}`),
    ...mined.map((block) => `Bitcoin block ${block.height} not later than ${utc(block.latest)}`),
  ];
  if (found.length) return found.join("; ");
  const rests = new Set([
    ...dated.stamps.map((of) => `root certificate ${hex0x(of.root.digest)}`),
    ...dated.blocks.map((block) => `Bitcoin block ${block.height} ${hex0x(block.hash)}`),
    ...dated.open.map((height) => `Bitcoin block ${height}, whose header is not here`),
  ]);
  throw new NotChecked(`the stamps hold if you trust ${[...rests].join(" or ") || "a calendar"}`, false);
}

// What goes into the statement under "timestamps"; null if there is nothing to tell.
function toldTimestamps(c) {
  if (c.timestamps === null) return null;
  return {
    tokens: c.timestamps.stamps.map(({ token, chain, root, until, issued }, i) => ({
      number: i + 1,
      imprint: hex0x(token.imprint),
      generated: token.time,
      accuracy_us: token.accuracy,
      not_earlier_than: token.earliest,
      not_later_than: token.latest,
      serial: hex0x(token.serial),
      policy: token.policy,
      tsa: chain[0].name,
      certificate: hex0x(chain[0].digest),
      root: hex0x(root.digest),
      root_name: root.name,
      signer_until: until,
      revocation_lists: issued,
    })),
    bitcoin: c.timestamps.blocks.map(({ height, hash, time, latest }) => ({
      block: height, hash: hex0x(hash), time, not_later_than: latest,
    })),
  };
}

// The same in plain text, for report.txt.
function linesTimestamps(found) {
  if (!found.tokens.length && !found.bitcoin.length) return [];
  const text = ["", "Time-stamps of these contents, at the latest, if their root or Bitcoin block is genuine:"];
  for (const of of found.tokens) {
    const name = of.tsa === null ? "an authority without a name" : inQuotes(of.tsa);
    const root = of.root_name === null ? "" : inQuotes(of.root_name) + " ";
    text.push(`  ${utc(of.not_later_than)}  by ${name}, token ${of.number} (root ${root}${of.root})`);
  }
  for (const of of found.bitcoin) text.push(`  ${utc(of.not_later_than)}  by Bitcoin block ${of.block} ${of.hash}`);
  return text;
}
