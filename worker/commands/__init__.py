"""The commands that do more than print."""
