"""Runs the checks of a worker from outside, several at a time.

    run.py                                       RQ's own worker, which has to pass them all
    run.py --worker 'target/debug/freshq worker' --pool 'target/debug/freshq worker-pool'
    run.py -k C057 -k retries                    those with this number, or this in their name

The client is the rq of the Python that runs this; with an older one, checks that need a newer
client are skipped. freshq takes its own Python from FRESHQ_PYTHON, so the two may differ. Every
shard has a Redis server of its own, because channels are shared by all databases of a server.
"""

import argparse
import contextlib
import importlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

HERE = Path(__file__).parent
SECTIONS = [
    "execution",
    "lifetimes",
    "failures",
    "callbacks",
    "retries",
    "dependencies",
    "registries",
    "registration",
    "commands",
    "signals",
    "modes",
    "scheduling",
    "configuration",
    "pools",
    "limits",
    "webhooks",
    "extras",
]
SERVER_PATIENCE = 20
# What has to fail is not waited for as long as what has to come.
SHORT_PATIENCE = 4


def main():
    options = arguments()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="conformance-")))
        for name in ("tasks.py", "settings.py"):
            shutil.copy(HERE / name, folder)
        urls = options.url or [
            stack.enter_context(redis_server(options.redis_server)) for _ in range(options.shards)
        ]
        claims = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="conformance-")))
        shards = [start_shard(options, url, folder, claims) for url in urls]
        codes = [shard.wait() for shard in shards]
    sys.exit(max(codes))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    beside = Path(sys.executable).parent / "rq"
    parser.add_argument("--worker", default=f"{beside} worker", help="command under test")
    parser.add_argument("--pool", default=f"{beside} worker-pool", help="the same for pools")
    parser.add_argument("--url", action="append", help="a Redis that may be flushed (repeatable)")
    parser.add_argument("--redis-server", default="redis-server", help="server, without --url")
    parser.add_argument("--shards", type=int, default=4, help="how many, without --url")
    parser.add_argument("-k", dest="only", action="append", default=[], help="only such checks")
    parser.add_argument(
        "--not-yet", default="", help="numbers of checks that have to fail, with commas between"
    )
    parser.add_argument("--patience", type=float, default=40, help="seconds to wait for an event")
    parser.add_argument("--claims", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.claims:
        sys.exit(run_shard(options))
    return options


def start_shard(options, url, project, claims):
    env = dict(
        os.environ,
        CONFORMANCE_URL=url,
        CONFORMANCE_WORKER=options.worker,
        CONFORMANCE_POOL=options.pool,
        CONFORMANCE_PROJECT=str(project),
        PYTHONDONTWRITEBYTECODE="1",
    )
    command = [sys.executable, __file__, "--claims", str(claims), "--not-yet", options.not_yet]
    command += ["--patience", str(options.patience)]
    for name in options.only:
        command += ["-k", name]
    return subprocess.Popen(command, env=env)


@contextlib.contextmanager
def redis_server(binary):
    """A server that keeps nothing, on a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = ["--port", str(port), "--save", "", "--appendonly", "no"]
    server = subprocess.Popen([binary, *arguments], stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + SERVER_PATIENCE
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            assert time.monotonic() < until, "the Redis server does not start"
            time.sleep(0.01)
        yield f"redis://127.0.0.1:{port}/5"
    finally:
        server.kill()
        server.wait()


def run_shard(options):
    """Takes one check after the other that no other shard has taken."""
    context = importlib.import_module("context")
    for section in SECTIONS:
        importlib.import_module(section)
    not_yet = set(filter(None, options.not_yet.split(",")))
    bad = 0
    for check in context.CHECKS.values():
        if is_wanted(check, options.only) and claim(Path(options.claims) / check.number):
            must_fail = check.number in not_yet
            context.PATIENCE = SHORT_PATIENCE if must_fail else options.patience
            bad += not run(context, check, must_fail)
    return int(bad > 0)


def is_wanted(check, only):
    title = f"{check.number} {check.__module__} {check.__name__}"
    return not only or any(part in title for part in only)


def claim(path):
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def run(context, check, must_fail):
    """Runs one check and says how it went; whether that is as expected."""
    title = f"{check.number} {check.__module__}.{check.__name__}"
    if check.only_freshq and not context.IS_FRESHQ:
        return report("skip", title, "only freshq promises that")
    if context.CLIENT_VERSION < check.needs:
        return report("skip", title, "needs a client of rq %d.%d" % check.needs)
    context.redis.flushdb()
    begun = time.monotonic()
    try:
        check()
    except Exception:  # noqa: BLE001
        if must_fail:
            return report("not yet", title)
        report("FAIL", title, check.__doc__ + "\n" + traceback.format_exc())
        return False
    if must_fail:
        report("FAIL", title, "it passes: take its number off the list of those that do not yet")
        return False
    return report("ok", title, f"{time.monotonic() - begun:.1f} s")


def report(word, title, more=""):
    # In one write, so that shards do not mix their lines.
    sys.stdout.write(f"{word:7} {title}  {more}\n")
    sys.stdout.flush()
    return True


if __name__ == "__main__":
    main()
