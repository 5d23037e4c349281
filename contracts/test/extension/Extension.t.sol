// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseCore} from "../../src/interfaces/ILicenseCore.sol";
import {ILicenseExtension} from "../../src/interfaces/ILicenseExtension.sol";
import {ILicenseRecords} from "../../src/interfaces/ILicenseRecords.sol";
import {BatchLeaf, PlanState, PlanTerms, Voucher} from "../../src/interfaces/LicenseTypes.sol";
import {IModelRegistry} from "../../src/interfaces/IModelRegistry.sol";
import {Base, IToken} from "../Base.sol";

interface IOperators {
    function isApprovedForAll(address owner, address operator) external view returns (bool);
    function setApprovalForAll(address operator, bool approved) external;
}

/// @notice Stands where the extension stands and says that it was reached, with what, and in whose storage.
contract Marker {
    error Reached(address storage_, address sender, bytes data);

    fallback() external payable {
        revert Reached(address(this), msg.sender, msg.data);
    }
}

/// @notice Answers with as many bytes as it is asked for.
contract Talker {
    fallback(bytes calldata data) external returns (bytes memory answer) {
        answer = new bytes(abi.decode(data[4:], (uint256)));
        for (uint256 i; i < answer.length; ++i) {
            answer[i] = bytes1(uint8(i));
        }
    }
}

