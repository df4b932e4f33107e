"""Lists the files of an application: those of its modules, and those that the settings name."""

import glob
import sys


def files(more):
    found = set()
    for module in list(sys.modules.values()):
        # Looked up in the dict, because lazy modules import when an attribute is read.
        path = getattr(module, "__dict__", {}).get("__file__")
        if isinstance(path, str):
            found.add(path)
    for path in more:
        found.update(glob.glob(path, recursive=True) if any(mark in path for mark in "*?[") else [path])
    return list(found)
