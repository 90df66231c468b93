"""Entry point of the base process; the supervisor runs this file by its path.

It only makes the package beside it importable, whatever `sys.path` the user's
environment gives, and leaves `sys.path` as `rq worker` would have it.
"""

import sys

_here = sys.path.pop(0)
sys.path.insert(0, _here)
from freshq_runtime import base  # noqa: E402

sys.path.remove(_here)

if __name__ == "__main__":
    base.main()
