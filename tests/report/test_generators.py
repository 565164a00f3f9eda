"""Whether a generator still makes different samples of a class, as a reader of the page learns it."""

import json
import re

import pytest

from condgen.report import build_report, findings, generator_table, looks_of, read_run
from condgen.report.generator_plots import LANDMARKS, loss_panel, variety_panel
from condgen.report.generator_section import generator_section

GREY = re.compile(r"opacity: 0\.1[;\"]")
TITLE = "One-step generators"


def prose(folder):
    return [block.text for block in generator_section(read_run(folder)).blocks if block.kind == "prose"]


@pytest.mark.parametrize("points", [False, True])
def test_a_collapse_stands_at_the_top_of_the_page_and_of_its_section(digits_run, make_a_collapse, points):
    folder = digits_run()
    make_a_collapse(folder / "generator-smm", points=points)
    run = read_run(folder)
    html, markdown = build_report(folder).read_text(), (folder / "report.md").read_text()
    assert findings(run.metrics, run.errors, run.cost, run.looks)[0].startswith("Beware of smm: the generator has coll")
    assert '<p class="caution" role="note">' in html
    assert markdown.count("has collapsed within classes") == 2
    assert "> **Caution.** smm" in markdown
    assert generator_section(run).blocks[0].kind == "caution"
    assert json.loads((folder / "report.json").read_text())["rows"]["looks"][-1]["std_ratio"] == 0.1


@pytest.mark.parametrize("points", [False, True])
def test_a_healthy_generator_is_not_warned_of(digits_run, make_a_generator, points):
    folder = digits_run()
    make_a_generator(folder / "generator-smm", points=points)
    html = build_report(folder).read_text()
    assert TITLE in html
    assert "has collapsed" not in html
    assert 'class="caution"' not in html


def test_the_last_look_counts(tmp_path, make_a_generator):
    folder = make_a_generator(tmp_path / "g", spreads=(0.1, 0.1, 0.8, 0.8))
    run = read_run(folder)
    assert not any("collapsed" in sentence for sentence in findings((), (), (), run.looks))
    assert generator_table(run.looks).rows == (("g", "400", "0.80", "0.40", "0.99", "1,000", "no"),)
    rows = looks_of(run.looks)["g"]
    plot = variety_panel("g", rows, "p")
    assert len(GREY.findall(plot.svg)) == 1
    assert "collapsed at 2 of 4 looks" in plot.alt
    assert "in-class std ratio 0.1 at step 100 to 0.8 at step 400" in plot.alt
    healthy = variety_panel("g", rows[2:], "p")
    assert not GREY.search(healthy.svg)
    assert "collapsed" not in healthy.alt
    assert variety_panel("g", rows[:1], "p")


def test_wrong_classes_are_no_collapse(tmp_path, make_a_collapse):
    run = read_run(make_a_collapse(tmp_path / "g", accuracy=0.3))
    assert generator_table(run.looks).rows[0][-1] == "no"
    assert not GREY.search(variety_panel("g", looks_of(run.looks)["g"], "p").svg)


def test_the_landmarks_of_score_mismatching_are_put_in_words(tmp_path, make_a_generator, make_a_collapse):
    def said(real, own, fake, make=make_a_generator):
        losses = {"critic_real": real, "loss": own, "critic_fake": fake}
        return prose(make(tmp_path / "g", losses=losses))[-1]

    assert "0.3 on real and 1.1 on generated data, and the generator's is 0.6, between the two" in said(0.3, 0.6, 1.1)
    assert "tells generated from real" in said(0.3, 1.2, 1.5)
    assert "likely vary less" in said(0.3, 0.2, 1.1)
    assert "nearly the same sample" in said(0.3, 0.6, 1.1, make_a_collapse)
    plots = [loss_panel(LANDMARKS["critic"], "g", read_run(tmp_path / "g").generators["g"].losses, "p")]
    assert plots[0].alt.startswith("Losses of score mismatching, g: critic on real data 0.3 at step 50 to 0.3")
    assert "stroke-dasharray" in plots[0].svg  # the line at one


def test_denoisers_are_compared_where_there_are_two(tmp_path, make_a_generator):
    both = make_a_generator(tmp_path / "both", losses={"loss": 0.1, "real_dsm": 0.5, "fake_dsm": 0.2})
    assert prose(both)[-1].endswith("the denoiser of generated data has 0.4 times the loss of that of real data.")
    taught = make_a_generator(tmp_path / "taught", losses={"loss": 0.1, "fake_dsm": 0.2, "likelihood": 0.01})
    assert len(prose(taught)) == 1
    titles = [block.title for block in generator_section(read_run(taught)).blocks if block.kind == "panels"]
    assert titles[1:] == ["Losses of the denoisers", "The likelihood term"]
    signs = [block.legend for block in generator_section(read_run(taught)).blocks if block.kind == "panels"][1]
    assert [words for _, words in signs] == ["denoiser of generated data"]
    bare = {name: [] for name in LANDMARKS["denoisers"].lines}
    assert loss_panel(LANDMARKS["denoisers"], "g", bare, "p") is None


def test_skipped_updates_are_counted(tmp_path, make_a_generator):
    assert "12 updates were skipped" in prose(make_a_generator(tmp_path / "g", skipped=12))[-1]
    assert "1 update was skipped" in prose(make_a_generator(tmp_path / "g", skipped=1))[-1]
    assert "skipped" not in " ".join(prose(make_a_generator(tmp_path / "g")))


def test_samples_evolve_in_a_table_of_classes_by_steps(tmp_path, make_a_generator):
    folder = make_a_generator(tmp_path / "g")
    log = folder / "log.jsonl"
    log.write_text("".join(line + "\n" for line in log.read_text().splitlines()[:-3]))  # a crash before step 400
    (strips,) = [block for block in generator_section(read_run(folder)).blocks if block.kind == "strips"]
    assert strips.methods == ("step 100", "step 200", "step 300")
    assert [name for name, _ in strips.rows] == ["ant", "bee"]
    assert strips.rows[1][1][2].alt == "2 samples of class bee at step 300"
    (folder / "previews" / "00000100.safetensors").unlink()
    (folder / "previews" / "00000200.safetensors").unlink()
    (folder / "previews" / "00000300.safetensors").unlink()
    assert not any(block.kind == "strips" for block in generator_section(read_run(folder)).blocks)


def test_several_generators_share_a_page(digits_run, make_a_generator, make_a_collapse):
    folder = digits_run()
    make_a_generator(folder / "generator-first")
    make_a_collapse(folder / "generator-second", points=True)
    html = build_report(folder).read_text()
    assert "Beware of second" in html
    assert "Beware of first" not in html
    for who in ("first", "second"):
        assert f"How samples of {who} evolved" in html
    identifiers = re.findall(r'\bid="([^"]+)"', html)
    assert len(identifiers) == len(set(identifiers))


def test_runs_without_generators_have_no_such_section(digits_run):
    assert TITLE not in build_report(digits_run()).read_text()
