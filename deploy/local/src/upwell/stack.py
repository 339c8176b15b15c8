"""The whole of Upwell as an object: what `upwell up` runs, and what the demo and the end-to-end tests drive.

    async with Stack(folder, port=0) as stack:
        stack.gateway                            "http://127.0.0.1:17342"
        stack.token(person, [UserRole.HR_ADMIN], [unit])
        stack.advance("7d")                      the simulated clock of every process
        await stack.settled()                    nothing is under way any more
        await stack.part("matching").kill()      kill -9; it is restarted as `upwell up` would
        await stack.part("broker").stop()        and .start(), .restart(), .running(), .state, .pid, .restarts

Its parts are `postgres`, `broker` and the services, as far as they run here and not elsewhere (see `Elsewhere`). It is
to be started and stopped in one event loop, in a thread that lives as long as the stack: its children end with that.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlsplit
from uuid import UUID

from upwell import serving
from upwell.control import ControlSocket
from upwell.databases import Cluster, ServiceDatabases
from upwell.environment import Elsewhere, Wiring
from upwell.folder import DataFolder
from upwell.keeping import Happening, Keeper, Kept
from upwell.measuring import Figures, Measurer
from upwell.ports import port_to_listen_on
from upwell.servers.apache_kafka import ApacheKafka
from upwell.servers.postgres import EmbeddedPostgres
from upwell.servers.processes import free_port, listening
from upwell.servers.tansu import Tansu
from upwell.services import GATEWAY, SERVICES, ServiceSpec, UnknownPart
from upwell.serving import ServiceProcess
from upwell.together import all_of
from upwell_gateway.issuer import Issuer, make_keys
from upwell_shared.clock import Clock, SimulatedClock, clock_from, parse_duration
from upwell_shared.contracts.shipped import shipped
from upwell_shared.errors import UpwellError
from upwell_shared.log_identity import ClusterClient
from upwell_shared.web.policies import UserRole

KafkaKind = Literal["embedded", "apache"]

POSTGRES = "postgres"
BROKER = "broker"

_SETTLED_POLL_SECONDS = 0.05


class WallClockOnly(UpwellError):
    """This Upwell runs on the wall clock, which cannot be advanced: start it with --simulated-clock."""


class ClockAhead(UpwellError):
    """The data folder's simulated clock is ahead of the wall clock: facts would be recorded before earlier ones."""


class NeverSettled(UpwellError):
    """Something was still under way when the time was over."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of a start is done."""

    what: str
    detail: str
    seconds: float


