/* ---------------------------------------------------------------- DER ------------------------- */
// A strict reader of DER (X.690 section 10), for the few structures that date evidence
// (docs/spec/timestamps.md): one-byte tags, definite lengths and numbers in the fewest bytes,
// nothing after the end. It never recurses, and copies nothing: contents are views.
const DER = {
  BOOLEAN: 0x01, INTEGER: 0x02, BITS: 0x03, OCTETS: 0x04, NULL: 0x05, OID: 0x06, ENUMERATED: 0x0a,
  UTC_TIME: 0x17, FULL_TIME: 0x18, SEQUENCE: 0x30, SET: 0x31,
};
const DER_NUMBER_BYTES = 64;

function derElement(data, at) {
  demand(at + 2 <= data.length && (data[at] & 0x1f) !== 0x1f, "a DER element is cut off, or has a long tag");
  let [size, start] = [data[at + 1], at + 2];
  if (size >= 0x80) {
    const width = size & 0x7f;
    demand(1 <= width && width <= 4 && start + width <= data.length, "a DER length is malformed");
    size = 0;
    for (let i = 0; i < width; i++) size = size * 256 + data[start + i];
    demand(size >= 0x80 && data[start] !== 0, "a DER length is not in the fewest bytes");
    start += width;
  }
  const end = start + size;
  demand(end <= data.length, "a DER element is cut off");
  return { tag: data[at], content: data.subarray(start, end), raw: data.subarray(at, end) };
}

// The parts of a constructed element, to be taken one after the other; each must be asked for.
class DerFields {
  constructor(content) {
    Object.assign(this, { content, at: 0 });
  }
  maybe(tag) {
    if (this.at >= this.content.length || this.content[this.at] !== tag) return null;
    const node = derElement(this.content, this.at);
    this.at += node.raw.length;
    return node;
  }
  take(tag) {
    const node = this.maybe(tag);
    demand(node, `a DER element 0x${HEX[tag]} is missing`);
    return node;
  }
  // The fields of the next part.
  open(tag) {
    return new DerFields(this.take(tag).content);
  }
  end() {
    demand(this.at === this.content.length, "a DER element has a part too many");
  }
}

const derFields = (node) => new DerFields(node.content);

// `data` as one element and nothing more.
function derRead(data, tag = DER.SEQUENCE) {
  const fields = new DerFields(data);
  const node = fields.take(tag);
  fields.end();
  return node;
}

function derParts(node) {
  const found = [];
  for (let at = 0; at < node.content.length; at += found.at(-1).raw.length) found.push(derElement(node.content, at));
  return found;
}

function derTagged(node, tag) {
  demand(node.tag === tag, `a DER element 0x${HEX[tag]} is missing`);
  return node;
}

// An INTEGER or ENUMERATED of either sign, in the fewest bytes.
function derInteger({ content }) {
  const [first, second] = content;
  const padded = content.length > 1 && ((first === 0 && second < 0x80) || (first === 0xff && second >= 0x80));
  demand(content.length && content.length <= DER_NUMBER_BYTES && !padded, "a DER number is malformed");
  return BigInt.asIntN(8 * content.length, big(content));
}

// A number of a key or signature: positive, in the fewest bytes, of at most 8192 bits.
function derLarge({ content }) {
  const shortest = content.length === 1 || content[0] !== 0 || content[1] >= 0x80;
  const whole = content.length && content[0] < 0x80 && content.length <= 1025 && shortest;
  demand(whole, "a number of a key is malformed");
  return big(content);
}

// An object identifier in dots.
function derName({ content }) {
  const whole = content.length && content.length <= DER_NUMBER_BYTES && content.at(-1) < 0x80;
  demand(whole, "an object identifier is malformed");
  const arcs = [];
  let value = null;
  for (const byte of content) {
    demand(value !== null || byte !== 0x80, "an object identifier is malformed");
    value = ((value ?? 0n) << 7n) | BigInt(byte & 0x7f);
    if (byte < 0x80) {
      arcs.push(value);
      value = null;
    }
  }
  const first = arcs[0] < 80n ? arcs[0] / 40n : 2n;
  return [first, arcs[0] - 40n * first, ...arcs.slice(1)].join(".");
}

function derBoolean({ content }) {
  demand(content.length === 1 && (content[0] === 0 || content[0] === 0xff), "a DER truth value is malformed");
  return content[0] === 0xff;
}

