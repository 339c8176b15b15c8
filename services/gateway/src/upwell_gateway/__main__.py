"""`python -m upwell_gateway ROLE…`: api, relay, consume, work, all, or migrate; settings from UPWELL_GATEWAY_…."""

import sys

from upwell_gateway.app import SERVICE

if __name__ == "__main__":
    sys.exit(SERVICE.entry(sys.argv[1:]))
