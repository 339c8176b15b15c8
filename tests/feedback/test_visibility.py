"""Who may read an answer: every reader with every visibility."""

from itertools import pairwise
from uuid import UUID

import pytest

from upwell_feedback.domain.visibility import Reader, Visibility, may_read, reader_of

ADA, BEN, EVE = UUID(int=1), UUID(int=2), UUID(int=3)
PAIR = (ADA, BEN)

# Written out, so that it cannot follow a mistake of the code.
MATRIX = {
    (Reader.AUTHOR, Visibility.ME): True,
    (Reader.AUTHOR, Visibility.PAIR): True,
    (Reader.AUTHOR, Visibility.PROGRAMME_TEAM): True,
    (Reader.AUTHOR, Visibility.QUOTABLE): True,
    (Reader.OTHER_MEMBER, Visibility.ME): False,
    (Reader.OTHER_MEMBER, Visibility.PAIR): True,
    (Reader.OTHER_MEMBER, Visibility.PROGRAMME_TEAM): True,
    (Reader.OTHER_MEMBER, Visibility.QUOTABLE): True,
    (Reader.PROGRAMME_TEAM, Visibility.ME): False,
    (Reader.PROGRAMME_TEAM, Visibility.PAIR): False,
    (Reader.PROGRAMME_TEAM, Visibility.PROGRAMME_TEAM): True,
    (Reader.PROGRAMME_TEAM, Visibility.QUOTABLE): True,
    (Reader.OUTSIDER, Visibility.ME): False,
    (Reader.OUTSIDER, Visibility.PAIR): False,
    (Reader.OUTSIDER, Visibility.PROGRAMME_TEAM): False,
    (Reader.OUTSIDER, Visibility.QUOTABLE): False,
}


def test_the_matrix_leaves_no_cell_out() -> None:
    assert set(MATRIX) == {(reader, visibility) for reader in Reader for visibility in Visibility}


@pytest.mark.parametrize(("reader", "visibility"), MATRIX)
def test_a_reader_may_read_what_the_matrix_says(reader: Reader, visibility: Visibility) -> None:
    assert may_read(reader, visibility) is MATRIX[reader, visibility]


def test_each_visibility_lets_in_all_that_the_one_before_it_does() -> None:
    readers = [{reader for reader in Reader if may_read(reader, visibility)} for visibility in Visibility]
    assert all(narrow <= wide for narrow, wide in pairwise(readers))


@pytest.mark.parametrize(
    ("person", "in_team", "expected"),
    [
        (ADA, False, Reader.AUTHOR),
        (ADA, True, Reader.AUTHOR),
        (BEN, False, Reader.OTHER_MEMBER),
        (BEN, True, Reader.OTHER_MEMBER),
        (EVE, True, Reader.PROGRAMME_TEAM),
        (EVE, False, Reader.OUTSIDER),
    ],
)
def test_who_somebody_is_to_what_ada_wrote(person: UUID, in_team: bool, expected: Reader) -> None:  # noqa: FBT001
    assert reader_of(person, ADA, PAIR, in_team=in_team) is expected
