"""The best pairs of a cohort: a proven optimum over all permitted pairs, with places on both sides.

Pure but for speed: the same problem with the same seed has the same solution. `problem` says what is asked and answered,
`tiles` knows pairs a block at a time, `flow` solves over some of them, `best` goes on until none left out would pay;
`apart` does it in a process of its own.
"""

from upwell_matching.solving.best import best_pairs
from upwell_matching.solving.problem import BestPair, Candidate, Problem, Solution, Unmatched

__all__ = ["BestPair", "Candidate", "Problem", "Solution", "Unmatched", "best_pairs"]
