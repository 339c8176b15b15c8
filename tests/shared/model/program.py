"""What may happen, as data: a program prints as a list of steps."""

from dataclasses import dataclass
from itertools import chain
from typing import Literal

from hypothesis import strategies as st

ROOMS = 3
BOOKINGS = 6
REPLICAS = 2


@dataclass(frozen=True)
class Death:
    """The part dies at its n-th call to database or broker: before it is made, or when it is done and unanswered."""

    call: int
    when: Literal["before", "after"]


@dataclass(frozen=True)
class OpenRoom:
    room: int
    seats: int


@dataclass(frozen=True)
class RequestBooking:
    booking: int


@dataclass(frozen=True)
class ConfirmBooking:
    booking: int


@dataclass(frozen=True)
class CancelBooking:
    booking: int


Wish = OpenRoom | RequestBooking | ConfirmBooking | CancelBooking
"""What a client may ask for. A booking is always for the same room: its number modulo ROOMS."""


@dataclass(frozen=True)
class Ask:
    """A client sends a command of its own, once."""

    wish: Wish
    replica: int
    death: Death | None = None


@dataclass(frozen=True)
class AskBoth:
    """Two commands at the same time, each to one replica, of which the first may die."""

    first: Wish
    second: Wish
    death: Death | None = None


@dataclass(frozen=True)
class AskTwice:
    """One command to both replicas at the same time: the client lost patience. The first may die."""

    wish: Wish
    death: Death | None = None


@dataclass(frozen=True)
class AskSlowly:
    """The append is executed; its commit takes until `Commit`, or until somebody needs what it has locked."""

    wish: Wish


@dataclass(frozen=True)
class Commit:
    """The slow commit ends; or it is `lost` with its connection."""

    lost: bool


@dataclass(frozen=True)
class AskAgain:
    """The client repeats the oldest command it has no answer to."""

    replica: int
    death: Death | None = None


@dataclass(frozen=True)
class Elect:
    """The relay's lease passes to this replica; the other does not know yet."""

    replica: int


@dataclass(frozen=True)
class Relay:
    """A relay publishes a page of so many rows; it `looks` first at which log there is."""

    replica: int
    page: int
    looks: bool
    death: Death | None = None


@dataclass(frozen=True)
class Consume:
    """A consumer reads what there is from where it believes to be; it `looks` first at which log there is.

    One that `stops` sleeps with what it has fetched, and applies it in its next turn.
    """

    replica: int
    looks: bool
    stops: bool = False
    death: Death | None = None


@dataclass(frozen=True)
class Work:
    """The to-do worker takes a page."""

    replica: int
    death: Death | None = None


@dataclass(frozen=True)
class Tick:
    """The ticker issues what is due."""

    replica: int
    death: Death | None = None


@dataclass(frozen=True)
class Project:
    """An own projection takes a page."""

    projection: Literal["who_sits_where", "timers"]
    replica: int
    death: Death | None = None


@dataclass(frozen=True)
class Collide:
    """Both replicas of a part take a step at the same time; the first may die."""

    part: Literal["who_sits_where", "timers", "reader", "worker", "ticker"]
    death: Death | None = None


@dataclass(frozen=True)
class Advance:
    """Time passes."""

    hours: int


@dataclass(frozen=True)
class LoseLog:
    """The topics are deleted; or somebody else begins a log in them."""

    how: Literal["deleted", "renamed"]


@dataclass(frozen=True)
class SetBack:
    """An operator has everything published again."""


Step = (
    Ask | AskBoth | AskTwice | AskSlowly | AskAgain | Commit
    | Elect | Relay | Consume | Work | Tick | Project | Collide
    | Advance | LoseLog | SetBack
)  # fmt: skip
Program = list[Step]

_rooms = st.integers(0, ROOMS - 1)
_bookings = st.integers(0, BOOKINGS - 1)
_replicas = st.integers(0, REPLICAS - 1)


def _deaths(calls: int) -> st.SearchStrategy[Death | None]:
    """Of a part that makes about so many calls in a step."""
    return st.none() | st.builds(Death, st.integers(1, calls), st.sampled_from(["before", "after"]))


