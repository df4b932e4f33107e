"""Makes `import gunicorn` work where no such package is installed, and costs nothing until then."""

import sys


class Finder:
    def __init__(self, offer):
        self.offer = offer

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] != "gunicorn" or self not in sys.meta_path:
            return None
        sys.meta_path.remove(self)
        self.offer()
        return sys.meta_path[-1].find_spec(name, path, target)


def offer_later(offer):
    sys.meta_path.append(Finder(offer))
