// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Base} from "../Base.sol";

/// @notice A wallet of any temper. What it does is in its code, as immutable values, so that a factory can make each of them.
contract Wallet {
    enum Mood {
        ACCEPTS,
        REFUSES,
        DIRTY,
        REVERTS,
        BURNS,
        INVALID,
        WRITES,
        NOTHING,
        SHORT,
        LONG,
        RETURN_BOMB,
        REVERT_BOMB,
        DESTRUCTS,
        STRICT,
        LOGS
    }

    Mood private immutable MOOD;
    uint256 private _state;

    event Asked();

    constructor(Mood mood) {
        MOOD = mood;
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external returns (bytes4) {
        Mood mood = MOOD;
        bytes32 magic = bytes32(this.isValidSignature.selector);
        if (mood == Mood.REFUSES) return 0xffffffff;
        if (mood == Mood.REVERTS) revert("no");
        if (mood == Mood.WRITES) _state = 1;
        if (mood == Mood.LOGS) emit Asked();
        if (mood == Mood.DESTRUCTS) selfdestruct(payable(msg.sender));
        if (mood == Mood.STRICT) {
            // The very digest and bytes, in canonical ABI and nothing behind them.
            bool same = digest == keccak256("digest") && keccak256(signature) == keccak256(hex"0102030405");
            bool whole = keccak256(msg.data)
                == keccak256(abi.encodeWithSelector(this.isValidSignature.selector, digest, signature));
            return same && whole ? bytes4(magic) : bytes4(0);
        }
        assembly {
            switch mood
            case 2 {
                mstore(0, or(magic, 1))
                return(0, 32)
            }
            case 4 { for {} 1 {} {} }
            case 5 { invalid() }
            case 7 { return(0, 0) }
            case 8 {
                mstore(0, magic)
                return(0, 4)
            }
            case 9 {
                mstore(0, magic)
                return(0, 33)
            }
            case 10 {
                mstore(0, magic)
                return(0, 500000)
            }
            case 11 {
                mstore(0, magic)
                revert(0, 500000)
            }
        }
        return bytes4(magic);
    }
}

/// @notice Ends while it is being made, and leaves no code.
contract Stillborn {
    constructor() {
        selfdestruct(payable(msg.sender));
    }
}

/// @notice Makes wallets, or does something else.
contract Factory {
    uint256 public calls;

    function make(Wallet.Mood mood, bytes32 salt) external returns (address) {
        ++calls;
        return address(new Wallet{salt: salt}(mood));
    }

    function nothing() external {
        ++calls;
    }

    function makeStillborn(bytes32 salt) external {
        new Stillborn{salt: salt}();
    }

    function refuse() external pure {
        revert("no");
    }

    function burn() external pure {
        while (true) {}
    }

    function returnBomb() external pure {
        assembly {
            return(0, 1000000)
        }
    }

    function revertBomb() external pure {
        assembly {
            revert(0, 1000000)
        }
    }

    function makeAndBomb(Wallet.Mood mood, bytes32 salt) external {
        new Wallet{salt: salt}(mood);
        assembly {
            return(0, 500000)
        }
    }
}

contract WalletProbeTest is Base {
    uint256 internal constant REFUSED = 0;
    uint256 internal constant ACCEPTED = 1;
    uint256 internal constant NO_CODE = 2;
    uint256 internal constant FAILED = 3;
    uint256 internal constant MALFORMED = 4;
    uint256 internal constant FACTORY_FAILED = 5;

    /// @dev What brokers give the whole `eth_call` (ledger/broker/wallet_probe.py).
    uint256 internal constant CALL_GAS = 8_000_000;
    bytes32 internal constant DIGEST = keccak256("digest");
    bytes internal constant SIGNATURE = hex"0102030405";

    Factory internal factory;

    function setUp() public override {
        factory = new Factory();
    }

    /// @dev The probe's creation code within the gas that brokers give it. Its answer stands where a contract's code would.
    function ask(address wallet, address factory_, bytes memory creation) internal returns (uint256 word) {
        bytes memory code =
            abi.encodePacked(codeOf("WalletProbe"), abi.encode(wallet, DIGEST, SIGNATURE, factory_, creation));
        bytes memory answer = this.run{gas: CALL_GAS}(code);
        eq(answer.length, 32);
        word = abi.decode(answer, (uint256));
    }

    function run(bytes calldata code) external returns (bytes memory) {
        bytes memory copy = code;
        address probe;
        assembly {
            probe := create(0, add(copy, 32), mload(copy))
        }
        require(probe != address(0), "the probe itself failed");
        return probe.code;
    }

    function ask(Wallet.Mood mood) internal returns (uint256) {
        return ask(address(new Wallet(mood)), address(0), "");
    }

    function made(Wallet.Mood mood, bytes32 salt) internal view returns (address) {
        bytes32 code = keccak256(abi.encodePacked(type(Wallet).creationCode, abi.encode(mood)));
        return address(uint160(uint256(keccak256(abi.encodePacked(hex"ff", address(factory), salt, code)))));
    }

    function askUnmade(Wallet.Mood mood, bytes memory creation) internal returns (uint256) {
        return ask(made(mood, SALT), address(factory), creation);
    }

    // ---------------------------------------------------------------- a wallet with code

    function test_itAcceptsTheMagicValue() external {
        eq(ask(Wallet.Mood.ACCEPTS), ACCEPTED);
    }

    function test_itGivesDigestAndSignatureAsTheyAre() external {
        eq(ask(Wallet.Mood.STRICT), ACCEPTED);
    }

    function test_aDeployedWalletAnswersForItself() external {
        address wallet = address(new Wallet(Wallet.Mood.ACCEPTS));
        eq(ask(wallet, address(factory), abi.encodeCall(Factory.nothing, ())), ACCEPTED);
        eq(factory.calls(), 0);
        wallet = address(new Wallet(Wallet.Mood.REFUSES));
        eq(ask(wallet, address(factory), abi.encodeCall(Factory.nothing, ())), REFUSED);
        eq(factory.calls(), 0);
    }

    function test_anythingElseInOneWordRefuses() external {
        eq(ask(Wallet.Mood.REFUSES), REFUSED);
        eq(ask(Wallet.Mood.DIRTY), REFUSED);
    }

    function test_aWalletThatFailsAcceptsNothing() external {
        eq(ask(Wallet.Mood.REVERTS), FAILED);
        eq(ask(Wallet.Mood.BURNS), FAILED);
        eq(ask(Wallet.Mood.INVALID), FAILED);
    }

    function test_aWalletMayChangeNothing() external {
        eq(ask(Wallet.Mood.WRITES), FAILED);
        eq(ask(Wallet.Mood.LOGS), FAILED);
        address wallet = address(new Wallet(Wallet.Mood.DESTRUCTS));
        eq(ask(wallet, address(0), ""), FAILED);
        if (wallet.code.length == 0) revert("it is gone");
    }

    function test_anAnswerOfAnotherLengthIsMalformed() external {
        eq(ask(Wallet.Mood.NOTHING), MALFORMED);
        eq(ask(Wallet.Mood.SHORT), MALFORMED);
        eq(ask(Wallet.Mood.LONG), MALFORMED);
    }

    function test_bombsOfDataAreNotCopied() external {
        eq(ask(Wallet.Mood.RETURN_BOMB), MALFORMED);
        eq(ask(Wallet.Mood.REVERT_BOMB), FAILED);
    }

    /// @dev A call to an account without code succeeds with nothing: a wallet must not be taken for one.
    function test_aPrecompileIsNoWallet() external {
        // The identity precompile gives its input back; the others fail or answer something else.
        for (uint160 at = 1; at <= 10; ++at) {
            uint256 word = ask(address(at), address(0), "");
            if (word == ACCEPTED) revert("a precompile accepts");
        }
    }

    // ---------------------------------------------------------------- no code, no factory

    function testFuzz_anAccountWithoutCodeIsNoWallet(address account) external {
        vm.assume(account.code.length == 0);
        eq(ask(account, address(0), ""), NO_CODE);
    }

    // ---------------------------------------------------------------- no code, and a factory

    function test_aWalletThatItsFactoryMakesAnswers() external {
        Wallet.Mood[6] memory moods = [
            Wallet.Mood.ACCEPTS,
            Wallet.Mood.REFUSES,
            Wallet.Mood.REVERTS,
            Wallet.Mood.SHORT,
            Wallet.Mood.BURNS,
            Wallet.Mood.STRICT
        ];
        uint256[6] memory words = [ACCEPTED, REFUSED, FAILED, MALFORMED, FAILED, ACCEPTED];
        for (uint256 i; i < moods.length; ++i) {
            eq(askUnmade(moods[i], abi.encodeCall(Factory.make, (moods[i], SALT))), words[i]);
        }
    }

    function test_aFactoryThatMakesAndThenBombsHasMadeIt() external {
        bytes memory creation = abi.encodeCall(Factory.makeAndBomb, (Wallet.Mood.ACCEPTS, SALT));
        eq(askUnmade(Wallet.Mood.ACCEPTS, creation), ACCEPTED);
    }

    function test_aFactoryThatDoesNotMakeItFails() external {
        Wallet.Mood mood = Wallet.Mood.ACCEPTS;
        eq(askUnmade(mood, abi.encodeCall(Factory.nothing, ())), FACTORY_FAILED);
        eq(askUnmade(mood, abi.encodeCall(Factory.refuse, ())), FACTORY_FAILED);
        eq(askUnmade(mood, abi.encodeCall(Factory.burn, ())), FACTORY_FAILED);
        eq(askUnmade(mood, hex"deadbeef"), FACTORY_FAILED);
        eq(askUnmade(mood, ""), FACTORY_FAILED);
        // Another salt is another wallet.
        eq(askUnmade(mood, abi.encodeCall(Factory.make, (mood, keccak256("other")))), FACTORY_FAILED);
    }

    /// @dev What ends within its own creation has no code left to be asked.
    function test_aWalletThatEndsWhileItIsMadeIsNone() external {
        bytes32 code = keccak256(type(Stillborn).creationCode);
        bytes32 hash = keccak256(abi.encodePacked(hex"ff", address(factory), SALT, code));
        address wallet = address(uint160(uint256(hash)));
        bytes memory creation = abi.encodeCall(Factory.makeStillborn, (SALT));
        eq(ask(wallet, address(factory), creation), FACTORY_FAILED);
    }

    function test_bombsOfAFactoryAreNotCopied() external {
        eq(askUnmade(Wallet.Mood.ACCEPTS, abi.encodeCall(Factory.returnBomb, ())), FACTORY_FAILED);
        eq(askUnmade(Wallet.Mood.ACCEPTS, abi.encodeCall(Factory.revertBomb, ())), FACTORY_FAILED);
    }

    function test_aFactoryWithoutCodeMakesNothing() external {
        eq(ask(made(Wallet.Mood.ACCEPTS, SALT), stranger, hex"01"), FACTORY_FAILED);
    }

    /// @dev Both burn all they get, one after the other: brokers' gas is enough to say so.
    function test_factoryAndWalletThatBurnLeaveGasForTheAnswer() external {
        Wallet.Mood mood = Wallet.Mood.BURNS;
        eq(askUnmade(mood, abi.encodeCall(Factory.make, (mood, SALT))), FAILED);
    }
}
