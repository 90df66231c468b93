"""A config module, as `-c settings` takes it."""

import os

REDIS_URL = os.environ["CONFORMANCE_URL"]
QUEUES = ["configured"]
NAME = "configured-name"
