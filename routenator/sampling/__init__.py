"""Requests from a domain: exact quotas, a keyed permutation, graph walks; request i is a pure function of (plan seed,
i, domain).
"""

# How requests are drawn. Named in sample's receipts and part of its fingerprint; the number is raised when the same
# seed gives other rows, and docs/method.md says what each was.
GENERATOR = "philox4x32-10/2"
