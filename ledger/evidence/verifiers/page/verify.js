/* ---------------------------------------------------------------- all steps, and the verdict -- */
const STEPS = [
  ["form", stepForm],
  ["contents", stepContents],
  ["headers", stepHeaders],
  ["trust", stepTrust],
  ["contracts", stepContracts],
  ["storage", stepStorage],
  ["events", stepEvents],
  ["claim", stepClaim],
  ["title", stepTitle],
  ["history", stepHistory],
  ["commitment", stepCommitment],
  ["sealing", stepSealing],
  ["licenses", stepLicenses],
  ["rivals", stepRivals],
  ["releases", stepReleases],
  ["match", stepMatch],
  ["timestamps", stepTimestamps],
  ["custody", stepCustody],
  ["report", stepReport],
  ["copies", stepCopies],
];
const TRUST_STEP = 4;

// What the reader brings, in the form that the steps use. `tsaRoots` are certificates in DER, or
// the 32 bytes (or 64 digits) of their SHA-256. Throws Failed for what cannot be used.
function readTrust({ blocks = [], contracts = {}, tsaRoots = [], collectors = [] } = {}) {
  const rootDigest = (of) => (isText(of) ? digestOf(of) : of.length === 32 ? of : sha256(of));
  return {
    blocks: new Set(blocks.map((text) => hex(blockHash(text)))),
    contracts: new Map(Object.entries(contracts).map(([name, text]) => [name, addressOf(text)])),
    tsaRoots: new Set(tsaRoots.map((of) => hex(rootDigest(of)))),
    collectors: new Set(collectors.map((text) => hex(addressOf(text)))),
  };
}

// A digest by itself; of several, the one that is malformed is named.
function blockHash(text) {
  demand(/^(?:0x)?[0-9a-fA-F]{64}$/.test(text), `${cut(text)} is no block hash: one is 0x and 64 digits of 0-9 and a-f`);
  return digestOf(text);
}
const cut = (text) => (text.length > 80 ? `${text.slice(0, 80)}…` : text);

function trustedLines(trust, assumed) {
  const given = [
    ...[...trust.blocks].sort().map((hash) => `block 0x${hash}`),
    ...[...trust.contracts].map(([name, at]) => `${name} at ${addressText(at)}`),
    ...[...trust.tsaRoots].sort().map((digest) => `root certificate 0x${digest}`),
    ...[...trust.collectors].sort().map((of) => `collector ${addressText(unhex(of))}`),
  ];
  const lines = [`Trusted from outside: ${given.join(", ") || "nothing yet"}.`];
  const taken = assumed.map((of) => `block ${of.block} ${of.hash}`).join(", ");
  if (taken) lines.push(`Taken from the bundle, not from elsewhere: ${taken}.`);
  return lines;
}

// How a step ended. Whatever hostile bytes make of this script beyond that is a failed step too.
function outcomeOf(make) {
  try {
    return { result: "pass", needed: true, detail: make() };
  } catch (error) {
    if (error instanceof NotChecked) return { result: "not checked", needed: error.needed, detail: error.message };
    if (error instanceof Failed || error instanceof Refused)
      return { result: "fail", needed: true, detail: error.message, code: error.code };
    return { result: "fail", needed: true, detail: `it could not be made: ${error?.message ?? error}` };
  }
}

function verdictOf(steps, assumed, chainId) {
  const named = (list) => list.map((step) => `${step.number} (${step.name})`).join(", ");
  const failed = steps.filter((step) => step.result === "fail");
  const left = steps.filter((step) => step.result === "not checked" && step.needed);
  if (failed.length) return ["does not hold", `does not hold: step ${named(failed)} failed`];
  if (!left.length) return ["verified", "verified"];
  if (left.length > 1 || left[0].number !== TRUST_STEP)
    return ["not verified", `not verified: step ${named(left)} could not be checked`];
  const blocks = assumed.map((of) => `block ${of.block} ${of.hash}`).join(" and ");
  const belong = assumed.length === 1 ? "belongs" : "belong";
  return ["holds, given the blocks it rests on", `holds, given that ${blocks} ${belong} to chain ${chainId}`];
}

// A macrotask between the steps, so that a page stays alive.
const breathe = () => new Promise((resolve) => setTimeout(resolve, 0));

// All steps over the bytes of a bundle. `trust` is what the reader knows from elsewhere (see
// readTrust); `progress(number, name)` is told of each step before it is made. Never throws.
async function verifyBundle(bytes, trust = {}, progress = () => {}) {
  const refused = { first: null, steps: [], trusted: [], report: null, statement: null, index: null, assumed: [] };
  let known = null;
  const given = outcomeOf(() => (known = readTrust(trust)) && "");
  if (known === null) return { ...refused, verdict: "not used", sentence: `not used: ${given.detail}`, testNetwork: false };
  let c = null;
  const steps = [];
  for (const [i, [name, step]] of STEPS.entries()) {
    progress(i + 1, name);
    await breathe();
    c?.inputs.clear();
    const made = outcomeOf(() => {
      // The first step reads the file; without its form there are no others.
      if (c === null) c = new Case(readIndex(readArchive(bytes)), known);
      return step(c);
    });
    steps.push({ number: i + 1, name, ...made, inputs: [...(c?.inputs ?? [])] });
    if (c === null) break;
  }
  const assumed = c === null ? [] : unvouched(c).map((top) => ({ block: top.number, hash: hex0x(top.hash) }));
  const [verdict, sentence] = verdictOf(steps, assumed, c?.bundle.chainId);
  const holds = verdict === STEPS_HOLD[0] || verdict === STEPS_HOLD[1];
  const statement = holds ? statementOf(c) : null;
  return {
    verdict,
    sentence,
    first: steps.find((step) => step.result === "fail")?.number ?? null,
    steps,
    trusted: trustedLines(known, assumed),
    assumed,
    statement,
    report: holds ? renderReport(statement) : null,
    testNetwork: c !== null && TABLES.TEST_NETWORKS.includes(c.bundle.chainId),
    index: c === null ? null : c.bundle.document,
  };
}
const STEPS_HOLD = ["verified", "holds, given the blocks it rests on"];
