// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";

import {ILicenseLedger} from "../../src/interfaces/ILicenseLedger.sol";
import {Base, IToken} from "../Base.sol";
import {Vm} from "../Vm.sol";
import {NonReceiver, Receiver, RefusingReceiver, RevertingReceiver, SilentlyRevertingReceiver} from "./Receivers.sol";

/// @notice OpenZeppelin's ERC721, which has a formal specification, with a mint for its owner.
contract Reference is ERC721("reference", "REF") {
    address private immutable _minter = msg.sender;

    function mint(address to, uint256 id) external {
        require(msg.sender == _minter);
        _mint(to, id);
    }
}

interface IErc721 {
    function safeTransferFrom(address from, address to, uint256 id, bytes calldata data) external;
    function isApprovedForAll(address owner, address operator) external view returns (bool);
    function ownerOf(uint256 id) external view returns (address);
    function balanceOf(address owner) external view returns (uint256);
    function getApproved(uint256 id) external view returns (address);
}

/// @notice Does the same to the ledger and to the reference, and compares what came of it.
contract Twin {
    Vm private constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    ILicenseLedger private immutable ledger;
    Reference private immutable reference_;
    address private immutable licensor;
    uint32 private immutable plan;

    address[] public actors;
    uint256[] public ids;
    string public broken;
    uint256 public agreedYes;
    uint256 public agreedNo;

    constructor(ILicenseLedger ledger_, address licensor_, uint32 plan_) {
        (ledger, licensor, plan) = (ledger_, licensor_, plan_);
        reference_ = new Reference();
        actors = [
            address(0xA1),
            address(0xA2),
            address(0xA3),
            address(new Receiver()),
            address(new RefusingReceiver()),
            address(new RevertingReceiver()),
            address(new SilentlyRevertingReceiver()),
            address(new NonReceiver()),
            address(0)
        ];
    }

    function some(uint256 seed) private view returns (uint256) {
        // Sometimes one that does not exist yet.
        return uint256(plan) << 32 | (1 + seed % (ids.length + 1));
    }

    function anyone(uint256 seed) private view returns (address) {
        return actors[seed % actors.length];
    }

    /// No one calls as address zero. Mostly someone who may.
    function caller(uint256 seed, uint256 id) private view returns (address) {
        if (seed % 3 == 0) return actors[seed / 3 % (actors.length - 1)];
        try reference_.ownerOf(id) returns (address owner) {
            return seed % 3 == 1 || reference_.getApproved(id) == address(0) ? owner : reference_.getApproved(id);
        } catch {
            return actors[0];
        }
    }

    // ---------------------------------------------------------------- the same to both

    function both(address who, bytes memory call_) private {
        vm.recordLogs();
        vm.prank(who);
        (bool ours,) = address(ledger).call(call_);
        vm.prank(who);
        (bool theirs,) = address(reference_).call(call_);
        agree(ours, theirs);
    }

    function agree(bool ours, bool theirs) private {
        if (ours != theirs) broken = ours ? "the ledger did what the reference refused" : "the ledger refused";
        if (ours) ++agreedYes;
        else ++agreedNo;
        Vm.Log[] memory logs = vm.getRecordedLogs();
        // What was refused told nothing, though forge records what was said before it reverted.
        if (ours && told(logs, address(ledger)) != told(logs, address(reference_))) broken = "other events";
    }

    /// The Transfer, Approval and ApprovalForAll events of one of the two, in their order.
    function told(Vm.Log[] memory logs, address emitter) private pure returns (bytes32 all) {
        for (uint256 i; i < logs.length; ++i) {
            if (logs[i].emitter != emitter) continue;
            bytes32 topic = logs[i].topics[0];
            bool standard = topic == keccak256("Transfer(address,address,uint256)")
                || topic == keccak256("Approval(address,address,uint256)")
                || topic == keccak256("ApprovalForAll(address,address,bool)");
            if (standard) all = keccak256(abi.encode(all, logs[i].topics, logs[i].data));
        }
    }

    function mint(uint256 to) external {
        if (ids.length == 6) return;
        uint256 id = uint256(plan) << 32 | (ids.length + 1);
        vm.recordLogs();
        vm.prank(licensor);
        (bool ours,) = address(ledger).call(abi.encodeCall(ledger.issue, (plan, anyone(to), 0, 0)));
        (bool theirs,) = address(reference_).call(abi.encodeCall(reference_.mint, (anyone(to), id)));
        if (ours) ids.push(id);
        agree(ours, theirs);
        compare();
    }

    function approve(uint256 who, uint256 license, uint256 to) external {
        both(caller(who, some(license)), abi.encodeCall(IToken.approve, (anyone(to), some(license))));
        compare();
    }

    /// The reference refuses address zero as an operator and solady does not: the one difference. No one calls as zero.
    function setApprovalForAll(uint256 who, uint256 operator, bool approved) external {
        address owner = actors[who % (actors.length - 1)];
        address to = actors[operator % (actors.length - 1)];
        both(owner, abi.encodeCall(IToken.setApprovalForAll, (to, approved)));
        same(abi.encodeCall(IErc721.isApprovedForAll, (owner, to)), "isApprovedForAll");
        compare();
    }

    function transferFrom(uint256 who, uint256 license, uint256 from, uint256 to) external {
        uint256 id = some(license);
        both(caller(who, id), abi.encodeCall(IToken.transferFrom, (source(from, id), anyone(to), id)));
        compare();
    }

    function safeTransferFrom(uint256 who, uint256 license, uint256 from, uint256 to) external {
        uint256 id = some(license);
        both(caller(who, id), abi.encodeCall(IToken.safeTransferFrom, (source(from, id), anyone(to), id)));
        compare();
    }

    function safeTransferFromWithData(uint256 who, uint256 license, uint256 from, uint256 to, bytes calldata data)
        external
    {
        uint256 id = some(license);
        bytes4 selector = bytes4(keccak256("safeTransferFrom(address,address,uint256,bytes)"));
        both(caller(who, id), abi.encodeWithSelector(selector, source(from, id), anyone(to), id, data));
        compare();
    }

    /// Mostly the owner, sometimes anyone.
    function source(uint256 seed, uint256 id) private view returns (address) {
        if (seed % 4 == 0) return anyone(seed / 4);
        try reference_.ownerOf(id) returns (address owner) {
            return owner;
        } catch {
            return actors[0];
        }
    }

    // ---------------------------------------------------------------- the same of both

    function compare() private {
        for (uint256 i; i <= ids.length; ++i) {
            uint256 id = uint256(plan) << 32 | (i + 1); // the last does not exist
            same(abi.encodeCall(IErc721.ownerOf, (id)), "ownerOf");
            same(abi.encodeCall(IErc721.getApproved, (id)), "getApproved");
        }
        for (uint256 i; i < actors.length; ++i) {
            same(abi.encodeCall(IErc721.balanceOf, (actors[i])), "balanceOf");
            // Of one owner each time: the campaign is long enough for all.
            address owner = actors[(agreedYes + agreedNo) % actors.length];
            same(abi.encodeCall(IErc721.isApprovedForAll, (owner, actors[i])), "isApprovedForAll");
        }
    }

    function same(bytes memory call_, string memory what) private {
        (bool ours, bytes memory ourAnswer) = address(ledger).staticcall(call_);
        (bool theirs, bytes memory theirAnswer) = address(reference_).staticcall(call_);
        if (ours != theirs || ours && keccak256(ourAnswer) != keccak256(theirAnswer)) broken = what;
    }
}

