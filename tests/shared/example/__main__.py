"""`python -m tests.shared.example ROLE…`: api, relay, consume, work, all, or migrate; settings from UPWELL_EXAMPLE_…."""

import sys
from uuid import NAMESPACE_URL, uuid5

from tests.shared.example.app import SERVICE
from upwell_shared.web.policies import Principal


class AnyToken:
    """Whoever sends a token is who the token says, and may be what it says: the example guards nothing."""

    async def authenticate(self, token: str) -> Principal:
        return Principal(uuid5(NAMESPACE_URL, token), frozenset({token}))


if __name__ == "__main__":
    sys.exit(SERVICE.entry(sys.argv[1:], AnyToken()))
