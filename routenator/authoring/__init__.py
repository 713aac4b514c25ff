"""Tools for making a domain: check and inspect one, derive one from another, import a benchmark's golden set."""
