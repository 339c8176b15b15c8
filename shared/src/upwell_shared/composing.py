"""What a composition root puts together: the parts that the roles of one process share, and a worker for each task."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import asyncpg

from upwell_shared.clock import Clock, clock_from
from upwell_shared.consuming import Handlers, Retrier
from upwell_shared.consuming.consumer import Consumer, ConsumerSettings
from upwell_shared.contracts import Contract
from upwell_shared.event_store import EventStore
from upwell_shared.events import EventCodec, Recorded
from upwell_shared.lease import Lease
from upwell_shared.projecting import Projection, Projector
from upwell_shared.relay import Relay
from upwell_shared.running import Wakes
from upwell_shared.settings import ServiceSettings
from upwell_shared.timers import Ticker
from upwell_shared.todos import Carry, TodoWorker
from upwell_shared.worker import Worker


class Parts:
    """Pool, clock and store of one process. Makes workers, and remembers in `closing` what to close after them."""

    def __init__(
        self,
        settings: ServiceSettings,
        pool: asyncpg.Pool,
        contract: Contract,
        events: EventCodec,
        clock: Clock | None = None,
    ) -> None:
        """`contract` is the service's own. The clock is the one the settings name, unless one is given."""
        self.settings = settings
        self.pool = pool
        self.contract = contract
        self.clock = clock or clock_from(settings.clock_file)
        self.wakes = Wakes()
        self.store = EventStore(pool, events, self.wakes)
        self.closing: list[Callable[[], Coroutine[Any, Any, None]]] = [self.store.stop]

    def relay(self) -> Worker:
        """Brings the ledger to the log; one process at a time."""
        relay = Relay(
            self.pool,
            self.contract.owner,
            self.settings.kafka_bootstrap,
            channels=self.contract.channels,
            clock=self.clock,
        )
        self.closing.append(relay.close)
        return Worker("relay", relay.step, lease=Lease(self.pool, "relay"), wake=self.wakes.new())

    def consumer(self, contracts: Sequence[Contract], handlers: Handlers) -> list[Worker]:
        """Has others' events take effect, and tries again what could not."""
        consumer = Consumer(
            self.contract.owner,
            self.pool,
            self.settings.kafka_bootstrap,
            contracts,
            handlers,
            settings=ConsumerSettings(
                session_timeout_ms=self.settings.consumer_session_ms,
                heartbeat_interval_ms=self.settings.consumer_heartbeat_ms,
                fetch_max_wait_ms=self.settings.consumer_fetch_wait_ms,
            ),
            clock=self.clock,
        )
        self.closing.append(consumer.close)
        return [
            Worker("consumer", consumer.step),
            Worker("retrier", Retrier(consumer.applier).step, poll=(0.25, 1.0), rested=1.0),
        ]

    def projectors(self, projections: Sequence[Projection[Recorded[Any]]]) -> list[Worker]:
        """Keep the service's own read models, timers among them."""
        return [
            self.alone(
                f"projector-{projection.name}",
                Projector(self.pool, self.store.codec, projection).step,
                wakes=True,
            )
            for projection in projections
        ]

    def promises(self, commands: EventCodec, carry: Carry) -> list[Worker]:
        """Carry out to-dos, and issue what is due by the timers; for a service that has timers among its projections."""
        ticker = Ticker(self.pool, self.clock)
        return [self.todos(commands, carry), self.alone("ticker", ticker.step, poll=(0.05, 0.25))]

    def todos(self, commands: EventCodec, carry: Carry) -> Worker:
        """Carries out to-dos; enough for a service where nothing is due at a time."""
        return self.alone("to-dos", TodoWorker(self.pool, commands, carry, self.clock).step)

    def forgetting(self) -> Worker:
        """Deletes command ids past their horizon."""
        return self.chore("command ids", self.store.forget_commands, every=60.0)

    def chore(self, name: str, step: Callable[[], Coroutine[Any, Any, bool]], *, every: float) -> Worker:
        """Cleans up every so many seconds, and at once again while `step` answers that there may be more.

        Several processes may do it at the same time.
        """
        return Worker(name, lambda _: step(), poll=(every, every), rested=every)

    def alone(
        self,
        name: str,
        step: Callable[[object], Coroutine[Any, Any, bool]],
        *,
        wakes: bool = False,
        poll: tuple[float, float] = (0.005, 0.05),
    ) -> Worker:
        """Works in one process at a time; with `wakes` it is told when something was appended in this one."""
        wake = self.wakes.new() if wakes else None
        return Worker(name, step, lease=Lease(self.pool, name), wake=wake, poll=poll)
