"""What helps to make a domain: check, derive, reweigh, import."""
