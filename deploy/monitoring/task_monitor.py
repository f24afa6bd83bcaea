"""Celery Flower on the platform's broker: `python -m deploy.monitoring.task_monitor`.

It shows the converters and their tasks behind a password, and can change nothing: `deploy/docs/monitoring.md`.
"""

from __future__ import annotations

import os
import sys

from celery import Celery
from pydantic import ValidationError

from shared import keys
from shared.errors import PlatformError
from shared.settings import CommonSettings, invalid_setting, refuse_unknown_names

#: Where Flower finds `user:password`.
ACCOUNT = "FLOWER_BASIC_AUTH"
#: Ended tasks that are remembered; a conversion has about ten.
MOST_TASKS = 5000


def run(settings: CommonSettings) -> int:
    """Serve until a signal ends it; return the exit code."""
    app = Celery("ovchat-flower", broker=settings.transport_url, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        broker_connection_retry_on_startup=True,
        broker_transport_options={"global_keyprefix": keys.CELERY_PREFIX, "socket_connect_timeout": 5},
    )
    return int(app.start(["--quiet", "flower", "--read-only=true", f"--max-tasks={MOST_TASKS}"]) or 0)


def main() -> None:
    """Read the settings and run; without a password it is not started."""
    try:
        refuse_unknown_names()
        settings = CommonSettings()
    except ValidationError as error:
        sys.exit(invalid_setting(error).message)
    except PlatformError as error:
        sys.exit(error.message)
    user, _, password = os.environ.get(ACCOUNT, "").partition(":")
    if not (user and password):
        sys.exit(f"{ACCOUNT} is to be user:password; deploy/bin/first-env makes a FLOWER_PASSWORD in deploy/.env.")
    sys.exit(run(settings))


if __name__ == "__main__":
    main()
