"""Who may do a piece of work that only one process should do at a time.

A lease is a row with an expiry by the database's clock. Its `epoch` rises with each acquisition, so that whatever a
former holder still does late can be told from the work of the present one: an effect that must not come from a
former holder compares epochs in its own statement.
"""

import time
from uuid import UUID, uuid4

import asyncpg

from upwell_shared.errors import UpwellError

# A holder may acquire anew, in case the answer to its first request was lost.
_ACQUIRE = """
INSERT INTO leases AS held (name, holder, epoch, expires_at)
VALUES ($1, $2, 1, clock_timestamp() + $3 * interval '1 second')
ON CONFLICT (name) DO UPDATE
SET holder = excluded.holder, epoch = held.epoch + 1, expires_at = excluded.expires_at
WHERE held.expires_at <= clock_timestamp() OR held.holder = excluded.holder
RETURNING epoch
"""

# Not only while unexpired: as long as nobody else has taken it, the epoch still is the highest.
_RENEW = """
UPDATE leases SET expires_at = clock_timestamp() + $4 * interval '1 second'
WHERE name = $1 AND holder = $2 AND epoch = $3
RETURNING true
"""

_RELEASE = """
UPDATE leases SET expires_at = '-infinity' WHERE name = $1 AND holder = $2 AND epoch = $3
"""


class Fenced(UpwellError):
    """A later holder of the lease has taken over; this one must let go of everything it did not finish."""


class Term:
    """One holder's time in office. `epoch` is higher than that of every earlier term of the same lease."""

    __slots__ = ("deadline", "epoch", "holder", "name")

    def __init__(self, name: str, holder: UUID, epoch: int, deadline: float) -> None:
        """`deadline` is an instant of `time.monotonic()`."""
        self.name = name
        self.holder = holder
        self.epoch = epoch
        self.deadline = deadline

    @property
    def valid(self) -> bool:
        """Whether nobody else can hold the lease yet.

        Judged without asking: a holder that was paused past its expiry knows it before its next step. It says
        nothing about the end of that step, which is what the epoch is for.
        """
        return time.monotonic() < self.deadline

    def end(self) -> None:
        """From now on not valid."""
        self.deadline = float("-inf")


class Lease:
    """The lease `name`, as one possible holder sees it. `ttl` is in seconds and the same for all of them."""

    def __init__(self, pool: asyncpg.Pool, name: str, *, ttl: float = 5.0) -> None:
        """Every object is a holder of its own, two in one process included."""
        self.name = name
        self.ttl = ttl
        self.holder = uuid4()
        self._pool = pool

    async def acquire(self) -> Term | None:
        """A new term, or None while somebody else holds the lease."""
        # Counted from before the request, so that our own count ends before the database's.
        deadline = time.monotonic() + self.ttl
        epoch = await self._pool.fetchval(_ACQUIRE, self.name, self.holder, self.ttl)
        return None if epoch is None else Term(self.name, self.holder, epoch, deadline)

    async def renew(self, term: Term) -> bool:
        """Prolongs the term to a full `ttl` from now. False: somebody else took over, and the term has ended."""
        deadline = time.monotonic() + self.ttl
        renewed = await self._pool.fetchval(_RENEW, term.name, term.holder, term.epoch, self.ttl)
        if renewed:
            term.deadline = deadline
        else:
            term.end()
        return bool(renewed)

    async def release(self, term: Term) -> None:
        """Ends the term, so that a stand-by's next attempt succeeds. Does nothing to a later holder's term."""
        term.end()
        await self._pool.execute(_RELEASE, term.name, term.holder, term.epoch)
