"""What a consumer does with events: projections are told of them, reactions turn them into to-dos."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from types import FunctionType, ModuleType
from typing import Protocol

from upwell_shared.contracts import Consumed
from upwell_shared.database import Connection
from upwell_shared.errors import UpwellError
from upwell_shared.events import EventCodec
from upwell_shared.projecting import Projection, enter_all
from upwell_shared.retrying import is_transient
from upwell_shared.todos import Send, Todo, insert, todo_id

ForeignProjection = Projection[Consumed]
"""A read model fed by others' events.

Any cut into pages and any interleaving of streams must give the same rows, so an event changes only rows keyed by its
own stream. What `project` raises, unless it is transient, is taken as the fault of one event, which is found and parked.
"""


class Reaction(Protocol):
    """Turns an event into commands to own streams. Pure, and a named function: its name is part of the commands' ids."""

    __name__: str

    def __call__(self, event: Consumed, /) -> Iterable[Send]: ...


def reactions_of(module: ModuleType) -> list[Reaction]:
    """Every public function a module defines: a `reactions.py` is its own list."""
    return [
        found
        for name, found in vars(module).items()
        if isinstance(found, FunctionType)
        and found.__module__ == module.__name__
        and not name.startswith("_")
    ]


class HandlerFailed(UpwellError):
    """A projection or a reaction raised on an event, and trying again would not help."""


class Effects(Protocol):
    """What a page of events does: `Handlers`, or the one projection that is being rebuilt."""

    async def take(self, connection: Connection, events: Sequence[Consumed]) -> None:
        """All effects, inside the caller's transaction. Raises HandlerFailed where one event is to blame."""
        ...


async def fold(connection: Connection, projection: ForeignProjection, events: Sequence[Consumed]) -> None:
    """Projects a page. Raises HandlerFailed with the projection's error as its cause, and what is transient as it is."""
    try:
        await projection.project(connection, events)
    except Exception as error:
        if is_transient(error):
            raise
        raise HandlerFailed from error


@dataclass(frozen=True, slots=True)
class Handlers:
    """All handlers of one consumer. `commands` encodes what its reactions send."""

    projections: Sequence[ForeignProjection] = ()
    reactions: Sequence[Reaction] = ()
    commands: EventCodec = field(default_factory=EventCodec)

    async def take(self, connection: Connection, events: Sequence[Consumed]) -> None:
        """All effects of a page of events, inside the caller's transaction; call it last there.

        Raises HandlerFailed with the handler's error as its cause; other errors are no event's fault.
        """
        if not events:
            return
        if self.reactions:
            await insert(connection, self._todos(events))
        if self.projections:
            # From here on plain table names are the projections'.
            await enter_all(connection, self.projections)
        for projection in self.projections:
            await fold(connection, projection, events)

    def _todos(self, events: Sequence[Consumed]) -> list[Todo]:
        try:
            return [
                todo for event in events for reaction in self.reactions for todo in self._of(event, reaction)
            ]
        except Exception as error:
            raise HandlerFailed from error

    def _of(self, event: Consumed, reaction: Reaction) -> Iterable[Todo]:
        for send in reaction(event):
            encoded = self.commands.encode(send.command)
            yield Todo(
                command_id=todo_id(event.event_id, reaction.__name__, send.stream_id, encoded.type),
                stream_id=send.stream_id,
                type=encoded.type,
                schema_version=encoded.schema_version,
                command=encoded.data,
                correlation_id=event.correlation_id,
                causation_id=event.event_id,
                traceparent=event.traceparent,
            )
