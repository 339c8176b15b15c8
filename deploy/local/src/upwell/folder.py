"""The folder in which everything of one Upwell on this machine is kept, used by one launcher at a time."""

import json
import os
from pathlib import Path
from typing import Any, Final

from upwell.servers import ServerUnavailable
from upwell.servers.processes import Claim
from upwell_shared.errors import UpwellError

FORMAT: Final = 1
"""Of the folder's own layout; what lies in the databases has versions of its own."""

DEFAULT: Final = Path(".upwell")


class FolderUnusable(UpwellError):
    """The data folder cannot be made or written."""


class FolderNewer(UpwellError):
    """The data folder was made by a newer release of Upwell: run that one, or take another folder with --data."""


class AlreadyRunning(UpwellError):
    """Upwell already runs on this data folder."""


class NotRunning(UpwellError):
    """Upwell does not run on this data folder: `upwell up` starts it."""


class DataFolder:
    """Paths, and the right to use them. Nothing is touched before `claim`."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.logs = self.path / "logs"
        self.run = self.path / "run"
        self.keys = self.path / "keys"
        self.clock = self.path / "clock"
        self.control = self.run / "control.sock"
        self._state = self.run / "state.json"
        self._format = self.path / "format"
        self._claim: Claim | None = None

    @property
    def hint(self) -> str:
        """What to add to a command so that it finds this folder: nothing for the usual one."""
        return "" if self.path == DEFAULT.absolute() else f" --data {self.path}"

    def log_of(self, part: str) -> Path:
        """Where the part's output goes."""
        return self.logs / f"{part}.log"

    @property
    def claimed(self) -> bool:
        """Whether this object holds it."""
        return self._claim is not None

    def claim(self) -> None:
        """Makes it where it is missing, and takes it. Raises FolderUnusable, FolderNewer, AlreadyRunning."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for closed in (self.run, self.keys):
                closed.mkdir(mode=0o700, exist_ok=True)
            self.logs.mkdir(exist_ok=True)
            claim = Claim(self.path)
            claim.take()
        except OSError as error:
            raise FolderUnusable(f"{self.path} cannot be used for data: {error.strerror}") from error
        except ServerUnavailable as error:
            raise AlreadyRunning(
                f"Upwell already runs on {self.path}, see `upwell status{self.hint}`; `upwell stop{self.hint}` ends it"
            ) from error
        self._claim = claim
        try:
            self.check_format()
            if not self._format.exists():
                self._format.write_text(f"{FORMAT}\n")
            self.forget_state()
        except BaseException:
            self.give_back()
            raise

    def give_back(self) -> None:
        """Lets others use it. Nothing happens when it is not claimed."""
        if self._claim is not None:
            self._claim.give_back()
            self._claim = None

    def write_state(self, state: dict[str, Any]) -> None:
        """What other processes of the same user may know of the running one; holds passwords of databases."""
        written = self._state.with_name("state.new")
        descriptor = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(state, file, indent=1)
        written.replace(self._state)

    def read_state(self) -> dict[str, Any]:
        """What the running one has written. Raises NotRunning."""
        try:
            found = json.loads(self._state.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise NotRunning(
                f"Upwell does not run on {self.path}: `upwell up{self.hint}` starts it"
            ) from error
        assert isinstance(found, dict)  # noqa: S101 only `write_state` writes there
        return found

    def forget_state(self) -> None:
        """Nothing runs here any more."""
        self._state.unlink(missing_ok=True)
        self.control.unlink(missing_ok=True)

    def check_format(self) -> None:
        """Whether this release knows the folder's layout. Raises FolderNewer, FolderUnusable."""
        try:
            text = self._format.read_text().strip()
        except FileNotFoundError:
            return
        except (OSError, ValueError):
            text = ""
        if not text.isdigit():
            raise FolderUnusable(f"{self._format} does not hold a number: this is no data folder of Upwell")
        if int(text) > FORMAT:
            raise FolderNewer(
                f"{self.path} was made by a newer release of Upwell: run that one, or take another folder with --data"
            )
