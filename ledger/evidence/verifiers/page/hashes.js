/* ---------------------------------------------------------------- hashes ---------------------- */
// The constants of SHA-2 are the first bits of roots of primes (FIPS 180-4); computing them is
// shorter than listing them.
function rootFraction(number, degree) {
  // floor(number^(1/degree) · 2^64) mod 2^64, by bisection in whole numbers.
  const wanted = BigInt(number) << BigInt(64 * degree);
  let low = 0n;
  let high = BigInt(number) << 64n;
  while (high - low > 1n) {
    const middle = (low + high) >> 1n;
    if (middle ** BigInt(degree) <= wanted) low = middle;
    else high = middle;
  }
  return BigInt.asUintN(64, low);
}
const PRIMES = [];
for (let n = 2; PRIMES.length < 80; n++) if (PRIMES.every((p) => n % p)) PRIMES.push(n);
const SHA2_K = PRIMES.map((prime) => rootFraction(prime, 3));
const SHA2_H = PRIMES.slice(0, 16).map((prime) => rootFraction(prime, 2));
const SHA256_K = Uint32Array.from(SHA2_K.slice(0, 64), (k) => Number(k >> 32n));
const SHA256_H = Uint32Array.from(SHA2_H.slice(0, 8), (h) => Number(h >> 32n));

// The message with a 1 bit, zeros, and its length in bits in the last `lengthBytes` of a block.
function padded(data, block, lengthBytes, littleEndian = false) {
  const size = Math.ceil((data.length + 1 + lengthBytes) / block) * block;
  const all = new Uint8Array(size);
  all.set(data);
  all[data.length] = 0x80;
  const bits = BigInt(data.length) * 8n;
  new DataView(all.buffer).setBigUint64(size - 8, bits, littleEndian);
  return all;
}

// SHA-256 of what comes in parts; all but the last are of whole blocks, 64 bytes each.
class RunningSha256 {
  constructor() {
    this.h = SHA256_H.slice();
    this.w = new Uint32Array(64);
    this.size = 0;
    this.rest = EMPTY;
  }
  update(data) {
    demand(!this.rest.length, "a part of a text to be hashed has no whole blocks");
    // Whole blocks are read in place; only the end is copied and padded.
    const whole = data.length - (data.length % 64);
    this.blocks(data, whole);
    this.rest = data.subarray(whole);
    this.size += data.length;
  }
  blocks(part, end) {
    const { h, w } = this;
    for (let at = 0; at < end; at += 64) {
      for (let i = 0, j = at; i < 16; i++, j += 4)
        w[i] = (part[j] << 24) | (part[j + 1] << 16) | (part[j + 2] << 8) | part[j + 3];
      for (let i = 16; i < 64; i++) {
        const x = w[i - 15];
        const y = w[i - 2];
        const s0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
        const s1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
      }
      let [a, b, c, d, e, f, g, k] = h;
      for (let i = 0; i < 64; i++) {
        const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
        const t1 = (k + s1 + ((e & f) ^ (~e & g)) + SHA256_K[i] + w[i]) | 0;
        const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
        const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
        k = g; g = f; f = e; e = (d + t1) | 0; d = c; c = b; b = a; a = (t1 + t2) | 0;
      }
      h[0] += a; h[1] += b; h[2] += c; h[3] += d; h[4] += e; h[5] += f; h[6] += g; h[7] += k;
    }
  }
  digest() {
    const tail = padded(this.rest, 64, 8);
    new DataView(tail.buffer).setBigUint64(tail.length - 8, BigInt(this.size) * 8n);
    this.blocks(tail, tail.length);
    const out = new Uint8Array(32);
    this.h.forEach((value, i) => new DataView(out.buffer).setUint32(4 * i, value));
    return out;
  }
}
function sha256(data) {
  const running = new RunningSha256();
  running.update(data);
  return running.digest();
}

