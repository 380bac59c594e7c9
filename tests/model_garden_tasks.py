"""Model Garden's tasks from the wheel alone (`tests/model_garden.py` says why it has no dependencies here).

They import gin, which only decorates what it may configure, tensorflow_datasets, which is no source of ours,
and immutabledict. Where those are missing, modules that do next to nothing stand in for them. To be imported
in a process of its own.
"""

import importlib.util
import sys
import types


class _Decorators(types.ModuleType):
    """A module whose every name is a decorator, with or without arguments, that changes nothing."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **keys: args[0] if args and callable(args[0]) else lambda decorated: decorated


_STAND_INS = {name: types.ModuleType(name) for name in ("tensorflow_datasets", "immutabledict")}
_STAND_INS["gin"] = _Decorators("gin")
_STAND_INS["immutabledict"].immutabledict = dict
sys.modules.update({n: m for n, m in _STAND_INS.items() if importlib.util.find_spec(n) is None})
