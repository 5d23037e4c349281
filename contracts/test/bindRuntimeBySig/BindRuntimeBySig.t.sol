// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseRecords} from "../../src/interfaces/ILicenseRecords.sol";
import {LicenseStatus, PlanState, PlanTerms, Voucher} from "../../src/interfaces/LicenseTypes.sol";
import {Base} from "../Base.sol";

/// @notice An ERC-1271 wallet whose mind can be set.
contract Wallet {
    enum Mind {
        ACCEPTS,
        REFUSES,
        REVERTS,
        SAYS_NOTHING,
        SAYS_TOO_MUCH,
        ACCEPTS_ONE
    }

    Mind public mind;
    bytes32 public accepted;

    function set(Mind mind_) external {
        mind = mind_;
    }

    function accept(bytes32 digest) external {
        (mind, accepted) = (Mind.ACCEPTS_ONE, digest);
    }

    function isValidSignature(bytes32 digest, bytes calldata) external view returns (bytes4) {
        if (mind == Mind.REVERTS) revert("no");
        if (mind == Mind.SAYS_NOTHING) {
            assembly {
                return(0, 0)
            }
        }
        if (mind == Mind.SAYS_TOO_MUCH) {
            assembly {
                mstore(0, 0x1626ba7effffffffffffffffffffffffffffffffffffffffffffffffffffffff)
                return(0, 32)
            }
        }
        if (mind == Mind.REFUSES) return 0xffffffff;
        if (mind == Mind.ACCEPTS_ONE && digest != accepted) return 0xffffffff;
        return 0x1626ba7e;
    }
}

