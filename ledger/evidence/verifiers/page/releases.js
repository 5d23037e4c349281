/* ---------------------------------------------------------------- Ed25519 --------------------- */
// RFC 8032 section 5.1, without cofactor: the encoding of S·B − k·A is R, byte for byte, and S < L.
const ED25519_P = 2n ** 255n - 19n;
const ED25519_L = 2n ** 252n + 27742317777372353535851937790883648493n;
const ED25519_D = mod(-121665n * inverse(121666n, ED25519_P), ED25519_P);
const ED25519_BASE = ed25519Point(bytesOf((4n * inverse(5n, ED25519_P)) % ED25519_P, 32).reverse());

// A point in extended coordinates (X, Y, Z, T) from its 32 bytes; null if they encode none.
function ed25519Point(raw) {
  const p = ED25519_P;
  const all = big(Uint8Array.from(raw).reverse());
  const [y, sign] = [all & (2n ** 255n - 1n), all >> 255n];
  if (y >= p) return null;
  const square = ((y * y - 1n) * inverse(ED25519_D * y * y + 1n, p)) % p; // d·y² + 1 is never 0
  let x = power(square, (p + 3n) / 8n, p);
  if (mod(x * x - square, p)) x = (x * power(2n, (p - 1n) / 4n, p)) % p;
  if (mod(x * x - square, p) || (!x && sign)) return null;
  if ((x & 1n) !== sign) x = p - x;
  return [x, y, 1n, (x * y) % p];
}

function ed25519Add([x1, y1, z1, t1], [x2, y2, z2, t2]) {
  const p = ED25519_P;
  const a = ((y1 - x1) * (y2 - x2)) % p;
  const b = ((y1 + x1) * (y2 + x2)) % p;
  const c = (((2n * t1 * t2) % p) * ED25519_D) % p;
  const e = (2n * z1 * z2) % p;
  const [f, g, h, i] = [b - a, e - c, e + c, b + a];
  return [mod(f * g, p), mod(h * i, p), mod(g * h, p), mod(f * i, p)];
}

function ed25519Holds(key, message, signature) {
  const p = ED25519_P;
  const point = ed25519Point(key);
  const s = big(Uint8Array.from(signature.subarray(32)).reverse());
  if (point === null || s >= ED25519_L) return false;
  const hashed = sha512(join(signature.subarray(0, 32), key, message));
  const k = big(hashed.reverse()) % ED25519_L;
  const against = [mod(-point[0], p), point[1], 1n, mod(-point[3], p)];
  const both = ed25519Add(ED25519_BASE, against);
  let sum = [0n, 1n, 1n, 0n];
  for (let bit = 252n; bit >= 0n; bit--) {
    sum = ed25519Add(sum, sum);
    const pick = Number((s >> bit) & 1n) + 2 * Number((k >> bit) & 1n);
    if (pick) sum = ed25519Add(sum, [null, ED25519_BASE, against, both][pick]);
  }
  const w = inverse(sum[2], p);
  const [x, y] = [(sum[0] * w) % p, (sum[1] * w) % p];
  return same(bytesOf(y | ((x & 1n) << 255n), 32).reverse(), signature.subarray(0, 32));
}

/* ---------------------------------------------------------------- step 15: releases ----------- */
// A receipt is one entry of a broker's log with its path to a root that the broker's operator put
// on chain (docs/spec/key-release.md). Only its Ed25519 signature is judged: the anchored root
// shows that the reply and its signatures existed at that block.
const BROKERS = "BrokerRegistry";
const MAX_RELEASES = 1000;
const LATTICE_KEY_BYTES = 1952;
const RECEIPT_PROOF = ["type", "version", "chain", "broker", "signing", "sequence", "entry", "anchor"];
const ANCHOR_PLACE = ["sequence", "root", "count", "index", "path", "transaction"];

// A document with exactly these members; any with none named.
function receiptPart(value, what, names) {
  demand(isObject(value) && (!names || hasExactly(value, names)), `${what} is malformed`);
  return value;
}
function receiptNumber(value, least = 0) {
  demand(isWhole(value) && value >= least, "a number of a receipt is malformed");
  return value;
}
const receiptText = (value, limit) =>
  demand(isText(value) && value.length <= 2 * limit && [...value].length <= limit, "a text of a receipt is malformed");

