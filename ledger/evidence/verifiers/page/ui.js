/* ---------------------------------------------------------------- the page -------------------- */
// Nothing from a bundle becomes HTML: texts are set as text, and what could pass for lines or
// directions of ours is escaped.
const MAX_ROOT_FILE = 1 << 20;
const SHOWN_INPUTS = 12;
const byId = (id) => document.getElementById(id);
const chosen = { file: null, roots: [], suspect: null };
const SUSPECT_NAME = /\.safetensors$/i;
let checks = 0; // a newer check makes an older one's answer void

// From the first letter of a script that runs from right to left to the last before a Latin one.
const RIGHT_TO_LEFT = (() => {
  const letter = "[\\u0590-\\u08ff\\ufb1d-\\ufdff\\ufe70-\\ufefc\\u{10800}-\\u{10fff}\\u{1e800}-\\u{1efff}]";
  return new RegExp(`${letter}(?:[^A-Za-z]*${letter})?`, "gu");
})();

// A text as the content of an element. What runs from right to left is set apart, so that it takes
// no digit of ours along (UAX 9).
function put(holder, text) {
  const parts = [];
  let at = 0;
  for (const { 0: found, index } of text.matchAll(RIGHT_TO_LEFT)) {
    const apart = document.createElement("bdi");
    apart.textContent = found;
    parts.push(text.slice(at, index), apart);
    at = index + found.length;
  }
  holder.replaceChildren(...parts, text.slice(at));
  return holder;
}

function element(name, kind, text) {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  return text === undefined ? made : put(made, text);
}

const linesOf = (id) => byId(id).value.split("\n").map((line) => line.trim()).filter((line) => line);

// As they are copied: one a line, or several with spaces, commas or a command's --block between.
const hashesEntered = () => byId("blocks").value.split(/[\s,;=]+/).filter((word) => word && word !== "--block");

function enteredTrust() {
  const contracts = linesOf("contracts").map((line) => {
    const at = line.indexOf("=");
    return at < 0 ? [line, ""] : [line.slice(0, at).trim(), line.slice(at + 1).trim()];
  });
  return {
    blocks: hashesEntered(),
    collectors: linesOf("collectors"),
    contracts: Object.fromEntries(contracts),
    tsaRoots: chosen.roots,
  };
}

// The certificates in anyone's PEM file, whatever stands between the blocks.
function certificatesIn(text) {
  const blocks = text.matchAll(/-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+?)-----END CERTIFICATE-----/g);
  return Array.from(blocks, (found) => Uint8Array.from(atob(found[1].replace(/\s/g, "")), (c) => c.charCodeAt(0)));
}

async function takeRoots(files) {
  const found = [];
  for (const file of files) {
    let here = [];
    try {
      if (file.size <= MAX_ROOT_FILE) here = certificatesIn(await file.text());
    } catch {
      here = [];
    }
    if (!here.length) {
      chosen.roots = [];
      put(byId("roots-count"), say("bad_root", { name: oneLine(file.name) }));
      return;
    }
    found.push(...here);
  }
  chosen.roots = found;
  byId("roots-count").textContent = found.length ? say("roots_count", { count: found.length }) : "";
}

function complain(name, values) {
  checks++;
  chosen.file = null;
  byId("again").disabled = true;
  byId("answer").hidden = true;
  byId("progress").textContent = "";
  put(byId("chosen"), say(name, values));
}

async function take(file) {
  const named = { name: oneLine(file.name), size: file.size };
  if (!file.size) return complain("bad_empty", named);
  if (file.size > MAX_ARCHIVE) return complain("bad_large", named);
  chosen.file = file;
  put(byId("chosen"), named.name);
  byId("again").disabled = false;
  return check();
}

