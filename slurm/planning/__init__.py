"""From a config to a plan: fingerprints, shard table, requests of each stratum, and top-ups."""
