"""Which actions a data set's episodes took at similar moments."""

from __future__ import annotations

import numpy as np
import pytest

from lapo_tf.data import Episode, OfflineDataset, Source, from_episodes
from lapo_tf.data.support import action_distance, similar_moments
from lapo_tf.errors import UserError


@pytest.fixture
def data() -> OfflineDataset:
    """Three episodes of 40 steps along x, each with an action of its own; the second observation never changes."""
    x = np.arange(41.0)
    episodes = [
        Episode(np.stack([x + 0.1 * i, np.full(41, 7.0)], -1), np.full((40, 2), i, float), np.zeros(40), False)
        for i in range(3)
    ]
    return from_episodes(episodes, Source("three"))


def test_similar_moments_are_the_nearest_of_other_episodes(data):
    found = similar_moments(data, np.array([5, 40 + 20, 80 + 39]), 2)
    assert [set(row) for row in found.tolist()] == [{40 + 5, 80 + 5}, {20, 80 + 20}, {39, 40 + 39}]
    every = similar_moments(data, np.arange(120), 2)  # more than one block would hold the same
    np.testing.assert_array_equal(np.sort(every[[5, 60, 119]]), np.sort(found))


def test_the_distance_is_to_the_nearest_action_in_standard_deviations(data):
    moments = similar_moments(data, np.array([5, 5]), 2)  # actions (1, 1) and (2, 2)
    unit = np.std([0, 1, 2])
    actions = np.array([[1.0, 1.0], [2.0, 3.0]])
    np.testing.assert_allclose(action_distance(data, moments, actions), [0.0, np.sqrt(0.5) / unit], rtol=1e-6)


def test_too_many_are_refused(data):
    with pytest.raises(UserError, match="1 to 80"):
        similar_moments(data, np.array([0]), 81)
