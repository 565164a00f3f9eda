from PIL import Image

from condgen.report import draw_work
from condgen.report.work_precision import sampler_styles
from condgen.samplers import SAMPLERS


def rows():
    """Two samplers at three budgets, one of them also measured against the flow."""
    for sampler, error in (("heun", True), ("ancestral", False)):
        for budget in (10, 20, 50):
            row = {"variant": sampler, "size": f"digits, unguided; {budget} evaluations; n = 9", "unit": ""}
            yield {**row, "what": "evaluations", "value": float(budget)}
            yield {**row, "what": "seconds", "value": budget / 100}
            yield {**row, "what": "SW to training images", "value": 1 / budget}
            if error:
                yield {**row, "what": "error of the flow", "value": budget**-2.0}
    floor = {"variant": "[held-out images]", "size": "digits, unguided; close; n = 9", "unit": ""}
    yield {**floor, "what": "SW to training images", "value": 0.03}
    yield {"variant": "heun", "size": "digits, unguided; SW", "what": "slack", "value": 1.0, "unit": ""}


def test_every_sampler_has_its_own_look():
    styles = sampler_styles()
    assert set(styles) == set(SAMPLERS)
    assert len(set(styles.values())) == len(styles)
    for colour in {style.colour for style in styles.values()}:  # within a colour neither markers nor lines repeat
        family = [style for style in styles.values() if style.colour == colour]
        assert len({style.marker for style in family}) == len({style.line for style in family}) == len(family)


def test_work_and_precision_as_a_picture(tmp_path):
    draw_work(list(rows()), tmp_path / "work.png")
    with Image.open(tmp_path / "work.png") as picture:
        assert picture.width > 2 * picture.height
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 50
