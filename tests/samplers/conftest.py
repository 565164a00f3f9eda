"""A Gaussian, whose samplers are linear, and noise that lets their covariance be read off."""

from sampler_bias import UnitNoise

from condgen import Denoiser, Streams, trajectory
from condgen.schedules import expand


class GaussianDenoiser(Denoiser):
    """The exact denoiser of N(0, std^2), elementwise, which notes its batches; std 0 is a point at the origin."""

    def __init__(self, schedule, std=0.5):
        super().__init__()
        self.schedule, self.std, self.batches, self.times = schedule, std, [], []  # the sizes of the batches

    def std_at(self, t):
        """The standard deviation of x_t."""
        return (self.schedule.alpha(t) ** 2 * self.std**2 + self.schedule.sigma(t) ** 2).sqrt()

    def forward(self, x_t, t, y=None):
        self.batches.append(len(x_t))
        self.times.append(t)
        return expand(self.schedule.alpha(t) * self.std**2 / self.std_at(t) ** 2, x_t) * x_t


def exact_stds(sampler, grid, draws_per_step=4):
    """The standard deviation of x after every step, in units of the distribution's: 1 where the sampler is exact."""
    steps = trajectory(sampler, grid, UnitNoise(draws_per_step * len(grid) + 8), None, (1,))
    return [float(step.x.norm() / sampler.denoiser.std_at(step.t)) for step in steps][:-1]


def final(sampler, grid, seeds=range(8), y=None, shape=(5,)):
    """The last step of a trajectory."""
    *_, last = trajectory(sampler, grid, Streams(seeds), y, shape)
    return last
