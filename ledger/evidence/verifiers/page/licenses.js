/* ---------------------------------------------------------------- step 13: licenses ----------- */
const plus = (slot, n) => bytesOf((big(slot) + n) % (1n << 256n), 32);
const planSlot = (plan, at = 0n) => plus(mappingSlot(1, bytesOf(plan, 32)), at);

// Where the ledger's ERC-721 base keeps holder and license word: 2·id + keccak(B).
function ownerSlot(id) {
  const token = bytesOf(id, 32);
  return bytesOf((2n * id + big(keccak256(join(token.subarray(0, 28), unhex("7d882553"))))) % (1n << 256n), 32);
}

function readLicense(c, text, acts) {
  const id = licenseOf(text);
  const name = licenseText(id);
  demand(text === name, `licenses.json: ${name} is written in another way`);
  const get = (slot, what) => c.word("LicenseLedger", slot, `${what} of license ${name}`);
  const held = get(ownerSlot(id), "the word");
  demand(!isZero(addressIn(held)), `there is no license ${name} in this state`);
  const flags = bits(held, 160, 8);
  const of = {
    id,
    name,
    holder: addressText(addressIn(held)),
    status: Number(bits(held, 168, 8)),
    seatsUsed: bits(held, 176, 16),
    notAfter: bits(held, 216, 40),
    suspended: (flags & 64n) !== 0n,
    hasExt: (flags & 1n) !== 0n,
  };
  const ext = of.hasExt ? get(mappingSlot(3, bytesOf(id, 32)), "the second word") : new Uint8Array(32);
  of.notBefore = bits(ext, 0, 40);
  const plan = id >> 32n;
  demand(same(get(planSlot(plan, 5n), "the model"), c.opened.modelId), `license ${name} is for another model`);
  of.planLicensor = addressText(addressIn(get(planSlot(plan), "the plan")));
  of.termsHash = hex0x(get(planSlot(plan, 6n), "the terms"));
  of.events = replayLicense(acts, of);
  return of;
}

// Issue, transfers, renewals, suspensions and revocation lead to the word in state.
function replayLicense(acts, of) {
  const mine = acts.get(of.id) ?? [];
  demand(mine.some((event) => event.name === "LicenseIssued"), `the bundle lacks the issue of license ${of.name}`);
  let [holder, notAfter, status, suspended] = [addressText(new Uint8Array(20)), 0n, 0, false];
  for (const { name, args } of mine) {
    if (name === "LicenseIssued") [notAfter, status] = [args.notAfter, 1];
    if (name === "Transfer") holder = args.to;
    if (name === "LicenseRenewed") notAfter = args.notAfter;
    if (name === "LicenseSuspended") suspended = true;
    if (name === "LicenseReinstated") suspended = false;
    if (name === "LicenseRevoked") [notAfter, status] = [args.effectiveAt, 3];
  }
  if (suspended && status === 1) status = 2;
  demand(
    holder === of.holder && notAfter === of.notAfter && status === of.status && suspended === of.suspended,
    `the events shown do not lead to how license ${of.name} stands`,
  );
  return mine.filter((event) => event.name !== "Transfer");
}

function standing(of, at) {
  const revoked = of.status === 3;
  if (at >= of.notAfter) return revoked ? "revoked" : "expired";
  if (of.suspended) return "suspended";
  if (of.hasExt && at < of.notBefore) return "not yet valid";
  return revoked ? "revoked, with notice running" : "valid";
}

const within = (value, low, high = Number.MAX_SAFE_INTEGER) => isWhole(value) && low <= value && value <= high;
const textUpTo = (value, limit) => isText(value) && length(value) <= limit;
const only = (document, names) => isObject(document) && Object.keys(document).every((name) => names.includes(name));
const given = (value) => value !== undefined && value !== null;

