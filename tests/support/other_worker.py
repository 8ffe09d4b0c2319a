"""A worker of another make: plain Celery, which notes the runs that it is given and does nothing about them."""

import json
import os

from celery import Celery

PIPE = int(os.environ["OTHER_PIPE"])

app = Celery("other", broker=os.environ["OTHER_BROKER_URL"])
app.conf.update(
    task_default_queue=os.environ["OTHER_QUEUE"],
    task_ignore_result=True,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    accept_content=["json"],
)


@app.task(name="compute_worker_run", bind=True)
def compute_worker_run(self: object, task_id: object, task_args: object) -> None:
    request = self.request  # type: ignore[attr-defined] # Celery binds the task itself
    seen = {"id": request.id, "timelimit": request.timelimit, "task_id": task_id, "task_args": task_args}
    os.write(PIPE, (json.dumps(seen) + "\n").encode())
