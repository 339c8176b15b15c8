"""What a value about people and units looks like, by whatever door it comes in."""

from typing import Annotated

from pydantic import Field

from upwell_directory.domain.ladder import HIGHEST, LOWEST
from upwell_directory.domain.organisation import LONGEST_NAME

# One line: without control characters, and with something at both ends.
_LINE = r"^[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?$"
_ADDRESS = r"^[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+$"

Name = Annotated[str, Field(min_length=1, max_length=100, pattern=_LINE)]
Mail = Annotated[str, Field(min_length=3, max_length=254, pattern=_ADDRESS)]
ExternalId = Annotated[str, Field(min_length=1, max_length=64, pattern=_LINE)]
UnitName = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME, pattern=_LINE)]
GradeLabel = Annotated[str, Field(min_length=1, max_length=40, pattern=_LINE)]
GradeOnLadder = Annotated[int, Field(ge=LOWEST, le=HIGHEST)]
