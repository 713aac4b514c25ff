"""One product API as files: functions, graph, metadata, statistics, templates, golden set. Format: docs/domains.md."""
