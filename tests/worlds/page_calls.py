"""Calls single functions of the page's verifier, as node reads them from its parts."""

import contextlib
import json
import subprocess

from make_verifier_page import LOGIC, script

from ledger.errors import TimestampInvalid
from ledger.evidence import der

# Answers calls of the page's functions, one JSON line each; bytes go as {"hex": …}.
SERVER = """
const given_ = (value) =>
  value !== null && typeof value === "object"
    ? "hex" in value ? unhex(value.hex) : "pairs" in value ? new Map(value.pairs.map(given_))
      : Array.isArray(value) ? value.map(given_) : value
    : value;
const shown_ = (value) =>
  typeof value === "bigint" ? Number(value)
    : value instanceof Uint8Array ? { hex: hex(value) }
      : value instanceof Map ? [...value].map(shown_)
        : Array.isArray(value) ? value.map(shown_)
          : value !== null && typeof value === "object"
            ? Object.fromEntries(Object.entries(value).map(([k, v]) => [k, shown_(v)])) : value;
async function verified_(data, trust) {
  const found = await verifyBundle(data, trust);
  const told = found.statement === null ? null : canonicalText(found.statement);
  return { ...found, index: null, statement: told };
}
require("node:readline").createInterface({ input: process.stdin }).on("line", async (line) => {
  let answer;
  try {
    const [name, ...args] = JSON.parse(line);
    answer = { value: shown_(await eval(name)(...args.map(given_))) ?? null };
  } catch (error) {
    answer = error instanceof Failed ? { failed: error.message } : { crashed: error.stack };
  }
  process.stdout.write(JSON.stringify(answer) + "\\n");
});
"""


class Refused(Exception):
    """The page failed a check."""


def shown(value):
    """As the page gets it."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, dict):
        return {"pairs": [[shown(k), shown(v)] for k, v in value.items()]}
    return value


@contextlib.contextmanager
def functions(folder):
    """A function that calls one of the page: its name or text, then the arguments."""
    code = folder / "logic.js"
    code.write_text(script(LOGIC) + SERVER)
    words = ["node", str(code)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as node:

        def call(name, *args):
            node.stdin.write(json.dumps([name, *map(shown, args)]) + "\n")
            node.stdin.flush()
            answer = json.loads(node.stdout.readline())
            assert "crashed" not in answer, answer["crashed"]
            if "failed" in answer:
                raise Refused(answer["failed"])
            return answer["value"]

        yield call
        node.stdin.close()


def outcome(function, *args):
    """What a reading ended with: its value, or None if it was refused."""
    try:
        return function(*args)
    except (TimestampInvalid, Refused):
        return None


def tree(data):
    """DER as nested lists of [tag, content or parts]; what does not parse stays bytes."""
    found = []
    try:
        for node in der.Node(0, data, b"").parts():
            inner = tree(node.content) if node.tag & 0x20 or node.tag in {3, 4} else node.content
            found.append([node.tag, node.content if inner is None else inner])
    except TimestampInvalid:
        return None
    return found or None


def encoded(parts):
    """The DER of what `tree` gives, lengths computed anew."""
    out = b""
    for tag, inner in parts:
        content = inner if isinstance(inner, bytes) else encoded(inner)
        size = len(content)
        width = (size.bit_length() + 7) // 8
        length = bytes([size]) if size < 128 else bytes([128 | width]) + size.to_bytes(width, "big")
        out += bytes([tag]) + length + content
    return out
