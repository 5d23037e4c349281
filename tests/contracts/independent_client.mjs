// An independent reader of the contracts: viem, ABI written by hand, no line of our Python.
//
// stdin:  {"rpc", "registry", "ledger", "claim", "licenseId", "holder", "runtimeKey", "at"}
// stdout: what it read, and what it proved from a trusted block hash alone (docs/spec/storage-layout.md,
//         "How to verify a license word"): header -> state root -> account -> storage root -> license word.

import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';

const require = createRequire(new URL('../../contracts/package.json', import.meta.url));
const viem = await import(require.resolve('viem').replace('_cjs', '_esm'));
const { bytesToHex, concat, createPublicClient, encodeAbiParameters, encodePacked, fromRlp, hexToBytes } = viem;
const { http, keccak256, numberToHex, pad, parseAbi, stringToHex, toRlp, trim } = viem;

const registryAbi = parseAbi([
  'struct Claim { address licensor; bytes32 artifactRoot; bytes32 fingerprintDigest; bytes32 watermarkCommitment; bytes32 manifestHash; bytes32[] parents; bytes32 salt; }',
  'function modelIdOf(Claim claim) view returns (bytes32)',
  'function modelOf(bytes32 modelId) view returns (address licensor, uint40 registeredAt, uint40 committedAt, uint8 status, bool committed)',
]);
const ledgerAbi = parseAbi([
  'struct PlanTerms { bytes32 modelId; bytes32 termsHash; uint40 duration; uint24 grace; uint32 leaseTtl; uint32 maxOffline; uint32 minNotice; uint32 refundWindow; uint32 reissueDelay; uint16 seats; uint32 supply; uint64 quota; uint64 features; uint64 brokerSet; address payToken; uint96 price; bool floating; bool warnOnly; bool transferable; }',
  'struct PlanState { address licensor; uint32 issued; uint32 roleEpoch; bool paused; bytes32 planDigest; }',
  'function check(uint256 licenseId, address holder, bytes32 runtimeKey, uint40 at) view returns (uint8 code, uint40 notAfter, uint40 graceUntil, uint32 planId)',
  'function planOf(uint32 planId) view returns (PlanTerms terms, PlanState state)',
  'function ownerOf(uint256 id) view returns (address)',
  'function tokenURI(uint256 id) view returns (string)',
]);
const planTerms = ledgerAbi.find((entry) => entry.name === 'planOf').outputs[0];

/** The claim's id by DESIGN's formula, computed here and not asked of the chain. */
function modelId(claim, chainId, registry) {
  const words = ['bytes32', 'uint256', 'address', 'address', ...Array(6).fill('bytes32')];
  return keccak256(
    encodeAbiParameters(
      words.map((type) => ({ type })),
      [
        keccak256(stringToHex('modeldeed/model/1')),
        BigInt(chainId),
        registry,
        claim.licensor,
        claim.artifactRoot,
        claim.fingerprintDigest,
        claim.watermarkCommitment,
        claim.manifestHash,
        keccak256(concat(['0x', ...claim.parents])),
        claim.salt,
      ],
    ),
  );
}

function planDigest(licensor, terms) {
  return keccak256(
    encodeAbiParameters(
      [{ type: 'bytes32' }, { type: 'address' }, planTerms],
      [keccak256(stringToHex('modeldeed/plan/1')), licensor, terms],
    ),
  );
}

/** Where a license's word lives: 2 * id + keccak256(28 bytes of id, 4 bytes of solady's seed). */
function licenseSlot(id) {
  const hash = BigInt(keccak256(encodePacked(['bytes28', 'bytes4'], [pad(numberToHex(id >> 32n), { size: 28 }), '0x7d882553'])));
  return pad(numberToHex((2n * id + hash) % (1n << 256n)), { size: 32 });
}

/** Walks a Merkle-Patricia proof (EIP-1186) from `root` to the value under keccak256(key); throws when it does not hold. */
function proven(root, key, proof) {
  const path = keccak256(key).slice(2);
  let at = 0;
  let wanted = root;
  for (const encoded of proof) {
    if (keccak256(encoded) !== wanted) throw new Error('a proof node does not hash to its parent');
    const node = fromRlp(encoded, 'hex');
    if (node.length === 17) {
      wanted = node[parseInt(path[at], 16)];
      at += 1;
    } else {
      const [flag, ...nibbles] = node[0].slice(2);
      const odd = parseInt(flag, 16) & 1;
      const part = nibbles.slice(odd ? 0 : 1).join('');
      if (!path.startsWith(part, at)) throw new Error('the proof leads to another key');
      at += part.length;
      if (parseInt(flag, 16) & 2) {
        if (at !== path.length) throw new Error('the proof ends before the key does');
        return node[1];
      }
      wanted = node[1];
    }
  }
  throw new Error('the proof ends without a value');
}

