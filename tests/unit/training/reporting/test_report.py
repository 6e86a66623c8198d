"""The report: one page without requests, and its figures."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests import evaluations, toy
from tests.pictures import write_pictures
from twofold.model import contract
from twofold.model.contract import ContractError
from twofold.training import cli
from twofold.training.data.dataset import DataError
from twofold.training.evaluation.eval_classifier import EvalClassifierConfig, load_eval_classifier, train_eval_classifier
from twofold.training.evaluation.formats import ClassifierId, Evaluation, write
from twofold.training.evaluation.metric_table import MEASURES
from twofold.training.reporting import report
from twofold.training.reporting.facts import Report

VOID = {"meta", "link", "img", "br"}
LOG = [
    {"stage": "codes", "stage_number": 1, "stages": 2, "step": 1, "steps": 9, "loss_recon_sse": 30.0, "class_accuracy": 0.5},
    {"stage": "codes", "stage_number": 1, "stages": 2, "step": 9, "steps": 9, "loss_recon_sse": 20.0, "class_accuracy": 0.9},
    {"stage": "flow", "stage_number": 2, "stages": 2, "step": 5, "steps": 5, "loss_flow_nll": 3.0},
]


def quiet(line: str) -> None:
    pass


class Page(HTMLParser):
    """Reads a page, and that every element that opens is closed in its order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.attributes.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data


def evaluation(bundle: Path, eval_classifier: Path, **values: float) -> Evaluation:
    """An evaluation with made-up figures."""
    names = {measure.key for measure in MEASURES} | {measure.real for measure in MEASURES} - {None, "one"}
    known = {name: round(0.1 + i / 97, 6) for i, name in enumerate(sorted(names))} | values
    card, classifier_hash = contract.read_card(bundle), load_eval_classifier(eval_classifier).card.hash
    made = evaluations.evaluation(known, card.name, card.model_hash, "fashion_mnist", classifier_hash)
    return replace(made, predictors={"class mean": {"class_kept": 0.5}})


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> SimpleNamespace:
    """A run folder with a bundle, an evaluation classifier, an evaluation and a log; the data beside it."""
    root = tmp_path_factory.mktemp("report")
    data, run = write_pictures(root, train=400, test=120), root / "run"
    bundle = toy.make_bundle(run / "bundle")
    train_eval_classifier(data, run / "eval_classifier", EvalClassifierConfig(widths=(4, 8, 8), epochs=6, batch=16), log=quiet)
    write(run / "evaluation.json", evaluation(bundle, run / "eval_classifier"))
    (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LOG))
    return SimpleNamespace(root=root, data=data, run=run, bundle=bundle, eval_classifier=run / "eval_classifier")


@pytest.fixture(scope="module")
def written(places) -> SimpleNamespace:
    path = report.report(report.subjects([places.run]), places.data, places.eval_classifier, places.run / "report", log=quiet)
    text = path.read_text(encoding="utf-8")
    return SimpleNamespace(text=text, page=Page(text), figures=json.loads(path.with_name("report.json").read_text()), path=path)


def test_the_page_shows_every_measure_with_its_definition_and_value(written, places):
    values = json.loads((places.run / "evaluation.json").read_text())["values"]
    anchors = {attributes.get("id") for _, attributes in written.page.attributes}
    for measure in MEASURES:
        assert measure.key in anchors
        assert measure.definition in written.page.words
        assert f"{values[measure.key]:.{measure.decimals}f}" in written.page.words


def test_the_page_begins_with_the_verdict_and_shows_the_trivial_predictors(written, places):
    stored = json.loads((places.run / "evaluation.json").read_text())
    assert written.page.words.index(stored["verdict"]["text"]) < written.page.words.index("New pictures")
    assert "class mean" in written.page.words
    assert "Are swaps better than no model?" in written.page.words


def test_the_page_makes_no_request(written):
    for tag, attributes in written.page.attributes:
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("data:", "#")), (tag, attributes[name][:80])
    assert not re.search(r"https?://|@import|url\(", written.text)
    assert "script" not in {tag for tag, _ in written.page.attributes}
    policies = [attributes["content"] for tag, attributes in written.page.attributes if "http-equiv" in attributes]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_every_link_has_its_section_and_every_picture_its_description(written):
    anchors = {attributes.get("id") for _, attributes in written.page.attributes}
    links = [attributes["href"] for tag, attributes in written.page.attributes if tag == "a"]
    assert len(links) > 8
    assert {link.removeprefix("#") for link in links} <= anchors
    pictures = [attributes for tag, attributes in written.page.attributes if tag == "img"]
    assert len(pictures) > 100
    assert all(picture["alt"] for picture in pictures)


