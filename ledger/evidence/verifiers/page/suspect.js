/* ---------------------------------------------------------------- step 16: match -------------- */
const MATCH = "match.json";

// (16) What the findings say follows from their figures, and is about this model.
function stepMatch(c) {
  const needed = c.bundle.kind === "match";
  if (!c.has(MATCH)) {
    const withheld = c.bundle.withheld.includes(MATCH);
    const why = withheld
      ? `${MATCH} is withheld: put it back to check it`
      : "the bundle carries no findings about a suspect";
    throw new NotChecked(why, needed);
  }
  demand(needed, `${MATCH} is carried by a bundle of another kind`);
  const found = readMatch(c.json(MATCH));
  checkAbout(c, found);
  const { name, kind, size, sha256: digest, received } = found.suspect;
  c.match = {
    digest: hex0x(sha256(c.member(MATCH))),
    suspect: { name, kind, size, sha256: digest, received },
    verdict: found.verdict,
    tried: found.tried,
    ...(found.untried === undefined ? {} : { untried: found.untried }),
    sentences: matchSentences(c, found, found.search?.chain_id === c.opened.chainId ? placeOf(c) : null),
  };
  const rows = found.comparisons.reduce((sum, one) => sum + one.units.rows.length, 0);
  return (
    `${found.verdict}: lists, ${rows} rows and all bounds follow from their figures; that the suspect holds ` +
    "what they say is recomputed with the file: deed evidence verify --suspect FILE"
  );
}

// Block and transaction of the commitment that the title's time is of; null if the bundle lacks it.
function placeOf(c) {
  const event = c.held.committed ? c.commitment : c.history?.registration;
  return event ? event.place.slice(0, 2) : null;
}
const placeGiven = ({ place }) => place && [BigInt(place.block), BigInt(place.transaction)];

// The rules that tie findings to this bundle's model.
function checkAbout(c, found) {
  const claim = c.opened;
  const [root, model] = [hex0x(claim.artifactRoot), hex0x(claim.modelId)];
  const { name, sha256: digest, size } = found.suspect;
  const { about } = c.bundle;
  const suspect = about.name === name && about.sha256 === digest && about.size === size;
  demand(suspect, `${MATCH} is about another suspect`);
  const ours = found.comparisons.filter((one) => one.ours.artifact_root === root);
  if (found.trace !== null) {
    const lodged = c.sealed.some((event) => event.args.recordHash === found.trace.sealing);
    demand(
      found.trace.model_id === model && lodged,
      `${MATCH}: the sealing that was traced is not lodged for this model`,
    );
  }
  const listed = found.search?.models ?? [];
  for (const of of listed.filter((one) => one.model_id === model)) {
    const [committed, block] = [c.held.committedAt, c.told.registration.block];
    const [shown, place] = [placeGiven(of), placeOf(c)];
    const same_ =
      found.search.chain_id === claim.chainId &&
      BigInt(of.committed_at) === committed && BigInt(of.registered_block) === block &&
      (!shown || !place || (shown[0] === place[0] && shown[1] === place[1]));
    demand(same_, `${MATCH} gives this model another time than the chain`);
  }
  const licensor = addressText(claim.licensor);
  const related =
    ours.length || found.trace !== null || listed.some((of) => of.model_id === model) ||
    found.watermarks.some((one) => one.commitment === hex0x(claim.watermark)) ||
    found.triggers.some((one) => one.owner === licensor && one.chain_id === claim.chainId);
  demand(related, `nothing in ${MATCH} is about this model`);
  // Last, because it may end without a result.
  for (const one of ours) if (one.tensors !== null) checkMembership(c, one.tensors);
}

const elementsOf = ({ shape }) => shape.reduce((product, n) => product * BigInt(n), 1n);

