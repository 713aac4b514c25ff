"""Experiments: several arms, several seeds, one table. Every arm and seed is an ordinary run; this plans, starts,
compares.
"""
