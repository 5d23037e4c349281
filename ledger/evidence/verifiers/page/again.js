/* ---------------------------------------------------------------- with the suspect at hand ---- */
// What a bundle's findings say of a file, from that file (docs/spec/match.md, after step 16). It is
// read slice by slice: a model does not fit into memory.
const SUSPECT_PIECE = 1 << 20;
const MAX_HEADER = 100000000;
const NO_SAFETENSORS = "this page reads safetensors alone, and this is none";

// `file` has a size and `read(begin, end)`, a promise of these bytes. `proven`: step 16 passed.
// `progress(done, size)` is told of bytes that were read. Never throws but where reading does.
async function withSuspect(bytes, file, proven, progress = () => {}) {
  const checks = [];
  const note = (title, result, detail) => checks.push({ number: checks.length + 1, title, result, detail });
  const examined = "it is the file that was examined";
  let members;
  let found;
  try {
    members = new Map(readArchive(bytes).map(({ name, content }) => [name, content]));
    demand(members.has(MATCH), "the bundle carries no findings");
    found = readMatch(canonicalIn(members, MATCH));
  } catch (error) {
    if (!(error instanceof Failed || error instanceof Refused)) throw error;
    note(examined, "not checked", error.message);
    return checks;
  }
  const hashed = await sha256OfFile(file, progress);
  const alike = file.size === found.suspect.size && hashed === found.suspect.sha256;
  if (!alike) {
    const { size, sha256: was } = found.suspect;
    note(examined, "fail", `it is another: ${hashed} (${file.size} bytes); examined was ${was} (${size} bytes)`);
    return checks;
  }
  note(examined, "pass", hashed);
  const title = "it holds the shared tensors";
  try {
    note(title, "pass", await sharedAgain(proven ? members : new Map(), found, file, progress));
  } catch (error) {
    if (error instanceof NotChecked) note(title, "not checked", error.message);
    else if (error instanceof Failed) note(title, "fail", error.message);
    else throw error;
  }
  const whyNot = "this page compares no weights: deed evidence verify --suspect FILE --ours MODEL";
  note("the rows of units are as listed", "not checked", whyNot);
  return checks;
}

function canonicalIn(members, name) {
  const document = parseJson(members.get(name), name);
  demand(same(canonical(document), members.get(name)), `${name} is not in canonical form`);
  return document;
}

async function sha256OfFile(file, progress) {
  const running = new RunningSha256();
  for (let at = 0; at < file.size; at += SUSPECT_PIECE) {
    running.update(await file.read(at, Math.min(file.size, at + SUSPECT_PIECE)));
    progress(Math.min(file.size, at + SUSPECT_PIECE), file.size);
  }
  return hex0x(running.digest());
}

// Looks for shared tensors by content ids alone: equal ones, and casts of ours.
async function sharedAgain(members, found, file, progress) {
  if (!members.has("fingerprint.json"))
    throw new NotChecked("the list of our tensors is not in the bundle, or step 16 did not pass");
  const ours = canonicalIn(members, "fingerprint.json");
  const against = found.comparisons.find((one) => one.ours.artifact_root === ours.content_root && one.tensors !== null);
  if (!against) throw new NotChecked("none were listed");
  const { shared, content_root: root } = against.tensors;
  const theirs = await contentIds(file, progress);
  const made = hex0x(setRoot(0x20, theirs.learnt));
  demand(root === made, `its content root is ${made}`);
  const held = new Set(theirs.all.map(hex0x));
  const casts = new Map(ours.tensors.map((of) => [of.cid, (of.derived ?? []).map((one) => one.cid)]));
  let left = 0;
  for (const of of shared) {
    if (of.relation === "identity") demand(held.has(of.cid), `${of.cid.slice(0, 18)}… is not in it`);
    else if (of.relation !== "cast" || !(casts.get(of.cid) ?? []).some((cid) => held.has(cid))) left++;
  }
  if (left)
    throw new NotChecked(
      `${shared.length - left} of ${shared.length} are found again; the others need values rounded or sorted, which ` +
        "deed evidence verify --suspect does",
    );
  return `${shared.length} are found again`;
}

// The content ids of a safetensors file: of tensors with identity, and of all.
async function contentIds(file, progress) {
  const none = () => new NotChecked(NO_SAFETENSORS);
  const size = Number(big((await file.read(0, Math.min(8, file.size))).slice().reverse()));
  if (size < 2 || size > Math.min(MAX_HEADER, file.size - 8)) throw none();
  const tensors = [];
  try {
    const entries = parseJson(await file.read(8, 8 + size), "the header", true);
    demand(isObject(entries), "a header is an object");
    delete entries.__metadata__;
    let room = file.size - 8 - size;
    for (const of of Object.values(entries)) {
      demand(isObject(of) && isText(of.dtype) && Object.hasOwn(DTYPES, of.dtype), "a tensor");
      const { shape, data_offsets: span } = of;
      demand(Array.isArray(shape) && shape.length <= 64 && shape.every(isNatural), "a shape");
      demand(Array.isArray(span) && span.length === 2 && span.every(isNatural), "a span");
      const [begin, end] = span;
      demand(begin <= end && end <= file.size - 8 - size, "a span");
      const [code, bits, floating] = DTYPES[of.dtype];
      const elements = elementsOf(of);
      demand(elements * BigInt(bits) === BigInt(end - begin) * 8n, "a size");
      room -= end - begin;
      // Each byte is hashed once, whoever made the file.
      demand(room >= 0, "tensors lie over each other");
      tensors.push({ code, bits, floating, shape, elements, begin, end });
    }
  } catch (error) {
    if (error instanceof Failed) throw none();
    throw error;
  }
  const [learnt, all] = [[], []];
  for (const { code, bits, floating, shape, elements, begin, end } of tensors) {
    const width = Math.max(1, bits >> 3);
    const leaves = [];
    let alike = true;
    let first = null;
    for (let at = begin; at < end; at += SUSPECT_PIECE) {
      const piece = await file.read(8 + size + at, 8 + size + Math.min(end, at + SUSPECT_PIECE));
      first ??= piece.slice(0, width);
      alike &&= piece.every((byte, i) => byte === first[i % width]);
      leaves.push(leafHash(sha256, piece));
      progress(8 + size + at + piece.length, file.size);
    }
    const dims = shape.map((dim) => littleEndian(dim, 8));
    const place = join(littleEndian(code, 2), Uint8Array.of(shape.length), ...dims, littleEndian(end - begin, 8));
    const cid = sha256(join(Uint8Array.of(0x10), ascii("mfp1"), place, merkleRoot(sha256, leaves)));
    all.push(cid);
    if (floating && elements >= 16n && !alike) learnt.push(cid);
  }
  return { learnt, all };
}
