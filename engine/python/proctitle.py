"""Makes the package setproctitle work: it looks for the arguments of the process, over which rwsgi has written its own title."""

import sys


class Finder:
    def __init__(self, set_title):
        self.set_title = set_title
        self.title = None

    def find_spec(self, name, path=None, target=None):
        if name != "setproctitle":
            return None
        others = (finder for finder in list(sys.meta_path) if finder is not self and hasattr(finder, "find_spec"))
        spec = next((spec for spec in (finder.find_spec(name, path, target) for finder in others) if spec), None)
        if spec is not None and spec.loader is not None:
            self.wrap(spec.loader)
        return spec

    def wrap(self, loader):
        execute = loader.exec_module

        def exec_module(module):
            execute(module)
            module.setproctitle, module.getproctitle = self.setproctitle, self.getproctitle

        loader.exec_module = exec_module

    def setproctitle(self, title):
        self.title = str(title)
        self.set_title(self.title)

    def getproctitle(self):
        if self.title is not None:
            return self.title
        with open("/proc/self/cmdline", "rb") as line:
            return line.read().rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")


def install(set_title):
    sys.meta_path.insert(0, Finder(set_title))
