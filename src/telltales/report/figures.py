"""All figures of a report, by subject, in the order in which one looks at a training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from telltales.report import figures_densities, figures_depth, figures_maps, figures_over_time, figures_training
from telltales.report.description import Figure
from telltales.report.figures_training import Records

Builder = Callable[[Records], Figure | None]


def _at_first(build: Callable[..., Figure | None]) -> Builder:
    """The same figure at the first picture, unless each record has only one."""

    def at_first(records: Records) -> Figure | None:
        several = any(len(record.pictures) > 1 for record in records.values())
        return build(records, "first") if several else None

    return at_first


SUBJECTS: Mapping[str, tuple[Builder, ...]] = MappingProxyType(
    {
        "Loss and updates": (
            figures_training.loss,
            figures_training.gradient_norm,
            figures_training.noise_scale,
            figures_over_time.update_ratios,
        ),
        "Activations": (
            _at_first(figures_densities.activation_histograms),
            figures_densities.activation_histograms,
            figures_maps.activation_over_time,
            figures_over_time.activation_scale,
            figures_over_time.saturation,
            figures_over_time.saturated_units,
            figures_maps.saturation_maps,
            figures_over_time.entropy,
        ),
        "Gradients": (
            figures_depth.gradient_flow,
            _at_first(figures_densities.activation_gradient_histograms),
            figures_densities.activation_gradient_histograms,
            _at_first(figures_densities.weight_gradient_histograms),
            figures_densities.weight_gradient_histograms,
        ),
        "Weights": (figures_over_time.weight_scale, figures_over_time.spectral_norms),
    }
)
"""Subject → the builders of its figures; a builder gives None for what no record has numbers for."""


def figures(records: Records) -> dict[str, dict[str, Figure]]:
    """Subject → name → figure, of all that the records have numbers for. Each record is a column of every figure."""
    if not records:
        return {}
    drawn = {}
    for subject, builders in SUBJECTS.items():
        found = [figure for build in builders if (figure := build(records)) is not None]
        if found:
            drawn[subject] = {figure.name: figure for figure in found}
    return drawn
