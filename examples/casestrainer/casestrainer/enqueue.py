"""Enqueues documents and prints their citations as the jobs finish.

Usage: python -m casestrainer.enqueue [--url URL] [--queue NAME] [DOCUMENT ...]
"""

import argparse
import os
import sys
import time
from typing import TYPE_CHECKING

from redis import Redis
from rq import Queue
from rq.job import Job

from casestrainer import documents

if TYPE_CHECKING:
    from casestrainer.citations import Citation

# By name, so that this program does not import eyecite only to enqueue.
EXTRACT = "casestrainer.tasks.extract"
JOB_SECONDS_MAX = 120
RESULT_SECONDS_KEPT = 3600
LOOK_AGAIN_SECONDS = 0.05


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m casestrainer.enqueue")
    parser.add_argument("documents", nargs="*", help="default: all of them", metavar="DOCUMENT")
    parser.add_argument("--url", default=os.environ.get("REDIS_URL", "redis://localhost:6379/0"))
    parser.add_argument("--queue", default="default")
    arguments = parser.parse_args()

    queue = Queue(arguments.queue, connection=Redis.from_url(arguments.url))
    waiting = {
        name: queue.enqueue(
            EXTRACT, name, job_timeout=JOB_SECONDS_MAX, result_ttl=RESULT_SECONDS_KEPT
        )
        for name in arguments.documents or documents.names()
    }
    failures = 0
    while waiting:
        show_progress(waiting)
        for name, job in list(waiting.items()):
            if job.get_status().value in ("finished", "failed", "stopped", "canceled"):
                del waiting[name]
                failures += not show_result(name, job)
        time.sleep(LOOK_AGAIN_SECONDS)
    return 1 if failures else 0


def show_progress(jobs: dict[str, Job]) -> None:
    """One line that is written over, on a terminal only."""
    if not sys.stdout.isatty():
        return
    metas = {name: job.get_meta() for name, job in jobs.items()}
    parts = [
        f"{name} {meta.get('done', 0)}/{meta.get('total', '?')}" for name, meta in metas.items()
    ]
    print("\r\x1b[2K" + "   ".join(parts), end="", flush=True)


def show_result(document: str, job: Job) -> bool:
    """Print the citations of a document, or the last line of why there are none."""
    if sys.stdout.isatty():
        print("\r\x1b[2K", end="")
    result = job.latest_result()
    if result is None or result.return_value is None:
        error = (result and result.exc_string) or "no result"
        reason = error.strip().splitlines()[-1]
        print(f"{document}: the job did not finish: {reason}\n", file=sys.stderr)
        return False
    citations: list[Citation] = result.return_value
    print(f"{document}: {len(citations)} citations")
    for citation in citations:
        kind, name, text = citation["kind"], citation["name"], citation["citation"]
        print(f"  {kind:8}{name:57.56}{text:23}{citation['year'] or ''}".rstrip())
    print()
    return True


if __name__ == "__main__":
    sys.exit(main())
