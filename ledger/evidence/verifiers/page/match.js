/* ---------------------------------------------------------------- findings: their form -------- */
// match.json (docs/spec/match.md): what an examination of a suspect found. Integers, texts and
// flags alone; logarithms are to base 10, in millionths. A rule takes a value and where it stands.
const MATCH_METHODS = ["search", "tensors", "units", "watermark", "triggers", "trace"];
const MATCH_RELATIONS = ["identity", "cast", "axis_permutation", "reshape", "multiset", "cast_multiset"];
const MATCH_WAYS = ["identity", "cast", "multiset", "cast_multiset"];
const MATCH_MOST = Number.MAX_SAFE_INTEGER;
const [MATCH_ROWS, MATCH_TESTED, MATCH_ASKED, MATCH_LONG] = [100000, 65536, 4096, 4096];

const mustBe = (holds, where, must) => demand(holds, `${where} must be ${must}`);
const anObject = (members, maybe = {}) => (value, where) => {
  const more = Object.keys(maybe).filter((name) => isObject(value) && name in value);
  const names = [...Object.keys(members), ...more];
  mustBe(hasExactly(value, names), where, `an object of exactly ${Object.keys(members).sort().join(", ")}`);
  for (const name of names) (members[name] ?? maybe[name])(value[name], `${where}.${name}`);
};
const aList = (rule, most, least = 0) => (value, where) => {
  const fits = Array.isArray(value) && least <= value.length && value.length <= most;
  mustBe(fits, where, `a list of ${least} to ${most}`);
  value.forEach((item, i) => rule(item, `${where}[${i}]`));
};
const nullOr = (rule) => (value, where) => value === null || rule(value, where);
const anInteger = (low = 0, high = MATCH_MOST) => (value, where) =>
  mustBe(isWhole(value) && low <= value && value <= high, where, `an integer from ${low} to ${high}`);
