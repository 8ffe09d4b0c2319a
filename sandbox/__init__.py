"""Running one container locked down, watched and measured; knows nothing of queues, sites or settings."""
