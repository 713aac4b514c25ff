"""Turns a config into a plan and a run directory: fingerprints, shards, requests per stratum, and top-ups."""
