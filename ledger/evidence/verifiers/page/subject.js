/* ---------------------------------------------------------------- step 8: claim --------------- */
const CLAIM_DIGESTS = ["artifact_root", "fingerprint_digest", "watermark_commitment", "manifest_hash", "salt"];
const CLAIM_FIELDS = ["format", "chain_id", "registry", "licensor", "parents", ...CLAIM_DIGESTS];
// Element types: code, bits, and whether they can carry a model's identity (fingerprint.md).
const DTYPES = {
  BOOL: [1, 8, false], U8: [2, 8, false], I8: [3, 8, false], U16: [4, 16, false], I16: [5, 16, false],
  U32: [6, 32, false], I32: [7, 32, false], U64: [8, 64, false], I64: [9, 64, false],
  F16: [16, 16, true], BF16: [17, 16, true], F32: [18, 32, true], F64: [19, 64, true], C64: [20, 64, true],
  F8_E4M3: [32, 8, true], F8_E5M2: [33, 8, true], F8_E8M0: [34, 8, true], F8_E4M3FNUZ: [35, 8, true], F8_E5M2FNUZ: [36, 8, true],
  F4: [48, 4, true], F6_E2M3: [49, 6, true], F6_E3M2: [50, 6, true],
};
Object.setPrototypeOf(DTYPES, null);

function readClaim(c) {
  const of = c.json("claim.json");
  demand(hasExactly(of, CLAIM_FIELDS) && of.format === "modeldeed/claim/1", "the document is not a claim");
  demand(isNatural(of.chain_id) && of.chain_id > 0, "a claim's chain id is a whole number of at least 1");
  const claim = {
    chainId: of.chain_id,
    registry: exactAddress(of.registry),
    licensor: exactAddress(of.licensor),
    parents: exactDigests(of.parents, 8),
    salt: exactDigest(of.salt),
    artifactRoot: exactDigest(of.artifact_root),
    fingerprintDigest: exactDigest(of.fingerprint_digest),
    watermark: exactDigest(of.watermark_commitment),
    manifestHash: exactDigest(of.manifest_hash),
  };
  demand(
    claim.parents.every((parent, i) => !i || compareBytes(claim.parents[i - 1], parent) < 0),
    "a claim's parents repeat or are out of order",
  );
  // keccak256(abi.encode(DOMAIN, chainid, registry, licensor, …)): docs/spec/claim.md
  claim.modelId = keccak256(
    join(
      keccak256(ascii("modeldeed/model/1")), bytesOf(claim.chainId, 32), word(claim.registry), word(claim.licensor),
      claim.artifactRoot, claim.fingerprintDigest, claim.watermark, claim.manifestHash, keccak256(join(...claim.parents)), claim.salt,
    ),
  );
  return claim;
}

function checkManifest(of) {
  demand(
    hasExactly(of, ["format", "title", "version", "description", "weights_format", "files", "n_params", "dtypes"]) &&
      of.format === "modeldeed/manifest/1",
    "the document is not a manifest",
  );
  const texts = [of.title, of.version, of.description];
  demand(texts.every(isText) && isText(of.weights_format) && isWhole(of.n_params) && isObject(of.dtypes), "a field of the manifest");
  demand(strip(of.title) && strip(of.version) && texts.every((text) => length(text) <= 4096), "the manifest's texts");
  demand(Array.isArray(of.files) && of.files.length, "the manifest lists no files");
  of.files.forEach((file, i) => {
    demand(hasExactly(file, ["name", "size", "sha256", "role"]) && isText(file.name) && isNatural(file.size), "a file of the manifest");
    digestOf(file.sha256);
    demand(file.role === "weights" || file.role === "side", "a file of the manifest has no such role");
    demand(!i || compareText(of.files[i - 1].name, file.name) < 0, "the manifest's files are out of order");
  });
  for (const [name, count] of Object.entries(of.dtypes))
    demand(Object.hasOwn(DTYPES, name) && isWhole(count) && count > 0, "the manifest's element types");
}