function sha2Wide(data, start, size) {
  const cut = (x) => BigInt.asUintN(64, x);
  const turn = (x, n) => cut((x >> n) | (x << (64n - n)));
  const h = start.slice();
  const all = padded(data, 128, 16);
  const view = new DataView(all.buffer);
  for (let at = 0; at < all.length; at += 128) {
    const w = [];
    for (let i = 0; i < 16; i++) w.push(view.getBigUint64(at + 8 * i));
    for (let i = 16; i < 80; i++) {
      const s0 = turn(w[i - 15], 1n) ^ turn(w[i - 15], 8n) ^ (w[i - 15] >> 7n);
      const s1 = turn(w[i - 2], 19n) ^ turn(w[i - 2], 61n) ^ (w[i - 2] >> 6n);
      w.push(cut(w[i - 16] + s0 + w[i - 7] + s1));
    }
    let [a, b, c, d, e, f, g, k] = h;
    for (let i = 0; i < 80; i++) {
      const s1 = turn(e, 14n) ^ turn(e, 18n) ^ turn(e, 41n);
      const t1 = cut(k + s1 + ((e & f) ^ (cut(~e) & g)) + SHA2_K[i] + w[i]);
      const s0 = turn(a, 28n) ^ turn(a, 34n) ^ turn(a, 39n);
      const t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
      k = g; g = f; f = e; e = cut(d + t1); d = c; c = b; b = a; a = cut(t1 + t2);
    }
    [a, b, c, d, e, f, g, k].forEach((value, i) => { h[i] = cut(h[i] + value); });
  }
  return join(...h.map((value) => bytesOf(value, 8))).subarray(0, size);
}
const sha512 = (data) => sha2Wide(data, SHA2_H.slice(0, 8), 64);
const sha384 = (data) => sha2Wide(data, SHA2_H.slice(8), 48);

function sha1(data) {
  const turn = (x, n) => (x << n) | (x >>> (32 - n));
  const h = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0];
  const all = padded(data, 64, 8);
  const view = new DataView(all.buffer);
  for (let at = 0; at < all.length; at += 64) {
    const w = [];
    for (let i = 0; i < 16; i++) w.push(view.getUint32(at + 4 * i));
    for (let i = 16; i < 80; i++) w.push(turn(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1));
    let [a, b, c, d, e] = h;
    for (let i = 0; i < 80; i++) {
      const [f, k] =
        i < 20 ? [(b & c) | (~b & d), 0x5a827999]
        : i < 40 ? [b ^ c ^ d, 0x6ed9eba1]
        : i < 60 ? [(b & c) | (b & d) | (c & d), 0x8f1bbcdc]
        : [b ^ c ^ d, 0xca62c1d6];
      const t = (turn(a, 5) + f + e + k + w[i]) | 0;
      e = d; d = c; c = turn(b, 30); b = a; a = t;
    }
    [a, b, c, d, e].forEach((value, i) => { h[i] = (h[i] + value) | 0; });
  }
  const out = new Uint8Array(20);
  h.forEach((value, i) => new DataView(out.buffer).setInt32(4 * i, value));
  return out;
}

