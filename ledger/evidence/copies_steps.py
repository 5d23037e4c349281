"""Verification step 20: copies of the verifiers and printed forms that a bundle carries.

Defined in ``docs/spec/evidence-bundle.md``.
"""

from __future__ import annotations

from ledger.errors import UsageError, VerificationError
from ledger.evidence.bundle import PRINTED, VERIFIERS
from ledger.evidence.case import Case, NotChecked

_INSTEAD = "read report.txt, which step 19 proves, and use your own copy of the verifier"


def check_copies(case: Case, step: int) -> str:
    """Compare the verifiers with this release's; print the forms again and compare.

    Raises:
        NotChecked: none carried, made by other software than this, or a bundle that does not
            hold, of which nothing is printed.
        VerificationError: one has other bytes.
    """
    from ledger.evidence.printing import made_by_this_software, print_forms, verifier_copies

    forms = {name: case.bundle.members[name] for name in PRINTED if case.has(name)}
    copies = {name: case.bundle.members[name] for name in VERIFIERS if case.has(name)}
    if not forms and not copies:
        raise NotChecked(
            "the bundle carries no copy of a verifier and no printed form", needed=False
        )
    if not made_by_this_software(forms, case.bundle.subject.software):
        raise NotChecked(
            f"copies and printed forms were made by other software than this: {_INSTEAD}",
            needed=False,
        )
    ours = verifier_copies()
    if any(name not in ours for name in copies):
        raise NotChecked(f"this software has no such verifier: {_INSTEAD}", needed=False)
    _compare(copies, ours, step)
    if forms:
        try:
            ours |= print_forms(case.bundle)
        except UsageError as reason:
            raise NotChecked(f"{reason}: {_INSTEAD}", needed=False) from None
        except VerificationError:  # an earlier step says so, and why
            raise NotChecked(
                "the bundle does not hold, and of such a bundle nothing is printed to compare with",
                needed=False,
            ) from None
    _compare(forms, ours, step)
    return f"{', '.join(sorted(copies | forms))}: byte for byte as this software makes them"


def _compare(carried: dict[str, bytes], ours: dict[str, bytes], step: int) -> None:
    for name, data in carried.items():
        if data != ours[name]:
            raise VerificationError(f"{name} is not the one that this evidence gives", step=step)
