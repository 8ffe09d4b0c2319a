"""Bytes to and from signed URLs. Nobody else knows requests."""
