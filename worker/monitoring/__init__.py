"""Metrics, health and the status page: loaded only where WORKER_METRICS is set."""