async function check() {
  const { file } = chosen;
  if (file === null) return;
  const mine = ++checks;
  const current = () => mine === checks;
  byId("answer").hidden = true;
  let bytes;
  try {
    bytes = new Uint8Array(await file.arrayBuffer());
  } catch (error) {
    if (current()) complain("bad_read", { name: oneLine(file.name), why: oneLine(error.message) });
    return;
  }
  const began = performance.now();
  const found = await verifyBundle(bytes, enteredTrust(), (n) => {
    if (current()) byId("progress").textContent = say("working", { n, of: STEPS.length });
  });
  if (!current()) return;
  const ms = Math.ceil(performance.now() - began);
  if (found.verdict === "not used") {
    put(byId("progress"), say("bad_field", { why: oneLine(found.sentence.replace(/^not used: /, "")) }));
    return;
  }
  put(byId("progress"), say("done", { name: oneLine(file.name), size: bytes.length, ms }));
  byId("progress").dataset.ms = String(ms);
  show(found, chosen.suspect !== null);
  if (chosen.suspect !== null) await showSuspect(bytes, found, chosen.suspect, current);
}

// What the findings say of the suspect file, once the bundle was checked.
async function showSuspect(bytes, found, file, current) {
  const named = { name: oneLine(file.name), size: file.size };
  const tell = (name, values) => current() && put(byId("suspect-chosen"), say(name, { ...named, ...values }));
  // A newer check ends this one at its next slice.
  const gone = new Error();
  const read = async (begin, end) => {
    if (!current()) throw gone;
    return new Uint8Array(await file.slice(begin, end).arrayBuffer());
  };
  const proven = found.steps.some((step) => step.number === 16 && step.result === "pass");
  const progress = (done, size) => tell("suspect_working", { percent: Math.floor((done / size) * 100) });
  let checks_;
  try {
    checks_ = await withSuspect(bytes, { size: file.size, read }, proven, progress);
  } catch (error) {
    if (error !== gone) tell("bad_read", { why: oneLine(error.message) });
    return;
  }
  if (!current()) return;
  tell("suspect_done");
  const titled = ({ number, title }) => `${number}. ${title}`;
  byId("checks").replaceChildren(...checks_.map((of) => itemOf(titled(of), { ...of, needed: true, inputs: [] })));
  byId("with-suspect").hidden = false;
  const failed = checks_.filter((of) => of.result === "fail");
  if (failed.length) showDisagreement(failed, named);
  else if (checks_[0].result === "pass") showVerdict(found, false);
}

function showDisagreement(failed, named) {
  const other = failed[0].number === 1 ? "suspect_other" : "suspect_differs";
  const above = byId("suspect-verdict");
  const why = failed.map((of) => oneLine(of.detail)).join("; ");
  put(above, `${SHAPES.fail} ${say(other, { ...named, why })}`);
  above.hidden = false;
  above.focus();
}

function verdictWords(found) {
  const named = (steps) => steps.map(({ number, name }) => say("step", { number, name })).join(", ");
  const blocks = found.assumed.map((of) => say("block", of)).join(say("and"));
  const failed = found.steps.filter((step) => step.result === "fail");
  const left = found.steps.filter((step) => step.result === "not checked" && step.needed);
  if (found.index === null) return ["broken", "fail", say("verdict_no_bundle", { why: oneLine(found.steps[0].detail) })];
  if (failed.length) return ["broken", "fail", say("verdict_broken", { steps: named(failed) })];
  if (found.verdict === "verified") return ["verified", "pass", say("verdict_verified")];
  if (found.report === null) return ["open", "not checked", say("verdict_incomplete", { steps: named(left) })];
  const name = found.assumed.length === 1 ? "verdict_conditional" : "verdict_conditional_several";
  return ["open", "not checked", say(name, { blocks, count: found.assumed.length, chain: found.index.chain.id })];
}

const stepElement = (step) => itemOf(`${step.number}. ${say(`step_${step.number}`)}`, step);

function itemOf(title, { result, needed, detail, inputs }) {
  const item = element("li", { pass: "pass", fail: "fail", "not checked": "open" }[result]);
  const box = element("details");
  box.open = result === "fail" || (result === "not checked" && needed);
  const line = element("summary");
  const shape = element("span", "shape", SHAPES[result]);
  shape.setAttribute("aria-hidden", "true");
  const more = result === "not checked" && !needed ? `, ${say("not_needed")}` : "";
  line.append(shape, ` ${title}: `, element("span", "word", say(result)), more);
  box.append(line, element("p", "detail", oneLine(detail)));
  if (inputs.length) {
    const names = inputs.slice(0, SHOWN_INPUTS).map(oneLine).join(", ");
    const count = inputs.length - SHOWN_INPUTS;
    box.append(element("p", "inputs", say("inputs", { names: count > 0 ? say("and_more", { names, count }) : names })));
  }
  item.append(box);
  return item;
}