// A receipt proof held against itself, and against the bundle's subject and licenses.
function readReceipt(c, document) {
  const proof = receiptPart(document, "the receipt proof", RECEIPT_PROOF);
  demand(proof.type === "modeldeed/receipt-proof" && proof.version === 1, "a receipt proof of another version");
  const chain = receiptPart(proof.chain, "a receipt's chain", ["id", "ledger", "registry", "brokers"]);
  receiptNumber(chain.id, 1);
  const at = ["ledger", "registry", "brokers"].map((name) => addressOf(chain[name]));
  const [broker, sequence] = [receiptNumber(proof.broker, 1), receiptNumber(proof.sequence, 1)];
  const entry = receiptPart(proof.entry, "the receipt", ["request", "reply"]);
  const [request, reply] = [receiptPart(entry.request, "the request"), receiptPart(entry.reply, "the reply")];
  const audience = `modeldeed-broker:${chain.id}:${hex0x(at[2])}:${broker}`;
  const answers = reply.type === "release" && reply.audience === audience;
  demand(answers, "the receipt is not of this broker's answer to a key request");
  demand(reply.version === 1, "a reply of another version");
  const place = receiptPart(reply.receipt, "a receipt's place", ["sequence", "previous"]);
  exactDigest(place.previous);
  demand(receiptNumber(place.sequence, 1) === sequence, "the receipt has another number than its proof says");
  if ("wraps" in reply) {
    const bare = Array.isArray(reply.wraps) && reply.wraps.length <= 256 &&
      reply.wraps.every((wrap) => isObject(wrap) && !("wrap" in wrap));
    demand(bare, "a logged reply names ciphertexts by their hashes alone");
  }
  const asked = same(hashJson("modeldeed/broker-request/1", request), exactDigest(reply.request));
  demand(asked, "the reply is to another request");
  const keyHash = checkReply(proof.signing, reply);
  const digest = hashJson("modeldeed/receipt/1", entry);
  const under = receiptPart(proof.anchor, "a receipt's anchor", ANCHOR_PLACE);
  const [path, root] = [exactDigests(under.path, 64), exactDigest(under.root)];
  const [count, index] = [receiptNumber(under.count, 1), receiptNumber(under.index)];
  checkInclusion(sha256, leafHash(sha256, digest), index, count, path, root);
  demand(typeof reply.granted === "boolean", "a reply does not say whether it grants");
  const [license, model] = [request.license, exactDigest(request.model)];
  demand(isText(license) && license.length <= 24 && licenseText(licenseOf(license)) === license, "a license is malformed");
  const names = ["LicenseLedger", "ModelRegistry", BROKERS];
  const here = chain.id === c.bundle.chainId && names.every((name, i) => same(c.contract(name).address, at[i]));
  demand(here && same(model, c.bundle.model), "a receipt is for another chain or model");
  demand(c.licenses.some((of) => of.name === license), `a receipt is for license ${license}, which is not shown here`);
  return {
    broker, sequence, license, digest, keyHash, root, count,
    granted: reply.granted,
    claimedAt: receiptNumber(reply.time),
    anchoring: receiptNumber(under.sequence, 1),
    transaction: under.transaction === null ? null : hex0x(exactDigest(under.transaction)),
  };
}

// The hash of the keys that the proof names, whose Ed25519 half signed the reply.
function checkReply(signing, reply) {
  const keys = receiptPart(signing, "the broker's keys", ["ed25519", "mldsa65"]);
  const classical = exactData(keys.ed25519, 32);
  const encoded = 4 * Math.ceil(LATTICE_KEY_BYTES / 3);
  demand(isText(keys.mldsa65) && keys.mldsa65.length <= encoded, "the broker's keys are malformed");
  const lattice = base64Bytes(keys.mldsa65, "the broker's keys are malformed");
  demand(lattice.length === LATTICE_KEY_BYTES, "the broker's keys are malformed");
  const signature = receiptPart(reply.signature, "a reply's signature", ["ed25519", "mldsa65"]);
  receiptText(signature.mldsa65, 1 << 16);
  const body = Object.create(null);
  for (const name of Object.keys(reply)) if (name !== "signature") body[name] = reply[name];
  const message = join(ascii("modeldeed/broker-reply/1\0"), canonical(body));
  const signed = ed25519Holds(classical, message, exactData(signature.ed25519, 64));
  demand(signed, "a receipt is not signed by the keys it names");
  return taggedHash("modeldeed/broker-signing-keys/1", join(classical, lattice));
}

const placeBefore = (a, b) => {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return a[i] < b[i];
  return false;
};

