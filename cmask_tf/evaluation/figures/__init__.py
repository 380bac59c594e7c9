"""The paper's figures, made from a reproduction: one picture each."""

from cmask_tf.evaluation.figures.elsewhere import figures_elsewhere, make_figures_elsewhere
from cmask_tf.evaluation.figures.make import Figure, figures_of, make_figures

__all__ = ["Figure", "figures_elsewhere", "figures_of", "make_figures", "make_figures_elsewhere"]
