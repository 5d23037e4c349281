/* ---------------------------------------------------------------- signatures ------------------ */
const HASHES = {
  "2.16.840.1.101.3.4.2.1": sha256,
  "2.16.840.1.101.3.4.2.2": sha384,
  "2.16.840.1.101.3.4.2.3": sha512,
};
const RSA_KEY = "1.2.840.113549.1.1.1";
const EC_KEY = "1.2.840.10045.2.1";
const RSA_WITH = {
  "1.2.840.113549.1.1.11": sha256,
  "1.2.840.113549.1.1.12": sha384,
  "1.2.840.113549.1.1.13": sha512,
};
const ECDSA_WITH = {
  "1.2.840.10045.4.3.2": sha256,
  "1.2.840.10045.4.3.3": sha384,
  "1.2.840.10045.4.3.4": sha512,
};
// What stands before the digest in a signature of RFC 8017 section 9.2.
const DIGEST_INFO = new Map([
  [sha256, unhex("3031300d060960864801650304020105000420")],
  [sha384, unhex("3041300d060960864801650304020205000430")],
  [sha512, unhex("3051300d060960864801650304020305000440")],
]);
const own = (table, name) => (Object.hasOwn(table, name) ? table[name] : undefined);

// That `signature` over `message` is by the key in a SubjectPublicKeyInfo. `stated` is the hash
// that a CMS signer names, which must be the signature's.
function checkSignature(algorithm, key, message, signature, stated = null) {
  const { name, none } = derAlgorithm(algorithm);
  let hash = own(RSA_WITH, name) ?? own(ECDSA_WITH, name);
  if (name === RSA_KEY && stated !== null) hash = own(HASHES, stated);
  const read = hash !== undefined && (stated === null || hash === own(HASHES, stated));
  demand(read, `a signature of the kind ${name} is not read`);
  const fields = derFields(derRead(key));
  const about = fields.open(DER.SEQUENCE);
  const bytes = derBits(fields.take(DER.BITS));
  fields.end();
  const kind = derName(about.take(DER.OID));
  const wanted = own(ECDSA_WITH, name) ? EC_KEY : RSA_KEY;
  demand(kind === wanted && !(wanted === EC_KEY && none), "a signature and its key are of different kinds");
  const holds = wanted === EC_KEY
    ? ecdsaSigned(about, bytes, hash(message), signature)
    : rsaSigned(about, bytes, hash, message, signature);
  demand(holds, "a signature does not verify");
}

function ecdsaSigned(about, bytes, digest, signature) {
  const name = derName(about.take(DER.OID));
  about.end();
  const of = own(NIST, name);
  demand(of, `the curve ${name} is not read`);
  demand(bytes.length === 1 + 2 * of.size && bytes[0] === 4, "a public key is malformed");
  const x = big(bytes.subarray(1, 1 + of.size));
  const y = big(bytes.subarray(1 + of.size));
  demand(x < of.p && y < of.p && onCurve(x, y, of), "a public key is no point of its curve");
  const pair = derFields(derRead(signature));
  const [r, s] = [derLarge(pair.take(DER.INTEGER)), derLarge(pair.take(DER.INTEGER))];
  pair.end();
  return ecdsaHolds(of, [x, y], digest, r, s);
}

// RFC 8017 section 8.2.2: opened with the public exponent, it is the one padded form.
function rsaSigned(about, bytes, hash, message, signature) {
  demand(!about.take(DER.NULL).content.length, "a NULL has content");
  about.end();
  const numbers = derFields(derRead(bytes));
  const [modulus, exponent] = [derLarge(numbers.take(DER.INTEGER)), derLarge(numbers.take(DER.INTEGER))];
  numbers.end();
  const width = modulus.toString(2).length;
  demand(2048 <= width && width <= 8192 && modulus & 1n, `an RSA key of ${width} bits is not read`);
  demand(exponent > 2n && exponent >> 64n === 0n && exponent & 1n, "an RSA key's exponent is not read");
  const size = Math.ceil(width / 8);
  if (signature.length !== size || big(signature) >= modulus) return false;
  const tail = join(DIGEST_INFO.get(hash), hash(message));
  const padding = new Uint8Array(size - tail.length - 3).fill(0xff);
  const expected = join(Uint8Array.of(0, 1), padding, Uint8Array.of(0), tail);
  return power(big(signature), exponent, modulus) === big(expected);
}

