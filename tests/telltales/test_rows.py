"""Quantiles of rows are NumPy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from telltales.verdicts.rows import lower_quantiles, medians

NUMBERS = st.one_of(st.just(np.nan), st.floats(-1e6, 1e6))
TABLES = arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=NUMBERS)


@given(TABLES, st.sampled_from([0.0, 0.25, 0.5, 1.0]))
@pytest.mark.filterwarnings("ignore:All-NaN slice")
def test_they_are_those_of_numpy(values: np.ndarray, quantile: float) -> None:
    expected = np.nanquantile(values, quantile, axis=1, method="lower")
    np.testing.assert_array_equal(lower_quantiles(values, quantile), expected)
    np.testing.assert_allclose(medians(values), np.nanmedian(values, axis=1), rtol=1e-12)


def test_a_table_without_columns_has_none() -> None:
    assert np.isnan(medians(np.empty((3, 0)))).all()