const aText = (most = 1024, least = 0) => (value, where) => {
  // A character has one or two units; the list of characters is made of texts that may fit only.
  const near = isText(value) && value.length <= 2 * most && !/[\x00-\x1f\x7f-\x9f]/.test(value);
  const size = near ? [...value].length : -1;
  mustBe(least <= size && size <= most, where, `one line of ${least} to ${most} characters`);
};
const aWord = (...words) => (value, where) => mustBe(words.includes(value), where, words.join(" or "));
const aFlag = (value, where) => mustBe(typeof value === "boolean", where, "true or false");
const shapedAs = (pattern, must) => (value, where) => mustBe(isText(value) && pattern.test(value), where, must);
const anAddress = (value, where) => {
  const fits = isText(value) && /^0x[0-9a-fA-F]{40}$/.test(value) && addressText(unhex(value.slice(2))) === value;
  mustBe(fits, where, "an address with its checksum");
};
const aLicense = (value, where) => {
  const found = isText(value) && /^(0|[1-9][0-9]{0,9})\.(0|[1-9][0-9]{0,9})$/.exec(value);
  mustBe(found && Number(found[1]) < 2 ** 32 && Number(found[2]) < 2 ** 32, where, "PLAN.SERIAL");
};
const aDigest = shapedAs(/^0x[0-9a-f]{64}$/, "0x and 64 lower-case hex digits");
const aTime = shapedAs(/^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$/, "a UTC time");
const aLog = anInteger(-MATCH_MOST, 0);
const millionths = anInteger(0, 1000000);
const aCount = anInteger();
const upTo = (most) => anInteger(0, most);
const perWay = anObject(Object.fromEntries(MATCH_WAYS.map((way) => [way, aCount])));
const theSums = { weights: aCount, t: anInteger(-MATCH_MOST, MATCH_MOST), v: aCount, log10_p: aLog };
const theAnswers = { asked: anInteger(1, MATCH_ASKED), right: upTo(MATCH_ASKED), log10_p: aLog };
const theChecks = aList(
  anObject({
    number: anInteger(1, 99), title: aText(), result: aWord("pass", "fail", "not checked"), detail: aText(MATCH_LONG),
  }),
  99,
);
const theSuspect = anObject({
  name: aText(200, 1), kind: aWord("file", "folder", "url"), size: aCount, sha256: aDigest, received: aTime,
  files: aList(anObject({ name: aText(1024, 1), size: aCount, sha256: aDigest }), 10000, 1),
});
const theSearch = anObject({
  index: aText(), chain_id: aCount, tensors: aCount, elements: aCount, more: aFlag,
  models: aList(
    anObject({
      model_id: aDigest, licensor: anAddress, title: aText(MATCH_LONG), status: aText(), committed_at: aCount,
      registered_block: aCount, place: nullOr(anObject({ block: aCount, transaction: aCount })),
      tensors: perWay, elements: perWay,
    }),
    10000,
  ),
});
const theOurs = anObject({
  kind: aWord("model", "sketch"), artifact_root: aDigest, sketch_root: nullOr(aDigest),
  commitment: nullOr(anObject({ hash: aDigest, owner: anAddress, number: aCount, block: aCount, time: aCount })),
});
const theTensors = anObject({
  content_root: aDigest, same_packed: aFlag, of: aCount, found: aCount, found_values: aCount,
  values: aCount, of_values: aCount,
  shared: aList(
    anObject({
      cid: aDigest, relation: aWord(...MATCH_RELATIONS), elements: aCount, packed: aFlag, theirs: aText(MATCH_LONG),
    }),
    MATCH_ROWS,
  ),
  set_aside: aList(aDigest, MATCH_ROWS),
});
const theUnits = anObject({
  tried: aCount, not_tested: aCount, log10_p: aLog, log10_p_counted: aLog,
  rows: aList(
    anObject({
      ours: aText(MATCH_LONG), theirs: aText(MATCH_LONG), role: aText(), units: aCount, tested: upTo(MATCH_TESTED),
      rows: upTo(MATCH_TESTED), in_place: upTo(MATCH_TESTED), in_order: upTo(MATCH_TESTED), alike: millionths,
      other: millionths, fitted: aFlag, turned: aFlag, aligned: aFlag, log10_p: aLog,
    }),
    MATCH_ROWS,
  ),
});
const theComparison = anObject({
  ours: theOurs, tensors: nullOr(theTensors), units: theUnits,
  controls: aList(anObject({ title: aText(), log10_p: aLog }), 256),
  log10_p_all: aLog, verdict: aWord("identical", "contains", "derived", "nothing found"),
});
const theWatermark = anObject({
  commitment: aDigest, owner: anAddress, chain_id: aCount, targets: anInteger(1), commitments: anInteger(1),
  looks: aList(
    anObject({
      kind: aWord("blind", "informed"), way: aWord("by name", "by order", "realigned"),
      rows: aList(anObject({ name: aText(MATCH_LONG), found_as: aText(MATCH_LONG), ...theSums }), MATCH_ROWS),
      ...theSums,
    }),
    16,
    1,
  ),
  log10_tests: aCount, log10_p: aLog, there: aFlag, checks: theChecks, proven: aFlag,
});
const theTriggers = anObject({
  commitment: aDigest, disclosure: aDigest, owner: anAddress, chain_id: aCount, answers: anInteger(2, 2 ** 31),
  commitments: anInteger(1), ...theAnswers, log10_tests: aCount, log10_p_all: aLog, there: aFlag,
  controls: aList(anObject({ name: aText(), theirs: aFlag, ...theAnswers }), 256),
  checks: theChecks, proven: aFlag,
});
const theTrace = anObject({
  sealing: aDigest, model_id: aDigest, candidates: aCount, tests: aCount,
  named: aList(anObject({ license: aLicense, holder: anAddress, log10_p: aLog }), MATCH_ROWS),
  checks: theChecks, proven: aFlag,
});
const theFindings = anObject({
  format: aWord("modeldeed/match/1"), software: aText(80), suspect: theSuspect,
  verdict: aWord("match", "nothing found"),
  tried: aList(
    anObject({
      method: aWord(...MATCH_METHODS), result: aWord("found", "nothing found", "not checked"), why: aText(MATCH_LONG),
    }),
    MATCH_METHODS.length,
    MATCH_METHODS.length,
  ),
  search: nullOr(theSearch), comparisons: aList(theComparison, 256), watermarks: aList(theWatermark, 64),
  triggers: aList(theTriggers, 64), trace: nullOr(theTrace),
}, {
  untried: aList(anObject({ method: aWord(...MATCH_METHODS), what: aText(1024, 1), why: aText(MATCH_LONG, 1) }), 256, 1),
});