_wishes = st.one_of(
    st.builds(OpenRoom, _rooms, st.integers(1, 2)),
    st.builds(RequestBooking, _bookings),
    st.builds(ConfirmBooking, _bookings),
    st.builds(CancelBooking, _bookings),
)
_asking: st.SearchStrategy[Step] = st.one_of(
    st.builds(Ask, _wishes, _replicas, _deaths(4)),
    st.builds(AskBoth, _wishes, _wishes, _deaths(3)),
    st.builds(AskTwice, _wishes, _deaths(3)),
    st.builds(AskSlowly, _wishes),
    st.builds(AskAgain, _replicas, _deaths(3)),
)
# Two commands that cannot both be decided on what was there before: of one booking, or of two for the same room.
_contending = st.builds(
    lambda number, kinds, both, death: AskBoth(
        kinds[0](number), kinds[1]((number + ROOMS * both) % BOOKINGS), death=death
    ),
    _bookings,
    st.tuples(*[st.sampled_from([ConfirmBooking, CancelBooking])] * 2),
    st.booleans(),
    _deaths(3),
)
_relaying: st.SearchStrategy[Step] = st.builds(
    Relay, _replicas, st.sampled_from([1, 3, 100]), st.booleans(), _deaths(6) | _deaths(16)
)
_stopping = st.sampled_from([False, False, True])
_consuming = st.builds(Consume, _replicas, st.booleans(), _stopping, _deaths(6) | _deaths(12))
_working = st.builds(Work, _replicas, _deaths(4))
_projecting: st.SearchStrategy[Step] = st.builds(
    Project, st.sampled_from(["who_sits_where", "timers"]), _replicas, _deaths(7)
)
_ticking = st.builds(Tick, _replicas, _deaths(1))
_colliding = st.builds(
    Collide, st.sampled_from(["who_sits_where", "timers", "reader", "worker", "ticker"]), _deaths(8)
)
_electing = st.builds(Elect, _replicas)
_losing = st.builds(LoseLog, st.sampled_from(["deleted", "renamed"]))

# A relay that was replaced, and is told of neither that nor of another log, meets new rows; then the present one dies.
_late_relay = st.builds(
    lambda late, wishes, losing, death: (
        Elect(late),
        Relay(late, 100, looks=True),
        Elect(1 - late),
        losing,
        Relay(1 - late, 100, looks=True),
        *(Ask(wish, 0) for wish in wishes),
        Relay(late, 100, looks=False),
        Relay(1 - late, 1, looks=False, death=death),
    ),
    _replicas,
    st.lists(_wishes, min_size=1, max_size=3),
    _losing,
    _deaths(3),
)

# While one append is not committed, later ones are, on other streams; and are read.
_overtaken = st.builds(
    lambda number, kinds, readings: (
        AskSlowly(kinds[0](number)),
        Ask(kinds[1]((number + 1) % BOOKINGS), 0),
        Ask(kinds[2]((number + 2) % BOOKINGS), 1),
        *readings,
    ),
    _bookings,
    st.tuples(*[st.sampled_from([RequestBooking, ConfirmBooking, CancelBooking])] * 3),
    st.tuples(_relaying, _projecting) | st.tuples(_projecting, _projecting),
)

_pieces: list[st.SearchStrategy[tuple[Step, ...]]] = [
    *[st.tuples(_asking)] * 5,
    *[st.tuples(_contending)] * 2,
    *[
        st.tuples(_relaying),
        st.tuples(_consuming),
        st.tuples(_working),
        st.tuples(_projecting),
        st.tuples(_ticking),
        st.tuples(_colliding),
    ],
    *[st.tuples(_relaying, _consuming)] * 3,
    st.tuples(_relaying, _consuming, _working),
    st.tuples(_relaying, _colliding, _colliding),
    *[_overtaken] * 2,
    st.tuples(st.builds(Commit, st.booleans())),
    st.tuples(st.builds(Advance, st.sampled_from([1, 49])), _projecting, _ticking),
    st.tuples(_electing, _relaying),
    st.tuples(_losing, _relaying),
    _late_relay,
    st.tuples(st.just(SetBack())),
]
"""What a program is put together from: what seldom does anything by itself stands with what makes it do something."""

# Rooms and bookings there from the beginning, one of them confirmed, give every program something to be about.
_BEFORE: Program = [
    *(Ask(OpenRoom(number, 1 + number % 2), 0) for number in range(ROOMS)),
    *(Ask(RequestBooking(number), 0) for number in range(BOOKINGS - 2)),
    Ask(ConfirmBooking(0), 0),
]
programs: st.SearchStrategy[Program] = st.builds(
    lambda pieces: [*_BEFORE, *chain.from_iterable(pieces)],
    st.lists(st.sampled_from(_pieces).flatmap(lambda piece: piece), min_size=10, max_size=36),
)
