"""What a domain is: one product API as files (functions, graph, metadata, statistics, templates, golden set), how they
are loaded, and what makes them invalid. The format is in docs/domains.md.
"""
