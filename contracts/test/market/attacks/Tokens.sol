// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

interface IHook {
    function onMove() external;
}

enum Mode {
    HONEST,
    RETURNS_FALSE,
    RETURNS_NOTHING,
    REVERTS,
    BURNS_GAS,
    RETURNS_A_MEGABYTE,
    REVERTS_WITH_A_MEGABYTE,
    TAKES_A_FEE,
    ADDS_A_BONUS,
    MOVES_NOTHING
}

/// @notice A token that is honest until it is told not to be.
contract TurncoatToken {
    error TokenSaysNo();

    Mode public mode;
    mapping(address account => uint256) internal _balances;

    function turn(Mode mode_) external {
        mode = mode_;
    }

    function mint(address to, uint256 amount) external {
        _balances[to] += amount;
    }

    function balanceOf(address account) public view virtual returns (uint256) {
        return _balances[account];
    }

    /// @dev Allowances are no part of these attacks.
    function transferFrom(address from, address to, uint256 amount) external returns (bool) {
        return _transfer(from, to, amount);
    }

    function transfer(address to, uint256 amount) external returns (bool) {
        return _transfer(msg.sender, to, amount);
    }

    function permit(address, address, uint256, uint256, uint8, bytes32, bytes32) external view {
        _misbehave();
    }

    function _transfer(address from, address to, uint256 amount) private returns (bool) {
        if (mode == Mode.RETURNS_FALSE) return false;
        if (mode == Mode.REVERTS || mode == Mode.BURNS_GAS || mode == Mode.REVERTS_WITH_A_MEGABYTE) _misbehave();
        _move(from, to, amount);
        if (mode == Mode.RETURNS_NOTHING || mode == Mode.RETURNS_A_MEGABYTE) _misbehave();
        return true;
    }

    function _move(address from, address to, uint256 amount) internal virtual {
        if (mode == Mode.MOVES_NOTHING) return;
        _balances[from] -= amount;
        if (mode == Mode.TAKES_A_FEE) --amount;
        if (mode == Mode.ADDS_A_BONUS) ++amount;
        _balances[to] += amount;
    }

    function _misbehave() private view {
        Mode now_ = mode;
        if (now_ == Mode.REVERTS) revert TokenSaysNo();
        if (now_ == Mode.BURNS_GAS) {
            assembly {
                invalid()
            }
        }
        assembly {
            mstore(0, 1)
            if eq(now_, 2) { return(0, 0) }
            if eq(now_, 5) { return(0, 1000000) }
            if eq(now_, 6) { revert(0, 1000000) }
        }
    }
}

/// @notice Says what it likes about the market's balance.
contract LyingToken is TurncoatToken {
    address private immutable market;
    uint256 private said;
    int256 private step;

    constructor(address market_) {
        market = market_;
    }

    function say(uint256 balance, int256 step_) external {
        (said, step) = (balance, step_);
    }

    function balanceOf(address account) public view override returns (uint256) {
        return account == market ? said : super.balanceOf(account);
    }

    /// @dev Moves nothing but its story.
    function _move(address, address, uint256) internal override {
        said = uint256(int256(said) + step);
    }
}

/// @notice Tells a hook before and after each move, as ERC-777 does.
contract HookToken is TurncoatToken {
    address private hook;

    function tell(address hook_) external {
        hook = hook_;
    }

    function _move(address from, address to, uint256 amount) internal override {
        if (hook != address(0)) IHook(hook).onMove();
        super._move(from, to, amount);
        if (hook != address(0)) IHook(hook).onMove();
    }
}

/// @notice Scales all balances when it feels like it.
contract RebasingToken is TurncoatToken {
    uint256 private percent = 100;

    function rebase(uint256 percent_) external {
        percent = percent_;
    }

    function balanceOf(address account) public view override returns (uint256) {
        return _balances[account] * percent / 100;
    }

    function _move(address from, address to, uint256 amount) internal override {
        uint256 units = amount * 100 / percent;
        _balances[from] -= units;
        _balances[to] += units;
    }
}
