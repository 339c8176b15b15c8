"""`python -m upwell_feedback ROLE…`: api, relay, consume, work, all, or migrate; settings from UPWELL_FEEDBACK_…."""

import sys

from upwell_feedback.app import SERVICE

if __name__ == "__main__":
    sys.exit(SERVICE.entry(sys.argv[1:]))
