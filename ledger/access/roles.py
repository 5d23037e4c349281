"""Roles, and what each may do: the table of docs/spec/access.md, "Roles and scopes". Pure."""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType
from typing import Final

LICENSOR: Final = "licensor"
HOLDER: Final = "holder"
AUDITOR: Final = "auditor"
OPERATOR: Final = "operator"

ROLES: Final = (LICENSOR, HOLDER, AUDITOR, OPERATOR)
APPOINTED: Final = (AUDITOR, OPERATOR)
"""Roles that somebody grants; the others follow from what the chain says."""

SCOPES: Final = MappingProxyType(
    {
        "deposits:write": "deposit tensor ids and documents in one's own name",
        "evidence:write": "ask for evidence jobs in one's own name",
        "transactions:write": "have transactions prepared and passed on",
        "webhooks:write": "have events sent to a URL",
        "statistics:read": "read a licensor's figures",
        "keys:write": "make, list and revoke one's own API keys; sessions only",
        "access:write": "everyone's keys and sessions; sessions only",
        "audit:read": "read the audit log",
    }
)
SESSION_ONLY: Final = frozenset({"keys:write", "access:write"})
"""What no key reaches: a stolen key must not make further ones."""

_SCOPES_OF: Final = MappingProxyType(
    {
        LICENSOR: frozenset(
            {
                "deposits:write",
                "evidence:write",
                "transactions:write",
                "webhooks:write",
                "statistics:read",
                "keys:write",
            }
        ),
        HOLDER: frozenset({"evidence:write", "transactions:write", "webhooks:write", "keys:write"}),
        AUDITOR: frozenset({"evidence:write", "audit:read", "keys:write"}),
        OPERATOR: frozenset(SCOPES),
    }
)


_SIGNED_IN: Final = frozenset(
    {"deposits:write", "evidence:write", "statistics:read", "transactions:write"}
)
"""What every session may. The first three anyone may without a credential; and who buys, claims, or
registers a first model holds nothing yet. What that may do on chain, the contracts decide."""


def scopes_of(roles: Iterable[str]) -> frozenset[str]:
    """Everything that these roles may do together."""
    return frozenset().union(*(_SCOPES_OF[role] for role in roles))


def reach(granted: Iterable[str] | None, roles: Iterable[str]) -> frozenset[str]:
    """What a credential may do now.

    Args:
        granted: a key's own scopes; None for a session, which has all of its account's, and what
            every session may.
        roles: of its account, as they are now. A role that is gone takes its scopes along.
    """
    mine = scopes_of(roles)
    return mine | _SIGNED_IN if granted is None else (mine & frozenset(granted)) - SESSION_ONLY