// The shared tensors are the claimed model's.
function checkMembership(c, tensors) {
  const wanted = new Map(tensors.shared.map((of) => [of.cid, of]));
  const cids = [...wanted.keys(), ...tensors.set_aside];
  const count = (size) =>
    demand(size === tensors.of, `${MATCH}: the claimed model has ${size} different tensors, not ${tensors.of}`);
  if (c.has("fingerprint.json")) {
    const held = new Map(c.json("fingerprint.json").tensors.map((of) => [of.cid, of]));
    for (const cid of cids) {
      const of = held.get(cid);
      demand(of, `${MATCH}: ${cid.slice(0, 18)}… is called shared and is no tensor of the claimed model`);
      if (!wanted.has(cid)) continue;
      const { elements, packed } = wanted.get(cid);
      const fits = elementsOf(of) === BigInt(elements) && of.identity !== packed;
      demand(fits, `${MATCH}: ${cid.slice(0, 18)} is of another size or kind in the claimed model`);
    }
    count([...held.values()].filter((of) => of.identity).length);
    const values = totalOf([...held.values()].map(elementsOf));
    const known = values === BigInt(tensors.of_values);
    demand(known, `${MATCH}: the claimed model has ${values} values, not ${tensors.of_values}`);
    return;
  }
  const packed = tensors.shared.some((of) => of.packed);
  for (const cid of cids) {
    const name = `tensors/${cid.slice(2)}.json`;
    if (packed || !c.has(name))
      throw new NotChecked("not every shared tensor has its proof here, and the list of tensors is not here either");
    count(c.json(name).size);
  }
}

/* ---------------------------------------------------------------- findings in sentences ------- */
// A stated bound for people, rounded upwards to a tenth.
function boundText(stated) {
  const tenths = BigInt(-stated) / 100000n;
  return tenths === 0n ? "1 (no evidence)" : `10^-${tenths / 10n}.${tenths % 10n}`;
}
// So many of our values, with their share in hundredths of a percent, rounded down.
function valuesText({ values, of_values: all }) {
  const parts = (BigInt(values) * 10000n) / BigInt(Math.max(all, 1));
  const percent = values && !parts ? "less than 0.01" : `${parts / 100n}.${String(parts % 100n).padStart(2, "0")}`;
  return `${values} of ${all} values of ours (${percent} %)`;
}
const PROVEN = {
  true: "The examiner's checks that it needs passed.",
  false: "The examiner's checks that it needs did not all pass: see match.json.",
};
const CORRECTED = "corrected for the tests counted; the level is 10^-38.5.";

function matchSentences(c, found, place) {
  const { suspect, comparisons } = found;
  const root = hex0x(c.opened.artifactRoot);
  const said = [
    `Suspect: ${suspect.name} (${suspect.kind}, ${suspect.size} bytes, SHA-256 ${suspect.sha256}), received ` +
      `${suspect.received} by the examiner's clock and hashed before anything read it.`,
    ...comparisons.flatMap((one) => comparisonSentences(one, comparisons.length, root)),
    ...found.watermarks.flatMap((one) => watermarkSentences(one, hex0x(c.opened.watermark))),
    ...found.triggers.flatMap(triggerSentences),
  ];
  if (found.trace !== null) said.push(...traceSentences(found.trace));
  const committed = c.held.committedAt;
  if (found.search !== null) said.push(...searchSentences(found.search, hex0x(c.opened.modelId), committed, place));
  for (const { method, result, why } of found.tried)
    if (result === "not checked") said.push(`Not checked, ${method}: ${why}.`);
  for (const { method, what, why } of found.untried ?? [])
    said.push(`Not tried, ${method}, ${what}: ${why}. No result of this method covers it.`);
  said.push(
    `Comparisons made with this suspect: ${comparisons.length}. What was tried and found nothing is in the list of methods.`,
    "These findings are the examiner's word, but for what is recomputed from the suspect file: deed evidence verify --suspect FILE.",
  );
  return said;
}

function oursText(ours, root) {
  const model = `${ours.artifact_root === root ? "this" : "another"} model (${ours.artifact_root})`;
  if (ours.kind === "model") return model;
  const by = ours.commitment;
  const known = by === null
    ? "to which no node showed a commitment"
    : `committed to by ${by.owner} in block ${by.block}, as a node showed`;
  return `the sketch ${ours.sketch_root} of ${model}, ${known}`;
}

