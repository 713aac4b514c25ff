"""Requests from a domain: exact quotas, a keyed permutation, graph walks; request i is a pure function of (plan seed, i, domain)."""
