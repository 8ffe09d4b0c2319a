"""Why a worker cannot be set up: told to whoever starts it, with an exit code."""


class SetUpError(Exception):
    """Settings that do not fit; the message says which and what to do."""


class UnreachableError(Exception):
    """Something that the worker cannot do without does not answer, or cannot do what it must."""
