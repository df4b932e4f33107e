"""Refuses imports of files that the application's user could change, while a process has more rights than that user."""

import sys

from _frozen_importlib_external import PathFinder


class Guard:
    """A finder before all others. It passes over directories of the path to which the user could write, and refuses a module if
    the user could change one of its files. `judge` returns the problem of a path, or None."""

    def __init__(self, judge):
        self.judge = judge

    def find_spec(self, name, path=None, target=None):
        places = sys.path if path is None else path
        trusted = [place for place in places if self.judge(place or ".") is None]
        for finder in sys.meta_path:
            if finder is not self and hasattr(finder, "find_spec"):
                spec = finder.find_spec(name, trusted if finder is PathFinder else path, target)
                if spec is not None:
                    self.refuse(name, self.files(spec))
                    return spec
        if len(trusted) < len(places) and PathFinder.find_spec(name, [*places]) is not None:
            self.refuse(name, [place or "." for place in places if place not in trusted])
        return None

    @staticmethod
    def files(spec):
        if spec.has_location:
            yield spec.origin
        if spec.cached:
            yield spec.cached
        yield from spec.submodule_search_locations or ()

    def refuse(self, name, files):
        for file in files:
            problem = self.judge(file)
            if problem is not None:
                raise ImportError("%s: %s" % (name, problem))

    def install(self):
        sys.meta_path.insert(0, self)

    def remove(self):
        sys.meta_path.remove(self)

    def look_back(self):
        """Returns the first problem of the files that were run already, or None."""
        from os import listdir

        files = [sys.executable, sys.prefix + "/pyvenv.cfg"]
        for module in list(sys.modules.values()):
            files += [getattr(module, "__file__", None), getattr(module, "__cached__", None)]
        for place in sys.path:
            try:
                files += [place + "/" + name for name in listdir(place) if name.endswith(".pth")]
            except OSError:
                pass
        # A name in angle brackets is that of code without a file.
        found = (self.judge(file) for file in files if file and not file.startswith("<"))
        return next((problem for problem in found if problem is not None), None)
