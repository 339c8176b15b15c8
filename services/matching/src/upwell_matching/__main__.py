"""`python -m upwell_matching ROLE…`: api, relay, consume, work, all, or migrate; settings from UPWELL_MATCHING_…."""

import sys

from upwell_matching.app import SERVICE

if __name__ == "__main__":
    sys.exit(SERVICE.entry(sys.argv[1:]))