/* ---------------------------------------------------------------- certificates ---------------- */
// As of a token's time, never today's (docs/spec/timestamps.md, RFC 5280). A chain stands in the
// order of its member: each certificate is issued by the next, so there is no path to search.
const [KEY_USAGE, BASIC, EXTENDED_USAGE] = ["2.5.29.15", "2.5.29.19", "2.5.29.37"];
// Key identifiers, alternative names, list locations and policies are read over: they restrict
// nothing.
const KNOWN_EXTENSIONS = new Set([14, 15, 17, 18, 19, 31, 32, 35, 37].map((arc) => `2.5.29.${arc}`));
const TIME_STAMPING = "1.3.6.1.5.5.7.3.8";
const [DIGITAL_SIGNATURE, NON_REPUDIATION, CERT_SIGN, CRL_SIGN] = [0, 1, 5, 6];
const REVOCATION_REASON = "2.5.29.21";
// Reasons that leave earlier tokens standing, RFC 3161 section 4.
const HARMLESS = [0n, 3n, 4n, 5n];
const COMMON_NAME = "2.5.4.3";

// Body, algorithm and signature of a certificate or list.
function signedParts(raw) {
  const fields = derFields(derRead(raw));
  const [body, algorithm] = [fields.take(DER.SEQUENCE), fields.take(DER.SEQUENCE)];
  const signature = derBits(fields.take(DER.BITS));
  fields.end();
  return { body, algorithm, signature };
}

// Extensions by name: whether critical, and the value.
function readExtensions(parts) {
  const found = new Map();
  for (const part of parts) {
    const fields = derFields(derTagged(part, DER.SEQUENCE));
    const name = derName(fields.take(DER.OID));
    const critical = fields.maybe(DER.BOOLEAN);
    const value = fields.take(DER.OCTETS).content;
    fields.end();
    demand(!found.has(name), `the extension ${name} stands twice`);
    found.set(name, { critical: critical !== null && derBoolean(critical), value });
  }
  return found;
}
const wrappedExtensions = (node) => (node === null ? new Map() : readExtensions(derParts(derRead(node.content))));
const anyCritical = (extensions) => [...extensions.values()].some(({ critical }) => critical);

function readCertificate(raw) {
  const { body, algorithm, signature } = signedParts(raw);
  const fields = derFields(body);
  const marked = fields.maybe(0xa0);
  const version = marked === null ? 0n : derInteger(derRead(marked.content, DER.INTEGER));
  const serial = fields.take(DER.INTEGER);
  derInteger(serial);
  demand(same(fields.take(DER.SEQUENCE).raw, algorithm.raw), "a certificate names two signature algorithms");
  const issuer = fields.take(DER.SEQUENCE).raw;
  const validity = fields.open(DER.SEQUENCE);
  const [from, until] = [derTime(validity), derTime(validity)];
  validity.end();
  const [subject, key] = [fields.take(DER.SEQUENCE).raw, fields.take(DER.SEQUENCE).raw];
  fields.maybe(0x81);
  fields.maybe(0x82);
  const extensions = wrappedExtensions(fields.maybe(0xa3));
  fields.end();
  demand(version === 2n || (version === 0n && !extensions.size), "a certificate is neither version 1 nor version 3");
  return {
    raw, version, serial: serial.content, issuer, subject, from, until, key, extensions, algorithm, signature,
    signed: body.raw, digest: sha256(raw), name: commonName(subject),
  };
}

// The first common name of the subject if it is in a usual encoding, else null.
function commonName(subject) {
  for (const names of derParts(derRead(subject)))
    for (const pair of derParts(names)) {
      const fields = derFields(pair);
      if (derName(fields.take(DER.OID)) !== COMMON_NAME) continue;
      for (const tag of [0x0c, 0x13, 0x16]) {
        const text = fields.maybe(tag);
        if (text === null) continue;
        if (tag !== 0x0c && text.content.some((byte) => byte > 0x7f)) return null;
        try {
          return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(text.content);
        } catch {
          return null;
        }
      }
      return null;
    }
  return null;
}

// Whether keyUsage, if there, has one of these bits.
function mayUse(one, ...uses) {
  const usage = one.extensions.get(KEY_USAGE);
  if (usage === undefined) return true;
  const { content } = derRead(usage.value, DER.BITS);
  demand(content.length >= 2, "a certificate's key usage is malformed");
  return uses.some((use) => ((content[1 + (use >> 3)] ?? 0) >> (7 - (use % 8))) & 1);
}