class Stack:
    """One Upwell on this machine, everything in one folder. A folder has one at a time, and keeps all between runs."""

    def __init__(
        self,
        data: Path,
        *,
        kafka: KafkaKind = "embedded",
        port: int = 0,
        simulated_clock: bool = True,
        services: Sequence[ServiceSpec] = SERVICES,
        environment: Mapping[str, str] | None = None,
        happened: Callable[[Happening], None] = lambda _: None,
        progress: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        """Nothing happens before `start`.

        `port` is the gateway's, 0 a free one. A simulated clock that was never advanced tells the wall clock's time.
        `environment` is what is passed on to the services, and may name parts that run elsewhere; None: our own.
        `happened` hears what parts do by themselves, `progress` each step of a start.
        """
        self.folder = DataFolder(data)
        self.services = tuple(services)
        self.seconds = 0.0
        """How long the last start took."""
        self._kafka: KafkaKind = kafka
        self._port = port
        self._simulated = simulated_clock
        self._environment = dict(os.environ if environment is None else environment)
        self._elsewhere = Elsewhere(self._environment, self.services)
        self._happened = happened
        self._progress = progress
        self._keepers: dict[str, Keeper] = {}
        self._databases: dict[str, ServiceDatabases] = {}
        self._ports: dict[str, int] = {}
        self._bootstrap = ""
        self._cluster: Cluster | None = None
        self._control = ControlSocket(self.folder.control, self)
        self.asked_to_end = asyncio.Event()
        """Set by `upwell stop` without a part: whoever runs the stack should end it now."""

    # What runs.

    @property
    def gateway(self) -> str:
        """The address users and programs talk to."""
        return self.url(GATEWAY)

    def url(self, service: str) -> str:
        """The address of one service. Raises UnknownPart."""
        if service not in self._ports:
            raise UnknownPart(f"there is no service {service} here")
        return f"http://127.0.0.1:{self._ports[service]}"

    @property
    def kafka_bootstrap(self) -> str:
        """Where the broker listens."""
        return self._bootstrap

    def databases(self, service: str) -> ServiceDatabases:
        """Where a service's databases are. Raises UnknownPart."""
        if service not in self._databases:
            raise UnknownPart(f"there is no service {service} here")
        return self._databases[service]

    @property
    def logs(self) -> dict[str, Path]:
        """Where each part writes what happens to it, also those that have not been started yet."""
        found = {spec.name: self.folder.log_of(spec.name) for spec in self.services}
        return found | {
            BROKER: self.folder.log_of(BROKER),
            POSTGRES: self.folder.path / "postgres" / "server.log",
        }

    @property
    def parts(self) -> tuple[Keeper, ...]:
        """All that runs here, in the order of their start."""
        return tuple(self._keepers.values())

    def part(self, name: str) -> Keeper:
        """`postgres`, `broker` or a service. Raises UnknownPart, naming those there are."""
        if name not in self._keepers:
            known = ", ".join(self._keepers)
            raise UnknownPart(f"there is no part {name!r} here; there are {known}")
        return self._keepers[name]

    def port(self, part: str) -> int | None:
        """Where a part listens on 127.0.0.1; None while that is not known."""
        if part == BROKER:
            return int(self._bootstrap.rpartition(":")[2]) if self._bootstrap else None
        return self._cluster.port if part == POSTGRES and self._cluster is not None else self._ports.get(part)

    async def answers(self, part: str) -> bool:
        """Whether a part is ready at this moment; of a server, whether it accepts connections."""
        port = self.port(part)
        if port is None:
            return False
        return await serving.is_ready(port) if part in self._ports else listening(port)

    @property
    def clock(self) -> Clock:
        """What all services take for the time of facts."""
        return clock_from(self.folder.clock if self._simulated else None)

    @property
    def lead(self) -> timedelta | None:
        """How far the simulated clock is ahead; None on the wall clock."""
        return SimulatedClock(self.folder.clock).lead if self._simulated else None

    def advance(self, by: str | timedelta) -> datetime:
        """Moves the clock of every service forward, by `7d`, `90m`, … and returns its time.

        Raises WallClockOnly, UnreadableDuration, BackwardClock.
        """
        if not self._simulated:
            raise WallClockOnly
        return SimulatedClock(self.folder.clock).advance(parse_duration(by) if isinstance(by, str) else by)

    def token(
        self, person: UUID, roles: Iterable[UserRole] = (UserRole.PARTICIPANT,), units: Iterable[UUID] = ()
    ) -> str:
        """A bearer token of the development issuer."""
        return Issuer.of(make_keys(self.folder.keys).private).token(person, roles, units)

    async def kill(self, part: str) -> None:
        """SIGKILL, as a fault would; the part is started again by itself. Raises UnknownPart."""
        await self.part(part).kill()

    # Whether it is at rest.

    async def measure(self) -> Figures:
        """What every service has stored, told, heard and still to do, read from the databases now."""
        return await self._measurer().measure()

    async def settled(self, *, within: float = 60.0) -> Figures:
        """Waits until nothing is under way: all that was appended is told, heard, and its effects are appended too.

        What is parked, and timers of the future, are not waited for. Raises NeverSettled with what was still open.
        """
        deadline = time.monotonic() + within
        measurer = self._measurer()
        before: Figures | None = None
        while True:
            now = await measurer.measured()
            # Each look reads one database after another; two equal ones mean that nothing moved in between.
            if before is not None and now is not None and now.at_rest and now.same_counts(before):
                return now
            if time.monotonic() > deadline:
                left = "a database that did not answer" if now is None else now.under_way()
                raise NeverSettled(f"after {within:g} s there was still under way: {left}")
            before = now if now is not None and now.at_rest else None
            await asyncio.sleep(_SETTLED_POLL_SECONDS)

    # Starting and stopping.

    async def start(self) -> None:
        """Returns when all is ready. What was started is stopped again when it raises.

        Raises PortTaken, FolderUnusable, FolderNewer, AlreadyRunning, ClockAhead, ServerUnavailable.
        """
        began = time.monotonic()
        self.folder.claim()
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise
        self.seconds = time.monotonic() - began

    async def stop(self) -> None:
        """The gateway first, then the other services, then the servers; nothing happens when it does not run."""
        if not self.folder.claimed:  # it may be somebody else's
            return
        keepers, self._keepers = self._keepers, {}
        specs = {spec.name: spec for spec in self.services}
        ways = [
            [keepers[name] for name in keepers if name in specs and specs[name].last],
            [keepers[name] for name in keepers if name in specs and not specs[name].last],
            [keepers[name] for name in keepers if name not in specs],
        ]
        await self._control.close()
        self.folder.forget_state()
        for together in ways:
            await asyncio.gather(*(keeper.stop() for keeper in together), return_exceptions=True)
        self.folder.give_back()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _start(self) -> None:
        self._check_clock()
        self._ports = {
            spec.name: port_to_listen_on(self._port) if spec.name == GATEWAY else free_port()
            for spec in self.services
        }
        await all_of((self._start_postgres(), self._start_broker()))
        wiring = Wiring(
            environment=self._environment,
            clock=self.folder.clock if self._simulated else None,
            keys=make_keys(self.folder.keys),
            ports=self._ports,
            bootstrap=self._bootstrap,
            broker=None if self._elsewhere.bootstrap else self._kafka,
        )
        if self._cluster is not None:
            await self._migrate(self._cluster, wiring)
        self._databases = dict(self._located())
        for last in (False, True):
            await self._start_services([spec for spec in self.services if spec.last is last], wiring)
        await self._control.open()
        self.folder.write_state(self._state())

    def _check_clock(self) -> None:
        lead = SimulatedClock(self.folder.clock).lead
        if lead and not self._simulated:
            raise ClockAhead(
                f"the simulated clock of {self.folder.path} is {lead} ahead: facts would be recorded before earlier"
                " ones; go on with --simulated-clock, or take another folder with --data"
            )

    def _located(self) -> Iterator[tuple[str, ServiceDatabases]]:
        for spec in self.services:
            if (elsewhere := self._elsewhere.databases(spec)) is not None:
                yield spec.name, elsewhere
            elif self._cluster is not None:
                yield spec.name, self._cluster.databases(spec)

    async def _start_postgres(self) -> None:
        if all(self._elsewhere.databases(spec) for spec in self.services):
            return
        began = time.monotonic()
        server = EmbeddedPostgres(self.folder.path / "postgres")
        await self._keep(POSTGRES, server)
        dsn = await server.start()  # runs already: answers where
        self._say("postgres", f"127.0.0.1:{urlsplit(dsn).port}", began)
        self._cluster = Cluster(dsn)

    async def _start_broker(self) -> None:
        began = time.monotonic()
        if self._elsewhere.bootstrap is not None:
            self._bootstrap = self._elsewhere.bootstrap
            return
        server = (
            Tansu(log=self.folder.log_of(BROKER))
            if self._kafka == "embedded"
            else ApacheKafka(self.folder.path / "kafka")
        )
        await self._keep(BROKER, server)
        self._bootstrap = await server.start()
        # Before anybody names one of them: the embedded broker makes what it is asked about, in a shape of its own.
        async with ClusterClient(self._bootstrap) as cluster:
            await cluster.create(spec for contract in shipped() for spec in contract.channels)
        self._say("broker", f"{self._kafka}, {self._bootstrap}", began)

    async def _migrate(self, cluster: Cluster, wiring: Wiring) -> None:
        began = time.monotonic()
        own = [spec for spec in self.services if self._elsewhere.databases(spec) is None]
        outdated = await cluster.outdated(own)

        async def one(spec: ServiceSpec) -> None:
            await cluster.make(spec)
            await serving.migrate(spec, self.folder.log_of(spec.name), wiring.migration(spec, cluster))
            await cluster.note_migrated(spec)

        await all_of(one(spec) for spec in outdated)
        if outdated:
            self._say("migrations", ", ".join(spec.name for spec in outdated), began)

    async def _start_services(self, specs: Sequence[ServiceSpec], wiring: Wiring) -> None:
        async def one(spec: ServiceSpec) -> None:
            began = time.monotonic()
            port = self._ports[spec.name]
            environment = wiring.service(spec, self._databases[spec.name])
            await self._keep(
                spec.name, ServiceProcess(spec, port, self.folder.log_of(spec.name), environment)
            )
            self._say(spec.name, f"127.0.0.1:{port}", began)

        await all_of(one(spec) for spec in specs)

    async def _keep(self, name: str, kept: Kept) -> None:
        keeper = self._keepers[name] = Keeper(name, kept, self._happened)
        await keeper.start()

    def _say(self, what: str, detail: str, began: float) -> None:
        self._progress(Progress(what, detail, time.monotonic() - began))

    def _measurer(self) -> Measurer:
        return Measurer(
            {spec.name: self._databases[spec.name].reader_url for spec in self.services},
            {spec.name: spec.hears for spec in self.services},
            self.clock,
        )

    def _state(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "gateway": self.gateway if GATEWAY in self._ports else None,
            "kafka_bootstrap": self._bootstrap,
            "kafka": "elsewhere" if self._elsewhere.bootstrap else self._kafka,
            "clock": str(self.folder.clock) if self._simulated else None,
            "services": {
                spec.name: {
                    "port": self._ports[spec.name],
                    "hears": spec.hears,
                    "reader_url": self._databases[spec.name].reader_url,
                }
                for spec in self.services
            },
        }