def test_the_losses_are_explained_by_stage(written):
    assert "Losses of stage “codes”" in written.page.words
    assert "recon_sse: difference between a picture and its reconstruction" in written.page.words


def test_the_figures_are_those_of_the_evaluation(written, places):
    stored = json.loads((places.run / "evaluation.json").read_text())
    assert written.figures["models"][0]["evaluation"] == stored
    assert {line["key"]: line["values"] for line in written.figures["measures"]} == {m.key: [stored["values"][m.key]] for m in MEASURES}
    by_key = {line["key"]: line for line in written.figures["measures"]}
    assert by_key["leak_linear"]["met"] == [stored["values"]["leak_linear"] <= 0.12]
    assert by_key["class_kept_different"]["met"] == [None]
    assert sum(map(sum, written.figures["models"][0]["confusion"])) == 120


def test_report_json_is_read_back_and_another_file_is_one_sentence(written, tmp_path):
    found = Report.read(written.path.with_name("report.json"))
    assert found.models[0].evaluation.to_dict() == written.figures["models"][0]["evaluation"]
    assert [measure.key for measure in found.measures] == [line["key"] for line in written.figures["measures"]]
    (tmp_path / "report.json").write_text('{"models": []}')
    with pytest.raises(DataError, match=r"^report\.json is not what report writes$"):
        Report.read(tmp_path / "report.json")


def test_two_models_are_side_by_side_and_a_baseline_is_in_the_table(places, tmp_path):
    other = toy.make_bundle(tmp_path / "other", name="other", seed=1)
    write(tmp_path / "other.test.json", evaluation(other, places.eval_classifier, class_accuracy=0.777))
    write(tmp_path / "base.json", evaluation(other, places.eval_classifier, class_accuracy=0.555))
    found = report.subjects([places.run, other])
    assert report.default_out(found) == places.run / "report-beside-other"
    path = report.report(found, places.data, places.eval_classifier, tmp_path / "out", [tmp_path / "base.json"], log=quiet)
    page = Page(path.read_text(encoding="utf-8"))
    assert "toy and other" in page.words
    assert page.words.count(contract.read_card(other).id) > 10  # in the table and over each of its pictures
    assert "There is no log of the training beside this bundle." in page.words
    line = next(line for line in json.loads(path.with_name("report.json").read_text())["measures"] if line["key"] == "class_accuracy")
    assert (line["values"][1], line["baselines"]) == (0.777, [0.555])
    assert page.words.count("0.777") == page.words.count("0.555") == 1


def test_a_report_of_a_bundle_adds_no_file_to_it(places):
    assert report.default_out(report.subjects([places.bundle])) == Path(f"{places.bundle}-report")


def test_a_run_that_was_not_measured_is_measured_first(places, tmp_path):
    data = write_pictures(tmp_path, train=80, test=40)
    train_eval_classifier(data, tmp_path / "eval_classifier", EvalClassifierConfig(widths=(4, 8, 8), epochs=1, batch=16), log=quiet)
    found = report.subjects([tmp_path], [places.bundle])
    assert found[0].evaluation == tmp_path / "evaluation.json"
    path = report.report(found, data, tmp_path / "eval_classifier", tmp_path / "out", log=quiet)
    stored = json.loads(found[0].evaluation.read_text())
    assert stored["rows"]["held"] == 40
    assert json.loads(path.with_name("report.json").read_text())["models"][0]["evaluation"] == stored


def test_an_evaluation_of_another_model_or_classifier_is_refused(places, tmp_path):
    other, good = toy.make_bundle(tmp_path / "other", seed=2), Evaluation.read(places.run / "evaluation.json")
    with pytest.raises(ContractError, match="evaluation of another model"):
        report.model_section(report.Subject(places.run, other, Path("e.json")), good, places.data, places.eval_classifier)
    changed = replace(good, eval_classifier=ClassifierId("0", 1.0))
    with pytest.raises(DataError, match="another evaluation classifier"):
        report.model_section(report.subjects([places.run])[0], changed, places.data, places.eval_classifier)


def test_three_runs_are_too_many():
    with pytest.raises(DataError, match="two to compare"):
        report.subjects([Path("a"), Path("b"), Path("c")])


def test_of_a_repeated_step_the_later_line_counts_and_a_cut_line_does_not(tmp_path):
    again = {**LOG[1], "loss_recon_sse": 19.0}
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in [LOG[0], LOG[1], LOG[2], again]) + '{"stage": "co')
    assert report.read_log(path) == [LOG[0], again, LOG[2]]
    assert report.read_log(tmp_path / "none.jsonl") == []


def test_the_command_prints_the_path_of_the_page(places, tmp_path, capsys):
    assert cli.main(["report", str(places.run), "--data", str(places.data), "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out' / 'report.html'}\n"
