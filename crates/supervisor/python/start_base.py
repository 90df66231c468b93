"""Entry point of the base process; the supervisor runs this file by its path.

It only makes the package beside it importable, whatever `sys.path` the user's
environment gives, and leaves `sys.path` as `rq worker` would have it.
"""

import os
import sys

_here = os.path.dirname(os.path.abspath(__file__))
if sys.path[:1] == [_here]:
    del sys.path[0]  # Python put it there, unless it runs in safe-path mode
sys.path.insert(0, _here)
os.environ.pop("LD_BIND_NOW", None)  # the supervisor set it for this process; jobs must not inherit it
from freshq_runtime import memory  # noqa: E402

memory.reserve()

from freshq_runtime import base  # noqa: E402

sys.path.remove(_here)

if __name__ == "__main__":
    base.main()
