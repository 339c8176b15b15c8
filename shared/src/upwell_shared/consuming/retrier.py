"""Dead letters, tried again in time."""

import structlog

from upwell_shared.consuming import dead_letters
from upwell_shared.consuming.applying import Applier, Overtaken

_log = structlog.get_logger()


class Retrier:
    """Takes parked sequences up again, the one that failed first first, each after a wait that doubles to 10 minutes.

    `step` is for a `Worker`. It needs no lease: a sequence taken up is left alone by others.
    """

    def __init__(self, applier: Applier) -> None:
        self._applier = applier

    async def step(self, _: object = None) -> bool:
        """Takes one sequence in order, as far as it goes; False when none is due."""
        due = await dead_letters.take_up(self._applier.pool, self._applier.name)
        if due is None:
            return False
        try:
            await self._applier.retry(*due)
        except Overtaken:
            _log.debug("retry_overtaken", consumer=self._applier.name, channel=due[0])
        return True
