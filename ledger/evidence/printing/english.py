"""Printed forms in English."""

from __future__ import annotations

from typing import Final

ENGLISH: Final = {
    # -- every page -----------------------------------------------------------------------------
    "head": "Evidence bundle, contents digest",
    "page": "Page {page} of {pages}",
    "banner": "Test network: no evidentiary value",
    "banner.body": (
        "**Test network: no evidentiary value.** The records come from chain {chain}, whose "
        "history anyone can make or remake at will. This document shows the form, and proves "
        "nothing."
    ),
    "table.cut": "… and {count} more, all in report.json.",
    "tell.deeper": "{name}: see report.json.",
    "tell.none": "none",
    "pdf.escaped": (
        "Characters that this document's fonts do not have are written as \\uXXXX with their "
        "Unicode number. report.html and report.json show them."
    ),
    # -- summary --------------------------------------------------------------------------------
    "summary.title": "Evidence summary",
    "summary.who": "Who",
    "summary.what": "What",
    "summary.when": "When, at the latest",
    "summary.rests": "What it rests on",
    "summary.adverse": "Against it",
    "summary.who.text": "Registered by {registered}; held by {held}, status {status}",
    "summary.what.text": "{title}; model {model}",
    "summary.time": "{time}: {what}. ",
    "summary.rests.text": (
        "Block {block} {hash} of chain {chain}. Ask a node or two explorers of your own for the "
        "hash of that block; if it is this one, what is stated here follows by computation "
        "alone."
    ),
    "summary.adverse.text": (
        "Other registrations of the same tensors shown: {rivals}. Transfers of the title: "
        "{transfers}. Licenses concerned: {licenses}. Members withheld: {withheld}. What the "
        "proofs cannot show: report.pdf, “Limits”."
    ),
    "summary.check": (
        "To check: **deed evidence verify** FILE **--block** {hash}, with your own copy of the "
        "verifier, on a machine without network."
    ),
    # -- result ---------------------------------------------------------------------------------
    "report.title": "Evidence report",
    "result": "Result",
    "result.holds": (
        "**The proofs hold, given that {blocks} of chain {chain} exists as named.** Every other "
        "step was computed from the bundle and passed, or concerns something the bundle does "
        "not carry, or, as time-stamps do, rests on what a reader must know; section “How it was "
        "checked” says which."
    ),
    "result.open": (
        "**Not verified by the bundle alone.** Besides the block hash, these steps need "
        "something from outside: {steps}. Section “How it was checked” says what."
    ),
    "result.block": "block {number} {hash}",
    "result.meaning": (
        "The bundle contains the chain's own data and the mathematical proofs that lead from "
        "one block hash to each statement below. No statement of the collector, of this "
        "software's makers or of any service has to be believed for them, except where the "
        "limits or the time-stamps say so."
    ),
    "result.id": (
        "The bundle is identified here by its contents digest, which covers all evidence in it. "
        "A document inside a bundle cannot name the bundle's own id, which covers the document "
        "too."
    ),
    # -- recorded -------------------------------------------------------------------------------
    "recorded": "What is recorded",
    "recorded.kind": "Subject",
    "recorded.title": "Title of the model",
    "recorded.model": "Model id",
    "recorded.root": "Root over tensor contents",
    "recorded.fingerprint": "Fingerprint digest",
    "recorded.watermark": "Watermark commitment",
    "recorded.parent": "Parent",
    "recorded.parent.confirmed": "{id}, confirmed by that model's holder",
    "recorded.parent.unconfirmed": "{id}, **not confirmed** by that model's holder",
    "recorded.registered": "Registered by",
    "recorded.held": "Held by",
    "recorded.status": "Status",
    "recorded.note": (
        "The title is text that the registrant chose. An address is controlled by whoever has "
        "its private key; which person that is has to be shown by other evidence."
    ),
    # -- times ----------------------------------------------------------------------------------
    "times": "Times",
    "times.what": "What",
    "times.when": "Block time",
    "times.interval": "Interval by the clock's rule",
    "times.source": "Source",
    "times.interval.text": "{first} to {last}",
    "times.unknown": "tolerance not known to this release",
    "times.note": (
        "Each time says that something existed **not later than** the end of the interval. It "
        "does not say how much earlier, nor who made it."
    ),
    "clock.slot": (
        "Clock of {name}: a block carries the exact start of its 12-second slot (genesis + 12 s "
        "× slot); the interval allows one slot of {ahead} s either way."
    ),
    "clock.op": (
        "Clock of {name}: set by the chain's sequencer, within the protocol's bound on drift, "
        "{ahead} s either way."
    ),
    "clock.arbitrum": (
        "Clock of {name}: set by the chain's sequencer, which the protocol lets lie up to a day "
        "back; the interval allows {behind} s either way."
    ),
    "clock.local": (
        "Clock of {name}: the clock of the machine that ran the chain. It can be set to any time."
    ),
    "clock.unknown": (
        "This release knows no rule for the clock of chain {chain}; times are given as written "
        "in the blocks."
    ),
    "timestamps": "Time-stamps of the contents",
    "timestamps.note": (
        "Clocks beside the chain that cover the contents digest. Each rests on the root "
        "certificate, or the Bitcoin block, that it names, and proves nothing to a reader who "
        "does not know that root or block from elsewhere: anyone can make an authority of any "
        "name. A token of a qualified trust service provider may carry a legal presumption "
        "(eIDAS art. 41); whether a provider is one has to be looked up."
    ),
    # -- title, licenses ------------------------------------------------------------------------
    "title": "History of the title",
    "title.none": "The proofs show that the title was never transferred.",
    "title.when": "Not later than",
    "title.from": "From",
    "title.to": "To",
    "title.block": "Block",
    "title.complete": (
        "The number of transfers is part of the proved state, so none can have been left out."
    ),
    "sealings": "Sealed packages",
    "sealings.epoch": "Epoch",
    "sealings.record": "Record",
    "licenses": "Licenses",
    "licenses.none": "The bundle shows no license.",
    "license.one": "License {id}",
    "license.holder": "Holder",
    "license.standing": "Standing",
    "license.ends": "Ends",
    "license.never": "never",
    "license.terms": "Hash of the terms",
    "license.act": "Act",
    "releases": "Answers of key brokers",
    "match": "Findings about a suspect file",
    "match.note": (
        "What follows was computed from the suspect by whoever collected. Step 16 recomputes what "
        "follows from other figures here. With the file, **deed evidence verify --suspect FILE** "
        "looks for the shared tensors again, and with the registered model repeats the comparison. "
        "Sums of a watermark, answers and readings of cells stay the collector's word."
    ),
    # -- adverse --------------------------------------------------------------------------------
    "adverse": "Adverse evidence",
    "adverse.rivals": (
        "Other registrations of the same tensors, by time of commitment. An earlier one speaks "
        "against the claim of this bundle's registrant."
    ),
    "adverse.none": (
        "No other registration of the same tensors was shown by the collector's node. That list "
        "cannot be proved complete, and other registries and chains were not asked."
    ),
    "adverse.by": "Registered by",
    "adverse.committed": "Committed not later than",
    "adverse.id": "Model id",
    "adverse.uncommitted": (
        "The claim was not committed to before it was registered: anyone who saw the "
        "transaction could have copied it."
    ),
    "adverse.parents": (
        "{count} parent(s) named by the registrant are not confirmed by their holders."
    ),
    "adverse.equal": (
        "Equal fingerprints show equal values. They are equally explained by a common source."
    ),
    "withheld": "Withheld",
    "withheld.note": (
        "These members were taken out. Their digests remain, so whoever has the bytes can put "
        "them back and show that they are the same; whoever guesses them can confirm the guess."
    ),
    # -- checked --------------------------------------------------------------------------------
    "checked": "How it was checked",
    "checked.note": (
        "The steps of docs/spec/evidence-bundle.md, made by the software below without network, "
        "on the evidence as it was when this document was printed and with nothing vouched for "
        "by a reader. Steps 1, 2 and 18 to 20 look at the file that contains this document, so "
        "their results cannot be printed in it: run the verifier."
    ),
    "checked.step": "Step",
    "checked.means": "What it does",
    "checked.result": "Result",
    "step.form": "The file has the only form a bundle can have; no byte lies outside a member.",
    "step.contents": "Every member has the size and SHA-256 that the index lists.",
    "step.headers": "Each block header hashes to its block's hash and names the one before.",
    "step.trust": "The block hashes are ones that the reader obtained elsewhere.",
    "step.contracts": (
        "The records come from released contract code, at addresses that commit to how it began."
    ),
    "step.storage": "Each state value is proved by a path of hashes from the header's state root.",
    "step.events": "Each event is proved by a path of hashes from its header's receipts root.",
    "step.claim": "The opened claim hashes to the model id; the tensors lead to its root.",
    "step.title": "Holder and status as the proved state has them.",
    "step.history": "Registration and every transfer, from holder to holder, none missing.",
    "step.commitment": "The claim's commitment was anchored before it was registered.",
    "step.sealing": "Sealed packages: epochs rise, records are those lodged.",
    "step.licenses": "Each license's events lead to how it stands.",
    "step.rivals": "Other registrations are of the same tensors, in order of time.",
    "step.releases": "Key brokers' answers are signed and under an anchored root.",
    "step.match": "Findings about a suspect are recomputed as far as possible without it.",
    "step.timestamps": "Time-stamps cover the contents; certificates were valid at that time.",
    # -- foundations ----------------------------------------------------------------------------
    "rests": "What it rests on",
    "rests.chain": "Chain",
    "rests.chain.text": "{chain} {name}, genesis {genesis} (as the collector says)",
    "rests.block": "Block",
    "rests.contract": "Contract {name}",
    "rests.finality": (
        "The collector took the newest block that its node called final by the chain's rule. "
        "Finality is not proved by the bundle: the reader confirms the block's hash, and does "
        "so long after, with sources of their own."
    ),
    "rests.l2": (
        "{name} is a layer-2 chain. Its blocks are made by a sequencer and become final when "
        "their data are in a final block of {settles}. The proofs lead to this chain's state "
        "root and not into {settles}; until that point, and under the rules of its operators' "
        "contracts, its history can be changed. Whoever confirms the block should confirm it "
        "against {settles}."
    ),
    "rests.l1": "{name} is a chain of its own: its finality depends on no other chain.",
    "rests.unknown": (
        "This release knows no profile of chain {chain}: which rule makes its blocks final, an "
        "expert has to say."
    ),
    "rests.software": "Software",
    "rests.code": "SHA-256 of its evidence code",
    "rests.collector": "Collected by",
    "rests.typesetter": "Typesetter",
    "limits": "Limits",
    "custody": "Custody log",
    "custody.note": (
        "Hash-chained: no entry can be removed or changed after a later one is written. Times "
        "and names are claimed by the writers. Entries made when this document was printed, and "
        "later ones, are in custody.json."
    ),
    "custody.none": "No entry was made before this document was printed.",
    "custody.when": "Time (claimed)",
    "custody.actor": "Who",
    "custody.action": "Act and note",
    "custody.hash": "Hash of the entry",
    # -- statistics -----------------------------------------------------------------------------
    "tests": "Tests, their null hypotheses and error rates",
    "tests.used": (
        "Findings about a suspect are in this bundle; these are the tests they can rest on."
    ),
    "tests.unused": (
        "This bundle holds no finding about a suspect, so **none of the statistical tests below "
        "was used** for it. They are described because the software offers them."
    ),
    "tests.exact": "Exact fingerprint",
    "tests.exact.text": (
        "Not statistical: SHA-256 over the values of each tensor. Two different tensors with "
        "one id would be a collision of SHA-256; none is known. No rate of error other than "
        "that is claimed."
    ),
    "tests.lineage": "Lineage (order of units)",
    "tests.lineage.h0": (
        "**{h0}** p is a bound on the probability, under H0, of so many units at the same "
        "places or in the same order (p ≤ 2·min(1/k₁!, C(r,k₂)/k₂!), times the number of all "
        "candidate pairs). It is not the probability that one model derives from the other."
    ),
    "tests.lineage.rate": (
        "Null data: simulated independent pairs of 24 units, called dependent at the level "
        "1e-3: normal rows 0 of 10,000 (exact 95 % interval of the rate 0 to 3.7e-4); "
        "heavy-tailed and structured rows 1 of 10,000 (2.5e-6 to 5.6e-4). Of 20 ordered pairs "
        "of independent real models the smallest p of any matrix was 2.8e-3. The verdict's "
        "level, 1e-20, is beyond what can be simulated; there the bound alone stands."
    ),
    "tests.lineage.note": (
        "Rejecting H0 is equally explained by one model deriving from the other, by both "
        "deriving from a third, by training begun from the same seed, and by somebody who had "
        "both having put one in order. Direction comes from anchored times and custody alone."
    ),
    "tests.watermark": "Watermark",
    "tests.watermark.h0": (
        "**H0: the suspect and the committed original are independent of the signs, that is, "
        "nobody who had the effective key made either.** p ≤ exp(−T²/2V) (Hoeffding), times "
        "2^48 tests; proven means at most 2^−128."
    ),
    "tests.watermark.rate": (
        "Null data: 1,000 wrong keys on one real model (MiniLM); smallest log10 p before "
        "correction −3.6."
    ),
    "tests.triggers": "Triggers",
    "tests.triggers.h0": (
        "**H0: the suspect was made without knowledge of the keys**, so its answers are "
        "independent of the answers drawn after the commitment. The bound is that of matching "
        "that many independent uniform answers, corrected as the findings say."
    ),
    "tests.none": "Finding nothing does not show that a model is independent.",
    # -- glossary -------------------------------------------------------------------------------
    "glossary": "Glossary",
    "term.block": "Block",
    "means.block": (
        "A batch of records of a chain; its hash identifies it and everything before it."
    ),
    "term.hash": "Hash, digest",
    "means.hash": (
        "A number computed from data (SHA-256, Keccak-256). Other data with the same number "
        "cannot in practice be found."
    ),
    "term.proof": "Proof",
    "means.proof": "Hashes that lead from one record to a known digest; anyone can recompute them.",
    "term.model": "Model",
    "means.model": "A file of tensors: the numbers that a machine-learning program computes with.",
    "term.claim": "Claim",
    "means.claim": "The registrant's statement of what was registered; the model id is its hash.",
    "term.commitment": "Commitment",
    "means.commitment": (
        "A digest published first and opened later: it fixes a content without showing it."
    ),
    "term.holder": "Holder",
    "means.holder": (
        "The address that the registry names as having the title. An address is controlled by a "
        "private key."
    ),
    "term.rival": "Rival registration",
    "means.rival": "Another registration of the same tensors.",
    "term.custody": "Custody log",
    "means.custody": "Who handled the bundle, each entry chained to the one before.",
    "codes": "Digests to compare",
    "code.contents": "Contents digest",
    "code.block": "Block {block}",
    "code.model": "Model id",
}