// docs/spec/terms.md: the hash of a terms document that keeps every rule.
function termsHash(of) {
  const names = ["type", "version", "title", "licensor", "text", "territory", "purposes", "fields", "evidence", "export",
    "not_before", "not_after", "windows"];
  demand(only(of, names) && of.type === "modeldeed/terms" && of.version === 1, "the document is not terms");
  const limit = 256 * 1024;
  const data = canonical(of);
  demand(data.length <= limit, "the terms document is too long");
  demand(textUpTo(of.title, 200) && strip(of.title) && textUpTo(of.licensor, 200) && textUpTo(of.text, limit), "the terms' texts");
  const sorted = (list) => list.every((item, i) => !i || compareText(list[i - 1], item) < 0);
  const words = (list, shape) => {
    demand(Array.isArray(list) && list.length <= 256 && list.every((item) => textUpTo(item, 4096)), "a list of the terms");
    if (list.length === 1 && list[0] === "any") return;
    demand(list.length && list.every((item) => shape.test(item) && item !== "any") && sorted(list), "a list of the terms");
  };
  words(of.territory, /^[A-Z]{2}$/);
  words(of.purposes, /^[a-z0-9][a-z0-9-]{0,63}$/);
  words(of.fields, /^[a-z0-9][a-z0-9-]{0,63}$/);
  demand(["software", "tee", "software,tee"].includes(Array.isArray(of.evidence) ? of.evidence.join() : "-") &&
    of.evidence.every((item) => item === "software" || item === "tee"), "the terms' evidence");
  demand(typeof of.export === "boolean", "the terms' export");
  const moment = (value) => {
    if (!given(value)) return null;
    demand(isText(value) && /^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$/.test(value), "a time of the terms");
    const at = Date.parse(value);
    demand(Number.isFinite(at) && value >= "0001" && new Date(at).toISOString() === value.replace("Z", ".000Z"), "a time of the terms");
    return at;
  };
  const [begin, end] = [moment(of.not_before), moment(of.not_after)];
  demand(begin === null || end === null || begin < end, "the terms' times");
  if (given(of.windows)) {
    demand(Array.isArray(of.windows) && of.windows.length >= 1 && of.windows.length <= 32, "the terms' windows");
    const days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    for (const window of of.windows) {
      demand(only(window, ["days", "from", "to"]) && Array.isArray(window.days) && window.days.length, "a window");
      demand(days.filter((day) => window.days.includes(day)).join() === window.days.join() && window.days.every(isText), "a window's days");
      const clock = /^(?:[01][0-9]|2[0-3]):[0-5][0-9]$/;
      demand(isText(window.from) && clock.test(window.from) && isText(window.to), "a window's hours");
      demand((window.to === "24:00" || clock.test(window.to)) && window.from < window.to, "a window's hours");
    }
  }
  return hex0x(taggedHash("modeldeed/terms/1", data));
}

// docs/spec/license-card.md: every rule, and that the licensor named signed it.
function checkCard(c, name, found) {
  const of = c.json(`cards/${name}`);
  const bad = "the document is not a license card";
  demand(hasExactly(of, ["type", "version", "chain", "license", "model", "licensor", "sealing", "terms", "brokers", "files", "signature"]), bad);
  demand(of.type === "modeldeed/license-card" && of.version === 1, bad);
  demand(hasExactly(of.chain, ["id", "ledger", "registry", "brokers"]) && within(of.chain.id, 1), bad);
  demand(hasExactly(of.sealing, ["hash", "record"]) && isObject(of.sealing.record), bad);
  demand(hasExactly(of.terms, ["hash", "document"]) && (of.terms.document === null || isObject(of.terms.document)), bad);
  const [ledger, registry] = [exactAddress(of.chain.ledger), exactAddress(of.chain.registry)];
  exactAddress(of.chain.brokers);
  demand(isText(of.license) && of.license.length <= 24 && licenseText(licenseOf(of.license)) === of.license, bad);
  const id = licenseOf(of.license);
  const [model, licensor, signature] = [exactDigest(of.model), exactAddress(of.licensor), exactData(of.signature, 65)];
  const [sealingHash, signedTerms] = [exactDigest(of.sealing.hash), exactDigest(of.terms.hash)];
  const { brokers } = of;
  demand(hasExactly(brokers, ["set", "threshold", "members"]) && Array.isArray(brokers.members), bad);
  demand(brokers.members.length >= 1 && brokers.members.length <= 64, bad);
  brokers.members.forEach((member, i) => {
    demand(hasExactly(member, ["id", "signing_key_hash", "kem_key_hash", "urls"]) && within(member.id, 1), bad);
    exactDigest(member.signing_key_hash);
    exactDigest(member.kem_key_hash);
    demand(Array.isArray(member.urls) && member.urls.length <= 16 && member.urls.every((url) => textUpTo(url, 4096)), bad);
    demand(!i || brokers.members[i - 1].id < member.id, "the card's brokers must be listed once each, by rising id");
  });
  demand(within(brokers.threshold, 1, brokers.members.length) && within(brokers.set, 1), bad);
  demand(Array.isArray(of.files) && of.files.length <= 64, bad);
  for (const file of of.files) {
    demand(hasExactly(file, ["url", "size", "root"]) && textUpTo(file.url, 4096) && within(file.size, 96), bad);
    exactDigest(file.root);
  }
  demand(
    of.terms.document === null || termsHash(of.terms.document) === of.terms.hash,
    "the card's terms are not those it is signed for",
  );
  const brokersHash = hashJson("modeldeed/card-brokers/1", {
    set: brokers.set,
    threshold: brokers.threshold,
    members: brokers.members.map(({ id: number, signing_key_hash, kem_key_hash }) => ({ id: number, signing_key_hash, kem_key_hash })),
  });
  const type = "LicenseCard(uint256 licenseId,bytes32 modelId,bytes32 sealingRecordHash,bytes32 termsHash,bytes32 brokersHash)";
  const struct = keccak256(join(keccak256(ascii(type)), bytesOf(id, 32), model, sealingHash, signedTerms, brokersHash));
  const domain = domainSeparator(SIGNING_NAMES.LicenseLedger, of.chain.id, ledger);
  const signer = recover(keccak256(join(Uint8Array.of(0x19, 0x01), domain, struct)), signature);
  demand(same(signer, licensor), `the card is signed by ${addressText(signer)}, not by the licensor ${of.licensor}`);
  const about = found.get(of.license);
  demand(about && name === `${of.license}.json`, `cards/${name} is for a license not shown here`);
  demand(
    of.chain.id === c.bundle.chainId && same(ledger, c.contract("LicenseLedger").address) &&
      same(registry, c.contract("ModelRegistry").address) && same(model, c.bundle.model) && of.terms.hash === about.termsHash,
    `cards/${name} is for another chain, model or terms`,
  );
  const holders = [addressText(c.opened.licensor), ...c.told.transfers.map((event) => event.args.to)];
  demand(holders.includes(of.licensor), `cards/${name} is signed by someone who never had title`);
  const lodged = c.sealed.map((event) => event.args.recordHash);
  demand(
    recordHash(of.sealing.record) === of.sealing.hash && lodged.includes(of.sealing.hash),
    `cards/${name} names a sealing that was not lodged`,
  );
}

