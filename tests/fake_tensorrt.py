"""Stands in for the package `tensorrt`: takes what its documented Python API takes and writes it down."""

from types import ModuleType, SimpleNamespace

PLAN = b"plan"


def fake(version: str = "10.13.2", parses: bool = True, index: int = 0, plan=PLAN) -> ModuleType:
    """A module with the attribute `calls`, a list of (what, *arguments).

    Args:
        version: `__version__`.
        parses: whether a file is understood.
        index: what adding a profile returns; -1 where its sizes do not fit.
        plan: what a build returns; None where it fails.
    """
    calls = []

    def note(what: str, answer=None):
        def call(*arguments):
            calls.append((what, *arguments))
            return answer

        return call

    profile = SimpleNamespace(set_shape=note("set_shape"))
    config = SimpleNamespace(
        clear_flag=note("clear_flag"), add_optimization_profile=note("add_optimization_profile", index)
    )
    builder = SimpleNamespace(
        create_network=note("create_network", "network"),
        create_builder_config=note("create_builder_config", config),
        create_optimization_profile=note("create_optimization_profile", profile),
        build_serialized_network=note("build_serialized_network", plan),
    )
    parser = SimpleNamespace(
        parse_from_file=note("parse_from_file", parses),
        num_errors=0 if parses else 2,
        get_error=lambda i: SimpleNamespace(desc=lambda: f"error {i}"),
    )
    module = ModuleType("tensorrt")
    module.__version__ = version
    module.calls, module.config, module.profile = calls, config, profile
    module.Logger = type("Logger", (), {"WARNING": 2, "__init__": lambda self, severity: None})
    module.Builder = note("Builder", builder)
    module.OnnxParser = note("OnnxParser", parser)
    module.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
    module.BuilderFlag = SimpleNamespace(TF32="TF32")
    return module
