"""What pika says of a connection that was not to be had, and what it means."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from pika.exceptions import (
    AMQPConnectionError,
    ConnectionClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
    StreamLostError,
)

from worker.broker.connection import BrokerRefusedError, ConnectionParameters, connect

LOST = repr(StreamLostError("Stream connection lost: reset by peer"))
SAID_NO = repr(ConnectionClosedByBroker(530, "NOT_ALLOWED - access to vhost refused"))
ATTEMPT = "worker.broker.connection.BlockingConnection"


@pytest.mark.parametrize(
    "broken_off",
    [
        ProbableAccessDeniedError(LOST),
        ProbableAuthenticationError(LOST),
        ValueError("Expected connected socket, but getpeername() failed"),
    ],
)
def test_a_handshake_that_breaks_off_is_tried_again(broken_off: Exception) -> None:
    with patch(ATTEMPT, side_effect=broken_off), pytest.raises(AMQPConnectionError):
        connect(ConnectionParameters())


@pytest.mark.parametrize("refusal", [ProbableAccessDeniedError(SAID_NO), ProbableAuthenticationError(SAID_NO)])
def test_a_broker_that_refuses_is_not_waited_for(refusal: Exception) -> None:
    with patch(ATTEMPT, side_effect=refusal), pytest.raises(BrokerRefusedError):
        connect(ConnectionParameters())
