"""The settings of a worker: one frozen object, made once, handed down."""