// (13) For each: a holder; the plan is for this model; its events replay to the word in state;
// cards and terms, where carried, are the licensor's, and for this license.
function stepLicenses(c) {
  // The one license that evidence of a license, or of a release, is about.
  const alone = { license: () => c.bundle.about, release: () => c.bundle.about.license }[c.bundle.kind]?.() ?? null;
  const [cards, terms] = [c.folder("cards"), c.folder("terms")];
  const left = (folder) => c.bundle.withheld.filter((name) => name.startsWith(folder)).map((name) => name.slice(folder.length));
  const [allCards, allTerms] = [[...cards, ...left("cards/")], [...terms, ...left("terms/")]];
  if (!c.has("licenses.json")) {
    demand(!allCards.length && !allTerms.length, "the bundle has cards or terms of licenses it does not list");
    throw new NotChecked("the bundle speaks of no license", alone !== null);
  }
  const listed = c.json("licenses.json");
  demand(Array.isArray(listed) && listed.length > 0 && listed.length <= 10000, "licenses.json is a list of licenses");
  const only_ = alone === null || (listed.length === 1 && listed[0] === alone);
  demand(only_, "the bundle is about another license than it lists");
  // Once through all events, and not once for each license.
  const acts = new Map();
  for (const event of c.events) {
    const id = event.args.licenseId ?? event.args.id;
    if (event.contract !== "LicenseLedger" || id === undefined) continue;
    if (!acts.has(id)) acts.set(id, []);
    acts.get(id).push(event);
  }
  const each = listed.map((text) => readLicense(c, text, acts));
  const found = new Map(each.map((of) => [of.name, of]));
  demand(found.size === listed.length, "licenses.json names a license twice");
  // By their names, so that those withheld are held against the list too.
  const shown = new Set(each.map((of) => `${of.name}.json`));
  const used = new Set(each.map((of) => `${of.termsHash.slice(2)}.json`));
  for (const name of allCards) demand(shown.has(name), `cards/${name} is for a license not shown here`);
  for (const name of allTerms) demand(used.has(name), `terms/${name} are not the terms of any license here`);
  for (const name of cards) checkCard(c, name, found);
  for (const name of terms) {
    const right = name === `${termsHash(c.json(`terms/${name}`)).slice(2)}.json`;
    demand(right, `terms/${name} are not the terms of any license here`);
  }
  c.licenses = each;
  return each.map((of) => `license ${of.name} of ${of.holder}: ${standing(of, c.state.time)}`).join("; ");
}
