"""How a cadence says no."""

from upwell_shared.decider import DomainError


class UnknownCadence(DomainError):
    """There is no such pair, or none whose sessions are booked here."""


class UnknownSession(DomainError):
    """This pair has no such session."""


class CadenceIsClosed(DomainError):
    """The pair has come to its end: nothing is booked or moved any more."""


class CadenceIsPaused(DomainError):
    """The pair rests: book when it goes on. What is booked can be moved or cancelled."""


class AllSessionsBooked(DomainError):
    """All planned sessions of the pair are booked: cancel one first, or have the pair extended."""


class SessionInThePast(DomainError):
    """A session begins in the future."""


class SessionTooFarAhead(DomainError):
    """A session begins within a year from now."""


class SessionAfterTheEnd(DomainError):
    """A session begins by the pair's last day, in UTC: have the pair extended first."""


class UnfitLength(DomainError):
    """A session takes between 5 minutes and 8 hours."""


class OverlappingSession(DomainError):
    """Another session of the pair takes place at that time."""


class SessionHasBegun(DomainError):
    """This session has begun: say whether it was held instead."""


class SessionIsCancelled(DomainError):
    """This session was cancelled."""


class TooEarlyToConfirm(DomainError):
    """This session has not begun: whether it was held can be said from its beginning on."""


class AlreadySettled(DomainError):
    """Both sides have agreed on what became of this session."""


class NoRecap(DomainError):
    """This session has no recap yet."""


class OwnRecap(DomainError):
    """A recap is confirmed by the side that did not write it."""


class RecapChanged(DomainError):
    """The recap is another one by now: read it again first."""
