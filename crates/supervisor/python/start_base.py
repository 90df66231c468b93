"""Entry point of the interpreters that the supervisor starts; it runs this file by its path.

Without an argument it becomes a base, with `spawned` a horse that was never forked.

It only makes the package beside it importable, whatever `sys.path` the user's
environment gives, and leaves `sys.path` as `rq worker` would have it.
"""

import os
import sys

_here = os.path.dirname(os.path.abspath(__file__))
if sys.path[:1] == [_here]:
    del sys.path[0]  # Python put it there, unless it runs in safe-path mode
sys.path.insert(0, _here)
if sys.argv[1:] == ["spawned"]:
    from freshq_runtime.spawned import main
else:
    os.environ.pop("LD_BIND_NOW", None)  # the supervisor set it for this process; jobs must not inherit it
    from freshq_runtime import memory

    memory.reserve()

    from freshq_runtime.base import main

sys.path.remove(_here)
del sys.argv[1:]

if __name__ == "__main__":
    main()
