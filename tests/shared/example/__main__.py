"""`python -m tests.shared.example ROLE…`: api, relay, consume, work, all, or migrate; settings from UPWELL_EXAMPLE_…."""

import sys
from collections.abc import Sequence
from uuid import NAMESPACE_URL, uuid5

from tests.shared.example.app import ROLES, Example, Role, open_pool, prepare
from tests.shared.example.settings import ExampleSettings
from upwell_shared.migrating import CHASSIS
from upwell_shared.observability import configure_logging
from upwell_shared.running import run_until
from upwell_shared.settings import load_settings
from upwell_shared.web.policies import Principal
from upwell_shared.web.serving import run, serve, stop_on_signals


class AnyToken:
    """Whoever sends a token is who the token says: the example guards nothing."""

    async def authenticate(self, token: str) -> Principal:
        return Principal(uuid5(NAMESPACE_URL, token))


async def main(settings: ExampleSettings, roles: Sequence[Role]) -> None:
    stop = stop_on_signals()
    pool = await open_pool(settings)
    example = Example(settings, pool)
    await example.store.start([CHASSIS])
    workers = example.workers(roles)
    serving = serve(example.app(AnyToken()), settings, stop) if "api" in roles else None
    await run_until(stop, *workers, serving=serving, closing=[*example.closing, pool.close])


def entry(arguments: Sequence[str]) -> int:
    asked = [role for role in ROLES if role in arguments or "all" in arguments]
    if arguments == ["migrate"]:
        settings = load_settings(ExampleSettings)
        run(prepare(settings, app_role="example_app", reader_role="example_reader"))
    elif asked and set(arguments) <= {*ROLES, "all"}:
        settings = load_settings(ExampleSettings)
        configure_logging("example", settings.log_level)
        run(main(settings, asked))
    else:
        sys.stderr.write(f"use: python -m tests.shared.example {' | '.join(ROLES)} | all | migrate\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(entry(sys.argv[1:]))
