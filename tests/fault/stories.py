"""stories.py [PATTERN...]: what dies, fails or fills up, and what must hold: docs in README, "Faults"."""
import os
import signal
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from faulty_host import FaultyHost  # noqa: E402
from story import run_stories  # noqa: E402

import disks  # noqa: E402
import killed  # noqa: E402
import narrow  # noqa: E402, F401
import groups  # noqa: E402, F401
import orphans  # noqa: E402, F401
import readers  # noqa: E402, F401
import rows  # noqa: E402, F401

killed.add_stories()


def main():
    disks.own_mounts()
    with FaultyHost(small_disks=True) as berth:
        berth.keep()
        good = run_stories(berth, sys.argv[1:])
    left = berth.what_is_left()
    if left:
        print("\n".join(left))
        print(f"not ok nothing-is-left: {left[0]} (and {len(left) - 1} more)")
    elif not sys.argv[1:]:
        print("ok nothing-is-left")
    return 0 if good and not left else 1


signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a host is cleared away
sys.exit(main())