// Of the bundle alone while a suspect file beside it is being read, cannot be read, or is another:
// whoever reads the verdict alone must not take it for one about that file.
function showVerdict(found, alone) {
  const [kind, shape, words] = verdictWords(found);
  const verdict = byId("verdict");
  verdict.className = `verdict ${alone && kind === "verified" ? "open" : kind}`;
  put(verdict, alone ? say("bundle_alone", { verdict: words }) : `${SHAPES[shape]} ${words}`);
  verdict.dataset.verdict = found.verdict;
}

function show(found, alone) {
  showVerdict(found, alone);
  const lines = found.trusted.map((line) => element("p", "trusted", line));
  if (found.index !== null)
    lines.push(element("p", "trusted", say("bundle", { id: oneLine(String(found.index.id)), chain: found.index.chain.id })));
  byId("trusted").replaceChildren(...lines);
  byId("network").hidden = !found.testNetwork;
  byId("network").textContent = found.testNetwork ? `${TABLES.NO_VALUE}.` : "";
  byId("steps").replaceChildren(...found.steps.map(stepElement));
  // Each line is a box of its own: marks that a name piles up cannot reach into the next.
  const told = (found.report ?? say("report_none")).match(/[^\n]*\n|[^\n]+$/g);
  byId("report").replaceChildren(...told.map((line) => element("span", "line", line)));
  byId("save").disabled = found.report === null;
  byId("with-suspect").hidden = true;
  byId("suspect-verdict").hidden = true;
  byId("answer").hidden = false;
  byId("verdict").focus();
}

function dropped(transfer) {
  const items = [...transfer.items].filter((item) => item.kind === "file");
  if (!items.length) return complain("bad_none");
  if (items.some((item) => item.webkitGetAsEntry?.()?.isDirectory)) return complain("bad_folder");
  const files = items.map((item) => item.getAsFile());
  if (files.includes(null)) return complain("bad_none");
  // A model beside the bundle, or after it, is the suspect.
  const suspects = files.filter((file) => SUSPECT_NAME.test(file.name) && (files.length > 1 || chosen.file !== null));
  const bundles = files.filter((file) => !suspects.includes(file));
  if (suspects.length > 1 || bundles.length > 1) return complain("bad_many");
  if (suspects.length) takeSuspect(suspects[0]);
  return bundles.length ? take(bundles[0]) : check();
}

function takeSuspect(file) {
  chosen.suspect = file;
  put(byId("suspect-chosen"), file === null ? "" : oneLine(file.name));
}

function startPage() {
  for (const made of document.querySelectorAll("[data-say]")) made.textContent = say(made.dataset.say);
  byId("file").addEventListener("change", () => {
    if (byId("file").files.length) take(byId("file").files[0]);
  });
  byId("roots").addEventListener("change", () => takeRoots([...byId("roots").files]).then(check));
  byId("suspect").addEventListener("change", () => {
    takeSuspect(byId("suspect").files[0] ?? null);
    return check();
  });
  byId("known").addEventListener("submit", (event) => {
    event.preventDefault();
    check();
  });
  byId("print").addEventListener("click", () => print());
  // On paper nothing can be opened: each step shows its reason there.
  const boxes = () => [...document.querySelectorAll("#steps details")];
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = boxes().filter((box) => !box.open);
    for (const box of closed) box.open = true;
  });
  addEventListener("afterprint", () => closed.forEach((box) => { box.open = false; }));
  byId("save").addEventListener("click", () => {
    const link = element("a");
    link.href = URL.createObjectURL(new Blob([byId("report").textContent], { type: "text/plain" }));
    link.download = "report.txt";
    link.click();
    URL.revokeObjectURL(link.href);
  });
  const over = (is) => byId("drop").classList.toggle("over", is);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    over(true);
  });
  document.addEventListener("dragleave", () => over(false));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    over(false);
    dropped(event.dataTransfer);
  });
}
startPage();
