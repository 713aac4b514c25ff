"""Shows runs and the cluster: status, logs, the live monitor, the queue and Prometheus metrics. Only reads."""
