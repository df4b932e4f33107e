"""Which files an application consists of: those of its modules, and those that it is said to depend on."""

import glob
import sys


def files(more):
    found = set()
    for module in list(sys.modules.values()):
        # Looked up where nothing is imported by it, as lazy modules would.
        path = getattr(module, "__dict__", {}).get("__file__")
        if isinstance(path, str):
            found.add(path)
    for path in more:
        found.update(glob.glob(path, recursive=True) if any(mark in path for mark in "*?[") else [path])
    return list(found)