/* ---------------------------------------------------------------- findings: formulas ---------- */
const [UNITS_LEVEL, MARK_LEVEL, TRACE_LEVEL] = [-20000000, -38531839, -9000000];
const SHARED_VALUES = 4096n;
const MATCH_ALL_ASKED = 262144;
const MARK_SLACK = 1e-4;
// The watermark's own checks without which it proves nothing to others.
const MARK_NEEDS = [1, 2, 3, 8];

// Logarithms of + - * / alone, in a fixed order: the same bits in every verifier.
const LN10 = 2.302585092994046;
function naturalLog(x) {
  let [m, e] = [x, 0];
  for (; m >= 2; m /= 2) e++;
  if (m > 1.4142135623730951) [m, e] = [m / 2, e + 1];
  const t = (m - 1) / (m + 1);
  const u = t * t;
  let s = 1 / 21;
  for (let k = 19; k > 0; k -= 2) s = s * u + 1 / k;
  return e * 0.6931471805599453 + 2 * t * s;
}
const tensLog = (x) => naturalLog(x) / LN10;
const LOG2 = tensLog(2);
// ln n!, by Stirling's series where n! is not exact.
function logFactorial(n) {
  if (n <= 18) {
    let product = 1;
    for (let i = 2; i <= n; i++) product *= i;
    return naturalLog(product);
  }
  const w = 1 / (n * n);
  return (n + 0.5) * naturalLog(n) - n + 0.9189385332046727 + (1 / 12 - w * (1 / 360 - w / 1260)) / n;
}
const nearly = (value, stated) => Math.abs(value * 1e6 - stated) <= 1;
const totalOf = (values) => values.reduce((sum, value) => sum + BigInt(value), 0n);
const leastOf = (values) => values.reduce((least, value) => Math.min(least, value), Infinity);

// Of the order of units of one pair of matrices.
function rowBound({ rows, in_place: inPlace, in_order: inOrder, aligned }) {
  const place = Math.min(0, LOG2 - logFactorial(inPlace) / LN10);
  const ways = logFactorial(rows) - logFactorial(rows - inOrder) - 2 * logFactorial(inOrder);
  const order = Math.min(0, 2 * LOG2 + Math.min(0, ways / LN10));
  return Math.min(0, Math.min(place, order) + (aligned ? 3 : 0));
}
// Whether the order of a pair may have been made afterwards.
const isFitted = (alike, other) => 4 * alike < 3 * other + 1000000;
// Bonferroni over stated logarithms; 0 where there are none.
const bonferroni = (stated, tests) =>
  stated.length ? Math.min(0, leastOf(stated) / 1e6 + tensLog(Math.max(1, tests))) : 0;
// The same over pairings; a thousandth more is for tests over aligned features.
const overPairings = (stated, tried) => Math.min(0, bonferroni(stated, tried) + tensLog(1.001));
// Of the signs of weights; both sums in thousandths.
function markBound(t, v) {
  if (t <= 0 || v <= 0) return 0;
  const [lower, upper] = [(t / 1000) * (1 - MARK_SLACK), (v / 1000) * (1 + MARK_SLACK)];
  return (-lower * lower) / (2 * upper) / LN10;
}
const markTests = (targets, commitments) =>
  tensLog(8) + tensLog(targets + 1) + tensLog(commitments) + 40 * LOG2;
