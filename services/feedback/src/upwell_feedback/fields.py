"""What a value about questions looks like."""

from typing import Annotated

from pydantic import Field

from upwell_feedback.domain.question_set import LONGEST_QUESTION

# One line: without control characters, and with something at both ends.
_LINE = r"^[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?$"

QuestionId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,49}$")]
QuestionText = Annotated[str, Field(min_length=1, max_length=LONGEST_QUESTION, pattern=_LINE)]
SetName = Annotated[str, Field(min_length=1, max_length=100, pattern=_LINE)]
