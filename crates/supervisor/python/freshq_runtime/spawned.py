"""An interpreter that is base, generation and horse at once, for libraries that survive no fork.

It imports everything by itself and runs one job. A generation is then a set of such interpreters:
the first reports what it loaded, and those that follow load exactly that.
"""

from . import base, generation, horse, past
from .frames import Closed
from .loader import UserCode, forget_listings


def main():
    try:
        link, settings = base.connect()
        problem = base.prepare(settings)
        if problem:
            raise SystemExit(problem)
        user = UserCode(settings, settings["snapshot"])
        user.forks = False
        user.progress.write_to(link.take_fd())
        forget_listings(user)
        user.past.position = settings["position"]
        past.install(user, past.newest_folder())
        make_tools, report = generation.load(settings, user, settings)
        report["snapshot"] = user.snapshot
        link.send(report)
    except Closed:
        return  # it is not needed any more
    if report["kind"] == "ready":
        horse.work(link, make_tools())
