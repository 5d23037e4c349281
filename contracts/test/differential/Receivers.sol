// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @notice Takes tokens and says what it was told.
contract Receiver {
    event Received(address operator, address from, uint256 id, bytes data);

    function onERC721Received(address operator, address from, uint256 id, bytes calldata data)
        external
        virtual
        returns (bytes4)
    {
        emit Received(operator, from, id, data);
        return this.onERC721Received.selector;
    }
}

/// @notice Answers with another value than the one that means yes.
contract RefusingReceiver {
    function onERC721Received(address, address, uint256, bytes calldata) external pure returns (bytes4) {
        return 0xdeadbeef;
    }
}

contract RevertingReceiver {
    error NotToday(uint256 id);

    function onERC721Received(address, address, uint256 id, bytes calldata) external pure returns (bytes4) {
        revert NotToday(id);
    }
}

contract SilentlyRevertingReceiver {
    function onERC721Received(address, address, uint256, bytes calldata) external pure returns (bytes4) {
        assembly {
            revert(0, 0)
        }
    }
}

/// @notice A contract that never heard of ERC-721.
contract NonReceiver {
    uint256 public something = 1;
}
