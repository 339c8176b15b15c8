"""`python -m upwell_sessions ROLE…`: api, relay, consume, work, all, or migrate; settings from UPWELL_SESSIONS_…."""

import sys

from upwell_sessions.app import SERVICE

if __name__ == "__main__":
    sys.exit(SERVICE.entry(sys.argv[1:]))