// Of so many right answers by chance: the binomial tail.
function answerBound(asked, right, answers) {
  if (right === 0) return 0;
  let first = logFactorial(asked) - logFactorial(right) - logFactorial(asked - right);
  first = first + (asked - right) * naturalLog(answers - 1) - asked * naturalLog(answers);
  // The terms after the first, as multiples of it; scaled down where they grow too large.
  let [term, total, scaled] = [1, 1, 0];
  for (let j = right + 1; j <= asked; j++) {
    term = (term * (asked - j + 1)) / (j * (answers - 1));
    total += term;
    if (total > 1e100) [term, total, scaled] = [term / 1e100, total / 1e100, scaled + 1];
  }
  return Math.min(0, (first + naturalLog(total) + 100 * scaled * LN10) / LN10);
}
const answerTests = (commitments) => tensLog(commitments) + 40 * LOG2;

/* ---------------------------------------------------------------- findings: rules ------------- */
const inMatch = (holds, what) => demand(holds, `match.json: ${what}`);
const risingTexts = (texts) => texts.every((text, i) => !i || compareText(texts[i - 1], text) < 0);
const anyFailed = (checks) => checks.some((check) => check.result === "fail");

function checkSuspect({ files, size, kind, sha256: stated }) {
  inMatch(risingTexts(files.map((of) => of.name)), "the suspect's files are out of order");
  inMatch(totalOf(files.map((of) => of.size)) === BigInt(size), "the suspect's size is not that of its files");
  inMatch(kind === "folder" || files.length === 1, "a suspect that is one file lists several");
  const whole = kind === "folder" ? hex0x(hashJson("modeldeed/suspect/1", files)) : files[0].sha256;
  inMatch(whole === stated, "the suspect's digest is not that of its files");
}

// What a comparison comes to.
function comparisonVerdict({ tensors, ours, log10_p_all: all }) {
  if (tensors !== null) {
    const whole = tensors.same_packed && tensors.content_root === ours.artifact_root;
    if (tensors.shared.length && whole) return "identical";
    if (BigInt(tensors.found_values) >= SHARED_VALUES) return "contains";
  }
  return all <= UNITS_LEVEL ? "derived" : "nothing found";
}

function checkShared(tensors, what) {
  const { shared, set_aside: aside, of: all, found } = tensors;
  const cids = shared.map((of) => of.cid);
  inMatch(risingTexts(cids) && risingTexts(aside), `${what}: tensors repeat or are out of order`);
  const known = new Set(cids);
  inMatch(!aside.some((cid) => known.has(cid)), `${what}: a tensor is shared and set aside`);
  const sizes = new Map();
  for (const of of shared) {
    if (!sizes.has(of.theirs)) sizes.set(of.theirs, of.elements);
    inMatch(sizes.get(of.theirs) === of.elements, `${what}: one tensor of theirs has two sizes`);
  }
  const theirs = totalOf([...sizes.values()]) === BigInt(tensors.found_values);
  inMatch(theirs, `${what}: the number of shared values is another`);
  const ours = totalOf(shared.map((of) => of.elements)) === BigInt(tensors.values);
  inMatch(ours, `${what}: the number of our values that are shared is another`);
  inMatch(tensors.values <= tensors.of_values, `${what}: more of our values are shared than there are`);
  const counted = shared.filter((of) => !of.packed).length;
  inMatch(found === counted, `${what}: the number of shared tensors is another`);
  inMatch(found <= all, `${what}: more tensors are shared than there are`);
}

