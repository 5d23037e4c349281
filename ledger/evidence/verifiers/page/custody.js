/* ---------------------------------------------------------------- step 18: custody ------------ */
const CUSTODY = "custody.json";
const CUSTODY_TEXTS = { time: 20, actor: 200, action: 40, note: 2000, software: 80 };
const CUSTODY_FIELDS = [...Object.keys(CUSTODY_TEXTS), "sequence", "previous", "contents", "hash"];
// The actor of an entry whose writer gave no name.
const UNNAMED = "not named";
const COPIES = [...PRINTED, ...VERIFIERS];

// One entry, which must follow `previous` and speak of `contents`; its hash, and who signed it.
function readEntry(entry, number, previous, contents) {
  const said = `custody entry ${number}`;
  demand(isObject(entry) && CUSTODY_FIELDS.every((name) => name in entry), `${said} has other fields`);
  const known = [...CUSTODY_FIELDS, "printed", "signer", "signature"];
  demand(only(entry, known) && "signer" in entry === "signature" in entry, `${said} has other fields`);
  for (const [name, limit] of Object.entries(CUSTODY_TEXTS)) {
    const fits = isText(entry[name]) && entry[name].length <= 2 * limit && length(entry[name]) <= limit;
    demand(fits && [...entry[name]].every(isPlain), `${said}: its ${name} is no line of ${limit} characters`);
  }
  const timed = /^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$/.test(entry.time);
  demand(timed && isWhole(entry.sequence), `${said} is malformed`);
  demand(entry.sequence === number && entry.previous === previous, `${said} does not follow the one before`);
  const body = Object.create(null);
  for (const name of Object.keys(entry)) if (name !== "hash" && name !== "signature") body[name] = entry[name];
  const hash = hashJson("modeldeed/custody/1", body);
  demand(entry.hash === hex0x(hash), `${said} was changed`);
  demand(entry.contents === contents, `${said} speaks of other evidence than this bundle's`);
  const found = { number, hash: hex0x(hash), signer: null, printed: null };
  if ("signer" in entry) {
    found.signer = exactAddress(entry.signer);
    const signature = exactData(entry.signature, 65);
    demand(signature[64] === 27 || signature[64] === 28, "a custody signature has 65 bytes, v 27 or 28");
    // EIP-191: what a wallet signs for 32 bytes.
    const message = keccak256(join(ascii("\x19Ethereum Signed Message:\n32"), hash));
    const signed = same(recover(message, signature), found.signer);
    demand(signed, `${said} is not signed by ${entry.signer}`);
  }
  if ("printed" in entry) {
    const names = isObject(entry.printed) ? Object.keys(entry.printed) : [];
    demand(names.length && names.every((name) => COPIES.includes(name)), `${said} has other fields`);
    names.forEach((name) => exactDigest(entry.printed[name]));
    found.printed = entry.printed;
  }
  return found;
}

// (18) The log is an unbroken chain about these contents, signed where it says so; every printed
// form and verifier copy is the one that the last entry to speak of them lists.
function stepCustody(c) {
  const log = c.json(CUSTODY);
  demand(Array.isArray(log) && log.length > 0 && log.length <= 10000, "a custody log is a list of entries");
  const signed = log.filter((entry) => isObject(entry) && "signer" in entry).length;
  demand(signed <= 256, "a custody log has at most 256 signed entries");
  const contents = hex0x(contentsOf(c.bundle));
  let previous = hex0x(new Uint8Array(32));
  const entries = log.map((item, i) => {
    const entry = readEntry(item, i + 1, previous, contents);
    previous = entry.hash;
    return entry;
  });
  const spoken = entries.filter((entry) => entry.printed !== null);
  const listed = spoken.at(-1)?.printed ?? {};
  for (const name of COPIES.filter((one) => c.has(one))) {
    const right = Object.hasOwn(listed, name) && listed[name] === hex0x(c.bundle.digests.get(name));
    demand(right, `${name} is not the one that the custody log lists: swapped, or added later`);
  }
  const { collectors } = c.trust;
  for (const { number, signer } of spoken) {
    const named = !collectors.size || (signer !== null && collectors.has(hex(signer)));
    demand(named, `custody entry ${number} is not signed by a collector that you named`);
  }
  const signers = [...new Set(entries.filter((of) => of.signer !== null).map((of) => addressText(of.signer)))];
  const last = log.at(-1);
  const who = last.actor === UNNAMED ? "somebody who is not named" : inQuotes(last.actor);
  return (
    `${log.length} entries, the last ${inQuotes(last.action)} by ${who} (times are claimed)` +
    (signers.length ? `; signed by ${signers.join(", ")}` : "")
  );
}
