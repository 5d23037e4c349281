/* ---------------------------------------------------------------- elliptic curves ------------- */
// Short Weierstrass curves y² = x³ + ax + b over a prime field, points in Jacobian coordinates.
function mod(a, p) {
  const r = a % p;
  return r < 0n ? r + p : r;
}
function inverse(a, p) {
  let [r0, r1, t0, t1] = [p, mod(a, p), 0n, 1n];
  while (r1) {
    const q = r0 / r1;
    [r0, r1, t0, t1] = [r1, r0 - q * r1, t1, t0 - q * t1];
  }
  if (r0 !== 1n) fail("a number has no inverse");
  return mod(t0, p);
}
function power(base, exponent, p) {
  let result = 1n;
  base = mod(base, p);
  for (const bit of exponent.toString(2)) {
    result = (result * result) % p;
    if (bit === "1") result = (result * base) % p;
  }
  return result;
}

const curve = (name, p, a, b, n, x, y) => ({ name, p, a, b, n, g: [x, y, 1n], size: Math.ceil(p.toString(16).length / 2) });
const SECP256K1 = curve(
  "secp256k1",
  2n ** 256n - 2n ** 32n - 977n,
  0n,
  7n,
  0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n,
  0x79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798n,
  0x483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8n,
);
const P256_P = 2n ** 256n - 2n ** 224n + 2n ** 192n + 2n ** 96n - 1n;
const P384_P = 2n ** 384n - 2n ** 128n - 2n ** 96n + 2n ** 32n - 1n;
const P521_P = 2n ** 521n - 1n;
const NIST = {
  "1.2.840.10045.3.1.7": curve(
    "P-256", P256_P, -3n,
    0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604bn,
    0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n,
    0x6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296n,
    0x4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5n,
  ),
  "1.3.132.0.34": curve(
    "P-384", P384_P, -3n,
    0xb3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875ac656398d8a2ed19d2a85c8edd3ec2aefn,
    0xffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973n,
    0xaa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab7n,
    0x3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5fn,
  ),
  "1.3.132.0.35": curve(
    "P-521", P521_P, -3n,
    0x051953eb9618e1c9a1f929a21a0b68540eea2da725b99b315f3b8b489918ef109e156193951ec7e937b1652c0bd3bb1bf073573df883d2c34f1ef451fd46b503f00n,
    0x1fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409n,
    0x0c6858e06b70404e9cd9e3ecb662395b4429c648139053fb521f828af606b4d3dbaa14b5e77efe75928fe1dc127a2ffa8de3348b3c1856a429bf97e7e31c2e5bd66n,
    0x11839296a789a3bc0045c8a5fb42c7d1bd998f54449579b446817afbd17273e662c97ee72995ef42640c550b9013fad0761353c7086a272c24088be94769fd16650n,
  ),
};

function pointDouble([x, y, z], { p, a }) {
  if (!z || !y) return [1n, 1n, 0n];
  const yy = (y * y) % p;
  const s = (4n * x * yy) % p;
  const zz = (z * z) % p;
  const m = (3n * x * x + a * zz * zz) % p;
  const x3 = mod(m * m - 2n * s, p);
  return [x3, mod(m * (s - x3) - 8n * yy * yy, p), (2n * y * z) % p];
}
function pointAdd(first, second, of) {
  const { p } = of;
  const [x1, y1, z1] = first;
  const [x2, y2, z2] = second;
  if (!z1) return second;
  if (!z2) return first;
  const z1z1 = (z1 * z1) % p;
  const z2z2 = (z2 * z2) % p;
  const u1 = (x1 * z2z2) % p;
  const u2 = (x2 * z1z1) % p;
  const s1 = (y1 * z2 * z2z2) % p;
  const s2 = (y2 * z1 * z1z1) % p;
  const h = mod(u2 - u1, p);
  const r = mod(s2 - s1, p);
  if (!h) return r ? [1n, 1n, 0n] : pointDouble(first, of);
  const hh = (h * h) % p;
  const hhh = (h * hh) % p;
  const v = (u1 * hh) % p;
  const x3 = mod(r * r - hhh - 2n * v, p);
  return [x3, mod(r * (v - x3) - s1 * hhh, p), (h * z1 * z2) % p];
}
// u·G + v·Q, both at once.
function combine(u, v, q, of) {
  const both = pointAdd(of.g, q, of);
  let sum = [1n, 1n, 0n];
  const bits = Math.max(u.toString(2).length, v.toString(2).length);
  const [us, vs] = [u.toString(2).padStart(bits, "0"), v.toString(2).padStart(bits, "0")];
  for (let i = 0; i < bits; i++) {
    sum = pointDouble(sum, of);
    const pick = us[i] + vs[i];
    if (pick !== "00") sum = pointAdd(sum, pick === "11" ? both : pick === "10" ? of.g : q, of);
  }
  return sum;
}
function affine([x, y, z], { p }) {
  if (!z) return null;
  const w = inverse(z, p);
  return [(x * w * w) % p, (y * w * w * w) % p];
}
const onCurve = (x, y, { p, a, b }) => mod(y * y - (x * x * x + a * x + b), p) === 0n;

// The account whose key made the signature r ‖ s ‖ v of a 32-byte digest (SEC 1 section 4.1.6).
function recover(digest, signature) {
  const { p, n } = SECP256K1;
  demand(signature.length === 65, "a wallet signature has 65 bytes");
  const v = signature[64] >= 27 ? signature[64] - 27 : signature[64];
  const r = big(signature.subarray(0, 32));
  const s = big(signature.subarray(32, 64));
  demand((v === 0 || v === 1) && s <= n / 2n, "the signature is malleable or has a wrong v");
  demand(r > 0n && r < n && s > 0n, "the signature belongs to no key");
  const yy = (r * r * r + 7n) % p;
  let y = power(yy, (p + 1n) / 4n, p);
  demand((y * y) % p === yy, "the signature belongs to no key");
  if (Number(y & 1n) !== v) y = p - y;
  const w = inverse(r, n);
  const key = affine(combine(mod(-big(digest) * w, n), (s * w) % n, [r, y, 1n], SECP256K1), SECP256K1);
  demand(key !== null, "the signature belongs to no key");
  return keccak256(join(bytesOf(key[0], 32), bytesOf(key[1], 32))).subarray(12);
}

// FIPS 186-5 section 6.4.2.
function ecdsaHolds(of, point, digest, r, s) {
  if (!(r > 0n && r < of.n && s > 0n && s < of.n)) return false;
  const bits = of.n.toString(2).length;
  let e = big(digest);
  if (digest.length * 8 > bits) e >>= BigInt(digest.length * 8 - bits);
  const w = inverse(s, of.n);
  const sum = affine(combine((e * w) % of.n, (r * w) % of.n, [...point, 1n], of), of);
  return sum !== null && sum[0] % of.n === r;
}
