/* ---------------------------------------------------------------- step 19: the report --------- */
// The facts that the steps before have proved, as report.json has them, and in plain text. It has
// no time of its own, and nothing of what the reader trusts: it is the same for every reader.
const when = (event) => ({ block: event.block, not_later_than: event.time, transaction: event.transaction });

// Keys that a statement has only where there is something to tell: what, and how in plain text.
const MORE_TOLD = [
  ["releases", (c) => toldReleases(c), (found) => linesReleases(found)],
  ["match", (c) => toldMatch(c), (found) => linesMatch(found)],
  ["timestamps", (c) => toldTimestamps(c), (found) => linesTimestamps(found)],
];

function tellTimes(c) {
  const known = [["this model was registered", c.told.registration]];
  if (c.commitment) known.unshift(["this claim existed: a commitment to it was anchored", c.commitment]);
  const state = { block: c.state.number, time: c.state.time, transaction: null };
  known.push(["title and licenses stood as described", state]);
  return known.map(([what, event]) => ({ what, source: `timestamp of block ${event.block}`, ...when(event) }));
}

const tellLicense = (c) => (of) => ({
  id: of.name,
  holder: of.holder,
  standing: standing(of, c.state.time),
  not_after: of.notAfter === PERPETUAL ? null : of.notAfter,
  seats_used: of.seatsUsed,
  plan_licensor: of.planLicensor,
  terms_hash: of.termsHash,
  acts: of.events.map((event) => ({ what: event.name.replace(/^License/, "").toLowerCase(), ...when(event) })),
});

function statementOf(c) {
  const [claim, title, history, { bundle }] = [c.opened, c.held, c.told, c];
  const document = {
    version: 1,
    about: bundle.kind,
    chain: {
      id: bundle.chainId,
      genesis: hex0x(bundle.genesis),
      test_network: TABLES.TEST_NETWORKS.includes(bundle.chainId),
    },
    rests_on: c.runs.map((top) => ({ block: top.number, hash: hex0x(top.hash) })),
    contracts: subjectAddresses(bundle),
    model: {
      id: hex0x(bundle.model),
      title: c.named,
      artifact_root: hex0x(claim.artifactRoot),
      fingerprint_digest: hex0x(claim.fingerprintDigest),
      watermark_commitment: hex0x(claim.watermark),
      parents: claim.parents.map((parent) => ({ id: hex0x(parent), confirmed: c.confirmed.includes(hex0x(parent)) })),
    },
    title: {
      registered_by: addressText(claim.licensor),
      held_by: title.licensor,
      status: MODEL_STATUS[title.status],
      committed: title.committed,
      transfers: history.transfers.map((event) => ({ from: event.args.from, to: event.args.to, ...when(event) })),
    },
    times: tellTimes(c),
    sealings: c.sealed.map((event) => ({
      epoch: event.args.epoch, record_hash: event.args.recordHash, by: event.args.sender, ...when(event),
    })),
    licenses: c.licenses.map(tellLicense(c)),
    rivals: c.rivals.map((event) => ({
      id: event.args.modelId,
      registered_by: event.args.licensor,
      committed_not_later_than: event.args.committedAt,
      ...when(event),
    })),
    limits: TABLES.LIMITS,
  };
  const key = KIND_KEYS[bundle.kind];
  if (key !== null) document[key] = bundle.about;
  for (const [name, tell] of MORE_TOLD) {
    const found = tell(c);
    if (found !== null) document[name] = found;
  }
  if (bundle.withheld.length) document.withheld = [...bundle.withheld].sort(compareText);
  return document;
}

function subjectAddresses(bundle) {
  const found = Object.create(null);
  for (const [name, { address }] of bundle.contracts) found[name] = addressText(address);
  return found;
}

// What report.txt must be.
function renderReport(document) {
  const { chain, model, title } = document;
  const blocks = document.rests_on.map((top) => `block ${top.block} ${top.hash}`).join(" and ");
  // Who made a root certificate, or mined a block, is nothing that a bundle can show.
  const dated = document.timestamps && (document.timestamps.tokens.length || document.timestamps.bitcoin.length);
  const rests = ["the limits", ...(dated ? ["the time-stamps"] : [])];
  if (document.match) rests.push("the findings about the suspect"); // an examiner's word, most of it
  const last = rests.length > 1 ? ` and ${rests.pop()}` : "";
  const lines = [
    `What follows is proved if ${blocks}`,
    `belongs to chain ${chain.id}. Nothing else is taken on trust but what ${rests.join(", ")}${last} name.`,
    "",
  ];
  if (chain.test_network) lines.push(`${TABLES.NO_VALUE} (chain ${chain.id}).`, "");
  lines.push(
    `Model       ${model.id}`,
    `Title       ${oneLine(model.title)}`,
    `Tensors     ${model.artifact_root} (root over their content)`,
    `Holder      ${title.held_by}, status ${title.status}`,
    `Registered  by ${title.registered_by}`,
    ...model.parents.map((parent) => `Parent      ${parent.id}${parent.confirmed ? "" : " (unconfirmed)"}`),
    "",
    "When, at the latest:",
    ...document.times.map((entry) => `  ${utc(entry.not_later_than)}  ${entry.what} (${entry.source})`),
    "",
    "Title:",
    `  registered by ${title.registered_by}`,
    ...title.transfers.map((of) => `  ${utc(of.not_later_than)}  to ${of.to} (block ${of.block})`),
  );
  if (document.sealings.length) lines.push("", "Sealed packages:");
  for (const of of document.sealings) lines.push(`  epoch ${of.epoch}: record ${of.record_hash} (block ${of.block})`);
  for (const of of document.licenses) {
    const end = of.not_after === null ? "never" : utc(of.not_after);
    lines.push("", `License ${of.id} of ${of.holder}: ${of.standing}`, `  ends ${end}, terms ${of.terms_hash}`);
    for (const act of of.acts) lines.push(`  ${utc(act.not_later_than)}  ${act.what} (block ${act.block})`);
  }
  if (document.rivals.length) lines.push("", "Other registrations of the same tensors, by time of commitment:");
  for (const of of document.rivals)
    lines.push(`  ${utc(of.committed_not_later_than)}  ${of.id} by ${of.registered_by}`);
  for (const [name, , tell] of MORE_TOLD) if (name in document) lines.push(...tell(document[name]));
  if (document.withheld)
    lines.push("", "Withheld from this copy (listed, not shown):", ...document.withheld.map((name) => `  ${name}`));
  lines.push("", "Limits:", ...document.limits.map((limit) => `  ${limit}`));
  return lines.join("\n") + "\n";
}

// (19) report.json and report.txt are, byte for byte, what steps 3 to 18 give.
function stepReport(c) {
  const document = statementOf(c);
  const told = same(c.member("report.json"), canonical(document));
  demand(told, "report.json says something else than the proofs");
  const written = same(c.member("report.txt"), utf8(renderReport(document)));
  demand(written, "report.txt says something else than the proofs");
  return "the summary says what the proofs show";
}

/* ---------------------------------------------------------------- step 20: copies ------------- */
// (20) Copies and printed forms are not compared by a page.
function stepCopies(c) {
  const carried = COPIES.some((name) => c.has(name));
  const why = carried
    ? "read report.txt, which step 19 proves; use your own copy of the verifier"
    : "the bundle carries no copy of a verifier and no printed form";
  throw new NotChecked(why, false);
}
