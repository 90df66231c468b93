"""What a save costs freshq, beside the floor measured in the same run.

    ./run.sh reload --modules 5 50 --saves 30

Known: from just after the save to the log line that says what changed. Serving: to the line of the
generation that serves, verified. The floor is what nobody can be below who loads all of the user's code
anew: a Python process that has imported the same libraries forks, and the child imports the same modules
by Python's own import system, with a warm `.pyc` for all but the one that was just saved. The two take
turns. Times are those at which the lines came, so freshq's contain their writing and reading.
"""
import argparse
import os
import select
import shutil
import subprocess
import tempfile
import time

from drivers import ROOT
from freshq_driver import FRESHQ
from measures import NS, stats
from procs import Redis, Tree, quiet

FUNCTIONS = 12  # in a module: about 100 lines
TIMEOUT = 20

FLOOR = """
import gc, importlib, os, sys, time
sys.path.insert(0, sys.argv[1])
import rq, rq.worker
gc.collect()
gc.freeze()
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        import app.tasks
        os.write(1, b"%d\\n" % time.monotonic_ns())
        os._exit(0)
    os.waitpid(pid, 0)
"""


def module(name, version):
    lines = [f'"""Module {name} of the application."""', f"VERSION = {version}", "", ""]
    for n in range(FUNCTIONS):
        lines += [f"def step_{n}(value, *rest, scale={n}):", f'    """Step {n} of {name}."""',
                  "    total = [item * scale for item in rest]", "    if value is None:",
                  f"        raise ValueError('{name} has no value')", "    return {'value': value, 'total': sum(total)}", "", ""]
    return "\n".join(lines)


class App:
    """A package with so many modules, all imported by `app.tasks`."""

    def __init__(self, folder, modules):
        self.folder = f"{folder}/app"
        os.mkdir(self.folder)
        self.names = [f"m{n:03d}" for n in range(modules - 2)]
        self.count = 0
        self._write("__init__", "")
        for name in self.names:
            self._write(name, module(name, 0))
        imports = ", ".join(self.names)
        self._write("tasks", f"from . import {imports}\n\n\ndef noop():\n    return m000.VERSION\n")

    def save(self):
        """Saves one module; when it was complete."""
        self.count += 1
        name = self.names[self.count % len(self.names)]
        # The length differs each time, as Python's own `.pyc` is to be right for the floor.
        self._write(name, module(name, self.count) + "#" * (self.count % 97) + "\n")
        return time.monotonic_ns()

    def _write(self, name, text):
        path = f"{self.folder}/{name}.py"
        with open(f"{path}.new", "w") as file:
            file.write(text)
        os.replace(f"{path}.new", path)


class Log:
    """A pipe that the worker prints into: whoever waits at it takes nothing from the other processes."""

    def __init__(self, path):
        os.mkfifo(path)
        self.fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self.text = b""

    def wait(self, mark):
        """When a line with the mark came; what was before it is forgotten."""
        while True:
            at = self.text.find(mark)
            if at >= 0 and b"\n" in self.text[at:]:
                now = time.monotonic_ns(); os.environ.get("SHOW") and print(self.text.decode())
                self.text = self.text[at:].partition(b"\n")[2]
                return now
            if not select.select([self.fd], [], [], TIMEOUT)[0]:
                raise SystemExit(f"{mark!r} did not come; the log ends with {self.text[-500:]!r}")
            self.text += os.read(self.fd, 65536)


def measure(modules, saves, redis):
    folder = tempfile.mkdtemp(prefix="reload-", dir=f"{ROOT}/work")
    floor_folder = tempfile.mkdtemp(prefix="floor-", dir=f"{ROOT}/work")
    python = f"{ROOT}/venv-rq/bin/python"
    app, twin = App(folder, modules), App(floor_folder, modules)
    log = f"{folder}/log"
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env["PYTHONUNBUFFERED"] = "1"
    argv = [FRESHQ, "worker", "q", "--url", f"redis://127.0.0.1:{redis.port}", "--python", python,
            "--reload", "--watch", "app", "--import", "app.tasks"]
    lines = Log(log)
    worker = Tree(argv, folder, env, log)
    floor = subprocess.Popen([python, "-c", FLOOR, floor_folder], env=env, text=True,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    known, serving, bare = [], [], []
    try:
        lines.wait(b"  ready ")
        time.sleep(2)  # a base may follow what was learned
        for _ in range(saves):
            saved = app.save()
            known.append((lines.wait(b"  changed ") - saved) / NS)
            serving.append((lines.wait(b"; seen ") - saved) / NS)
            time.sleep(0.05)
            saved = twin.save()
            floor.stdin.write("go\n")
            floor.stdin.flush()
            bare.append((int(floor.stdout.readline()) - saved) / NS)
            time.sleep(0.05)
    finally:
        worker.stop()
        floor.kill()
        floor.wait()
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(floor_folder, ignore_errors=True)
    return stats(known), stats(serving), stats(bare)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--modules", type=int, nargs="+", default=[5, 50])
    p.add_argument("--saves", type=int, default=30)
    p.add_argument("--port", type=int, default=7395)
    a = p.parse_args()
    os.makedirs(f"{ROOT}/work", exist_ok=True)
    redis = Redis(a.port)
    try:
        quiet(60)
        for modules in a.modules:
            known, serving, floor = measure(modules, a.saves, redis)
            show = "{:3d} modules: {} median {:.1f} ms ({:.1f} to {:.1f})".format
            for what, values in [("known", known), ("serving", serving), ("floor", floor)]:
                print(show(modules, f"{what:8}", *(1000 * values[key] for key in ("median", "min", "max"))), flush=True)
            print("{:3d} modules: {:.2f} times the floor".format(modules, serving["median"] / floor["median"]), flush=True)
    finally:
        redis.stop()


if __name__ == "__main__":
    main()
