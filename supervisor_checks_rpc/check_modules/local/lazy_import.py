"""Have a library that others import, and we do not need, imported when something asks for it."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
from types import ModuleType
from typing import Any


def import_later(name: str) -> None:
    """Have `name` imported at the first use of anything in it but `__version__`; nothing if it is not installed."""
    spec = None if name in sys.modules else importlib.util.find_spec(name)
    if spec is None:
        return
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return
    stand_in = ModuleType(name)

    def asked(attribute: str) -> Any:
        if sys.modules.get(name) is stand_in:
            sys.modules.pop(name, None)
        return getattr(importlib.import_module(name), attribute)

    # What `from NAME import __version__`, `import NAME.MODULE` and `find_spec(NAME)` look at.
    path = spec.submodule_search_locations
    vars(stand_in).update(__version__=version, __path__=path, __spec__=spec, __getattr__=asked)
    sys.modules[name] = stand_in
