"""Figures of an audit, drawn from its AuditResult JSON alone: SVG, alternative text, data table."""

from typing import Any

from worker.figures import attack, collateral, curves, influence, metrics, projection, sweep
from worker.figures.style import Figure

__all__ = ["Figure", "draw_all"]


def draw_all(result: dict[str, Any], limit: float) -> list[Figure]:
    """Draw every figure that the result has the numbers for.

    Args:
        result: AuditResult JSON.
        limit: The policy's limit for the upper bound of the remaining influence.
    """
    drawn = [
        influence.draw(result, limit),
        *(metrics.draw(part) for part in result["parts"]),
        collateral.draw(result),
        projection.draw(result),
        curves.draw_spectra(result),
        sweep.draw(result),
        curves.draw_relearning(result),
        attack.draw(result),
    ]
    return [figure for figure in drawn if figure is not None]
