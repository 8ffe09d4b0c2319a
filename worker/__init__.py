"""The daemon: takes run messages, stages them, has the sandbox run them, publishes what came out."""