function littleEndian(number, size) {
  return bytesOf(number, size).reverse();
}
const setRoot = (domain, ids) => {
  const distinct = [...new Set(ids.map(hex))].sort().map(unhex);
  return merkleRoot(sha256, distinct.map((id) => leafHash(sha256, join(Uint8Array.of(domain), id))));
};

// docs/spec/fingerprint.md, "JSON form": every rule, then the roots computed again.
function readFingerprint(of) {
  const fields = ["format", "level", "content_root", "named_root", "vmd_root", "n_params", "tensors"];
  demand(hasExactly(of, fields) && of.format === "mfp1" && Array.isArray(of.tensors), "the document is not a fingerprint");
  demand(of.level === "core" || of.level === "deep", "the fingerprint's level");
  const deep = of.level === "deep";
  let params = 0n;
  const carriers = [];
  for (const tensor of of.tensors) {
    const names = ["name", "dtype", "shape", "nbytes", "cid", "vid", "identity"];
    demand(isObject(tensor) && hasExactly(tensor, "derived" in tensor ? [...names, "derived"] : names), "a tensor's fields");
    demand(isText(tensor.name) && isText(tensor.dtype) && Object.hasOwn(DTYPES, tensor.dtype) && typeof tensor.identity === "boolean", "a tensor");
    demand(Array.isArray(tensor.shape) && tensor.shape.length <= 64 && tensor.shape.every(isNatural) && isNatural(tensor.nbytes), "a shape");
    const [, bits, float] = DTYPES[tensor.dtype];
    const count = tensor.shape.reduce((product, n) => product * BigInt(n), 1n);
    demand(count * BigInt(bits) === BigInt(tensor.nbytes) * 8n, "a tensor's size");
    demand(!tensor.identity || (float && count >= 16n), "a tensor's identity");
    if (float) params += count;
    const cid = exactDigest(tensor.cid);
    const vid = tensor.vid === null ? null : exactDigest(tensor.vid);
    demand((vid !== null) === (deep && tensor.identity), "a tensor's value-multiset id");
    if ("derived" in tensor) {
      const derived = tensor.derived;
      demand(Array.isArray(derived) && derived.length && tensor.dtype === "F32" && vid !== null, "a tensor's casts");
      derived.forEach((cast) => {
        demand(hasExactly(cast, ["dtype", "cid", "vid"]), "a tensor's casts");
        exactDigest(cast.cid);
        exactDigest(cast.vid);
      });
      demand(["F16", "BF16", "F16,BF16"].includes(derived.map((cast) => cast.dtype).join()), "a tensor's casts");
    }
    if (tensor.identity) carriers.push({ name: utf8(tensor.name.normalize("NFC")), cid, vid });
  }
  demand(carriers.length && params <= MAX_SAFE, "no tensor carries identity");
  carriers.sort((a, b) => compareBytes(a.name, b.name) || compareBytes(a.cid, b.cid));
  const contentRoot = setRoot(0x20, carriers.map((of) => of.cid));
  const vmdRoot = deep ? setRoot(0x21, carriers.map((of) => of.vid)) : null;
  const namedRoot = merkleRoot(
    sha256,
    carriers.map((of) => leafHash(sha256, join(Uint8Array.of(0x22), littleEndian(of.name.length, 4), of.name, of.cid))),
  );
  demand(
    of.content_root === hex0x(contentRoot) && of.named_root === hex0x(namedRoot) &&
      of.vmd_root === (deep ? hex0x(vmdRoot) : null) && BigInt(isWhole(of.n_params) ? of.n_params : -1) === params,
    "the fingerprint's roots are not those of its tensors",
  );
  const id = deep && sha256(join(Uint8Array.of(0x2f), contentRoot, vmdRoot, namedRoot, littleEndian(params, 8)));
  return { contentRoot, id, cids: carriers.map((of) => hex0x(of.cid)), count: of.tensors.length };
}