function comparisonSentences(one, comparisons, root) {
  const { tensors, units } = one;
  const { rows } = units;
  const reached = one.log10_p_all <= UNITS_LEVEL;
  const left = rows.filter((row) => row.fitted).length;
  const said = [`Held against ${oursText(one.ours, root)}: ${one.verdict}.`];
  const say = (when, text) => when && said.push(text());
  say(tensors === null, () => "Equal tensors were not looked for: ours is a sketch.");
  say(tensors !== null, () =>
    `${tensors.found} of ${tensors.of} tensors of ours are in the suspect, with ${valuesText(tensors)}; ` +
      `${tensors.set_aside.length} more that anybody may have were set aside.`);
  say(rows.length, () =>
    "H0: the hidden units of the two models were put in order independently of each other. " +
      `Over ${rows.length} matrices, ${units.tried} pairings counted, the probability of so many units at the same ` +
      `places or in the same order is at most ${boundText(units.log10_p_counted)} under H0; over all ` +
      `comparisons made here (${comparisons}), ${boundText(one.log10_p_all)}. H0 is rejected at 10^-20.0.`);
  say(!rows.length, () => "No matrix of ours has a counterpart in the suspect: the order of units was not tested.");
  say(left, () => `Left out of the bound, matrices: ${left}. Their order may have been fitted afterwards.`);
  say(rows.length && !reached, () => "H0 is not rejected by the order of units. That is no proof of it.");
  say(reached, () =>
    "Two models trained apart look the same to this test when they began from the same seed, or both derive from a third one.");
  say(tensors !== null && tensors.shared.length, () =>
    "Equal tensors are explained by a common source as well as by one of the two having them from the other.");
  say(one.verdict !== "nothing found", () =>
    "Which of the two came first is in no such figure: anchored time and custody tell it.");
  for (const of of one.controls) {
    const bound = boundText(of.log10_p);
    said.push(
      of.log10_p <= UNITS_LEVEL
        ? `The control ${of.title} matches the suspect too (${bound}): what it shares with ours may explain the match.`
        : `The control ${of.title} does not match the suspect (${bound}).`,
    );
  }
  return said;
}

function watermarkSentences(one, watermark) {
  return [
    `Watermark ${one.commitment}: ${one.there ? "there" : "not found"}. Under H0, that nobody who had the key made ` +
      "the suspect or the original, the signs agree so well with a probability of at most " +
      `${boundText(one.log10_p)}, ${CORRECTED}`,
    `This model's claim ${one.commitment === watermark ? "carries" : "does not carry"} that commitment.`,
    PROVEN[one.proven],
  ];
}

function triggerSentences(one) {
  return [
    `Triggers ${one.commitment}: ${one.there ? "there" : "not found"}. ${one.right} of ${one.asked} questions were ` +
      `answered as drawn among ${one.answers} answers. Under H0, that nobody who knew the keys made the suspect, ` +
      `so many are with a probability of at most ${boundText(one.log10_p_all)}, ${CORRECTED}`,
    PROVEN[one.proven],
  ];
}

function traceSentences(trace) {
  const head = `Trace of sealing ${trace.sealing}: `;
  if (!trace.named.length) return [`${head}no license is named.`];
  const named = trace.named.map(
    (of) =>
      `${head}license ${of.license}, held by ${of.holder}, is named; the probability of naming an innocent is at ` +
      `most ${boundText(of.log10_p)}.`,
  );
  return [...named, PROVEN[trace.proven]];
}

// How another model's commitment stands to this one's; null if it is later.
function whenCommitted(of, committed, place) {
  const [at, there] = [`at second ${of.committed_at}`, placeGiven(of)];
  if (BigInt(of.committed_at) > committed) return null;
  if (BigInt(of.committed_at) < committed) return `earlier than this model, ${at}`;
  if (!place || !there) return `in the same second as this model, ${at}: which came first is not shown`;
  if (placeBefore(place, there)) return null;
  if (!placeBefore(there, place)) return `in the same transaction as this model, ${at}`;
  return `earlier than this model, ${at}, ${there[0] === place[0] ? "in the same block" : "in an earlier block"}`;
}

function searchSentences(search, model, committed, place) {
  const said = [
    `Registered models that hold tensors of the suspect, by the word of the index ${search.index}: ${search.models.length}.`,
  ];
  for (const of of search.models) {
    const when = of.model_id === model ? null : whenCommitted(of, committed, place);
    if (when !== null) said.push(`${of.model_id} of ${of.licensor} was committed to ${when}.`);
  }
  if (search.more) said.push("The index left later registrations out.");
  return said;
}

// What goes into the statement under "match"; null if there is nothing to tell.
const toldMatch = (c) => c.match;

// The same in plain text, for report.txt.
const linesMatch = (found) => ["", "Suspect file:", ...found.sentences.map((sentence) => `  ${oneLine(sentence)}`)];
