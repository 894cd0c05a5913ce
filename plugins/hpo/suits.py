"""How well our algorithms suit a study, 0 to 1; apart from them, so that asking costs no import."""

from __future__ import annotations

from drivetrain import AlgorithmContext


def grid(context: AlgorithmContext) -> float:
    """Where all points fit into the budget there is nothing to choose."""
    size = context.space.size
    return 1.0 if size is not None and context.trials is not None and size <= context.trials else 0.0


def bayes(context: AlgorithmContext) -> float:
    """For about as many trials as its model holds at once."""
    return 0.9 if (context.trials or 0) <= 800 else 0.3


def tpe(context: AlgorithmContext) -> float:
    """Learns from many trials too, on any space."""
    return 0.5


def nsga2(context: AlgorithmContext) -> float:
    """A front of several objectives, given the trials for generations."""
    return 0.95 if context.objectives > 1 and (context.trials or 0) >= 200 else 0.0