// (8) The claim's model id is the bundle's, for this chain and registry; the manifest has the
// claimed hash; the tensors listed lead to the claimed root (and, at level deep, to the
// fingerprint digest); single tensor proofs verify.
function stepClaim(c) {
  const claim = readClaim(c);
  demand(same(claim.modelId, c.bundle.model), `the claim is that of model ${hex0x(claim.modelId)}, not ${hex0x(c.bundle.model)}`);
  demand(
    claim.chainId === c.bundle.chainId && same(claim.registry, c.contract("ModelRegistry").address),
    "the claim is for another chain or registry",
  );
  const manifest = c.json("manifest.json");
  checkManifest(manifest);
  demand(same(hashJson("modeldeed/manifest/1", manifest), claim.manifestHash), "the manifest is not the one claimed");
  let said = `the claim is that of model ${hex0x(c.bundle.model)}, titled ${inQuotes(manifest.title)}`;
  const known = new Set();
  if (c.has("fingerprint.json")) {
    const of = readFingerprint(c.json("fingerprint.json"));
    demand(same(of.contentRoot, claim.artifactRoot), "the tensors listed are not the ones claimed");
    demand(!of.id || same(of.id, claim.fingerprintDigest), "the deep fingerprint is not the one claimed");
    of.cids.forEach((cid) => known.add(cid));
    said += `; its ${of.count} tensors are listed and lead to the claimed root`;
  }
  const proven = c.folder("tensors");
  for (const name of proven) {
    const of = c.json(`tensors/${name}`);
    demand(hasExactly(of, ["cid", "index", "size", "path"]) && isWhole(of.index) && isWhole(of.size), "a tensor proof is malformed");
    const [cid, path] = [exactDigest(of.cid), exactDigests(of.path, 64)];
    demand(name === `${hex(cid)}.json`, `tensors/${name} is of another tensor`);
    checkInclusion(sha256, leafHash(sha256, join(Uint8Array.of(0x20), cid)), of.index, of.size, path, claim.artifactRoot);
    known.add(hex0x(cid));
  }
  if (proven.length) said += `; ${proven.length} tensors are proved to be among its tensors`;
  Object.assign(c, { claim, named: manifest.title, tensorIds: known });
  return said;
}

/* ---------------------------------------------------------------- steps 9 and 10: title ------- */
// Slots as docs/spec/storage-layout.md has them; words are read from their low bits up.
const mappingSlot = (base, key) => keccak256(join(word(key), isBytes(base) ? base : bytesOf(base, 32)));
const bits = (value, offset, width) => (big(value) >> BigInt(offset)) & ((1n << BigInt(width)) - 1n);
const addressIn = (value) => value.subarray(12);
const MODEL_STATUS = ["none", "active", "withdrawn", "compromised"];
const PERPETUAL = (1n << 40n) - 1n;
const isZero = (value) => value.every((byte) => byte === 0);

// (9) The title word names a holder and a status; the transfer word gives the number of transfers;
// a parent is confirmed if the word for it is not zero.
function stepTitle(c) {
  const model = c.opened.modelId;
  const held = c.word("ModelRegistry", mappingSlot(0, model), "the title");
  const moved = c.word("ModelRegistry", mappingSlot(1, model), "the title's transfers");
  const title = {
    licensor: addressText(addressIn(held)),
    registeredAt: bits(held, 160, 40),
    committedAt: bits(held, 200, 40),
    status: Number(bits(held, 240, 8)),
    committed: bits(held, 248, 8) % 2n === 1n,
  };
  demand(title.status !== 0 && !isZero(addressIn(held)), "the proved state knows no such model");
  demand(title.status < MODEL_STATUS.length, "the proved state gives the model an unknown status");
  const confirmed = c.opened.parents.filter(
    (parent) => !isZero(c.word("ModelRegistry", mappingSlot(mappingSlot(6, model), parent), "a parent")),
  );
  Object.assign(c, { title, confirmed: confirmed.map(hex0x), sequence: bits(moved, 160, 64) });
  return `held by ${title.licensor}, ${MODEL_STATUS[title.status]}, moved ${c.sequence} times`;
}

