"""Why a broker cannot be worked with, told apart by what there is to do about it."""

from __future__ import annotations

import socket
import ssl
from enum import StrEnum

from pika.exceptions import AMQPConnectionError

from worker.broker.connection import BrokerRefusedError


class Trouble(StrEnum):
    """What stands between us and the broker."""

    NO_SUCH_HOST = "its host name is unknown"
    NO_LISTENER = "nothing listens there"
    PLAINTEXT_PORT = "that port speaks no TLS"
    CERTIFICATE = "its certificate is not trusted"
    LOGIN = "it refuses this user or password"
    VHOST_ABSENT = "it has no such virtual host"
    VHOST_REFUSED = "this user has no permission for the virtual host"
    NOT_AMQP = "what answers there does not speak AMQP, or expects TLS"
    NO_ANSWER = "it does not answer"
    BROKEN_OFF = "the connection broke"


class BrokerTroubleError(Exception):
    """What went wrong on a connection; `detail` is what the broker or the system said."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.trouble = _trouble(error)
        self.detail = str(error) or type(error).__name__


# In an order: the first whose words stand in what was said.
_SAID = (
    ("Login was refused", Trouble.LOGIN),
    ("authentication", Trouble.LOGIN),
    ("not found", Trouble.VHOST_ABSENT),
    ("refused for user", Trouble.VHOST_REFUSED),
    ("ConnectionRefusedError", Trouble.NO_LISTENER),
    ("gaierror", Trouble.NO_SUCH_HOST),
    ("StackTimeout", Trouble.NO_ANSWER),
    ("TimeoutError", Trouble.NO_ANSWER),
    ("timed out", Trouble.NO_ANSWER),
    ("not supported", Trouble.NOT_AMQP),
    ("EOF", Trouble.NOT_AMQP),
    ("reset", Trouble.NOT_AMQP),
)


def _trouble(error: BaseException) -> Trouble:
    match error:
        case ssl.SSLCertVerificationError():
            return Trouble.CERTIFICATE
        case ssl.SSLError():
            return Trouble.PLAINTEXT_PORT
        case socket.gaierror():
            return Trouble.NO_SUCH_HOST
        case TimeoutError():
            return Trouble.NO_ANSWER
        case BrokerRefusedError() | AMQPConnectionError():
            said = repr(error)
            return next((trouble for words, trouble in _SAID if words in said), Trouble.BROKEN_OFF)
        case _:
            return Trouble.BROKEN_OFF
