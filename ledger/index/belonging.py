"""Whose a database is, as its tables and the revision that migrations leave in it tell."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from ledger.errors import UsageError
from ledger.index import access_tables as _access_tables  # noqa: F401  its tables join the rest
from ledger.index import webhook_tables as _webhook_tables  # noqa: F401  likewise
from ledger.index.tables import metadata

REVISIONS: Final = "alembic_version"
ASK_REVISIONS: Final = "SELECT version_num FROM alembic_version"
# Every release has made them with its first revision.
_FIRST: Final = frozenset({"raw_log", "cursor"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where an index is looked for.

    Attributes:
        name: in a sentence.
        shared: whether tables of others may stand beside an index's from the beginning, as those
            that extensions of PostgreSQL make.
        other: the way to another place, where this is another program's.
        back: the way back to an index that is whole.
    """

    name: str
    shared: bool
    other: str
    back: str


def holds_index(place: Place, tables: AbstractSet[str], revisions: AbstractSet[str]) -> bool:
    """Whether an index is there; False where one may be made.

    Args:
        place: where these were found.
        tables: the names of all that are there.
        revisions: what is in the table of revisions, if there is one.

    Raises:
        UsageError: another program's is there, also under a name of ours alone; or of an index
            nothing says which release's shape it has.
    """
    if tables >= _FIRST:
        if not revisions:
            raise UsageError(
                f"{place.name} does not say which release's shape its index has: another hand "
                f"changed its table {REVISIONS}",
                hint=place.back,
            )
        return True
    ours = tables & metadata.tables.keys()
    if revisions and 2 * len(ours) > len(metadata.tables):
        raise lacks_ours(place, f"there is no table {min(_FIRST - tables)}")
    others = ours if place.shared else tables - {REVISIONS}
    # A database that was taken back to before its first table has but an empty table of them.
    others |= {REVISIONS} if revisions else set()
    if others:
        raise UsageError(
            f"{place.name} holds tables of another program, such as {min(others)}, and no index",
            hint=f"nothing in it was changed; {place.other}",
        )
    return False


def anothers(place: Place, others: Sequence[str]) -> UsageError:
    """What is said where no table is, and yet another program's mark, or something that it made.

    Args:
        place: where it was found.
        others: the names of what is there, such as views.
    """
    such = f" and holds {min(others)}" if others else ""
    return UsageError(
        f"{place.name} is another program's{such}, and no index",
        hint=f"nothing in it was changed; {place.other}",
    )


def name_taken(place: Place) -> UsageError:
    """What is said where something has a name that a migration gives: a view, say.

    Or a table, beside an index of a release that knew none of that name.
    """
    return UsageError(
        f"{place.name} holds something of another program under a name that the index needs",
        hint="nothing in it was changed; rename or remove that; if no index is there: "
        f"{place.other}",
    )


def lacks_ours(place: Place, said: str) -> UsageError:
    """What is said where a statement of this release meets tables that are not this release's.

    Args:
        place: where it was found.
        said: by the database, in one line.
    """
    return UsageError(
        f"{place.name} has not the tables that this release made: {said}",
        hint="where a newer release uses it, update this one; else another hand changed it: "
        f"{place.back}",
    )
