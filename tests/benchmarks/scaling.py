"""The guidance scale and the temperature of a classifier that are best on held-out data."""

from condgen import ClassifierGuided, Likelihood, held_out_differences

FACTORS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.15, 1.3, 1.5, 1.75, 2.0)  # guidance scales, and inverse temperatures


class Tempered(Likelihood):
    """A classifier whose logits are multiplied by a factor, the inverse of a temperature."""

    def __init__(self, classifier, factor):
        super().__init__()
        self.classifier, self.factor = classifier, factor
        self.schedule, self.n_classes = classifier.schedule, classifier.n_classes

    def forward(self, x_t, t):
        return (self.factor * self.classifier(x_t, t)).log_softmax(1)


def best(prior, candidates, held_out, levels, draws):
    """The factor whose squared error, relative to no guidance and over all levels, is least."""
    methods = {"zero": prior, **{str(factor): each for factor, each in candidates.items()}}
    total = dict.fromkeys(methods, 0.0)
    for row in held_out_differences(methods, ["zero"], held_out.floats(), held_out.y, levels, draws=draws, seed=1):
        total[row.method] += row.mean
    return min(candidates, key=lambda factor: total[str(factor)])


def best_scalings(prior, classifier, held_out, levels, draws):
    """The best scale and the best temperature, each with its name, its value and the guided model."""
    scaled = {factor: ClassifierGuided(prior, classifier, factor) for factor in FACTORS}
    tempered = {factor: ClassifierGuided(prior, Tempered(classifier, factor)) for factor in FACTORS}
    scale, inverse = (best(prior, candidates, held_out, levels, draws) for candidates in (scaled, tempered))
    return ("scale", scale, scaled[scale]), ("temperature", 1 / inverse, tempered[inverse])
