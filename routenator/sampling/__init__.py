"""Draws requests from a domain: exact quotas, a keyed permutation, graph walks.

Request i is a pure function of (plan seed, i, domain).
"""

# Version of the generator of requests, in the sample stage's receipts and fingerprint. The number is raised whenever
# the same seed gives different rows; docs/method.md describes each version.
GENERATOR = "philox4x32-10/2"
