import pytest
from sampler_bias import SCHEDULES, evaluations_within, gaussian_denoiser, width_error

from condgen.samplers.catalogue import FIXED, SAMPLERS, WIDTH_ERRORS


def test_every_sampler_states_the_error_of_its_width():
    assert WIDTH_ERRORS.keys() == SAMPLERS.keys()


@pytest.mark.parametrize("name", FIXED)
def test_stated_errors_are_those_measured(name):
    samplers = [FIXED[name](gaussian_denoiser(schedule)) for schedule in SCHEDULES]
    error, enough = WIDTH_ERRORS[name]
    assert max((100 * width_error(sampler) for sampler in samplers), key=abs) == pytest.approx(error, abs=0.06)
    if enough is not None and enough < 200:  # the others take a while
        assert evaluations_within(samplers, 0.02) == enough
