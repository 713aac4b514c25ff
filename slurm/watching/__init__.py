"""What a person sees of runs and of the queue: status, logs, monitor, exporter."""
