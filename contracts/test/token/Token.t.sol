// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseLedger} from "../../src/interfaces/ILicenseLedger.sol";
import {ILicenseRecords} from "../../src/interfaces/ILicenseRecords.sol";
import {LicenseStatus, PlanTerms} from "../../src/interfaces/LicenseTypes.sol";
import {Base} from "../Base.sol";

/// @notice Takes a license and uses the callback to act as its new holder.
contract Receiver {
    ILicenseLedger private immutable ledger;
    bool private immutable accepts;

    constructor(ILicenseLedger ledger_, bool accepts_) {
        ledger = ledger_;
        accepts = accepts_;
    }

    function onERC721Received(address, address, uint256 id, bytes calldata) external returns (bytes4) {
        ledger.bindRuntime(id, keccak256("re-entered"), 0, 0);
        return accepts ? this.onERC721Received.selector : bytes4(0);
    }
}

contract TokenTest is Base {
    uint32 internal plan;
    uint256 internal id;

    function setUp() public override {
        super.setUp();
        plan = newPlan();
        id = newLicense(plan, holder);
    }

    function refuses(uint8 why) internal {
        bytes memory untransferable = abi.encodeWithSelector(ILicenseRecords.LicenseUntransferable.selector, id, why);
        vm.startPrank(holder);
        vm.expectRevert(untransferable);
        token.transferFrom(holder, buyer, id);
        vm.expectRevert(untransferable);
        token.safeTransferFrom(holder, buyer, id);
        vm.stopPrank();
        eq(token.ownerOf(id), holder);
    }

    function test_aFreeLicenseMovesWholeAndAlone() external {
        vm.prank(holder);
        ledger.cancelGrants(id);
        vm.prank(holder);
        token.transferFrom(holder, buyer, id);
        (address owner,, uint40 notAfter, LicenseStatus status, uint16 seats, uint64 nonce,) = ledger.licenseOf(id);
        eq(owner, buyer);
        eq(notAfter, START + 30 days);
        isTrue(status == LicenseStatus.ACTIVE);
        eq(seats, 0);
        eq(nonce, 2);
        eq(token.balanceOf(holder), 0);
        eq(token.balanceOf(buyer), 1);
        (uint8 code,,,) = ledger.check(id, holder, 0, START);
        eq(code, 5);
        (code,,,) = ledger.check(id, buyer, 0, START);
        eq(code, 0);
    }

    function test_noGrantComesBackWithTheLicense() external {
        eq(ledger.grantNonceOf(id), 0);
        address from = holder;
        address to = buyer;
        for (uint64 nonce = 1; nonce <= 4; ++nonce) {
            vm.expectEmit(true, true, true, true, address(ledger));
            emit ILicenseRecords.GrantsCancelled(id, nonce);
            vm.prank(from);
            if (nonce % 2 == 0) token.transferFrom(from, to, id);
            else token.safeTransferFrom(from, to, id);
            eq(ledger.grantNonceOf(id), nonce);
            eq(token.ownerOf(id), to);
            (from, to) = (to, from);
        }
        eq(token.ownerOf(id), holder);
        eq(codeOf(id), 0);
    }

    function test_aTransferOfALicenseThatHasNotBegunLeavesItsBeginning() external {
        vm.prank(licensor);
        id = ledger.issue(plan, holder, START + 5 days, 0);
        vm.prank(holder);
        token.transferFrom(holder, buyer, id);
        (, uint40 notBefore,,,, uint64 nonce,) = ledger.licenseOf(id);
        eq(notBefore, START + 5 days);
        eq(nonce, 1);
        eq(codeAt(id, START + 5 days - 1), 8);
        eq(codeAt(id, START + 5 days), 0);
    }

    function test_aLockedLicenseStays() external {
        PlanTerms memory terms = termsOf(newModel(2));
        terms.transferable = false;
        id = newLicense(newPlan(terms), holder);
        refuses(1);
    }

    function test_aSuspendedLicenseStaysUntilReinstated() external {
        vm.prank(licensor);
        ledger.suspend(id, 0);
        refuses(2);
        vm.prank(licensor);
        ledger.reinstate(id, 0);
        vm.prank(holder);
        token.transferFrom(holder, buyer, id);
    }

    function test_aLicenseUnderNoticeStays() external {
        vm.prank(licensor);
        ledger.revoke(id, START + 10 days, 0);
        refuses(3);
        vm.warp(START + 10 days);
        refuses(3);
    }

    function test_boundSeatsHoldALicenseBack() external {
        vm.prank(holder);
        ledger.bindRuntime(id, keccak256("key"), START + 1 days, 0);
        refuses(4);
        vm.warp(START + 1 days);
        refuses(4);
        ledger.releaseRuntime(id, keccak256("key"));
        vm.prank(holder);
        token.transferFrom(holder, buyer, id);
    }

    function test_theLedgerTakesNoCoins() external {
        vm.deal(holder, 10);
        bytes memory refused = abi.encodeWithSelector(ILicenseRecords.LicensePaymentRefused.selector, 1);
        vm.startPrank(holder);
        vm.expectRevert(refused);
        token.transferFrom{value: 1}(holder, buyer, id);
        vm.expectRevert(refused);
        token.safeTransferFrom{value: 1}(holder, buyer, id);
        vm.expectRevert(refused);
        token.approve{value: 1}(buyer, id);
        vm.stopPrank();
        eq(address(ledger).balance, 0);
    }

    function testFuzz_onlyHolderAndApprovedMoveIt(address who) external {
        vm.assume(who != holder && who != address(0) && who != address(vm)); // no one calls as address zero
        vm.prank(who);
        vm.expectRevert();
        token.transferFrom(holder, buyer, id);
        vm.prank(holder);
        token.approve(agent, id);
        eq(token.getApproved(id), agent);
        vm.prank(agent);
        token.transferFrom(holder, buyer, id);
        eq(token.getApproved(id), address(0));
    }

    function test_aReceiverActsOnlyAfterTheTransferIsDone() external {
        Receiver receiver = new Receiver(ledger, true);
        vm.prank(holder);
        token.safeTransferFrom(holder, address(receiver), id);
        eq(token.ownerOf(id), address(receiver));
        eq(seatsOf(id), 1);
        eq(ledger.grantNonceOf(id), 1);
    }

    function test_aReceiverThatRefusesLeavesNothingBehind() external {
        Receiver receiver = new Receiver(ledger, false);
        vm.prank(holder);
        vm.expectRevert();
        token.safeTransferFrom(holder, address(receiver), id);
        eq(token.ownerOf(id), holder);
        eq(seatsOf(id), 0);
        eq(ledger.grantNonceOf(id), 0);
    }

    // ---------------------------------------------------------------- standards

    function test_theInterfacesItHasAndNoOthers() external view {
        bytes4[6] memory known = [bytes4(0x01ffc9a7), 0x80ac58cd, 0x5b5e139f, 0xb45a3c0e, 0x49064906, 0x84b0196e];
        for (uint256 i; i < known.length; ++i) {
            isTrue(token.supportsInterface(known[i]));
        }
        isFalse(token.supportsInterface(0xffffffff));
        isFalse(token.supportsInterface(0x780e9d63)); // ERC-721 enumerable
        eq(token.name(), "modeldeed license");
        eq(token.symbol(), "DEED");
    }

    function test_theSigningDomainIsOurs() external view {
        (bytes1 fields, string memory name, string memory version, uint256 chain, address at, bytes32 salt,) =
            token.eip712Domain();
        isTrue(fields == 0x0f);
        eq(name, "modeldeed LicenseLedger");
        eq(version, "1");
        eq(chain, block.chainid);
        eq(at, address(ledger));
        eq(salt, 0);
    }

    function test_theMetadataIsADataUri() external {
        bytes memory uri = bytes(token.tokenURI(id));
        bytes memory prefix = "data:application/json;base64,";
        for (uint256 i; i < prefix.length; ++i) {
            isTrue(uri[i] == prefix[i]);
        }
        bytes32 before = keccak256(uri);
        vm.prank(licensor);
        ledger.suspend(id, 0);
        bytes32 suspended = keccak256(bytes(token.tokenURI(id)));
        vm.prank(licensor);
        ledger.revoke(id, 0, 0);
        bytes32 revoked = keccak256(bytes(token.tokenURI(id)));
        isTrue(before != suspended && suspended != revoked && before != revoked);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.LicenseNotFound.selector, 77));
        token.tokenURI(77);
    }
}
