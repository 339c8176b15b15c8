"""The root of every error the chassis raises on purpose; the docstring of a class is its message."""


class UpwellError(Exception):
    """Something Upwell can name went wrong."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or " ".join((type(self).__doc__ or "").split()))
