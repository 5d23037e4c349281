/* ---------------------------------------------------------------- words, for translation ------ */
// Each text that a reader of the page sees, except what a step found. A translation is one more
// table; report.txt is not translated, because step 19 proves it byte for byte.
const WORDS = {
  en: {
    title: "Check a file of evidence",
    intro:
      "This page checks an evidence bundle of modeldeed (a file ending in .evidence.zip) on your own computer. " +
      "Nothing is sent anywhere: the page works without a network. Take the page itself from a source that you " +
      "trust, not from the file that it checks.",
    file_title: "1. The file",
    file_drop: "Choose a file, or drop it anywhere on this page",
    file_none: "No file yet.",
    known_title: "2. What you know from elsewhere",
    known_intro:
      "A file cannot vouch for itself. What you enter here is compared with it. Without the first field the answer is " +
      "only what the file proves if its block, or blocks, belong to the chain.",
    blocks_label: "Block hashes",
    blocks_help:
      "One a line, or as copied: 0x and 64 digits, from a node of your own, from two block explorers, or from an expert.",
    roots_label: "Root certificates of time-stamping authorities",
    roots_help: "PEM files. Needed only if the file has time-stamps that you want to rely on.",
    roots_count: "{count} root certificates are used.",
    collectors_label: "Collectors",
    collectors_help: "One address a line: whose signature you accept in the custody log. May stay empty.",
    contracts_label: "Contracts",
    contracts_help: "One a line: NAME=ADDRESS. Needed only if step 5 asks for it. May stay empty.",
    suspect_label: "The suspect file, if the evidence is of one",
    suspect_help:
      "The page looks whether it is the file that was examined and, in a file that ends in .safetensors, for the " +
      "tensors that the findings name. It may also be dropped together with the bundle. May stay empty.",
    suspect_working: "{name}: {percent} % read.",
    suspect_done: "{name} ({size} bytes) was read.",
    checks_title: "With the suspect file",
    again: "Check again",
    result_title: "3. The answer",
    steps_title: "The steps, one by one",
    report_title: "What the file proves",
    report_save: "Save this text",
    print: "Print this page",
    pass: "pass",
    fail: "FAIL",
    "not checked": "not checked",
    not_needed: "not needed for the answer",
    working: "Checking: step {n} of {of}.",
    done: "Checked {name} ({size} bytes) in {ms} milliseconds.",
    inputs: "Parts of the file that were read: {names}",
    and_more: "{names} and {count} more",
    bad_many: "Several files were dropped. Drop one file, the bundle.",
    bad_folder: "A folder was dropped. Drop the bundle itself: one file that ends in .evidence.zip, as it was sent.",
    bad_none: "What was dropped is no file.",
    bad_empty: "{name} is empty: it has no bytes at all.",
    bad_large: "{name} has {size} bytes, more than a bundle can have (268,435,456).",
    bad_read: "{name} cannot be read: {why}.",
    bad_root: "{name} holds no certificate in PEM.",
    bad_field: "Nothing was checked: {why}. Correct what you entered.",
    verdict_verified: "Verified. The report below says what is proved, by blocks that you vouch for, and what is not.",
    verdict_conditional:
      "The file holds, given that {blocks} belongs to chain {chain}. Obtain the hash elsewhere and enter it above.",
    verdict_conditional_several:
      "The file holds, given that {blocks} belong to chain {chain}. Obtain the hashes of all {count} blocks elsewhere " +
      "and enter each above.",
    suspect_other:
      "The suspect file {name} is not the file that was examined: {why}. What the findings say is not about it.",
    suspect_differs: "The suspect file {name} does not show what the findings say: {why}.",
    bundle_alone: "The bundle itself, without the suspect file: {verdict}",
    verdict_incomplete: "Not verified: {steps} could not be checked.",
    verdict_broken: "Does not hold: {steps} failed. Do not rely on this file.",
    verdict_no_bundle: "This is no valid evidence bundle: {why}. Do not rely on this file.",
    step: "step {number} ({name})",
    block: "block {block} {hash}",
    and: " and ",
    bundle: "Bundle {id}, chain {chain}.",
    report_none: "The file does not hold, or could not be checked; so its report is not shown.",
    step_1: "Form: the file has the one form that a bundle has",
    step_2: "Contents: every part is the one listed",
    step_3: "Headers: block headers hash and link",
    step_4: "Trust: the blocks are ones that you vouch for",
    step_5: "Contracts: known code keeps the records",
    step_6: "Storage: what the records say",
    step_7: "Events: what happened, and when",
    step_8: "Claim: what was registered",
    step_9: "Title: who holds it",
    step_10: "History of the title",
    step_11: "Commitment made before the registration",
    step_12: "Sealed packages",
    step_13: "Licenses",
    step_14: "Other registrations of the same tensors",
    step_15: "Releases of keys by brokers",
    step_16: "Match with a suspect file",
    step_17: "Time-stamps",
    step_18: "Custody: who handled the file",
    step_19: "Report: it says what the proofs show",
    step_20: "Copies and printed forms",
  },
};
const LANGUAGE = "en";
const SHAPES = { pass: "✓", fail: "✗", "not checked": "–" };

// The sentence of that name, with its {places} filled in.
function say(name, values = {}) {
  const text = WORDS[LANGUAGE][name] ?? WORDS.en[name];
  return text.replace(/\{(\w+)\}/g, (_, key) => String(values[key] ?? ""));
}
