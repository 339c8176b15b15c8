"""Bytes to rows, and what is wrong with them line by line; never the value that was sent."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from upwell_directory.contacts import Contact
from upwell_directory.domain.organisation import LONGEST_NAME, SEPARATOR
from upwell_directory.fields import ExternalId, GradeLabel, Mail, Name
from upwell_shared.errors import Malformed, Violation
from upwell_shared.web.violations import detail_of

MOST_BYTES: Final = 5_000_000


class _Line(BaseModel):
    """The columns; those with a default may be missing or empty."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    external_id: ExternalId
    given_name: Name
    family_name: Name
    user_name: Name
    mail: Mail | None = None
    organisation: Name
    unit: Annotated[str, Field(max_length=4_000)] = ""
    grade: GradeLabel
    manager_external_id: ExternalId | None = None
    in_role_since: date


COLUMNS: Final = frozenset(_Line.model_fields)
# In the place of a value that is none, so that the others of its row can be looked at.
_STAND_INS: Final = {
    **dict.fromkeys(("external_id", "given_name", "family_name", "user_name", "organisation", "grade"), "-"),
    "in_role_since": "2000-01-01",
}
_REQUIRED: Final = frozenset(name for name, field in _Line.model_fields.items() if field.is_required())


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """What keeps a row from being imported: its line, the column, and what to do about it."""

    line: int
    column: str
    detail: str


@dataclass(frozen=True, slots=True, repr=False)
class Row:
    """A person as the file has them. `unit` is the path below the organisation; none is the organisation itself."""

    line: int
    organisation: str
    unit: tuple[str, ...]
    contact: Contact
    grade: str
    manager_external_id: str | None
    in_role_since: date
    bad: frozenset[str] = frozenset()
    """Columns whose value is none; what is here stands in for it."""


@dataclass(frozen=True, slots=True)
class File:
    """What was read: rows, and what is wrong with their values by themselves."""

    rows: Sequence[Row]
    faults: Sequence[Fault]


def read(content: bytes) -> File:
    """Raises Malformed when the file as a whole cannot be read: another encoding, other columns, broken quotes."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _malformed("must be UTF-8") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[Row] = []
    faults: list[Fault] = []
    try:
        header = _header(next(reader, []))
        for line, values in _numbered(reader):
            row, wrong = _row(line, header, values)
            faults += wrong
            if row is not None:
                rows.append(row)
    except csv.Error:
        raise _malformed(f"cannot be read from line {reader.line_num} on: check the quotes") from None
    return File(rows, faults)


def _header(names: Sequence[str]) -> Sequence[str]:
    stripped = [name.strip() for name in names]
    if missing := sorted(_REQUIRED - {*stripped}):
        raise _malformed(f"the first line must name the columns; missing: {', '.join(missing)}")
    if {*stripped} - COLUMNS or len({*stripped}) < len(stripped):
        known = ", ".join(sorted(COLUMNS))
        raise _malformed(f"the first line must name each column once, and only these: {known}")
    return stripped


def _numbered(reader: Any) -> Iterator[tuple[int, Sequence[str]]]:
    """Each record with the line it begins on; empty lines are passed over."""
    begins = reader.line_num + 1
    for values in reader:
        if values:
            yield begins, values
        begins = reader.line_num + 1


def _row(line: int, header: Sequence[str], values: Sequence[str]) -> tuple[Row | None, list[Fault]]:
    if len(values) != len(header):
        return None, [Fault(line, "", f"must have {len(header)} values, as the first line has")]
    # What stands in a column is told from what does not by being there at all.
    given = {name: value.strip() for name, value in zip(header, values, strict=True) if value.strip()}
    faults: list[Fault] = []
    try:
        told = _Line.model_validate_strings(given, strict=True)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        faults = [Fault(line, str(each["loc"][0]), detail_of(each)) for each in found]
        wrong = {fault.column for fault in faults}
        fit = {name: value for name, value in given.items() if name not in wrong}
        told = _Line.model_validate_strings(_STAND_INS | fit, strict=True)
    unit = tuple(part.strip() for part in told.unit.split(SEPARATOR)) if told.unit else ()
    if not all(_is_name(name) for name in unit):
        faults.append(Fault(line, "unit", f"must be names of at most {LONGEST_NAME} characters, as in A / B"))
    row = Row(
        line,
        told.organisation,
        unit,
        Contact(told.external_id, told.user_name, told.given_name, told.family_name, told.mail),
        told.grade,
        told.manager_external_id,
        told.in_role_since,
        frozenset(fault.column for fault in faults),
    )
    return row, faults


def _is_name(part: str) -> bool:
    # "A / / B" and "A /" come apart into names with a separator at an edge: something is missing there.
    return 1 <= len(part) <= LONGEST_NAME and SEPARATOR.strip() not in part.split()


def _malformed(detail: str) -> Malformed:
    return Malformed(Violation("body", "#", detail))
