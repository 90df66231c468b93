"""More names for expressions: what rq's neighbours show, and another scheduler."""

import subprocess

import rq_dashboard
import rq_dashboard.web
from flask import Flask
from rq_scheduler import Scheduler  # noqa: F401


def info(*args):
    """What `rq info` prints."""
    command = [sys.executable, "-m", "rq.cli", "info", "--url", sys.argv[1], *args]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _dashboard():
    app = Flask("dashboard")
    app.config.from_object(rq_dashboard.default_settings)
    app.config["RQ_DASHBOARD_REDIS_URL"] = sys.argv[1]
    rq_dashboard.web.setup_rq_connection(app)
    app.register_blueprint(rq_dashboard.blueprint)
    return app.test_client()


_client = _dashboard()


def dashboard(path):
    """What rq-dashboard answers: an object, or the text of a page."""
    return _answer(_client.get(path))


def press(path):
    """As its buttons."""
    return _answer(_client.post(path))


def _answer(response):
    if response.status_code != 200:
        raise RuntimeError(f"{response.status}: {response.text}")
    return response.get_json() if response.is_json else response.text


def workers():
    return sorted(dashboard("/0/data/workers.json")["workers"], key=lambda worker: worker["name"])


def counts(name="default"):
    [shown] = [shown for shown in dashboard("/0/data/queues.json")["queues"] if shown["name"] == name]
    kinds = ("started", "failed", "deferred", "finished", "canceled", "scheduled")
    return [shown["count"]] + [shown[f"{kind}_job_registry_count"] for kind in kinds]