function checkUnitRow(row, what) {
  const rising = [row.in_place, row.in_order, row.rows, row.tested, row.units].every((n, i, all) => !i || all[i - 1] <= n);
  inMatch(rising, `${what}: a row counts more matches than rows`);
  inMatch(isFitted(row.alike, row.other) === row.fitted, `${what}: a row is fitted or is not, against its figures`);
  const bound = rowBound(row);
  inMatch(nearly(bound, row.log10_p), `${what}: the bound of a row is another`);
}

function checkComparison(one, comparisons, what) {
  const { ours, tensors, units } = one;
  const sketch = ours.kind === "sketch";
  inMatch(sketch === (ours.sketch_root !== null), `${what}: a sketch has a root, and a model none`);
  inMatch(sketch === (tensors === null), `${what}: tensors are those of a model`);
  inMatch(sketch || ours.commitment === null, `${what}: only a sketch has a commitment of its own here`);
  if (tensors !== null) checkShared(tensors, what);
  for (const row of units.rows) checkUnitRow(row, what);
  inMatch(units.rows.length <= units.tried, `${what}: more rows than pairings that were tried`);
  const bounds = (rows) => overPairings(rows.map((row) => row.log10_p), units.tried);
  const counted = units.rows.filter((row) => !row.fitted);
  inMatch(nearly(bounds(units.rows), units.log10_p), `${what}: the bound over all rows is another`);
  inMatch(nearly(bounds(counted), units.log10_p_counted), `${what}: the bound over the rows that count is another`);
  const all = bonferroni([units.log10_p_counted], comparisons);
  inMatch(nearly(all, one.log10_p_all), `${what}: the bound over all comparisons is another`);
  inMatch(comparisonVerdict(one) === one.verdict, `${what}: its verdict does not follow from its figures`);
}

// A bound with its tests counted, and what follows from it and from the examiner's checks.
function checkCorrected(one, bare, stated, what) {
  inMatch(nearly(Math.min(0, (bare + one.log10_tests) / 1e6), stated), `${what}: the corrected bound is another`);
  const there = stated <= MARK_LEVEL;
  inMatch(one.there === there, `${what}: what is there does not follow from its bound and the level`);
  const against = one.proven && (anyFailed(one.checks) || !one.there);
  inMatch(!against, `${what}: it is called proven against its own checks`);
}

function checkWatermark(one, what) {
  for (const look of one.looks) {
    inMatch(look.rows.length <= one.targets, `${what}: a look has more rows than targets`);
    for (const sum of ["weights", "t", "v"]) {
      const total = totalOf(look.rows.map((row) => row[sum]));
      inMatch(total === BigInt(look[sum]), `${what}: a look is not the sum of its rows`);
    }
    const each = look.rows.every((row) => nearly(markBound(row.t, row.v), row.log10_p));
    inMatch(each, `${what}: the bound of a row is another`);
    const least = Math.min(0, markBound(look.t, look.v), leastOf(look.rows.map((row) => row.log10_p / 1e6)));
    inMatch(nearly(least, look.log10_p), `${what}: the bound of a look is another`);
  }
  const tests = markTests(one.targets, one.commitments);
  inMatch(nearly(tests, one.log10_tests), `${what}: the number of tests is another`);
  checkCorrected(one, leastOf(one.looks.map((look) => look.log10_p)), one.log10_p, what);
  const passed = one.checks.filter((check) => check.result === "pass").map((check) => check.number);
  const needs = !one.proven || MARK_NEEDS.every((number) => passed.includes(number));
  inMatch(needs, `${what}: it is called proven without the checks that it needs`);
}

function checkTriggers(one, what) {
  for (const each of [one, ...one.controls]) {
    inMatch(each.right <= each.asked, `${what}: more right answers than questions`);
    const bound = answerBound(each.asked, each.right, one.answers);
    inMatch(nearly(bound, each.log10_p), `${what}: the bound of the answers is another`);
  }
  inMatch(nearly(answerTests(one.commitments), one.log10_tests), `${what}: the number of tests is another`);
  checkCorrected(one, one.log10_p, one.log10_p_all, what);
}

