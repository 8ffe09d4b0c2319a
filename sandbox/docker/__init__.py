"""The container engine that speaks Docker's API; the one place that knows the docker SDK."""
