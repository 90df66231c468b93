"""How many processes this machine can fork, end and wait for: what no fork for each job can exceed.

A Python process that has imported rq and the application's jobs, as a horse has, and does nothing else. Two
children are in flight, because one worker uses both cores: the next is forked while one ends.
"""
import os
import subprocess
import sys
import tempfile

import genapp
from drivers import HERE, ROOT

FORKS = 2000
BARE = """
import gc, os, sys, time
sys.path.insert(0, sys.argv[1])
import rq, rq.worker, app.tasks
gc.collect()
gc.freeze()

def start():
    pid = os.fork()
    if pid == 0:
        os._exit(0)

count = int(sys.argv[2])
begun = time.perf_counter()
start()
for _ in range(count - 1):
    start()
    os.wait()
os.wait()
print(count / (time.perf_counter() - begun))
"""


def forks_per_second(variant):
    with tempfile.TemporaryDirectory() as folder:
        genapp.generate(folder, variant)
        env = dict(os.environ, PYTHONPATH=f"{HERE}/support")
        python = f"{ROOT}/venv-rq/bin/python"
        out = subprocess.run([python, "-c", BARE, folder, str(FORKS)], env=env, check=True, capture_output=True, text=True)
    return float(out.stdout)


if __name__ == "__main__":
    print(forks_per_second(sys.argv[1] if sys.argv[1:] else "light"))