function checkTrace({ named, candidates, checks, proven }) {
  const hands = new Set(named.map((of) => `${of.license} ${of.holder}`));
  inMatch(hands.size === named.length, "the trace names a license in one hand twice");
  inMatch(named.length <= candidates, "the trace names more licenses than there were candidates");
  inMatch(named.every((of) => of.log10_p <= TRACE_LEVEL), "the trace names a license above its level");
  const against = proven && (anyFailed(checks) || !named.length);
  inMatch(!against, "the trace is called proven against its own checks");
}

function checkSearch(search) {
  const place = (of) => [of.committed_at, of.registered_block, of.model_id];
  const rising = search.models.every((of, i, all) => !i || placeBefore(place(all[i - 1]), place(of)));
  inMatch(rising, "the registered models are not in the order of time");
  const ids = new Set(search.models.map((of) => of.model_id));
  inMatch(ids.size === search.models.length, "a registered model is listed twice");
  for (const of of search.models)
    for (const what of ["tensors", "elements"]) {
      const fits = totalOf(Object.values(of[what])) <= BigInt(search[what]);
      inMatch(fits, `a registered model holds more ${what} than were asked for`);
    }
}

// What each method came to.
function resultsOf({ comparisons, search, watermarks, triggers, trace }) {
  const of = (looked, found) => (!looked ? "not checked" : found ? "found" : "nothing found");
  const there = (one) => one.there;
  return {
    search: of(search !== null, search?.models.length),
    tensors: of(
      comparisons.some((one) => one.tensors !== null),
      comparisons.some((one) => one.verdict === "identical" || one.verdict === "contains"),
    ),
    units: of(
      comparisons.some((one) => one.units.rows.length),
      comparisons.some((one) => one.log10_p_all <= UNITS_LEVEL),
    ),
    watermark: of(watermarks.length, watermarks.some(there)),
    triggers: of(triggers.length, triggers.some(there)),
    trace: of(trace !== null, trace?.named.length),
  };
}

// Findings once their form, and all figures that follow from others, hold.
function readMatch(found) {
  theFindings(found, "match.json");
  checkSuspect(found.suspect);
  const held = found.comparisons;
  held.forEach((one, i) => checkComparison(one, held.length, `comparison ${i + 1}`));
  found.watermarks.forEach((one, i) => checkWatermark(one, `watermark ${i + 1}`));
  const asked = found.triggers.flatMap((one) => [one, ...one.controls]).reduce((sum, each) => sum + each.asked, 0);
  inMatch(asked <= MATCH_ALL_ASKED, `more than ${MATCH_ALL_ASKED} questions were asked in all`);
  found.triggers.forEach((one, i) => checkTriggers(one, `disclosure ${i + 1}`));
  if (found.trace !== null) checkTrace(found.trace);
  if (found.search !== null) checkSearch(found.search);
  const results = resultsOf(found);
  found.tried.forEach(({ method, result, why }, i) => {
    inMatch(method === MATCH_METHODS[i], "the methods are not listed each once and in order");
    inMatch(result === results[method], `the result of ${method} does not follow from what was found`);
    inMatch((why !== "") === (result === "not checked"), `${method}: a reason is said where a method was not tried`);
  });
  // The word of an index alone is no verdict.
  const matches = MATCH_METHODS.some((method) => method !== "search" && results[method] === "found");
  inMatch(found.verdict === (matches ? "match" : "nothing found"), "the verdict does not follow from what was found");
  const left = (found.untried ?? []).map((of) => [MATCH_METHODS.indexOf(of.method), of.what]);
  const rising = left.every(([place, what], i) => {
    if (!i) return true;
    const [before, name] = left[i - 1];
    return before < place || (before === place && compareText(name, what) < 0);
  });
  inMatch(rising, "what was not tried repeats or is out of order");
  return found;
}