// A BIT STRING of whole bytes.
function derBits({ content }) {
  demand(content.length && content[0] === 0, "a bit string has unused bits");
  return content.subarray(1);
}

// An AlgorithmIdentifier whose parameters are NULL or absent: its name, and whether NULL stands.
function derAlgorithm(node) {
  const fields = derFields(node);
  const name = derName(fields.take(DER.OID));
  const none = fields.maybe(DER.NULL);
  fields.end();
  demand(none === null || !none.content.length, "a NULL has content");
  return { name, none: none !== null };
}

/* ---------------------------------------------------------------- moments --------------------- */
// Unix seconds of YYYYMMDDHHMMSS in the Gregorian calendar, years 1 to 9999.
function secondsOf(digits) {
  const [year, month, day, hour, minute, second] = [
    [0, 4], [4, 6], [6, 8], [8, 10], [10, 12], [12, 14],
  ].map(([from, to]) => Number(digits.slice(from, to)));
  const leap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
  const days = [31, leap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
  const real = year >= 1 && month >= 1 && month <= 12 && day >= 1 && day <= days[month - 1];
  demand(real && hour < 24 && minute < 60 && second < 60, "a time names no moment");
  const before = year - 1;
  const date =
    365 * before + Math.floor(before / 4) - Math.floor(before / 100) + Math.floor(before / 400) +
    days.slice(0, month - 1).reduce((sum, n) => sum + n, 0) + day - 1;
  return (date - 719162) * 86400 + hour * 3600 + minute * 60 + second; // 719162 days to 1970
}

const latinText = (bytes) => Array.from(bytes.subarray(0, 64), (byte) => String.fromCharCode(byte)).join("");

// A Time of a certificate or list (RFC 5280 section 4.1.2.5), in Unix seconds.
function derTime(fields) {
  const short = fields.maybe(DER.UTC_TIME);
  const text = latinText((short ?? fields.take(DER.FULL_TIME)).content);
  const found = (short ? /^(\d\d)(\d{10})Z$/ : /^(\d{14})Z$/).exec(text);
  demand(found, "a certificate's time is malformed");
  if (short) return secondsOf((found[1] >= "50" ? "19" : "20") + found[1] + found[2]);
  return secondsOf(found[1]);
}

// A GeneralizedTime with a fraction, in microseconds since 1970 (BigInt: 2^53 ends in 2255).
function derTokenTime(node) {
  const found = /^(\d{14})(?:\.(\d{1,6}))?Z$/.exec(latinText(node.content));
  demand(found, "the token's time is malformed");
  return BigInt(secondsOf(found[1])) * 1000000n + BigInt((found[2] ?? "").padEnd(6, "0"));
}

const floorSeconds = (micros) => Number((micros - (((micros % 1000000n) + 1000000n) % 1000000n)) / 1000000n);

/* ---------------------------------------------------------------- base64 and PEM -------------- */
// Base64 (RFC 4648 section 4) in the one spelling that encoding gives back.
function base64Bytes(text, why) {
  let binary = null;
  try {
    binary = atob(text);
  } catch {
    fail(why);
  }
  demand(btoa(binary) === text, why);
  return Uint8Array.from(binary, (c) => c.charCodeAt(0));
}

// The DER in a PEM member: blocks of one kind, 64 characters a line, nothing between them.
function pemBlocks(data, kind, limit, most) {
  demand(data.length <= limit, `a PEM member has at most ${limit} bytes`);
  const text = new TextDecoder("latin1").decode(data);
  const [begin, end] = [`-----BEGIN ${kind}-----\n`, `-----END ${kind}-----\n`];
  const other = `a PEM member is not 1 to ${most} ${kind} blocks as written here`;
  const found = [];
  let at = 0;
  while (at < text.length) {
    const start = at + begin.length;
    const stop = text.indexOf(end, start);
    demand(text.startsWith(begin, at) && stop > start && found.length < most, other);
    const body = text.slice(start, stop);
    const rows = body.split("\n");
    demand(rows.pop() === "" && rows.every((row, i) => i === rows.length - 1 || row.length === 64), other);
    demand(rows.at(-1).length >= 1 && rows.at(-1).length <= 64, other);
    found.push(base64Bytes(rows.join(""), "a PEM block is no base64"));
    at = stop + end.length;
  }
  demand(found.length, other);
  return found;
}