contract ExtensionTest is Base {
    ILicenseExtension internal bare;
    uint32 internal plan;
    uint256 internal id;
    bytes32 internal model;
    mapping(bytes4 selector => bool) internal known;

    function setUp() public override {
        super.setUp();
        bare = ILicenseExtension(ledger.extension());
        model = newModel(0);
        plan = newPlan(termsOf(model));
        id = newLicense(plan, holder);
        for (uint256 i; i < allExtension().length; ++i) {
            known[allExtension()[i]] = true;
        }
        for (uint256 i; i < allCore().length; ++i) {
            known[allCore()[i]] = true;
        }
        for (uint256 i; i < tokenSelectors().length; ++i) {
            known[tokenSelectors()[i]] = true;
        }
    }

    function extensionSelectors() internal pure returns (bytes4[26] memory) {
        return [
            ILicenseExtension.createPlan.selector,
            ILicenseExtension.setResaleRoyalty.selector,
            ILicenseExtension.setPaused.selector,
            ILicenseExtension.syncLicensor.selector,
            ILicenseExtension.titleTouched.selector,
            ILicenseExtension.setRoles.selector,
            ILicenseExtension.planOf.selector,
            ILicenseExtension.rolesOf.selector,
            ILicenseExtension.royaltyInfo.selector,
            ILicenseExtension.suspend.selector,
            ILicenseExtension.reinstate.selector,
            ILicenseExtension.startReissue.selector,
            ILicenseExtension.vetoReissue.selector,
            ILicenseExtension.reissueOf.selector,
            ILicenseExtension.bindRuntimeBySig.selector,
            ILicenseExtension.releaseRuntime.selector,
            ILicenseExtension.evictRuntime.selector,
            ILicenseExtension.cancelGrants.selector,
            ILicenseExtension.reclaimSeats.selector,
            ILicenseExtension.anchorUsage.selector,
            ILicenseExtension.usageOf.selector,
            ILicenseExtension.licenseOf.selector,
            ILicenseExtension.seatOf.selector,
            ILicenseExtension.parentOf.selector,
            ILicenseExtension.everBound.selector,
            ILicenseExtension.grantNonceOf.selector
        ];
    }

    function signedSelectors() internal pure returns (bytes4[8] memory) {
        return [
            ILicenseExtension.cancelVouchers.selector,
            ILicenseExtension.noncesSpent.selector,
            ILicenseExtension.voucherDigest.selector,
            ILicenseExtension.revokeInBatch.selector,
            ILicenseExtension.checkBatchLeaf.selector,
            ILicenseExtension.batchLeafHash.selector,
            ILicenseExtension.batchOf.selector,
            ILicenseExtension.closeBatch.selector
        ];
    }

    function allExtension() internal pure returns (bytes4[] memory all) {
        all = new bytes4[](35);
        for (uint256 i; i < 26; ++i) {
            all[i] = extensionSelectors()[i];
        }
        for (uint256 i; i < 8; ++i) {
            all[26 + i] = signedSelectors()[i];
        }
        all[34] = ILicenseExtension.batchBits.selector;
    }

    function allCore() internal pure returns (bytes4[14] memory) {
        return [
            ILicenseCore.issue.selector,
            ILicenseCore.issueBatch.selector,
            ILicenseCore.redeem.selector,
            ILicenseCore.anchorBatch.selector,
            ILicenseCore.claim.selector,
            ILicenseCore.renew.selector,
            ILicenseCore.revoke.selector,
            ILicenseCore.surrender.selector,
            ILicenseCore.bindRuntime.selector,
            ILicenseCore.sublicense.selector,
            ILicenseCore.finishReissue.selector,
            ILicenseCore.check.selector,
            ILicenseCore.locked.selector,
            ILicenseCore.registry.selector
        ];
    }

    function tokenSelectors() internal pure returns (bytes4[16] memory) {
        return [
            ILicenseCore.renderer.selector,
            ILicenseCore.extension.selector,
            IToken.ownerOf.selector,
            IToken.balanceOf.selector,
            IToken.transferFrom.selector,
            IToken.safeTransferFrom.selector,
            bytes4(keccak256("safeTransferFrom(address,address,uint256,bytes)")),
            IToken.approve.selector,
            IToken.setApprovalForAll.selector,
            IToken.getApproved.selector,
            IOperators.isApprovedForAll.selector,
            IToken.tokenURI.selector,
            IToken.name.selector,
            IToken.symbol.selector,
            IToken.supportsInterface.selector,
            IToken.eip712Domain.selector
        ];
    }

    // ---------------------------------------------------------------- the dispatch

    /// The lists above are whole: an interface's id is all of its selectors, one over the other.
    function test_theListsAreWhole() external pure {
        bytes4 all;
        for (uint256 i; i < allExtension().length; ++i) {
            all ^= allExtension()[i];
        }
        isTrue(all == type(ILicenseExtension).interfaceId);
        all = ILicenseCore.renderer.selector ^ ILicenseCore.extension.selector;
        for (uint256 i; i < allCore().length; ++i) {
            all ^= allCore()[i];
        }
        isTrue(all == type(ILicenseCore).interfaceId);
    }

    /// @dev A registry that expects its ledger before this extension, and that ledger.
    function beforeAnother(address extension) internal returns (address) {
        address renderer = ledger.renderer();
        address registry = deploy(
            "ModelRegistry",
            abi.encode(address(anchors), address(this), SALT, codeOf("LicenseLedger"), renderer, extension)
        );
        return deploy("LicenseLedger", abi.encode(registry, renderer, extension));
    }

    /// Delegating to an account without code succeeds and does nothing, so no ledger stands before one.
    function test_aLedgerWithoutExtensionIsNotDeployed() external {
        address none = address(0x7777);
        address renderer = ledger.renderer();
        bytes memory code = codeOf("LicenseLedger");
        address registry =
            deploy("ModelRegistry", abi.encode(address(anchors), address(this), SALT, code, renderer, none));
        address at = IModelRegistry(registry).ledger();
        bytes memory init = abi.encodePacked(code, abi.encode(registry, renderer, none));
        (bool ok, bytes memory why) = tryCreate(init);
        isFalse(ok);
        eq(keccak256(why), keccak256(abi.encodeWithSelector(ILicenseRecords.LicenseExtensionMissing.selector, none)));
        eq(at.code.length, 0);
    }

    function tryCreate(bytes memory code) internal returns (bool ok, bytes memory why) {
        address at;
        bytes32 salt = SALT;
        assembly {
            at := create2(0, add(code, 32), mload(code), salt)
            why := mload(0x40)
            mstore(why, returndatasize())
            returndatacopy(add(why, 32), 0, returndatasize())
            mstore(0x40, add(add(why, 32), and(add(returndatasize(), 31), not(31))))
        }
        return (at != address(0), why);
    }

    /// A function of the extension that the ledger answered itself would never be reached.
    function test_everyFunctionOfTheExtensionReachesIt() external {
        address other = beforeAnother(address(new Marker()));
        for (uint256 i; i < allExtension().length; ++i) {
            bytes memory call_ = abi.encodePacked(allExtension()[i], bytes("whatever comes with it"));
            vm.prank(stranger);
            vm.expectRevert(abi.encodeWithSelector(Marker.Reached.selector, other, stranger, call_));
            this.send(other, call_);
        }
    }

    /// Passes the call on with the sender it came from.
    function send(address to, bytes calldata call_) external {
        vm.prank(msg.sender);
        (bool ok, bytes memory answer) = to.call(call_);
        if (ok) return;
        assembly {
            revert(add(answer, 32), mload(answer))
        }
    }

    function test_noFunctionOfTheLedgerItselfReachesTheExtension() external {
        address other = beforeAnother(address(new Marker()));
        for (uint256 i; i < allCore().length; ++i) {
            isFalse(reaches(other, allCore()[i]));
        }
        for (uint256 i; i < tokenSelectors().length; ++i) {
            isFalse(reaches(other, tokenSelectors()[i]));
        }
        isTrue(reaches(other, 0x12345678));
    }

    function reaches(address other, bytes4 selector) internal returns (bool) {
        (, bytes memory answer) = other.call(abi.encodePacked(selector, new bytes(512)));
        return answer.length >= 4 && bytes4(answer) == Marker.Reached.selector;
    }

    function testFuzz_answersComeThroughWhateverTheirLength(uint16 length) external {
        length %= 4096;
        address other = beforeAnother(address(new Talker()));
        (bool ok, bytes memory answer) = other.call(abi.encodePacked(bytes4(0x12345678), uint256(length)));
        isTrue(ok);
        eq(answer.length, length);
        for (uint256 i; i < length; i += 97) {
            isTrue(uint8(answer[i]) == uint8(i));
        }
    }

    function testFuzz_anUnknownSelectorReverts(bytes4 selector, bytes calldata data) external {
        vm.assume(!known[selector]);
        (bool ok, bytes memory answer) = address(ledger).call(abi.encodePacked(selector, data));
        isFalse(ok);
        eq(answer.length, 0);
    }

    function test_noSelectorReverts() external {
        for (uint256 length; length < 4; ++length) {
            (bool ok,) = address(ledger).call(new bytes(length));
            isFalse(ok);
        }
    }

    function test_coinsAreRefusedWithEveryCall() external {
        vm.deal(address(this), 100);
        (bool ok,) = address(ledger).call{value: 1}("");
        isFalse(ok);
        for (uint256 i; i < allExtension().length; ++i) {
            (ok,) = address(ledger).call{value: 1}(abi.encodePacked(allExtension()[i], new bytes(512)));
            isFalse(ok);
        }
        for (uint256 i; i < allCore().length; ++i) {
            (ok,) = address(ledger).call{value: 1}(abi.encodePacked(allCore()[i], new bytes(512)));
            isFalse(ok);
        }
        (ok,) = address(bare).call{value: 1}("");
        isFalse(ok);
        eq(address(ledger).balance, 0);
        eq(address(bare).balance, 0);
    }

    function test_theExtensionIsNamed() external view {
        isTrue(address(bare) != address(0) && address(bare) != address(ledger));
        isTrue(address(bare).code.length != 0);
        eq(ledger.registry(), address(models));
        isTrue(ledger.renderer().code.length != 0);
    }

    // ---------------------------------------------------------------- at the ledger's address

    function test_theReadsSpeakOfTheLedger() external view {
        (PlanTerms memory terms, PlanState memory state) = ledger.planOf(plan);
        eq(keccak256(abi.encode(terms)), keccak256(abi.encode(termsOf(model))));
        eq(state.issued, 1);
        eq(ledger.rolesOf(plan, agent), 0);
        (address receiver, uint256 amount) = ledger.royaltyInfo(id, 10_000);
        eq(receiver, licensor);
        eq(amount, 0);
        (address owner,,,,,,) = ledger.licenseOf(id);
        eq(owner, holder);
        (uint40 boundAt,,) = ledger.seatOf(id, 0);
        eq(boundAt, 0);
        eq(ledger.grantNonceOf(id), 0);
        isFalse(ledger.everBound(id));
        (uint64 parent,,) = ledger.parentOf(id);
        eq(parent, 0);
        (uint64 units,,) = ledger.usageOf(id);
        eq(units, 0);
        (address to,) = ledger.reissueOf(id);
        eq(to, address(0));
        eq(ledger.noncesSpent(holder, 0), 0);
        (uint32 count,,,,) = ledger.batchOf(plan, 0);
        eq(count, 0);
        (uint256 claimed,) = ledger.batchBits(plan, 0, 0);
        eq(claimed, 0);
        BatchLeaf memory leaf;
        (uint8 code,,,) = ledger.checkBatchLeaf(plan, 0, leaf, new bytes32[](0), address(0), START);
        eq(code, 1);
    }

    /// The digests name the ledger, where the extension's code runs, and not the extension.
    function test_digestsAndHashesNameTheLedger() external view {
        Voucher memory v;
        isTrue(ledger.voucherDigest(v) != bare.voucherDigest(v));
        BatchLeaf memory leaf;
        bytes32 inner = keccak256(abi.encode(block.chainid, address(ledger), plan, leaf));
        eq(ledger.batchLeafHash(plan, leaf), keccak256(abi.encode(inner)));
        inner = keccak256(abi.encode(block.chainid, address(bare), plan, leaf));
        eq(bare.batchLeafHash(plan, leaf), keccak256(abi.encode(inner)));
    }

    function test_itsErrorsComeThrough() external {
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanUnknown.selector, uint32(77)));
        ledger.planOf(77);
    }

    function test_itsEventsAreTheLedgers() external {
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.NoncesCancelled(holder, 3, 5);
        vm.prank(holder);
        ledger.cancelVouchers(3, 5);
    }

    // ---------------------------------------------------------------- at its own address

    function test_aloneItKnowsNothing() external {
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanUnknown.selector, plan));
        bare.planOf(plan);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.LicenseNotFound.selector, id));
        bare.licenseOf(id);
    }

    function test_aloneItHasNoToken() external {
        for (uint256 i; i < tokenSelectors().length; ++i) {
            if (tokenSelectors()[i] == IToken.eip712Domain.selector) continue; // its own, with its own address
            (bool ok,) = address(bare).call(abi.encodePacked(tokenSelectors()[i], new bytes(512)));
            isFalse(ok);
        }
    }

    function test_aloneItActsOnNothing() external {
        bytes memory unknownPlan = abi.encodeWithSelector(ILicenseRecords.PlanUnknown.selector, plan);
        bytes memory unknown = abi.encodeWithSelector(ILicenseRecords.LicenseNotFound.selector, id);
        vm.startPrank(licensor);
        vm.expectRevert(); // it has no registry to ask
        bare.createPlan(termsOf(model));
        vm.expectRevert(unknownPlan);
        bare.setRoles(plan, agent, 15);
        vm.expectRevert(unknownPlan);
        bare.setPaused(plan, true);
        vm.expectRevert(unknownPlan);
        bare.setResaleRoyalty(plan, 1);
        vm.expectRevert(unknownPlan);
        bare.syncLicensor(plan);
        vm.expectRevert(unknown);
        bare.suspend(id, 0);
        vm.expectRevert(unknown);
        bare.startReissue(id, buyer);
        vm.expectRevert(unknownPlan);
        bare.revokeInBatch(plan, 0, 0, 1, 0);
        vm.expectRevert(unknownPlan);
        bare.closeBatch(plan, 0, 0);
        vm.stopPrank();
        vm.prank(address(models));
        vm.expectRevert();
        bare.titleTouched(model);
        vm.prank(holder);
        vm.expectRevert(unknown);
        bare.cancelGrants(id);
    }

    function testFuzz_whatItDoesAloneLeavesTheLedgerAsItIs(address who, uint256 word, uint256 mask) external {
        vm.assume(who != address(vm));
        vm.prank(who);
        bare.cancelVouchers(word, mask);
        eq(bare.noncesSpent(who, word), mask);
        eq(ledger.noncesSpent(who, word), 0);
    }

    function testFuzz_onlyTheRegistryTouchesTitles(address who) external {
        vm.assume(who != address(models) && who != address(vm));
        vm.prank(who);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanNotRegistry.selector, who));
        ledger.titleTouched(model);
    }

    function test_theExtensionIsNobodyToTheLedger() external {
        vm.startPrank(address(bare));
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanNotRegistry.selector, address(bare)));
        ledger.titleTouched(model);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanNotAuthorized.selector, plan, address(bare), 0));
        ledger.setRoles(plan, address(bare), 15);
        vm.stopPrank();
    }
}