// The anchoring of a receipt's root and the registration of its broker's key, on chain.
function proveReceipt(c, of) {
  const ours = c.events.filter((event) => event.contract === BROKERS && event.args.brokerId === BigInt(of.broker));
  const anchored = ours.filter((event) => event.name === "ReceiptsAnchored" && event.args.seq === BigInt(of.anchoring));
  demand(anchored.length === 1, "the bundle lacks the anchoring of a receipt");
  const [event] = anchored;
  const same_ = event.args.root === hex0x(of.root) && event.args.count === BigInt(of.count);
  demand(same_, "a receipt's root is not the one that was anchored");
  const sent = of.transaction === null || event.transaction === null || of.transaction === event.transaction;
  demand(sent, "a receipt's root was anchored by another transaction");
  const registered = ours.filter(
    (one) =>
      one.name === "BrokerKeysSet" && one.args.signingKeyHash === hex0x(of.keyHash) && placeBefore(one.place, event.place),
  );
  demand(registered.length, "the bundle lacks the registration of a broker's key");
  const epoch = registered.at(-1).args.epoch;
  // Words of the broker: operator, epoch and number of anchorings; signing key; root last anchored.
  const base = big(keccak256(join(bytesOf(of.broker, 32), bytesOf(1, 32))));
  const wordOf = (n) => c.word(BROKERS, bytesOf((base + n) % 2n ** 256n, 32), `broker ${of.broker}`);
  const now = big(wordOf(0n));
  const [operator, current, anchorings] = [
    now & (2n ** 160n - 1n), (now >> 160n) & 0xffffffffn, (now >> 192n) & (2n ** 64n - 1n),
  ];
  demand(operator && epoch <= current, "the proved state knows no such broker");
  if (epoch === current) demand(same(wordOf(1n), of.keyHash), "the proved state names another key of the broker");
  const last = BigInt(of.anchoring);
  const stands = anchorings > last || (anchorings === last && same(wordOf(4n), of.root));
  demand(stands, "the proved state has another anchoring of receipts");
  return {
    broker: of.broker,
    sequence: of.sequence,
    receipt: hex0x(of.digest),
    license: of.license,
    granted: of.granted,
    claimed_at: of.claimedAt,
    key_epoch: epoch,
    block: event.block,
    not_later_than: event.time,
    transaction: event.transaction,
  };
}

// (15) Each receipt is the broker's, under a root that stands on chain, and about these licenses.
function stepReleases(c) {
  const wanted = c.bundle.kind === "release";
  const named = [...c.bundle.listed.keys()].map((name) => /^releases\/([1-9][0-9]{0,8})\.json$/.exec(name));
  const listed = named.filter((found) => found).map((found) => Number(found[1])).sort((a, b) => a - b);
  const there = c.bundle.contracts.has(BROKERS);
  demand(there === listed.length > 0, `the bundle names ${BROKERS} without receipts, or the reverse`);
  if (!listed.length) throw new NotChecked("the bundle carries no receipt of a release", wanted);
  const gapless = listed.every((number, i) => number === i + 1) && listed.length <= MAX_RELEASES;
  demand(gapless, `receipts are numbered from 1 without a gap, up to ${MAX_RELEASES}`);
  demand(!wanted || listed.length === 1, "evidence of one receipt carries one");
  const shown = listed.map((number) => `releases/${number}.json`).filter((name) => c.has(name));
  if (!shown.length) throw new NotChecked("withheld: put the members back to check them", wanted);
  const receipts = shown.map((name) => readReceipt(c, c.json(name)));
  const rising = receipts.every(
    (of, i) => !i || placeBefore([receipts[i - 1].broker, receipts[i - 1].sequence], [of.broker, of.sequence]),
  );
  demand(rising, "receipts stand in the order of brokers and numbers, each once");
  for (const of of receipts) {
    const about = !wanted || (c.bundle.about.license === of.license && c.bundle.about.receipt === hex0x(of.digest));
    demand(about, "the receipt is not the one this bundle is about");
  }
  c.releases = receipts.map((of) => proveReceipt(c, of));
  const blocks = [...new Set(c.releases.map((of) => of.block))].sort((a, b) => (a < b ? -1 : 1));
  return `${receipts.length} release receipts of brokers, anchored in block ${blocks.join(", ")}`;
}

// What goes into the statement under "releases"; null if there is nothing to tell.
const toldReleases = (c) => c.releases;

// The same in plain text, for report.txt.
function linesReleases(found) {
  const text = ["", "Answers of key brokers, each under a root that the broker's operator anchored:"];
  for (const of of found) {
    const outcome = of.granted ? "key released" : "refused";
    text.push(
      `  ${utc(of.not_later_than)}  license ${of.license}: ${outcome}, receipt ${of.sequence} ` +
        `of broker ${of.broker} (block ${of.block})`,
      `    by the broker's clock ${utc(of.claimed_at)}; key of its epoch ${of.key_epoch}; receipt ${of.receipt}`,
    );
  }
  return text;
}
