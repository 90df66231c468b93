"""Addresses that are called when a job has ended."""

import contextlib
import http.server
import json
import threading

from rq import Retry

from context import (
    burst,
    check,
    enqueue,
    fetch,
    pass_a_job_through,
    redis,
    status,
    stop_job,
    until,
    until_status,
    worker,
)


@contextlib.contextmanager
def server(answer=200):
    """A server that remembers each request: method, path, headers in lower case, body."""
    requests = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def handle_any(self):
            length = int(self.headers.get("Content-Length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            requests.append((self.command, self.path, headers, self.rfile.read(length)))
            self.send_response(answer)
            self.end_headers()

        do_GET = do_POST = handle_any

        def log_message(self, *args):
            pass

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.server_port}", requests
    finally:
        listening.shutdown()
        listening.server_close()


def webhook(url, event, **options):
    from rq import Webhook

    return Webhook(url, event, **options)


def paths(requests):
    return [path for _, path, _, _ in requests]


@check("C148", needs=(2, 10))
def a_webhook_tells_of_success():
    """POST has job, function, status and times as JSON, after the result has been stored."""
    with server() as (url, requests):
        job = enqueue("add", 1, webhooks=[webhook(url + "/done?a=1", "finished", method="POST")])
        burst()
        until(lambda: requests)
        ((method, path, headers, body),) = requests
    assert method == "POST" and path == "/done?a=1"
    assert headers["content-type"] == "application/json"
    found, ended = json.loads(body), fetch(job)
    assert set(found) == {"job_id", "func_name", "status", "enqueued_at", "ended_at"}
    assert found["job_id"] == job.id and found["func_name"] == "tasks.add"
    assert found["status"] == "finished"
    assert found["enqueued_at"] == ended.enqueued_at.isoformat(), found
    assert found["ended_at"] == ended.ended_at.isoformat(), found


@check("C149", needs=(2, 10))
def a_webhook_tells_of_failure_once():
    """It is called after the last retry; not for a stopped job; and does no harm if it fails."""
    with server() as (url, requests):
        failing = enqueue("fail", retry=Retry(2), webhooks=[webhook(url + "/failed", "failed")])
        unreachable = [webhook("http://127.0.0.1:1/", "finished")]
        job = enqueue("add", 1, webhooks=unreachable)
        stopped = enqueue("hold", webhooks=[webhook(url + "/stopped", "failed")])
        with worker() as process:
            stop_job(stopped)
            until_status(failing, "failed")
            pass_a_job_through()
            process.terminate_and_end()
        assert paths(requests) == ["/failed"] and status(job) == "finished"


@check("C304", needs=(2, 10))
def a_webhook_tells_why_a_job_failed():
    """The body of a failure has the traceback as `exc_info`."""
    with server() as (url, requests):
        enqueue("fail", "the reason", webhooks=[webhook(url, "failed", method="POST")])
        burst()
        until(lambda: requests)
        found = json.loads(requests[0][3])
    assert found["status"] == "failed" and "ValueError: the reason" in found["exc_info"]
    assert found["exc_info"].startswith("Traceback")


@check("C305", needs=(2, 10))
def a_webhook_may_be_a_get():
    """GET, the default, has no body; headers are as given."""
    with server() as (url, requests):
        headers = {"X-Token": "secret", "Accept": "text/plain"}
        enqueue("add", 1, webhooks=[webhook(url + "/get", "finished", headers=headers)])
        burst()
        until(lambda: requests)
        ((method, path, found, body),) = requests
    assert (method, path, body) == ("GET", "/get", b"")
    assert found["x-token"] == "secret" and found["accept"] == "text/plain"
    assert "content-type" not in found


@check("C306", needs=(2, 10))
def headers_of_a_webhook_win():
    """A given Content-Type takes the place of the usual one."""
    with server() as (url, requests):
        headers = {"Content-Type": "text/json"}
        enqueue("add", 1, webhooks=[webhook(url, "finished", method="POST", headers=headers)])
        burst()
        until(lambda: requests)
    assert requests[0][2]["content-type"] == "text/json"


@check("C307", needs=(2, 10))
def each_webhook_has_its_event():
    """Of several webhooks those for what happened are called, in their order."""
    with server() as (url, requests):
        hooks = [
            webhook(url + "/1", "finished"),
            webhook(url + "/2", "failed"),
            webhook(url + "/3", "finished"),
        ]
        enqueue("add", 1, webhooks=hooks)
        burst()
        assert paths(requests) == ["/1", "/3"]
        enqueue("fail", webhooks=hooks)
        burst()
        assert paths(requests) == ["/1", "/3", "/2"]


@check("C308", needs=(2, 10))
def a_server_that_complains_does_no_harm():
    """An answer of 500 changes nothing, neither for the job nor for the next webhook."""
    with server(answer=500) as (url, requests):
        hooks = [webhook(url + "/1", "finished"), webhook(url + "/2", "finished")]
        job = enqueue("add", 1, webhooks=hooks)
        burst()
        assert paths(requests) == ["/1", "/2"] and status(job) == "finished"


@check("C309", needs=(2, 10))
def a_killed_job_calls_its_webhook():
    """A job whose process was killed tells so."""
    with server() as (url, requests):
        enqueue("kill_itself", webhooks=[webhook(url, "failed", method="POST")])
        burst()
        until(lambda: requests)
        found = json.loads(requests[0][3])
    assert "Work-horse terminated unexpectedly" in found["exc_info"]
    assert found["func_name"] == "tasks.kill_itself"


@check("C310", needs=(2, 10))
def a_job_without_results_calls_its_webhook():
    """With `result_ttl=0` the webhook is called although the job is gone."""
    with server() as (url, requests):
        hooks = [webhook(url, "finished", method="POST")]
        job = enqueue("add", 1, result_ttl=0, webhooks=hooks)
        burst()
        until(lambda: requests)
        assert json.loads(requests[0][3])["job_id"] == job.id and not redis.exists(job.key)


@check("C311", needs=(2, 10))
def a_used_up_retry_calls_its_webhook():
    """A job that returned one Retry too many calls its webhook once, without a traceback."""
    with server() as (url, requests):
        enqueue("return_retry", webhooks=[webhook(url, "failed", method="POST")])
        burst()
        until(lambda: requests)
        assert len(requests) == 1 and not json.loads(requests[0][3])["exc_info"]
