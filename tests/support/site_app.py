"""The site's own Celery worker, for real: hands every update that it takes to a pipe, as a line of JSON."""

import json
import os

from celery import Celery

PIPE = int(os.environ["SITE_PIPE"])
QUEUE = os.environ["SITE_QUEUE"]

app = Celery("site", broker=os.environ["SITE_BROKER_URL"])
app.conf.update(
    task_default_queue=QUEUE,
    task_ignore_result=True,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    accept_content=["json"],
)


@app.task(name="apps.web.tasks.update_submission")
def update_submission(job_id: object, args: dict[str, object], secret: str) -> None:
    line = json.dumps({"task_id": job_id, "secret": secret, **args}) + "\n"
    os.write(PIPE, line.encode())