// May sign time-stamps, and nothing else.
function checkSigner(one) {
  const { critical, value } = one.extensions.get(EXTENDED_USAGE) ?? { critical: false };
  demand(critical, "the signing certificate is not for time-stamps alone");
  const uses = derParts(derRead(value)).map((use) => derName(derTagged(use, DER.OID)));
  demand(uses.length === 1 && uses[0] === TIME_STAMPING, "the signing certificate is not for time-stamps alone");
  demand(mayUse(one, DIGITAL_SIGNATURE, NON_REPUDIATION), "the signing certificate's key may not sign");
}

// May issue certificates, with `below` authorities between it and the signer.
function checkIssuer(one, below) {
  if (one.version === 0n) return;
  demand(one.extensions.has(BASIC), "a certificate in the chain is not of an authority");
  const fields = derFields(derRead(one.extensions.get(BASIC).value));
  const [authority, limit] = [fields.maybe(DER.BOOLEAN), fields.maybe(DER.INTEGER)];
  fields.end();
  const right = authority !== null && derBoolean(authority) && mayUse(one, CERT_SIGN);
  demand(right, "a certificate in the chain is not of an authority");
  demand(limit === null || derInteger(limit) >= BigInt(below), "a certificate chain is longer than its authority allows");
}

// Each is issued by the next and valid at second `at`; the last names itself.
function checkCertificates(chain, at) {
  chain.forEach((one, place) => {
    const last = place === chain.length - 1;
    const above = last ? one : chain[place + 1];
    demand(same(one.issuer, above.subject), "a certificate is not issued by the next one, or has no root");
    if (!last) checkSignature(one.algorithm, above.key, one.signed, one.signature);
    demand(one.from <= at && at <= one.until, `certificate ${place + 1} was not valid at the token's time`);
    demand(one.version !== 0n || last, "a certificate below the root is version 1");
    for (const [name, { critical }] of one.extensions)
      demand(!critical || KNOWN_EXTENSIONS.has(name), `the critical certificate extension ${name} is not read`);
    if (place) checkIssuer(one, place - 1);
  });
  checkSigner(chain[0]);
}

/* ---------------------------------------------------------------- revocation lists ------------ */
function readRevocations(raw) {
  const { body, algorithm, signature } = signedParts(raw);
  const fields = derFields(body);
  fields.maybe(DER.INTEGER);
  demand(same(fields.take(DER.SEQUENCE).raw, algorithm.raw), "a revocation list names two signature algorithms");
  const issuer = fields.take(DER.SEQUENCE).raw;
  const issued = derTime(fields);
  fields.maybe(DER.UTC_TIME) ?? fields.maybe(DER.FULL_TIME); // nextUpdate says nothing about then
  const entries = fields.maybe(DER.SEQUENCE);
  const extensions = wrappedExtensions(fields.maybe(0xa0));
  fields.end();
  demand(!anyCritical(extensions), "this kind of revocation list is not read");
  const revoked = new Map();
  for (const entry of entries === null ? [] : derParts(entries)) {
    const of = derFields(derTagged(entry, DER.SEQUENCE));
    const [serial, when] = [of.take(DER.INTEGER).content, derTime(of)];
    const more = of.maybe(DER.SEQUENCE);
    of.end();
    const details = more === null ? new Map() : readExtensions(derParts(more));
    demand(!anyCritical(details), "this kind of revocation list is not read");
    const reason = details.get(REVOCATION_REASON);
    revoked.set(hex(serial), {
      when,
      reason: reason === undefined ? null : derInteger(derRead(reason.value, DER.ENUMERATED)),
    });
  }
  return { issuer, issued, revoked, signed: body.raw, algorithm, signature };
}

// No list takes the chain's word for second `at` away.
function checkRevocations(chain, lists, at) {
  for (const of of lists) {
    const issuer = chain.slice(1).find((one) => same(one.subject, of.issuer));
    demand(issuer && mayUse(issuer, CRL_SIGN), "a revocation list is not of an authority in the chain");
    checkSignature(of.algorithm, issuer.key, of.signed, of.signature);
    for (const one of chain) {
      const entry = same(one.issuer, of.issuer) ? of.revoked.get(hex(one.serial)) : undefined;
      if (entry === undefined) continue;
      demand(entry.when > at, "a certificate was revoked before the token was made");
      demand(HARMLESS.includes(entry.reason), "a certificate was revoked for a reason that taints tokens");
    }
  }
}