// Keccak-256 as the EVM uses it: rate 136, padding 01 … 80 (not the 06 of FIPS 202). The state is
// 25 lanes of 64 bits, each as a low and a high half.
const KECCAK_ROUNDS = [
  0x1n, 0x8082n, 0x800000000000808an, 0x8000000080008000n, 0x808bn, 0x80000001n,
  0x8000000080008081n, 0x8000000000008009n, 0x8an, 0x88n, 0x80008009n, 0x8000000an,
  0x8000808bn, 0x800000000000008bn, 0x8000000000008089n, 0x8000000000008003n,
  0x8000000000008002n, 0x8000000000000080n, 0x800an, 0x800000008000000an, 0x8000000080008081n,
  0x8000000000008080n, 0x80000001n, 0x8000000080008008n,
];
const KECCAK_LOW = Int32Array.from(KECCAK_ROUNDS, (c) => Number(BigInt.asIntN(32, c)));
const KECCAK_HIGH = Int32Array.from(KECCAK_ROUNDS, (c) => Number(BigInt.asIntN(32, c >> 32n)));
// Where each lane goes (π) and by how much it turns (ρ).
const KECCAK_TO = new Uint8Array(25);
const KECCAK_TURN = new Uint8Array(25);
for (let t = 0, x = 1, y = 0; t < 24; t++) {
  KECCAK_TURN[x + 5 * y] = (((t + 1) * (t + 2)) / 2) % 64;
  [x, y] = [y, (2 * x + 3 * y) % 5];
}
for (let x = 0; x < 5; x++)
  for (let y = 0; y < 5; y++) KECCAK_TO[x + 5 * y] = y + 5 * ((2 * x + 3 * y) % 5);

function keccakPermute(low, high, lowB, highB) {
  for (let round = 0; round < 24; round++) {
    for (let x = 0; x < 5; x++) {
      lowB[x] = low[x] ^ low[x + 5] ^ low[x + 10] ^ low[x + 15] ^ low[x + 20];
      highB[x] = high[x] ^ high[x + 5] ^ high[x + 10] ^ high[x + 15] ^ high[x + 20];
    }
    for (let x = 0; x < 5; x++) {
      const before = (x + 4) % 5;
      const after = (x + 1) % 5;
      const dl = lowB[before] ^ ((lowB[after] << 1) | (highB[after] >>> 31));
      const dh = highB[before] ^ ((highB[after] << 1) | (lowB[after] >>> 31));
      for (let i = x; i < 25; i += 5) {
        low[i] ^= dl;
        high[i] ^= dh;
      }
    }
    for (let i = 0; i < 25; i++) {
      const n = KECCAK_TURN[i];
      const to = KECCAK_TO[i];
      const [l, h] = n < 32 ? [low[i], high[i]] : [high[i], low[i]];
      const by = n % 32;
      lowB[to] = by ? (l << by) | (h >>> (32 - by)) : l;
      highB[to] = by ? (h << by) | (l >>> (32 - by)) : h;
    }
    for (let y = 0; y < 25; y += 5) {
      for (let x = 0; x < 5; x++) {
        const next = y + ((x + 1) % 5);
        const last = y + ((x + 2) % 5);
        low[y + x] = lowB[y + x] ^ (~lowB[next] & lowB[last]);
        high[y + x] = highB[y + x] ^ (~highB[next] & highB[last]);
      }
    }
    low[0] ^= KECCAK_LOW[round];
    high[0] ^= KECCAK_HIGH[round];
  }
}

function keccak256(data) {
  const all = new Uint8Array((Math.floor(data.length / 136) + 1) * 136);
  all.set(data);
  all[data.length] |= 0x01;
  all[all.length - 1] |= 0x80;
  const view = new DataView(all.buffer);
  const low = new Int32Array(25);
  const high = new Int32Array(25);
  const lowB = new Int32Array(25);
  const highB = new Int32Array(25);
  for (let at = 0; at < all.length; at += 136) {
    for (let i = 0; i < 17; i++) {
      low[i] ^= view.getInt32(at + 8 * i, true);
      high[i] ^= view.getInt32(at + 8 * i + 4, true);
    }
    keccakPermute(low, high, lowB, highB);
  }
  const out = new Uint8Array(32);
  const result = new DataView(out.buffer);
  for (let i = 0; i < 4; i++) {
    result.setInt32(8 * i, low[i], true);
    result.setInt32(8 * i + 4, high[i], true);
  }
  return out;
}

const CRC_TABLE = Int32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1;
  return n;
});
function crc32(data) {
  let crc = -1;
  for (const byte of data) crc = (crc >>> 8) ^ CRC_TABLE[(crc ^ byte) & 0xff];
  return (crc ^ -1) >>> 0;
}