contract DifferentialTest is Base {
    Twin internal twin;

    function setUp() public override {
        super.setUp();
        twin = new Twin(ledger, licensor, newPlan());
        for (uint256 i; i < 4; ++i) {
            twin.mint(i);
        }
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(twin);
    }

    function invariant_theLedgerIsTheTokenThatOpenZeppelinSpecified() external view {
        require(bytes(twin.broken()).length == 0, twin.broken());
    }

    /// Not an invariant: shows that both a yes and a no are reached in every way.
    function test_bothAgreeOnAFewOfEach() external {
        twin.approve(1, 0, 1);
        twin.approve(3, 0, 1);
        twin.setApprovalForAll(1, 2, true);
        twin.transferFrom(2, 0, 1, 2);
        twin.transferFrom(1, 0, 0, 2);
        twin.safeTransferFrom(1, 0, 1, 3);
        for (uint256 to = 4; to < 9; ++to) {
            twin.safeTransferFrom(1, 1, 1, to);
            twin.safeTransferFromWithData(1, 1, 1, to, "data");
        }
        twin.transferFrom(1, 1, 1, 4);
        twin.transferFrom(1, 9, 1, 1);
        eq(twin.broken(), "");
        isTrue(twin.agreedYes() > 8 && twin.agreedNo() > 8);
    }
}
