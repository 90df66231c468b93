"""Throughput of two drivers in turns, so that a machine that is slow for a minute is slow for both.

    ./run.sh beside --driver freshq-plain rq-preload --jobs 2000 --pairs 5
    ./run.sh beside --driver freshq-plain ceiling          # bare forks of the same Python, two in flight
    ./run.sh beside --driver freshq-reuse freshq-reuse --workers 2 1
"""
import argparse
import os
import statistics

import ceiling
from drivers import BY_NAME, ROOT
from measures import measure_c
from procs import Redis, quiet


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--driver", nargs=2, default=["freshq-plain", "rq-preload"])
    p.add_argument("--variant", default="light", choices=["light", "medium", "heavy"])
    p.add_argument("--func", default="noop", choices=["noop", "extract"])
    p.add_argument("--workers", type=int, nargs="+", default=[1], help="of each; with two numbers, of the first and the second")
    p.add_argument("--jobs", type=int, default=2000)
    p.add_argument("--pairs", type=int, default=5)
    p.add_argument("--port", type=int, default=7393)
    a = p.parse_args()
    os.makedirs(f"{ROOT}/work", exist_ok=True)
    redis = Redis(a.port)
    pairs, workers = [], (a.workers * 2)[:2]
    try:
        quiet(60)
        for _ in range(a.pairs):
            pair = [rate(name, redis, a, n) for name, n in zip(a.driver, workers)]
            pairs.append(pair)
            print("{:8.1f} {:8.1f}   {:.2f} times".format(*pair, pair[0] / pair[1]), flush=True)
    finally:
        redis.stop()
    medians = [statistics.median(column) for column in zip(*pairs)]
    ratios = sorted(first / second for first, second in pairs)
    print("{} {:.1f}, {} {:.1f} jobs/s (medians); {:.2f} times, pairs {:.2f} to {:.2f}".format(
        a.driver[0], medians[0], a.driver[1], medians[1], medians[0] / medians[1], ratios[0], ratios[-1]))


def rate(name, redis, a, workers):
    if name == "ceiling":
        return ceiling.forks_per_second(a.variant)
    r = measure_c(BY_NAME[name], redis, a.variant, a.func, jobs=a.jobs, n=workers, reps=1)
    if r["unfinished"]:
        raise SystemExit(f"{name}: {r['unfinished']} jobs did not end")
    return r["rate"]["median"]


if __name__ == "__main__":
    main()
