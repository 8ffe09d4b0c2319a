"""The parts around the worker, really running on this machine: for `make demo`, the tests and the bench."""
