"""The page: what it says about runs, that it is safe and self-contained, and that sections can be added."""

import re
import shutil
from html.parser import HTMLParser
from urllib.parse import unquote
from xml.etree import ElementTree

import matplotlib
import pandas as pd
import pytest
import yaml
from markupsafe import Markup

from nrd.report import build, context, paper_sections, sections
from nrd.report.figures import draw_accuracy, draw_memorisation
from nrd.report.page import origin, write_page
from nrd.report.sections import Section
from nrd.report.style import COLOURS, line_styles
from nrd.study import Project
from tests.test_report import fail_run, finish_run, make_project, small_study

VOID = {"meta", "br", "img", "link", "hr"}


class Page(HTMLParser):
    """Collects tags, links and ids, and checks that elements close in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.ids, self.open = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.handle_startendtag(tag, attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.links += [value for key, value in attributes if key in ("href", "src", "xlink:href")]
        self.ids += [value for key, value in attributes if key == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def folder(tmp_path):
    """The report of a study with finished, failed, damaged and missing runs."""
    project = make_project(tmp_path, small_study(noises=["sym40", "clean"]))
    study = project.study("small")
    specs = list(study.specs.values())
    for spec in specs[:8]:
        finish_run(project.layout, spec, 150 + spec.seed)
    fail_run(project.layout, specs[8], "the loss is <nan> & more")
    (project.layout.run(specs[6].name) / "metrics.json").write_text("{broken")
    return build(study, project.layout)


def test_the_page_is_well_formed_and_needs_no_other_file_to_be_read(folder):
    text = (folder / "index.html").read_text()
    page = Page(text)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert not [link for link in page.links if re.match(r"[a-z]+:", link) and not link.startswith("data:")]
    assert len(page.ids) == len(set(page.ids))
    assert "@import" not in text
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)


def test_every_link_leads_somewhere(folder):
    for link in Page((folder / "index.html").read_text()).links:
        if not link.startswith(("#", "data:")):
            assert (folder / unquote(link)).exists(), link


def test_the_page_names_what_is_not_there_and_why(folder):
    text = (folder / "index.html").read_text()
    assert "<strong>7 of 12</strong>" in text
    for state in ("1 failed", "1 damaged", "3 missing"):
        assert f">{state}</span>" in text
    assert "the loss is &lt;nan&gt; &amp; more" in text
    assert "metrics.json: is missing or damaged" in text
    assert "3 runs are missing" in text


def test_the_page_says_where_when_and_from_what(folder):
    text = (folder / "index.html").read_text()
    assert "A &lt;fast&gt; device" in text
    for value in ("node1", "0123456789ab", "2.11.0", "2026-01-02 03:04 to 2026-01-02 04:04 UTC", "preact_resnet_tiny"):
        assert f"<dd>{value}</dd>" in text
    assert "uncommitted" not in text


def test_origins_are_counted_where_they_differ():
    column = {"torch": "2.11.0+cu130", "started": "2026-01-01T00:00:00+00:00", "finished": "2026-01-01T01:00:00+00:00"}
    rows = [{**column, "host": host, "device": "", "git_commit": "abc+", "seconds": 60.0} for host in ("a", "b", "b")]
    found = dict(origin(pd.DataFrame(rows)))
    assert found["hosts"] == "b (2 runs), a (1 run)"
    assert found["commits"] == "abc+"
    assert found["training time"].startswith("3 min")
    assert "devices" not in found


def test_text_from_data_is_escaped_everywhere(tmp_path):
    nasty = "<script>alert('x')</script> & $x_1$"
    config = small_study(variants=[{"name": "v", "title": nasty}], table=nasty)
    config |= {"title": nasty, "description": nasty}
    project = make_project(tmp_path, config)
    path = tmp_path / "params" / "methods" / "ce.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"title": nasty}))
    study = project.study("small")
    for spec in list(study.specs.values())[:3]:
        finish_run(project.layout, spec, 100)
    fail_run(project.layout, study.runs[4].spec, nasty)
    folder = build(study, project.layout)
    text = (folder / "index.html").read_text()
    assert "script" not in {tag for tag, _ in Page(text).tags}
    assert text.count("&lt;script&gt;") >= 5
    for name in ("curves.svg", "memorisation.svg"):
        tree = ElementTree.parse(folder / name)
        assert not [element for element in tree.iter() if element.tag.endswith("script")]


def test_sections_can_be_added(folder, tmp_path, monkeypatch):
    def own(page):
        return Section("own", "My <analysis>", Markup("<p>Hello</p>"), page.existing("results.csv", "absent.csv"))

    def nothing(context):
        return None

    monkeypatch.setitem(sections.SECTIONS, "Mine", [own, nothing])
    project = Project(tmp_path)
    text = write_page(project.study("small"), project.layout).read_text()
    part = text[text.index('<section id="own">') :]
    assert "<h2>My &lt;analysis&gt;</h2>\n<p>Hello</p>" in part
    assert '<a href="results.csv">' in part
    assert "absent.csv" not in part
    assert '<a href="#own">My &lt;analysis&gt;</a>' in text


def test_a_page_is_built_from_the_reports_folder_alone(folder, tmp_path):
    before = (folder / "index.html").read_bytes()
    shutil.rmtree(tmp_path / "results" / "runs")
    project = Project(tmp_path)
    assert write_page(project.study("small"), project.layout).read_bytes() == before


def test_a_figure_too_large_for_the_page_is_shown_as_a_picture(folder, monkeypatch):
    monkeypatch.setattr(context, "MAX_INLINE", 10)
    html = context.figure_html(folder / "curves", 'a "title"')
    assert html.startswith('<img src="data:image/png;base64,')
    assert "a &#34;title&#34;" in html


def test_figures_are_functions_of_their_data_file(folder, tmp_path):
    for name, draw in (("curves", draw_accuracy), ("memorisation", draw_memorisation)):
        draw(folder / "curves.csv", tmp_path / "elsewhere" / name)
        for kind in ("svg", "png"):
            again = (tmp_path / "elsewhere" / f"{name}.{kind}").read_bytes()
            assert again == (folder / f"{name}.{kind}").read_bytes()


def test_figures_say_nothing_of_time_or_machine(folder):
    text = (folder / "curves.svg").read_text()
    assert "<dc:date>" not in text
    assert "Matplotlib" not in text
    assert b"tEXt" not in (folder / "curves.png").read_bytes()
    assert "Digits, symmetric 40 %" in text
    assert "Digits, no noise" in text
    assert "no noise" not in (folder / "memorisation.svg").read_text()  # nothing is mislabeled there


def test_a_readers_own_matplotlib_settings_change_nothing(folder, tmp_path):
    with matplotlib.rc_context({"lines.linewidth": 9, "axes.facecolor": "red", "font.size": 30}):
        draw_accuracy(folder / "curves.csv", tmp_path / "curves")
        assert matplotlib.rcParams["lines.linewidth"] == 9
    assert (tmp_path / "curves.svg").read_bytes() == (folder / "curves.svg").read_bytes()


def test_lines_differ_in_colour_or_dashes():
    keys = [(f"method{number}", variant) for number in range(2 * len(COLOURS)) for variant in ("", "other")]
    styles = line_styles(keys)
    assert len({str(styles[key]) for key in keys[: 2 * len(COLOURS)]}) == 2 * len(COLOURS)
    assert styles["method0", ""]["color"] == styles["method0", "other"]["color"]
    plain = [str(styles[f"method{number}", ""]) for number in range(2 * len(COLOURS))]
    assert len(set(plain)) == len(plain)


def test_what_epochs_there_are_to_choose_from_is_said(tmp_path):
    config = small_study(validation=0)
    config["settings"] |= {"evaluation_interval": 5}
    every, part = make_project(tmp_path / "a", config), make_project(tmp_path / "b", small_study())
    texts = sections._about_epochs(every.study("small"))
    assert texts[0] == "Networks are evaluated after every 5 epochs and after the last."
    assert texts[1].startswith("No epoch is selected by validation")
    assert sections._about_epochs(part.study("small")) == []


def test_images_are_said_to_be_others_only_where_they_are(tmp_path):
    found = context.Context(None, make_project(tmp_path).layout)
    texts = {name: paper_sections._about_images(found, name) for name in ("cifar10", "cifar10-5k", "digits")}
    assert texts == {
        "cifar10": "",
        "cifar10-5k": "Ours are of 5 000 of its training images. ",
        "digits": "Ours are on other images, Digits. ",
    }