/** The block's header as RLP; its keccak-256 must be the block's hash, so nothing in it is taken on trust. */
function headerRlp(block) {
  const number = (value) => (BigInt(value) === 0n ? '0x' : trim(numberToHex(BigInt(value))));
  const fields = [
    block.parentHash, block.sha3Uncles, block.miner, block.stateRoot, block.transactionsRoot, block.receiptsRoot,
    block.logsBloom, number(block.difficulty), number(block.number), number(block.gasLimit), number(block.gasUsed),
    number(block.timestamp), block.extraData, block.mixHash, block.nonce, number(block.baseFeePerGas),
    block.withdrawalsRoot, number(block.blobGasUsed), number(block.excessBlobGas), block.parentBeaconBlockRoot,
  ];
  if (block.requestsHash) fields.push(block.requestsHash);
  const even = (hex) => (hex.length % 2 ? `0x0${hex.slice(2)}` : hex);
  return toRlp(fields.map(even));
}

async function proveLicense(client, ledger, id) {
  const trusted = (await client.request({ method: 'eth_getBlockByNumber', params: ['latest', false] })).hash;
  const block = await client.request({ method: 'eth_getBlockByHash', params: [trusted, false] });
  if (keccak256(headerRlp(block)) !== trusted) throw new Error('the header does not hash to the trusted block');
  const slot = licenseSlot(id);
  const proof = await client.request({ method: 'eth_getProof', params: [ledger, [slot], block.number] });
  const account = fromRlp(proven(block.stateRoot, ledger, proof.accountProof), 'hex');
  const word = pad(fromRlp(proven(account[2], slot, proof.storageProof[0].proof), 'hex'), { size: 32 });
  const bits = BigInt(word);
  const field = (shift, size) => Number((bits >> BigInt(shift)) & ((1n << BigInt(size)) - 1n));
  const broken = hexToBytes(proof.storageProof[0].proof.at(-1));
  broken[broken.length - 1] ^= 1;
  let tamperedRefused = false;
  try {
    proven(account[2], slot, [...proof.storageProof[0].proof.slice(0, -1), bytesToHex(broken)]);
  } catch {
    tamperedRefused = true;
  }
  return {
    slot, word, tamperedRefused,
    holder: `0x${word.slice(-40)}`,
    flags: field(160, 8), status: field(168, 8), seatsUsed: field(176, 16), grace: field(192, 24), notAfter: field(216, 40),
  };
}

const ask = JSON.parse(readFileSync(0, 'utf8'));
const client = createPublicClient({ transport: http(ask.rpc) });
const id = BigInt(ask.licenseId);
const planId = Number(id >> 32n);
const registry = { address: ask.registry, abi: registryAbi };
const ledger = { address: ask.ledger, abi: ledgerAbi };

const chainId = await client.getChainId();
const computed = modelId(ask.claim, chainId, ask.registry);
const [terms, state] = await client.readContract({ ...ledger, functionName: 'planOf', args: [planId] });
const check = (key) => client.readContract({ ...ledger, functionName: 'check', args: [id, ask.holder, key, ask.at] });
const answer = {
  chainId,
  modelId: { computed, read: await client.readContract({ ...registry, functionName: 'modelIdOf', args: [ask.claim] }) },
  model: await client.readContract({ ...registry, functionName: 'modelOf', args: [computed] }),
  plan: { terms, state, digest: planDigest(state.licensor, terms) },
  check: await check(`0x${'00'.repeat(32)}`),
  checkWithRuntime: await check(ask.runtimeKey),
  owner: await client.readContract({ ...ledger, functionName: 'ownerOf', args: [id] }),
  metadata: JSON.parse(
    Buffer.from(
      (await client.readContract({ ...ledger, functionName: 'tokenURI', args: [id] })).split(',')[1], 'base64',
    ).toString(),
  ),
  proof: await proveLicense(client, ask.ledger, id),
};
process.stdout.write(JSON.stringify(answer, (_, value) => (typeof value === 'bigint' ? Number(value) : value)));
