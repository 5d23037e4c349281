/* ---------------------------------------------------------------- Bitcoin and OpenTimestamps -- */
// Operations that lead from a digest to the Merkle root of a Bitcoin block: the detached format of
// the OpenTimestamps client, bounded as docs/spec/timestamps.md says.
const OTS_MAX = { bytes: 1 << 20, message: 4096, payload: 8192, depth: 256, operations: 4096 };
const OTS_MAGIC = join(ascii("\0OpenTimestamps\0\0Proof\0"), unhex("bf89e2e884e89294"));
const OTS_BITCOIN = unhex("0588960d73d71901");
const OTS_NOT_COMPUTED = [0x03, 0x67, 0xf2, 0xf3]; // RIPEMD-160, Keccak-256, reverse, hexlify
const EASIEST_TARGET = 0xffffn << 208n;
// A miner's clock may be two hours ahead of the network's (Bitcoin's consensus code).
const CLOCK_AHEAD = 7200;

const littleBig = (bytes) => big(Uint8Array.from(bytes).reverse());

// 80 bytes whose hash has the work that their bits ask for.
function readBitcoinHeader(raw) {
  demand(raw.length === 80, "a Bitcoin header has 80 bytes");
  const hash = sha256(sha256(raw));
  const bits = littleBig(raw.subarray(72, 76));
  const [size, mantissa] = [bits >> 24n, bits & 0xffffffn];
  let target = 0n;
  if (mantissa < 0x800000n && size <= 32n)
    target = size >= 3n ? mantissa << (8n * (size - 3n)) : mantissa >> (8n * (3n - size));
  const worked = target > 0n && target <= EASIEST_TARGET && littleBig(hash) <= target;
  demand(worked, "a Bitcoin header lacks the work its bits say");
  const time = Number(littleBig(raw.subarray(68, 72)));
  return { hash: hash.slice().reverse(), root: raw.subarray(36, 68), time, latest: time + CLOCK_AHEAD };
}

class OtsReader {
  constructor(data) {
    Object.assign(this, { data, at: 0, operations: 0, attested: [] });
  }
  take(size) {
    demand(this.at + size <= this.data.length, "the OpenTimestamps proof is cut off");
    this.at += size;
    return this.data.subarray(this.at - size, this.at);
  }
  byte() {
    return this.take(1)[0];
  }
  number() {
    let value = 0n;
    for (let place = 0n; place < 10n; place++) {
      const byte = this.byte();
      value |= BigInt(byte & 0x7f) << (7n * place);
      if (byte >= 0x80) continue;
      demand(value >> 64n === 0n, "a number in the OpenTimestamps proof is too large");
      return value;
    }
    return fail("a number in the OpenTimestamps proof is endless");
  }
  bytes(least, most) {
    const size = this.number();
    demand(BigInt(least) <= size && size <= BigInt(most), "a text in the OpenTimestamps proof is too long or empty");
    return this.take(Number(size));
  }
  timestamp(message, depth) {
    demand(depth <= OTS_MAX.depth, "the OpenTimestamps proof is nested too deeply");
    let tag = this.byte();
    while (tag === 0xff) {
      this.step(this.byte(), message, depth);
      tag = this.byte();
    }
    this.step(tag, message, depth);
  }
  step(tag, message, depth) {
    this.operations++;
    demand(this.operations <= OTS_MAX.operations, "the OpenTimestamps proof has too many steps");
    if (tag !== 0) {
      this.timestamp(this.computed(tag, message), depth + 1);
      return;
    }
    const [kind, payload] = [this.take(8), new OtsReader(this.bytes(0, OTS_MAX.payload))];
    if (!same(kind, OTS_BITCOIN)) return;
    const height = payload.number();
    demand(payload.at === payload.data.length, "a Bitcoin attestation has bytes after its height");
    if (message !== null) this.attested.push({ height, root: message });
  }
  // The message after an operation; null once one was not computed.
  computed(tag, message) {
    const argument = tag === 0xf0 || tag === 0xf1 ? this.bytes(1, OTS_MAX.message) : EMPTY;
    if (OTS_NOT_COMPUTED.includes(tag)) return null;
    const known = [0xf0, 0xf1, 0x08, 0x02].includes(tag);
    demand(known, `the OpenTimestamps operation 0x${HEX[tag]} is unknown`);
    if (message === null) return null;
    if (tag === 0x08) return sha256(message);
    if (tag === 0x02) return sha1(message);
    demand(message.length + argument.length <= OTS_MAX.message, "a message in the OpenTimestamps proof is too long");
    return tag === 0xf0 ? join(message, argument) : join(argument, message);
  }
}

// What a proof dates, and each (height, Merkle root) of Bitcoin that it leads to.
function readOtsProof(data) {
  demand(data.length <= OTS_MAX.bytes, `an OpenTimestamps proof has at most ${OTS_MAX.bytes} bytes`);
  const reader = new OtsReader(data);
  const known = same(reader.take(OTS_MAGIC.length), OTS_MAGIC) && reader.number() === 1n;
  demand(known, "this is not an OpenTimestamps proof, version 1");
  demand(reader.byte() === 0x08, "the OpenTimestamps proof is not of a SHA-256 digest");
  const digest = reader.take(32);
  reader.timestamp(digest, 0);
  demand(reader.at === data.length, "the OpenTimestamps proof has bytes after its end");
  return { digest, attested: reader.attested };
}
