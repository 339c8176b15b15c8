"""`python -m upwell_matching.solving`: a problem comes in as JSON, its solution goes out as JSON."""

import sys

from upwell_matching.solving.apart import PROBLEM, SOLUTION
from upwell_matching.solving.best import best_pairs

if __name__ == "__main__":
    found = best_pairs(PROBLEM.validate_json(sys.stdin.buffer.read()))
    sys.stdout.buffer.write(SOLUTION.dump_json(found))
