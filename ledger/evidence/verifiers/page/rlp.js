/* ---------------------------------------------------------------- Merkle trees ---------------- */
// The shape of RFC 6962 over SHA-256 (T1) or Keccak-256 (T2), docs/spec/merkle.md.
const leafHash = (hash, data) => hash(join(Uint8Array.of(0), data));
const nodeHash = (hash, left, right) => hash(join(Uint8Array.of(1), left, right));

function merkleRoot(hash, leaves) {
  if (!leaves.length) return hash(EMPTY);
  let level = leaves;
  while (level.length > 1) {
    const above = [];
    for (let i = 0; i + 1 < level.length; i += 2) above.push(nodeHash(hash, level[i], level[i + 1]));
    if (level.length % 2) above.push(level[level.length - 1]);
    level = above;
  }
  return level[0];
}

// RFC 9162 section 2.1.3.2: that `leaf` stands at `index` of `size` under `root`.
function checkInclusion(hash, leaf, index, size, path, root) {
  index = BigInt(index);
  size = BigInt(size);
  demand(0n <= index && index < size && path.length <= 64, `index ${index} is not below size ${size}`);
  let [place, last, running] = [index, size - 1n, leaf];
  for (const sibling of path) {
    demand(last !== 0n, "the inclusion path is too long");
    if (place & 1n || place === last) {
      running = nodeHash(hash, sibling, running);
      while (!(place & 1n) && place) {
        place >>= 1n;
        last >>= 1n;
      }
    } else {
      running = nodeHash(hash, running, sibling);
    }
    place >>= 1n;
    last >>= 1n;
  }
  demand(last === 0n, "the inclusion path is too short");
  demand(same(running, root), "the inclusion path leads to another root");
}

/* ---------------------------------------------------------------- RLP and tries --------------- */
// Yellow Paper appendix B; only the shortest encoding counts, nothing may follow, and an item lies
// within at most 64 lists.
const RLP_DEPTH = 64;
function rlpDecode(data) {
  const item = (at, depth) => {
    if (at >= data.length || depth > RLP_DEPTH) fail("an RLP item is cut off or nests too deep");
    const first = data[at];
    if (first < 0x80) return [data.subarray(at, at + 1), at + 1];
    const list = first >= 0xc0;
    const base = list ? 0xc0 : 0x80;
    let start = at + 1;
    let size = first - base;
    if (size > 55) {
      const width = size - 55;
      if (start + width > data.length || data[start] === 0 || width > 6) fail("an RLP length is malformed");
      size = 0;
      for (let i = 0; i < width; i++) size = size * 256 + data[start + i];
      if (size < 56) fail("an RLP length is not the shortest");
      start += width;
    } else if (!list && size === 1 && data[start] < 0x80) {
      fail("an RLP byte is not the shortest");
    }
    const end = start + size;
    if (end > data.length) fail("an RLP item is cut off");
    if (!list) return [data.subarray(start, end), end];
    const items = [];
    while (start < end) {
      const [value, next] = item(start, depth + 1);
      items.push(value);
      start = next;
    }
    if (start !== end) fail("an RLP list is shorter than its items");
    return [items, end];
  };
  const [value, end] = item(0, 0);
  if (end !== data.length) fail("something follows the RLP item");
  return value;
}

function rlpEncode(value) {
  const head = (size, base) => {
    if (size < 56) return Uint8Array.of(base + size);
    const digits = size.toString(16);
    const width = unhex(digits.length % 2 ? "0" + digits : digits);
    return join(Uint8Array.of(base + 55 + width.length), width);
  };
  if (Array.isArray(value)) {
    const body = join(...value.map(rlpEncode));
    return join(head(body.length, 0xc0), body);
  }
  if (value.length === 1 && value[0] < 0x80) return value;
  return join(head(value.length, 0x80), value);
}

// A whole number as RLP writes it: no zeros in front, zero is empty.
function rlpNumber(number) {
  const digits = BigInt(number).toString(16);
  return BigInt(number) === 0n ? EMPTY : unhex(digits.length % 2 ? "0" + digits : digits);
}

const MAX_NODES = 65;
const MAX_NODE_BYTES = 1 << 20;
const EMPTY_TRIE = keccak256(Uint8Array.of(0x80));
const isBytes = (value) => value instanceof Uint8Array;

const toNibbles = (bytes) => Array.from(bytes, (byte) => [byte >> 4, byte & 15]).flat();

// The nibbles of a path in hex-prefix encoding, and whether it ends in a leaf (appendix C).
function nodePath(raw) {
  const flag = raw[0] >> 4;
  return [toNibbles(raw).slice(2 - (flag & 1)), (flag & 2) !== 0];
}

// A node has the shape that nodes of tries have, and so has all that stands within it.
function checkNode(node) {
  const whole = (holds) => demand(holds, "a proof node is malformed");
  whole(Array.isArray(node) && (node.length === 2 || node.length === 17));
  let children = node.slice(0, 16);
  if (node.length === 17) {
    whole(isBytes(node[16]));
  } else {
    const [raw, last] = node;
    whole(isBytes(raw) && raw.length && raw[0] < 0x40 && (raw[0] & 0x10 || !(raw[0] & 15)));
    const [part, leaf] = nodePath(raw);
    // A leaf holds something; an extension is of at least a nibble, over a branch.
    if (leaf) whole(isBytes(last) && last.length);
    else whole(part.length && (isBytes(last) ? last.length : last.length === 17));
    children = leaf ? [] : [last];
  }
  for (const child of children) {
    whole(isBytes(child) ? child.length === 0 || child.length === 32 : rlpEncode(child).length < 32);
    if (!isBytes(child)) checkNode(child);
  }
}

// The value at `key` under `root` by the nodes of a proof, EMPTY when they prove that there is
// none. Each node must be used: a proof is complete or broken.
function prove(root, key, nodes) {
  const bounded = nodes.length <= MAX_NODES && nodes.every((node) => node.length <= MAX_NODE_BYTES);
  demand(bounded, "the proof is longer than any can be");
  const known = new Map(nodes.map((node) => [hex(keccak256(node)), node]));
  const used = new Set();
  let path = toNibbles(key);
  let node = same(root, EMPTY_TRIE) ? EMPTY : root;
  let value = EMPTY;
  while (node.length) {
    if (isBytes(node)) {
      const raw = known.get(hex(node));
      demand(raw, "the proof does not lead from the root to the value");
      demand(!used.size || raw.length >= 32, "a short node stands apart from the one above");
      used.add(hex(node));
      node = rlpDecode(raw);
      checkNode(node);
    }
    if (node.length === 17) {
      if (!path.length) {
        value = node[16];
        break;
      }
      [node, path] = [node[path[0]], path.slice(1)];
      continue;
    }
    const [part, leaf] = nodePath(node[0]);
    const fits = part.every((nibble, i) => nibble === path[i]);
    if (leaf) {
      if (fits && part.length === path.length) value = node[1];
      break;
    }
    if (!fits) break;
    [node, path] = [node[1], path.slice(part.length)];
  }
  demand(used.size === nodes.length, "the proof carries nodes off its path");
  return value;
}
