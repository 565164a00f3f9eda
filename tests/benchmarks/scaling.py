"""The guidance scale and the temperature of a classifier that are best on held-out data."""

from condgen import ClassifierGuided, Likelihood, held_out_differences

FACTORS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.15, 1.3, 1.5, 1.75, 2.0)  # inverse temperatures


class Tempered(Likelihood):
    """A classifier whose logits are multiplied by a factor, the inverse of a temperature."""

    def __init__(self, classifier, factor):
        super().__init__()
        self.classifier, self.factor = classifier, factor
        self.schedule, self.n_classes = classifier.schedule, classifier.n_classes

    def forward(self, x_t, t):
        return (self.factor * self.classifier(x_t, t)).log_softmax(1)


def gains(prior, candidates, held_out, levels, draws):
    """The squared error of each, minus that of no guidance, summed over all levels."""
    methods = {"zero": prior, **{str(factor): each for factor, each in candidates.items()}}
    total = dict.fromkeys(methods, 0.0)
    for row in held_out_differences(methods, ["zero"], held_out.x, held_out.y, levels, draws=draws, seed=1):
        total[row.method] += row.mean
    return {factor: total[str(factor)] for factor in candidates}


def best_scalings(prior, classifier, held_out, levels, draws):
    """The best scale and the best temperature, each with its name, its value and the guided model.

    The error less that of no guidance is a parabola in the scale, zero at 0; the temperature is the best of `FACTORS`.
    """
    at = gains(prior, {s: ClassifierGuided(prior, classifier, s) for s in (1.0, 2.0)}, held_out, levels, draws)
    scale = max(0.0, (4 * at[1.0] - at[2.0]) / (4 * at[1.0] - 2 * at[2.0]))
    tempered = {factor: ClassifierGuided(prior, Tempered(classifier, factor)) for factor in FACTORS}
    of = gains(prior, tempered, held_out, levels, draws)
    inverse = min(of, key=lambda factor: of[factor])
    return (
        ("scale", scale, ClassifierGuided(prior, classifier, scale)),
        ("temperature", 1 / inverse, tempered[inverse]),
    )
