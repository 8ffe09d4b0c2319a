"""The broker: reached, logged in, and allowed what the worker does there. Nothing is published or taken."""

from __future__ import annotations

from config.settings import Settings
from worker import compose
from worker.broker.connection import ConnectionParameters
from worker.broker.probe import LeaseRefusedError, LeaseTrial, Permission, Probe, probing
from worker.broker.trouble import BrokerTroubleError, Trouble
from worker.preflight.clock import clock_line
from worker.preflight.lines import CheckLine, Lines, failed, ok, warning

_MENDS = {
    Trouble.NO_SUCH_HOST: "Correct the host in BROKER_URL: the site shows it for the queue.",
    Trouble.NO_LISTENER: "Correct host and port in BROKER_URL; see whether the broker runs.",
    Trouble.PLAINTEXT_PORT: "Set BROKER_USE_SSL=false (and amqp:// in BROKER_URL), or the port that speaks TLS (5671).",
    Trouble.CERTIFICATE: "Set BROKER_SSL_CA to a file with the certificate of the authority that signed the broker's.",
    Trouble.LOGIN: "Copy BROKER_URL anew from the queue's page on the site; percent-encode what is special in it.",
    Trouble.NOT_AMQP: "Set BROKER_USE_SSL=true if that port speaks TLS, or the port of AMQP (5672) in BROKER_URL.",
    Trouble.NO_ANSWER: "See whether a firewall or proxy on the way drops packets to that port.",
    Trouble.BROKEN_OFF: "Check again; if it stays, look into the broker's log.",
}


def look_at_runs(settings: Settings) -> Lines:
    """The virtual host that runs come from: its queue, and whether it can hold leases."""
    parameters = compose.broker(settings).runs
    try:
        with probing(parameters) as probe:
            yield ok("broker", f"{probe.product} at {parameters.host}:{parameters.port}, {_transport(parameters)}")
            yield _intake(probe, settings.worker_queue, parameters)
            yield from _leases(probe, settings, parameters)
    except BrokerTroubleError as error:
        yield trouble_line("broker", parameters, error)


def look_at_updates(settings: Settings) -> Lines:
    """The virtual host that status updates go to: the exchange that the site reads from."""
    parameters = compose.broker(settings).updates
    exchange = settings.worker_updates_queue
    try:
        with probing(parameters) as probe:
            yield _updates(probe, exchange, parameters)
    except BrokerTroubleError as error:
        yield trouble_line("updates", parameters, error)


def trouble_line(name: str, parameters: ConnectionParameters, error: BrokerTroubleError) -> CheckLine:
    """What went wrong, and the mend."""
    vhost = parameters.virtual_host
    where = f"{parameters.host}:{parameters.port}, virtual host {vhost}"
    mends = {
        **_MENDS,
        Trouble.VHOST_ABSENT: f"Correct the virtual host in BROKER_URL; the broker's: rabbitmqctl add_vhost '{vhost}'",
        Trouble.VHOST_REFUSED: _grant(parameters),
    }
    return failed(name, f"{where}: {error.trouble}", mends[error.trouble])


def _transport(parameters: ConnectionParameters) -> str:
    return f"{'TLS' if parameters.ssl_options else 'no TLS'}, virtual host {parameters.virtual_host}"


def _intake(probe: Probe, queue: str, parameters: ConnectionParameters) -> CheckLine:
    mend = _grant(parameters)
    depth = probe.queue_depth(queue)
    if depth is None:
        if probe.may_declare(queue) is Permission.REFUSED:
            return failed("intake", f"there is no queue {queue}, and it may not be made", mend)
        return warning("intake", f"there is no queue {queue} yet; the worker will make it", _name_mend("WORKER_QUEUE"))
    if probe.may_consume(queue) is Permission.REFUSED:
        return failed("intake", f"runs may not be taken from the queue {queue}", mend)
    waiting, consumers = depth
    return ok("intake", f"queue {queue}: {waiting} waiting, {consumers} consumers")


def _leases(probe: Probe, settings: Settings, parameters: ConnectionParameters) -> Lines:
    costs = "a run of more than 30 minutes (RabbitMQ's consumer_timeout) is handed out twice"
    if settings.worker_lease_ttl == 0:
        yield warning("leases", f"switched off: {costs}", "Set WORKER_LEASE_TTL=120s.")
        return
    try:
        trial = probe.try_lease()
    except LeaseRefusedError as error:
        yield warning("leases", f"the broker allows no lease queue, so {costs}: {error}", _grant(parameters))
        return
    yield _lease_line(trial)
    yield clock_line("the broker", trial.clock, trial.asked_at)


def _lease_line(trial: LeaseTrial) -> CheckLine:
    if trial.quorum:
        return ok("leases", "a message that expired in a quorum queue came back")
    return warning(
        "leases",
        "only classic queues: leases that run out while the broker restarts may be lost",
        "Upgrade RabbitMQ to 3.10 or later, or set WORKER_LEASE_TTL well above the time that a restart takes.",
    )


def _updates(probe: Probe, exchange: str, parameters: ConnectionParameters) -> CheckLine:
    vhost = parameters.virtual_host
    mend = _grant(parameters, f".*{exchange}.*")  # what a site gives the owner of a queue
    match probe.may_publish(exchange):
        case Permission.REFUSED:
            return failed("updates", f"updates may not be published to the exchange {exchange} of {vhost}", mend)
        case Permission.ABSENT if probe.may_declare(exchange) is Permission.REFUSED:
            return failed("updates", f"{vhost} has no exchange {exchange}, and it may not be made", mend)
        case Permission.ABSENT:
            found = f"{vhost} has no exchange {exchange} yet; the worker will make it, but no site has read from it"
            return warning("updates", found, _name_mend("WORKER_UPDATES_VHOST and WORKER_UPDATES_QUEUE"))
    if probe.queue_depth(exchange) is None:
        found = f"the exchange {exchange} of {vhost} has no queue yet; the worker will make it, but no site reads it"
        return warning("updates", found, "See whether the site's workers run.")
    if probe.may_bind(exchange) is Permission.REFUSED:
        return failed("updates", f"the queue {exchange} of {vhost} may not be bound to its exchange", mend)
    return ok("updates", f"exchange {exchange} of virtual host {vhost}")


def _name_mend(names: str) -> str:
    return f"If the site has been in use, correct {names}."


def _grant(parameters: ConnectionParameters, names: str = ".*") -> str:
    user = getattr(parameters.credentials, "username", "")
    rights = f"'.*' '{names}' '{names}'"
    return f"The broker's administrator: rabbitmqctl set_permissions -p '{parameters.virtual_host}' '{user}' {rights}"
