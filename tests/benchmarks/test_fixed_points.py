"""Where objectives rest: the quadrature against closed forms."""

import math

import pytest
from fixed_points import LEVELS, Objective, gradient, rest
from scipy.integrate import quad

SMM, DMD = Objective("smm"), Objective("dmd")
SMALL, LARGE, PAPER = (LEVELS[name] for name in ("0.2 0.5 1", "1 2 3", "of T = 10"))


def mismatching_gradient(sigma, g):
    """The derivative of E (S - n)^2 along x = g z with S held fixed, an integral over x~ ~ N(0, g^2 + sigma^2).

    Given x~, both z and n are normal, so that E[n z | x~] is known.
    """
    real, fake = 1 + sigma**2, g**2 + sigma**2

    def integrand(x):
        odds = 0.5 * math.log(fake / real) + x**2 / 2 * (1 / fake - 1 / real)
        w = 1 / (1 + math.exp(-odds))
        s = w * sigma * x / real
        slope = sigma / real * w * (1 + (1 - w) * x**2 * (1 / fake - 1 / real))
        n_z = sigma * g * (x**2 / fake**2 - 1 / fake)
        density = math.exp(-(x**2) / (2 * fake)) / math.sqrt(2 * math.pi * fake)
        return density * 2 * slope * (s * g * x / fake - n_z)

    end = 12 * math.sqrt(fake)
    return quad(integrand, -end, end, limit=400, epsabs=1e-12)[0]


@pytest.mark.parametrize("levels", [SMALL, LARGE, PAPER], ids=["small", "large", "paper"])
@pytest.mark.parametrize("g", [0.05, 0.6, 1.0, 2.5])
def test_gradient_of_score_mismatching_is_that_of_the_closed_form(levels, g):
    exact = sum(mismatching_gradient(sigma, g) for sigma in levels) / len(levels)
    assert gradient(SMM, levels, g) == pytest.approx(exact, rel=0.005, abs=1e-6)


@pytest.mark.parametrize("levels", [SMALL, LARGE, PAPER], ids=["small", "large", "paper"])
@pytest.mark.parametrize("objective", [DMD, Objective("sid", 0.5), Objective("sid", 1.2)], ids=str)
def test_differences_of_denoisers_rest_at_the_data(objective, levels):
    assert gradient(objective, levels, 1.0) == 0
    assert gradient(objective, levels, 0.9) < 0 < gradient(objective, levels, 1.1)
    assert rest(objective, levels, 8)[0] == pytest.approx(1, abs=0.02)


def test_score_mismatching_rests_below_the_data_collapses_or_runs_away():
    (small, edge), (paper, _), (large, _) = (rest(SMM, levels, 8) for levels in (SMALL, PAPER, LARGE))
    assert small == pytest.approx(0.567, abs=0.005)
    assert paper == pytest.approx(0.705, abs=0.005)
    assert large == 0
    assert edge == pytest.approx(5.15, abs=0.05)
    assert gradient(SMM, SMALL, 1.0) > 0  # away from the data


def test_more_of_alpha_makes_the_basin_smaller():
    """Where the gradient is negative above the data, a generator runs away."""
    for g, signs in {1.2: (1, 1, 1), 1.45: (1, 1, -1), 1.8: (1, -1, -1)}.items():
        slopes = (gradient(Objective("sid", alpha), PAPER, g) for alpha in (0.5, 1.0, 1.2))
        assert tuple(math.copysign(1, slope) for slope in slopes) == signs
