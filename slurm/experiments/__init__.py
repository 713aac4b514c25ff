"""Runs experiments: several arms with several seeds, compared in one table. Each arm and seed is an ordinary run."""
