"""What every pipeline on Apache Beam shares: Beam itself, the runner, its options, how its end is told.

Beam is imported here only, where it is told what to install.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from cmask_tf.errors import UserError

logging.disable(logging.WARNING)  # it warns about clients of cloud services that nothing here uses
try:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.pvalue import AsDict, AsSingleton, TaggedOutput
except ImportError:
    raise UserError("--beam needs Apache Beam: pip install 'cmask-tf[beam]'") from None
finally:
    logging.disable(logging.NOTSET)

__all__ = ["AsDict", "AsSingleton", "TaggedOutput", "beam", "pipeline_options", "run"]


def pipeline_options(runner: str, given: Sequence[str] = ()) -> PipelineOptions:
    """Options of a pipeline.

    Args:
        runner: DirectRunner, FlinkRunner, ..., or the full name of a class.
        given: Beam's own options without their dashes, KEY=VALUE, or KEY for a switch.

    Raises:
        UserError: Beam knows no such runner or option.
    """
    flags = [f"--runner={runner}", *(f"--{option}" for option in given)]
    known = PipelineOptions([]).get_all_options()
    for option in given:
        if option.partition("=")[0] not in known:
            raise UserError(f"--beam-option {option}: Apache Beam {beam.__version__} has no such option")
    try:
        options = PipelineOptions(flags)
        options.get_all_options()
        beam.Pipeline(options=options)
    except (ValueError, ImportError, AttributeError) as error:
        raise UserError(f"--beam {runner}: {' '.join(str(error).split())}") from None
    except SystemExit:  # its parser has said why
        raise UserError(f"--beam-option {', '.join(given)}: Apache Beam refuses it") from None
    return options


def run(options: PipelineOptions, construct: Callable[[beam.Pipeline], None]) -> None:
    """Runs a pipeline to its end.

    Args:
        options: of `pipeline_options`.
        construct: adds the steps.

    Raises:
        UserError: a step failed; Beam's log on stderr tells where.
    """
    pipeline = beam.Pipeline(options=options)
    construct(pipeline)
    try:
        result = pipeline.run()
        state = result.wait_until_finish()
    except Exception as error:  # a runner raises what a step raised, or an error of its own
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"the pipeline failed: {lines[-1]}") from error
    if state not in (None, "DONE"):
        raise UserError(f"the pipeline ended as {state}; its runner's log tells why")
