"use strict";
// Verifies an evidence bundle of modeldeed as docs/spec/evidence-bundle.md says: no library, no
// network, nothing but this script. Read it from top to bottom: first the tools that any textbook
// has (hashes, curves, encodings), then the steps in the order of their numbers, then the page.
// Bytes are Uint8Array; numbers from a chain are BigInt; a failed check throws Failed.

/* ---------------------------------------------------------------- how a step ends ------------- */
class Failed extends Error {}
class NotChecked extends Error {
  constructor(why, needed = true) {
    super(why);
    this.needed = needed;
  }
}
// The file is not a bundle at all: there are no steps to go through.
class Refused extends Error {
  constructor(why, code = "BUNDLE_FORMAT_ERROR") {
    super(why);
    this.code = code;
  }
}
function fail(why) {
  throw new Failed(why);
}
function demand(holds, why) {
  if (!holds) throw new Failed(why);
}

/* ---------------------------------------------------------------- bytes ----------------------- */
const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));
const EMPTY = new Uint8Array(0);

function hex(bytes) {
  let text = "";
  for (const byte of bytes) text += HEX[byte];
  return text;
}
const hex0x = (bytes) => "0x" + hex(bytes);

function unhex(text) {
  if (text.length % 2 || !/^[0-9a-fA-F]*$/.test(text)) fail("bytes are not hexadecimal");
  const bytes = new Uint8Array(text.length / 2);
  for (let i = 0; i < bytes.length; i++) bytes[i] = parseInt(text.substr(2 * i, 2), 16);
  return bytes;
}

