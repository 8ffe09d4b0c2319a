"""AMQP: connections kept up, run messages taken, status updates confirmed. Nobody else knows pika."""