// (10) Exactly one registration, of this claim, at its block's time; transfers numbered 1 … n from
// holder to holder, n and the last holder being those of step 9; commitment time and status as
// events leave them.
function stepHistory(c) {
  const claim = c.opened;
  const title = c.held;
  const mine = c.events.filter((event) => event.args.modelId === hex0x(claim.modelId));
  const named = (name) => mine.filter((event) => event.name === name);
  const [registration, ...others] = named("ModelRegistered");
  demand(registration && !others.length, "the bundle lacks the model's registration");
  const { args } = registration;
  demand(
    args.licensor === addressText(claim.licensor) && args.artifactRoot === hex0x(claim.artifactRoot) &&
      args.fingerprintDigest === hex0x(claim.fingerprintDigest) && args.watermarkCommitment === hex0x(claim.watermark) &&
      args.manifestHash === hex0x(claim.manifestHash),
    "the registration shown is of another claim",
  );
  demand(args.registeredAt === registration.time, "the registration's time is not its block's");
  let holder = addressText(claim.licensor);
  const transfers = named("TitleTransferred");
  transfers.forEach((event, i) => {
    demand(
      event.args.sequence === BigInt(i + 1) && event.args.from === holder,
      `the title's transfers do not follow each other: number ${i + 1} is missing`,
    );
    holder = event.args.to;
  });
  demand(
    BigInt(transfers.length) === c.sequence && holder === title.licensor,
    `the title moved ${c.sequence} times, ending with ${title.licensor}, but the bundle shows ${transfers.length} transfers, ending with ${holder}`,
  );
  const lowered = named("CommitmentProven");
  const committedAt = (lowered.at(-1) ?? registration).args.committedAt;
  const status = named("ModelStatusSet").at(-1)?.args.status ?? 1n;
  demand(
    registration.time === title.registeredAt && committedAt === title.committedAt && status === BigInt(title.status),
    "the events shown do not lead to the title's registration time, commitment time and status in the proven state",
  );
  c.history = { registration, transfers, lowered };
  return (
    `registered by ${addressText(claim.licensor)} in block ${registration.block}` +
    transfers.map((event) => `, to ${event.args.to} in block ${event.block}`).join("")
  );
}

/* ---------------------------------------------------------------- step 11: commitment --------- */
function readInclusion(of) {
  demand(hasExactly(of, ["root", "index", "size", "path"]) && isWhole(of.index) && isWhole(of.size), "an inclusion proof is malformed");
  return { root: exactDigest(of.root), index: of.index, size: of.size, path: exactDigests(of.path, 65) };
}

// (11) If the title says committed: the leaf is included in the root; the root's stamp is the
// title's commitment time and that of the anchoring event's block, which is earlier than the block
// that used it.
function stepCommitment(c) {
  const [title, claim, history] = [c.held, c.opened, c.told];
  if (!title.committed) {
    demand(title.committedAt === title.registeredAt, "an uncommitted title has a commitment's time");
    return "the model was registered without an earlier commitment; nothing rests on one";
  }
  if (!c.has("commitment.json")) throw new NotChecked("the bundle lacks the inclusion proof of the commitment");
  const proof = readInclusion(c.json("commitment.json"));
  const leaf = leafHash(keccak256, join(ascii("modeldeed/commit/1"), claim.modelId));
  checkInclusion(keccak256, leaf, proof.index, proof.size, proof.path, proof.root);
  const stamp = bits(c.word("Anchors", mappingSlot(0, proof.root), "the commitment's time"), 0, 40);
  demand(stamp !== 0n && stamp === title.committedAt, "the commitment's root is not anchored at the time the title gives");
  const anchored = c.eventsNamed("RootAnchored").filter((event) => event.args.root === hex0x(proof.root));
  demand(anchored.length === 1 && anchored[0].time === stamp, "the bundle lacks the anchoring of the commitment");
  const used = history.lowered.at(-1) ?? history.registration;
  demand(anchored[0].block < used.block, "the commitment was not anchored in an earlier block");
  c.commitment = anchored[0];
  return `anchored in block ${anchored[0].block}, before it was used`;
}