function join(...parts) {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function same(a, b) {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

const ascii = (text) => Uint8Array.from(text, (c) => c.charCodeAt(0));
const utf8 = (text) => new TextEncoder().encode(text);
const big = (bytes) => (bytes.length ? BigInt("0x" + hex(bytes)) : 0n);

// `number` in `size` bytes, highest first.
function bytesOf(number, size) {
  const digits = BigInt(number).toString(16).padStart(2 * size, "0");
  if (digits.length !== 2 * size) fail("a number is too large");
  return unhex(digits);
}

function padLeft(bytes, size) {
  if (bytes.length > size) fail("a value is too long");
  return join(new Uint8Array(size - bytes.length), bytes);
}
const word = (bytes) => padLeft(bytes, 32);

// Smaller, equal or greater, byte by byte.
function compareBytes(a, b) {
  for (let i = 0; i < Math.min(a.length, b.length); i++) if (a[i] !== b[i]) return a[i] - b[i];
  return a.length - b.length;
}

// By code point, as the specification sorts names (JavaScript sorts by UTF-16 unit).
const compareText = (a, b) => compareBytes(utf8(a), utf8(b));

/* ---------------------------------------------------------------- JSON ------------------------ */
// Read strictly (no key twice, bounded depth, whole numbers within ±(2^53 − 1)), because only
// one spelling of a document counts: RFC 8785. With `wholeAlone` a fraction is refused as well.
const MAX_DEPTH = 64;
const MAX_SAFE = BigInt(Number.MAX_SAFE_INTEGER);

function parseJson(bytes, what, wholeAlone = false) {
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    fail(`${what} is not UTF-8`);
  }
  let at = 0;
  const bad = (why) => fail(`${what} is not JSON: ${why} at character ${at}`);
  const space = () => {
    while (at < text.length && " \t\n\r".includes(text[at])) at++;
  };
  const string = () => {
    const pattern = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
    // A long text in pieces: the end is found first, so that no pattern runs over megabytes.
    let end = at + 1;
    while (end < text.length && text[end] !== '"') end += text[end] === "\\" ? 2 : 1;
    const piece = text.slice(at, end + 1);
    if (end >= text.length || (piece.length < 1e6 && !pattern.test(piece))) bad("a text");
    at = end + 1;
    try {
      return JSON.parse(piece);
    } catch {
      return bad("a text");
    }
  };
  const number = () => {
    const pattern = /-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/y;
    pattern.lastIndex = at;
    const found = pattern.exec(text);
    if (!found) bad("a value");
    at = pattern.lastIndex;
    const value = Number(found[0]);
    const whole = found[1] === undefined && found[2] === undefined;
    if (wholeAlone && !whole) bad("a fraction");
    if (!Number.isFinite(value) || (whole && !Number.isSafeInteger(value))) bad("a number too large");
    return value;
  };
  const value = (depth) => {
    space();
    const c = text[at];
    if (c === '"') return string();
    if (c === "[" || c === "{") {
      if (depth > MAX_DEPTH) fail(`${what} nests deeper than ${MAX_DEPTH}`);
      const list = c === "[";
      const close = list ? "]" : "}";
      const made = list ? [] : Object.create(null);
      at++;
      space();
      if (text[at] === close) {
        at++;
        return made;
      }
      for (;;) {
        if (list) {
          made.push(value(depth + 1));
        } else {
          space();
          if (text[at] !== '"') bad("a name");
          const name = string();
          if (name in made) fail(`${what} repeats a key`);
          space();
          if (text[at++] !== ":") bad("a colon");
          made[name] = value(depth + 1);
        }
        space();
        const next = text[at++];
        if (next === close) return made;
        if (next !== ",") bad("a comma");
      }
    }
    for (const [name, of] of [["true", true], ["false", false], ["null", null]])
      if (text.startsWith(name, at)) {
        at += name.length;
        return of;
      }
    return number();
  };
  const document = value(1);
  space();
  if (at !== text.length) bad("something after the end");
  return document;
}

function canonicalText(value) {
  if (typeof value === "bigint") {
    if (value > MAX_SAFE || value < -MAX_SAFE) fail("a number has no canonical form");
    return value.toString();
  }
  if (typeof value === "number") {
    if (!Number.isFinite(value)) fail("a number has no canonical form");
    return Object.is(value, -0) ? "0" : String(value);
  }
  if (typeof value === "string") {
    if (/[\ud800-\udfff]/u.test(value)) fail("a text has no canonical form");
    return JSON.stringify(value);
  }
  if (Array.isArray(value)) return "[" + value.map(canonicalText).join(",") + "]";
  if (value !== null && typeof value === "object") {
    const names = Object.keys(value).sort();
    return "{" + names.map((n) => canonicalText(n) + ":" + canonicalText(value[n])).join(",") + "}";
  }
  if (value === null || typeof value === "boolean") return String(value);
  return fail("a value has no canonical form");
}
const canonical = (value) => utf8(canonicalText(value));
const taggedHash = (tag, data) => sha256(join(ascii(tag), Uint8Array.of(0), data));
const hashJson = (tag, document) => taggedHash(tag, canonical(document));

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const isText = (value) => typeof value === "string";
const isWhole = (value) => Number.isSafeInteger(value);
const isNatural = (value) => Number.isSafeInteger(value) && value >= 0;
const length = (text) => [...text].length; // in characters, not in UTF-16 units

function hasExactly(document, names) {
  return isObject(document) && Object.keys(document).length === names.length &&
    names.every((name) => name in document);
}

/* ---------------------------------------------------------------- ids ------------------------- */
function digestOf(text) {
  if (!isText(text) || !/^(?:0x)?[0-9a-fA-F]{64}$/.test(text)) fail("a digest is malformed");
  return unhex(text.slice(-64));
}

// EIP-55: a letter is a capital where the hash of the address has a digit of 8 or more.
function addressText(bytes) {
  const plain = hex(bytes);
  const mask = hex(keccak256(ascii(plain)));
  return "0x" + [...plain].map((c, i) => (parseInt(mask[i], 16) >= 8 ? c.toUpperCase() : c)).join("");
}

function addressOf(text) {
  if (!isText(text) || !/^(?:0x)?[0-9a-fA-F]{40}$/.test(text)) fail("an address is malformed");
  const digits = text.slice(-40);
  const bytes = unhex(digits);
  const mixed = digits !== digits.toLowerCase() && digits !== digits.toUpperCase();
  if (mixed && addressText(bytes).slice(2) !== digits) fail("an address has a wrong checksum");
  return bytes;
}

// White space as the specification's implementations strip it: not U+FEFF, which \s takes too.
const BLANK = "[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]+";
const strip = (text) => text.replace(new RegExp(`^${BLANK}|${BLANK}$`, "g"), "");

function licenseOf(text) {
  const found = isText(text) && text.length <= 64 && /^([0-9]+)(?:\.([0-9]+))?$/.exec(strip(text));
  if (!found) fail("a license is not named as PLAN.SERIAL");
  const [first, second] = [BigInt(found[1]), found[2] === undefined ? null : BigInt(found[2])];
  if (second === null) {
    if (first >> 64n) fail("a license id is out of range");
    return first;
  }
  if (first >> 32n || second >> 32n) fail("a license id is out of range");
  return (first << 32n) | second;
}
const licenseText = (id) => `${id >> 32n}.${id & 0xffffffffn}`;
