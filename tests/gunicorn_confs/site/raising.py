"""An application that cannot be imported."""

raise RuntimeError("raised at import on purpose")