/* ---------------------------------------------------------------- step 12: sealing ------------ */
const RECORD_DIGESTS = ["model_id", "root", "content_tree_root", "commit", "variant_root", "code_commit"];
const RECORD_FIELDS = ["format", "epoch", "broker_set", "suite", ...RECORD_DIGESTS];

// A sealing record (docs/spec/sealing-record.md) as its hash.
function recordHash(of) {
  demand(hasExactly(of, RECORD_FIELDS) && of.format === "modeldeed/sealing/1", "a sealing record has other fields");
  RECORD_DIGESTS.forEach((name) => exactDigest(of[name]));
  demand([of.epoch, of.broker_set, of.suite].every(isNatural) && of.epoch >= 1, "a sealing record's numbers");
  return hex0x(hashJson("modeldeed/sealing/1", of));
}

// (12) Epochs rise; the last event's epoch and hash are those in state; records opened hash to
// what was lodged.
function stepSealing(c) {
  const model = c.opened.modelId;
  const epoch = big(c.word("ModelRegistry", mappingSlot(2, model), "the sealing epoch"));
  let hash = hex0x(new Uint8Array(32));
  if (epoch)
    hash = hex0x(c.word("ModelRegistry", mappingSlot(mappingSlot(3, model), bytesOf(epoch, 32)), "the sealing's hash"));
  const lodged = c.eventsNamed("RecordLodged").filter((event) => event.args.modelId === hex0x(model) && event.args.kind === 1n);
  demand(lodged.every((event, i) => !i || lodged[i - 1].args.epoch < event.args.epoch), "the sealings' epochs do not rise");
  const last = lodged.at(-1)?.args ?? { epoch: 0n, recordHash: hex0x(new Uint8Array(32)) };
  demand(
    last.epoch === epoch && last.recordHash === hash,
    `the proven state has sealing epoch ${epoch}, the events shown end with ${last.epoch}`,
  );
  c.sealed = lodged;
  const records = c.has("sealing.json") ? c.json("sealing.json") : [];
  demand(Array.isArray(records), "sealing.json is a list of sealing records");
  for (const record of records) {
    const found = recordHash(record);
    const event = lodged.find((of) => of.args.epoch === BigInt(record.epoch));
    demand(
      record.model_id === hex0x(model) && event?.args.recordHash === found,
      `sealing record ${record.epoch} was not lodged so`,
    );
  }
  if (!epoch) return "no sealing was lodged for this model";
  return `epoch ${epoch} is the latest of ${lodged.length}; ${records.length} records are opened here`;
}

/* ---------------------------------------------------------------- step 14: rivals ------------- */
// (14) Other registrations shown are of the same tensors; they are listed in the order of their
// commitment times.
function stepRivals(c) {
  const claim = c.opened;
  const rivals = c.eventsNamed("ModelRegistered").filter((event) => event.args.modelId !== hex0x(claim.modelId));
  demand(
    rivals.every((event) => event.args.artifactRoot === hex0x(claim.artifactRoot)),
    "a registration of other tensors is shown as a rival",
  );
  c.rivals = rivals.sort((a, b) => (a.args.committedAt < b.args.committedAt ? -1 : a.args.committedAt > b.args.committedAt ? 1 : 0));
  if (!rivals.length) return "the bundle shows no other registration of the same tensors";
  return `${rivals.length} other registrations of the same tensors are shown`;
}