contract BindRuntimeBySigTest is Base {
    uint256 internal constant OWNER_KEY = 0x0E4;
    bytes32 internal constant KEY = keccak256("key");
    bytes20 internal constant TEE = bytes20(keccak256("measurement"));

    struct Binding {
        uint256 licenseId;
        bytes32 runtimeKey;
        uint40 until;
        bytes20 measurement;
        uint64 grantNonce;
        uint256 nonce;
        uint40 deadline;
    }

    uint32 internal plan;
    uint256 internal id;
    address internal owner = vm.addr(OWNER_KEY);

    function setUp() public override {
        super.setUp();
        plan = newPlan();
        id = newLicense(plan, owner);
    }

    function binding() internal view returns (Binding memory b) {
        b = Binding(id, KEY, 0, TEE, ledger.grantNonceOf(id), 0, START);
    }

    function digestOf(Binding memory b, address at, uint256 chain, bytes memory version)
        internal
        pure
        returns (bytes32)
    {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("modeldeed LicenseLedger"),
                keccak256(version),
                chain,
                at
            )
        );
        bytes32 type_ = keccak256(
            "BindRuntime(uint256 licenseId,bytes32 runtimeKey,uint40 until,bytes20 measurement,uint64 grantNonce,uint256 nonce,uint40 deadline)"
        );
        return keccak256(abi.encodePacked(hex"1901", domain, keccak256(abi.encode(type_, b))));
    }

    function digestOf(Binding memory b) internal view returns (bytes32) {
        return digestOf(b, address(ledger), block.chainid, "1");
    }

    function signed(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function signed(Binding memory b) internal view returns (bytes memory) {
        return signed(OWNER_KEY, digestOf(b));
    }

    function send(Binding memory b, bytes memory signature) internal {
        ledger.bindRuntimeBySig(b.licenseId, b.runtimeKey, b.until, b.measurement, b.nonce, b.deadline, signature);
    }

    function refuse(bytes memory why, Binding memory b, bytes memory signature) internal {
        vm.expectRevert(why);
        send(b, signature);
    }

    function notSigned() internal view returns (bytes memory) {
        return abi.encodeWithSelector(ILicenseRecords.BindingNotSigned.selector, id, token.ownerOf(id));
    }

    function spent(uint256 nonce) internal view returns (bytes memory) {
        return abi.encodeWithSelector(ILicenseRecords.NonceSpent.selector, token.ownerOf(id), nonce);
    }

    // ---------------------------------------------------------------- a holder with a key

    function testFuzz_anyoneSendsWhatTheHolderSigned(
        address sender,
        bytes32 key,
        bytes20 tee,
        uint256 nonce,
        uint40 until,
        uint40 deadline
    ) external {
        vm.assume(key != 0 && deadline >= START && sender != address(vm));
        until = until % 3 == 0 ? 0 : START + 1 + until % 30 days;
        Binding memory b = Binding(id, key, until, tee, 0, nonce, deadline);
        bytes memory signature = signed(b);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.RuntimeBound(id, key, until, tee);
        vm.prank(sender);
        send(b, signature);

        (uint40 boundAt, uint40 gotUntil, bytes20 gotTee) = ledger.seatOf(id, key);
        eq(boundAt, START);
        eq(gotUntil, until);
        isTrue(gotTee == tee);
        eq(seatsOf(id), 1);
        isTrue(ledger.everBound(id));
        eq(ledger.noncesSpent(owner, nonce >> 8), 1 << (nonce & 255));
        refuse(spent(nonce), b, signature);
    }

    function test_aShortSignatureIsOneToo() external {
        Binding memory b = binding();
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(OWNER_KEY, digestOf(b));
        bytes32 vs = v == 28 ? s | bytes32(uint256(1) << 255) : s;
        send(b, abi.encodePacked(r, vs)); // EIP-2098
        eq(seatsOf(id), 1);
        refuse(spent(0), b, signed(b)); // the other form is no second chance
    }

    function test_theDeadlineIsExact() external {
        Binding memory b = binding();
        bytes memory signature = signed(b);
        vm.warp(START + 1);
        refuse(abi.encodeWithSelector(ILicenseRecords.BindingExpired.selector, START), b, signature);
        b.deadline = START + 1;
        send(b, signed(b));
    }

    function test_whatDoesNotExistHasNoHolder() external {
        Binding memory b = binding();
        b.licenseId = 77;
        refuse(abi.encodeWithSelector(ILicenseRecords.LicenseNotFound.selector, 77), b, signed(b));
    }

    function testFuzz_aSignatureOfAnythingElseIsRefused(uint8 field) external {
        Binding memory b = binding();
        Binding memory s = binding();
        uint256 other = newLicense(plan, owner);
        uint256 which = field % 12;
        if (which == 0) s.licenseId = other;
        if (which == 1) s.runtimeKey = keccak256("other");
        if (which == 2) s.until = START + 1;
        if (which == 3) s.measurement = 0;
        if (which == 4) s.grantNonce = 1;
        if (which == 5) s.nonce = 1;
        if (which == 6) s.deadline = START + 1;
        bytes32 digest = digestOf(
            s,
            which == 7 ? address(models) : address(ledger),
            which == 8 ? block.chainid + 1 : block.chainid,
            which == 9 ? bytes("2") : bytes("1")
        );
        bytes memory signature = signed(which == 10 ? LICENSOR_KEY : OWNER_KEY, digest);
        if (which == 11) signature = "";
        refuse(notSigned(), b, signature);
        eq(ledger.noncesSpent(owner, 0), 0);
        send(b, signed(b));
    }

    function test_noFieldIsLeftOut() external {
        Binding memory b = binding();
        bytes memory signature = signed(b);
        b.runtimeKey = keccak256("other");
        refuse(notSigned(), b, signature);
        b = binding();
        b.until = START + 1;
        refuse(notSigned(), b, signature);
        b = binding();
        b.measurement = 0;
        refuse(notSigned(), b, signature);
        b = binding();
        b.nonce = 1;
        refuse(notSigned(), b, signature);
        b = binding();
        b.deadline = START + 1;
        refuse(notSigned(), b, signature);
        b = binding();
        b.licenseId = newLicense(plan, owner);
        refuse(abi.encodeWithSelector(ILicenseRecords.BindingNotSigned.selector, b.licenseId, owner), b, signature);
    }

    function testFuzz_noBitOfASignatureMayChange(uint16 at) external {
        Binding memory b = binding();
        bytes memory signature = signed(b);
        signature[at / 8 % 64] ^= bytes1(uint8(1 << at % 8)); // r and s
        refuse(notSigned(), b, signature);
    }

    function test_neitherApprovedNorOperatorNorLicensorSigns() external {
        vm.startPrank(owner);
        token.approve(licensor, id);
        token.setApprovalForAll(licensor, true);
        vm.stopPrank();
        Binding memory b = binding();
        refuse(notSigned(), b, signed(LICENSOR_KEY, digestOf(b)));
    }

    // ---------------------------------------------------------------- nonces

    function testFuzz_noncesAreSpentInAnyOrderAndOnce(uint256 first, uint256 second) external {
        vm.assume(first != second);
        Binding memory b = binding();
        (b.nonce, b.until) = (first, START + 1);
        send(b, signed(b));
        Binding memory c = binding();
        (c.nonce, c.runtimeKey) = (second, keccak256("other"));
        send(c, signed(c));
        vm.warp(START + 1);
        b.deadline = START + 9;
        refuse(spent(first), b, signed(b));
        c.deadline = START + 9;
        refuse(spent(second), c, signed(c));
    }

    function test_aSeatThatLapsedIsNotTakenAgainByTheOldSignature() external {
        Binding memory b = binding();
        (b.until, b.deadline) = (START + 1 days, START + 9 days);
        bytes memory signature = signed(b);
        send(b, signature);
        vm.warp(START + 1 days);
        ledger.releaseRuntime(id, KEY);
        b.until = START + 1 days; // all as it was
        refuse(spent(0), b, signature);
    }

    function test_cancelledNoncesAreSpent() external {
        Binding memory b = binding();
        b.nonce = 258;
        bytes memory signature = signed(b);
        vm.prank(stranger); // another's nonces are his own
        ledger.cancelVouchers(1, type(uint256).max);
        vm.prank(owner);
        ledger.cancelVouchers(1, 1 << 2);
        refuse(spent(258), b, signature);
        b.nonce = 257;
        send(b, signed(b));
    }

    /// A licensor who holds a license signs vouchers and bindings out of one set of nonces.
    function test_vouchersDrawOnTheSameNonces() external {
        id = newLicense(plan, licensor);
        Voucher memory v = voucher(5);
        ledger.redeem(v, signed(LICENSOR_KEY, ledger.voucherDigest(v)));
        Binding memory b = binding();
        b.nonce = 5;
        refuse(spent(5), b, signed(LICENSOR_KEY, digestOf(b)));
        b.nonce = 6;
        send(b, signed(LICENSOR_KEY, digestOf(b)));
        v = voucher(6);
        bytes memory signature = signed(LICENSOR_KEY, ledger.voucherDigest(v));
        vm.expectRevert(spent(6));
        ledger.redeem(v, signature);
    }

    function voucher(uint256 nonce) internal view returns (Voucher memory v) {
        (v.signer, v.planId, v.to, v.nonce, v.deadline) = (licensor, plan, buyer, nonce, START);
        (, PlanState memory state) = ledger.planOf(plan);
        v.planDigest = state.planDigest;
    }

    // ---------------------------------------------------------------- grants

    function test_cancelledGrantsVoidIt() external {
        Binding memory b = binding();
        bytes memory signature = signed(b);
        vm.prank(owner);
        ledger.cancelGrants(id);
        refuse(notSigned(), b, signature);
        b.grantNonce = 1;
        send(b, signed(b));
    }

    function test_aTransferVoidsItAndComingBackDoesNotHelp() external {
        Binding memory b = binding();
        bytes memory signature = signed(b);
        vm.prank(owner);
        token.transferFrom(owner, buyer, id);
        refuse(notSigned(), b, signature);
        vm.prank(buyer);
        token.transferFrom(buyer, owner, id);
        refuse(notSigned(), b, signature);
        b.grantNonce = 2;
        send(b, signed(b));
    }

    function test_aReissueVoidsIt() external {
        Binding memory b = binding();
        b.deadline = START + 9 days;
        bytes memory signature = signed(b);
        vm.prank(licensor);
        ledger.startReissue(id, licensor);
        vm.warp(START + 7 days);
        vm.prank(licensor);
        ledger.finishReissue(id);
        refuse(notSigned(), b, signature);
        b.grantNonce = 1;
        refuse(notSigned(), b, signed(b));
        send(b, signed(LICENSOR_KEY, digestOf(b)));
    }

    // ---------------------------------------------------------------- what bindRuntime refuses

    function test_whatBindRuntimeRefusesIsRefusedAndSpendsNoNonce() external {
        Binding memory b = binding();
        b.runtimeKey = 0;
        refuse(abi.encodeWithSelector(ILicenseRecords.SeatKeyZero.selector, id), b, signed(b));
        b = binding();
        b.until = START;
        refuse(
            abi.encodeWithSelector(ILicenseRecords.SeatWindowInvalid.selector, START, uint40(START + 30 days)),
            b,
            signed(b)
        );
        b.until = START + 30 days + 1;
        refuse(
            abi.encodeWithSelector(ILicenseRecords.SeatWindowInvalid.selector, b.until, uint40(START + 30 days)),
            b,
            signed(b)
        );
        eq(ledger.noncesSpent(owner, 0), 0);
        b = binding();
        send(b, signed(b));
        b.nonce = 1;
        refuse(abi.encodeWithSelector(ILicenseRecords.SeatAlreadyBound.selector, id, KEY), b, signed(b));
        b.runtimeKey = keccak256("second");
        send(b, signed(b));
        (b.nonce, b.runtimeKey) = (2, keccak256("third"));
        refuse(abi.encodeWithSelector(ILicenseRecords.SeatsFull.selector, id, uint16(2)), b, signed(b));
        eq(ledger.noncesSpent(owner, 0), 3);
    }

    function test_suspendedExpiredAndFloatingLicensesBindNothing() external {
        Binding memory b = binding();
        b.deadline = START + 40 days;
        bytes memory signature = signed(b);
        vm.prank(licensor);
        ledger.suspend(id, 0);
        refuse(
            abi.encodeWithSelector(ILicenseRecords.LicenseStatusForbids.selector, id, LicenseStatus.SUSPENDED),
            b,
            signature
        );
        vm.warp(START + 30 days);
        refuse(
            abi.encodeWithSelector(ILicenseRecords.LicenseExpired.selector, id, uint40(START + 30 days)), b, signature
        );
        PlanTerms memory terms = termsOf(newModel(2));
        terms.floating = true;
        id = newLicense(newPlan(terms), owner);
        b.licenseId = id;
        refuse(abi.encodeWithSelector(ILicenseRecords.SeatsFloat.selector, id), b, signed(b));
    }

    function test_aLapsedSeatIsBoundAgain() external {
        Binding memory b = binding();
        b.until = START + 1 days;
        send(b, signed(b));
        vm.warp(START + 1 days);
        (b.nonce, b.until, b.deadline) = (1, 0, START + 1 days);
        send(b, signed(b));
        eq(seatsOf(id), 1);
        (uint40 boundAt,,) = ledger.seatOf(id, KEY);
        eq(boundAt, START + 1 days);
    }

    // ---------------------------------------------------------------- a holder that is a contract

    function wallet() internal returns (Wallet made) {
        made = new Wallet();
        vm.prank(owner);
        token.transferFrom(owner, address(made), id);
    }

    function test_aContractHolderIsAsked() external {
        Wallet w = wallet();
        Binding memory b = binding();
        w.accept(digestOf(b));
        send(b, "anything");
        eq(seatsOf(id), 1);
        eq(ledger.noncesSpent(address(w), 0), 1);
        refuse(spent(0), b, "anything");
        b.nonce = 1;
        refuse(notSigned(), b, "anything"); // another digest
    }

    function test_whateverAContractSaysButYesIsANo() external {
        Wallet w = wallet();
        Binding memory b = binding();
        Wallet.Mind[4] memory noes =
            [Wallet.Mind.REFUSES, Wallet.Mind.REVERTS, Wallet.Mind.SAYS_NOTHING, Wallet.Mind.SAYS_TOO_MUCH];
        for (uint256 i; i < noes.length; ++i) {
            w.set(noes[i]);
            refuse(notSigned(), b, signed(b));
        }
        eq(ledger.noncesSpent(address(w), 0), 0);
    }

    function test_aContractMayChangeItsMindUntilItIsSent() external {
        Wallet w = wallet();
        Binding memory b = binding();
        w.set(Wallet.Mind.REFUSES);
        refuse(notSigned(), b, "");
        w.set(Wallet.Mind.ACCEPTS);
        send(b, "");
        (b.nonce, b.runtimeKey) = (1, keccak256("second"));
        w.set(Wallet.Mind.REVERTS);
        refuse(notSigned(), b, "");
        eq(seatsOf(id), 1);
        (uint40 boundAt,,) = ledger.seatOf(id, KEY);
        eq(boundAt, START); // what it said yes to stands
    }

    function test_aContractWithoutTheFunctionNeverSigns() external {
        vm.prank(owner);
        token.transferFrom(owner, address(models), id);
        Binding memory b = binding();
        refuse(notSigned(), b, signed(b));
    }
}
