"""Connections to a broker, and what every one of them needs: parameters, errors, queues that are there."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from typing import Any, cast

import pika
from pika import ConnectionParameters
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import (
    AMQPConnectionError,
    ChannelClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from protocol.broker_url import BrokerAddress

__all__ = ["BrokerRefusedError", "ConnectionParameters", "basic_properties", "connect", "ensure_queue", "parameters"]

HEARTBEAT = 15  # seconds at most, so that a dead host is noticed within three of them
_NOT_FOUND = 404
_SOCKET_TIMEOUT = 10.0
_BROKEN_OFF = "StreamLostError"  # named by pika in an error of a handshake that a reset ended


class BrokerRefusedError(Exception):
    """The broker answers, and refuses these credentials or this virtual host: nothing to wait for."""


def parameters(address: BrokerAddress, *, name: str, ca_file: str | None, verify: bool) -> ConnectionParameters:
    """Pika's parameters for that address; `name` shows in the broker's list of connections."""
    return ConnectionParameters(
        host=address.host,
        port=address.port,
        virtual_host=address.vhost,
        credentials=pika.PlainCredentials(address.user, address.password),
        heartbeat=lambda _connection, offered: min(HEARTBEAT, offered or HEARTBEAT),
        ssl_options=_tls(address.host, ca_file, verify=verify) if address.tls else None,
        socket_timeout=_SOCKET_TIMEOUT,
        stack_timeout=_SOCKET_TIMEOUT * 1.5,
        client_properties={"connection_name": name},
    )


def _tls(host: str, ca_file: str | None, *, verify: bool) -> pika.SSLOptions:
    context = ssl.create_default_context(cafile=ca_file)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return pika.SSLOptions(context, host)


def basic_properties(properties: Mapping[str, object]) -> pika.BasicProperties:
    """Pika's form of AMQP's basic properties, given by their names."""
    return pika.BasicProperties(**cast("dict[str, Any]", dict(properties)))


def connect(settings: ConnectionParameters) -> BlockingConnection:
    """A connection, at the first try. Raises `BrokerRefusedError`, or pika's and the system's own errors."""
    try:
        return BlockingConnection(settings)
    except (ProbableAuthenticationError, ProbableAccessDeniedError) as error:
        if _BROKEN_OFF in str(error):  # pika's guess; a broker that refuses says so
            raise AMQPConnectionError(error) from error
        raise BrokerRefusedError(
            f"the broker at {settings.host}:{settings.port} refuses this user or the virtual host "
            f"{settings.virtual_host!r}: {error}"
        ) from error
    except (AMQPConnectorException, ValueError) as error:
        # A handshake that hangs, which pika derives from no error of its own; a reset just after the connect.
        raise AMQPConnectionError(error) from error


def ensure_queue(connection: BlockingConnection, name: str) -> None:
    """Makes sure that exchange, queue and binding of that name are there, as a CodaLab site makes them.

    The queue is looked at passively first: one with arguments (`x-max-priority`) is worked as it is.
    """
    if not _exists(connection, lambda channel: channel.queue_declare(name, passive=True)):
        with connection.channel() as channel:
            channel.queue_declare(name, durable=True)
    with connection.channel() as channel:
        channel.exchange_declare(name, "direct", durable=True)
        channel.queue_bind(name, name, name)


def _exists(connection: BlockingConnection, look: Callable[[BlockingChannel], object]) -> bool:
    channel = connection.channel()
    try:
        look(channel)
    except ChannelClosedByBroker as error:
        if error.reply_code != _NOT_FOUND:
            raise
        return False
    channel.close()
    return True
