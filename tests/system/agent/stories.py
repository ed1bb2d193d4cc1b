"""stories.py [PATTERN...]: all stories of this folder, or those whose names match, against one pair of daemons."""
import os
import signal
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import host
from story import IN_VM, run_stories

# In the guest, where everything is slow, those that another cgroup layout or systemd can change.
PARTS = ("life", "streams", "confinement", "fleet", "refusals", "access", "survival", "policy", "fields",
         "probes", "kernel")
for part in ("life", "confinement", "survival", "policy", "kernel") if IN_VM else PARTS:
    __import__("test_" + part)


import test_access

SETTINGS = {"Events_Keep": "256", **test_access.settings()}


def main():
    with host.Host(**SETTINGS) as berth:
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
