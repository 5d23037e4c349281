// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Claim, IModelRegistry} from "../../src/interfaces/IModelRegistry.sol";
import {Base} from "../Base.sol";

/// @notice An ERC-1271 wallet that accepts one digest.
contract Wallet {
    bytes32 public accepted;

    function accept(bytes32 digest) external {
        accepted = digest;
    }

    function isValidSignature(bytes32 digest, bytes calldata) external view returns (bytes4) {
        return digest == accepted && digest != 0 ? this.isValidSignature.selector : bytes4(0xffffffff);
    }
}

contract RegisterBySigTest is Base {
    function digestOf(address registry, uint256 chainId, bytes32 modelId, uint40 deadline)
        internal
        pure
        returns (bytes32)
    {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("modeldeed ModelRegistry"),
                keccak256("1"),
                chainId,
                registry
            )
        );
        bytes32 message =
            keccak256(abi.encode(keccak256("RegisterModel(bytes32 modelId,uint40 deadline)"), modelId, deadline));
        return keccak256(abi.encodePacked(hex"1901", domain, message));
    }

    function signed(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function testFuzz_anyoneRelaysWhatTheLicensorSigned(address relayer, uint40 deadline) external {
        vm.assume(deadline >= START && relayer != address(vm));
        Claim memory claim = claimOf(licensor, 1);
        bytes32 id = models.modelIdOf(claim);
        bytes memory signature = signed(LICENSOR_KEY, digestOf(address(models), block.chainid, id, deadline));
        vm.prank(relayer);
        eq(models.registerBySig(claim, noProof(), deadline, signature), id);
        eq(models.licensorOf(id), licensor);

        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelExists.selector, id));
        models.registerBySig(claim, noProof(), deadline, signature);
    }

    function test_aLateSignatureIsRefused() external {
        Claim memory claim = claimOf(licensor, 1);
        bytes memory signature =
            signed(LICENSOR_KEY, digestOf(address(models), block.chainid, models.modelIdOf(claim), START - 1));
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelSignatureExpired.selector, START - 1));
        models.registerBySig(claim, noProof(), START - 1, signature);
    }

    function testFuzz_aSignatureOfAnythingElseIsRefused(uint8 which) external {
        Claim memory claim = claimOf(licensor, 1);
        bytes32 id = models.modelIdOf(claim);
        uint256 kind = which % 6;
        bytes32 digest = digestOf(
            kind == 0 ? address(ledger) : address(models),
            kind == 1 ? block.chainid + 1 : block.chainid,
            kind == 2 ? keccak256("another") : id,
            kind == 3 ? START + 1 : START
        );
        bytes memory signature = signed(kind == 4 ? 0xB0B : LICENSOR_KEY, digest);
        if (kind == 5) signature = "";
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelClaimNotSigned.selector, licensor, address(this)));
        models.registerBySig(claim, noProof(), START, signature);
    }

    function test_aContractWalletSigns() external {
        Wallet wallet = new Wallet();
        Claim memory claim = claimOf(address(wallet), 1);
        bytes32 id = models.modelIdOf(claim);
        vm.expectRevert(
            abi.encodeWithSelector(IModelRegistry.ModelClaimNotSigned.selector, address(wallet), address(this))
        );
        models.registerBySig(claim, noProof(), START, "anything");
        wallet.accept(digestOf(address(models), block.chainid, id, START));
        models.registerBySig(claim, noProof(), START, "anything");
        eq(models.licensorOf(id), address(wallet));
    }
}
