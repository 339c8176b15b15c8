"""`python -m upwell_directory ROLE…`: api, relay, consume, work, all, or migrate; settings from UPWELL_DIRECTORY_…."""

import sys

from upwell_directory.app import SERVICE

if __name__ == "__main__":
    sys.exit(SERVICE.entry(sys.argv[1:]))
