"""The lab: data without leaks, two backends that agree, and a page that stands alone."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

for package in ("jinja2", "matplotlib", "sklearn", "tqdm"):
    pytest.importorskip(package, reason="needs the extra 'lab'")

from fastreg.data import split  # noqa: E402
from fastreg.lab import data, digits, report  # noqa: E402


@pytest.fixture(scope="module")
def result():
    """A short run of the experiment."""
    return digits.run(epochs=8)


@pytest.fixture(scope="module")
def page(result, tmp_path_factory):
    """Its report."""
    path = report.write(tmp_path_factory.mktemp("report"), [result.section()], seconds=1.0)
    return path.read_text(encoding="utf-8")


def test_digits_are_split_by_class_into_disjoint_parts():
    dataset = data.digits(seed=3)
    assert dataset.sizes == (1079, 359, 359)
    counts = [np.bincount(y) for y in (dataset.y_train, dataset.y_val, dataset.y_test)]
    np.testing.assert_allclose(counts[1] / sum(counts), 0.2, atol=0.01)
    np.testing.assert_allclose(counts[2] / sum(counts), 0.2, atol=0.01)
    X, y = np.arange(200.0).reshape(-1, 1), np.arange(200) % 2
    parts = split("numbers", X, y, rng=0)
    values = np.concatenate([parts.X_train, parts.X_val, parts.X_test])
    assert len(np.unique(values)) == 200


def test_features_are_standardised_by_the_training_part_alone():
    dataset = data.digits(seed=3)
    assert {part.dtype for part in (dataset.X_train, dataset.X_val, dataset.X_test)} == {
        np.dtype(np.float32)
    }
    varying = dataset.X_train.std(axis=0) > 0
    assert varying.sum() > 55  # a few pixels of the margin are always white
    np.testing.assert_allclose(dataset.X_train.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(dataset.X_train[:, varying].std(axis=0), 1, atol=1e-5)
    assert np.abs(dataset.X_val.mean(axis=0)).max() > 1e-3


def test_the_split_is_a_function_of_the_seed():
    one, again, other = data.digits(seed=1), data.digits(seed=1), data.digits(seed=2)
    np.testing.assert_array_equal(one.X_test, again.X_test)
    assert not np.array_equal(one.y_test, other.y_test)


def test_every_variant_has_the_layers_it_is_named_for(result):
    layers = {v.name: [type(x).__name__ for x in v.ours.model.layers] for v in result.variants}
    assert list(layers) == ["plain", "dropout", "batch norm", "both"]
    assert layers["plain"] == ["Dense", "ReLU", "Dense", "ReLU", "Dense"]
    block = ["Dense", "BatchNorm", "ReLU", "Dropout"]
    assert layers["both"] == [*block, *block, "Dense"]
    for variant in result.variants:
        twins = (*variant.theirs.model.layers, variant.theirs.optimizer)
        assert all(type(x).__module__.startswith("fastreg.reference.") for x in twins)
        ours = (*variant.ours.model.layers, variant.ours.optimizer)
        assert not any(type(x).__module__.startswith("fastreg.reference.") for x in ours)


def test_all_networks_start_from_the_same_weights():
    models = [
        getattr(digits.Variant(name, 0.01, seed=5), side).model
        for name in digits.VARIANTS
        for side in ("ours", "theirs")
    ]
    first = [layer.W for layer in models[0].layers if hasattr(layer, "W")]
    for model in models[1:]:
        for ours, theirs in zip(first, (x for x in model.layers if hasattr(x, "W")), strict=True):
            np.testing.assert_array_equal(ours, theirs.W)


def test_the_backends_agree(result):
    for variant in result.variants:
        assert variant.divergence < 0.05
        assert variant.speed_up == pytest.approx(
            np.median(variant.theirs.history["ms_per_step"])
            / np.median(variant.ours.history["ms_per_step"])
        )


def test_every_variant_learns(result):
    for variant in result.variants:
        assert variant.test > 0.85, variant.name
        assert variant.low < variant.test < variant.high
        assert len(variant.ours.history["loss"]) == len(variant.theirs.history["loss"]) == 8
        assert variant.lowest[0] == variant.ours.history["val_loss"][variant.lowest[1] - 1]


def test_the_choice_is_made_on_validation_data(result):
    losses = {variant.name: variant.last("val_loss") for variant in result.variants}
    assert losses[result.best.name] == min(losses.values())


def test_the_table_holds_the_numbers_of_the_run(result):
    table = result.table()
    for row, variant in zip(table.rows, result.variants, strict=True):
        cells = dict(zip(table.header, row, strict=True))
        assert cells["variant"] == variant.name
        assert float(cells["test %"]) == pytest.approx(100 * variant.test, abs=0.05)
        gap = variant.last("accuracy") - variant.last("val_accuracy")
        assert float(cells["gap (points)"]) == pytest.approx(100 * gap, abs=0.051)
        assert float(cells["speed-up"].rstrip("×")) == pytest.approx(variant.speed_up, abs=0.051)
    lines = str(table).splitlines()
    assert len(lines) == 6
    assert len({len(line) for line in lines}) == 1


def test_conclusions_are_drawn_from_the_numbers(result):
    (choice, evidence), (_, overfitting), (speed, _), (agreement, _) = result.conclusions()
    assert result.best.name in choice
    assert f"{100 * result.best.test:.1f} %" in evidence
    assert f"{result.variants[0].last('loss'):.2g}" in overfitting
    assert all(ratio in speed for ratio in result.speed)
    assert f"{result.divergence:.1g}" in agreement


def test_one_epoch_is_enough_for_a_report(tmp_path):
    path = report.write(tmp_path, [digits.run(epochs=1).section()], seconds=0.5)
    assert path.read_text(encoding="utf-8").count("<svg") == 3


def test_epochs_must_be_positive():
    with pytest.raises(ValueError, match="epochs must be at least 1, got 0"):
        digits.run(epochs=0)


class Page(HTMLParser):
    """What a browser would meet: tags left open, addresses, ids and their uses."""

    void = ("link", "meta")

    def __init__(self, text):
        super().__init__()
        self.stack, self.tags, self.addresses, self.ids, self.uses = [], [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.handle_startendtag(tag, attributes)
        if tag not in self.void:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if name in ("src", "href", "xlink:href", "data", "action", "srcset"):
                self.addresses.append(value)
            self.ids += [value] if name == "id" else []
            self.uses += re.findall(r"url\((.*?)\)", value or "")

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag


def test_the_page_is_whole_and_asks_nothing_of_the_network(page):
    parsed = Page(page)
    assert not parsed.stack
    assert not {"script", "iframe", "img", "object", "embed"} & set(parsed.tags)
    local = [address for address in parsed.addresses if address != "data:,"]
    assert local and all(address.startswith("#") for address in local)
    assert "@import" not in page
    assert not re.search(r"url\(\s*['\"]?(?!#)", page)


def test_ids_of_the_page_are_unique_and_their_uses_resolve(page):
    parsed = Page(page)
    assert len(parsed.ids) == len(set(parsed.ids))
    uses = [a for a in parsed.addresses if a != "data:,"] + parsed.uses
    assert {use.removeprefix("#") for use in uses} <= set(parsed.ids)


def test_the_page_shows_the_table_the_conclusions_and_the_settings(page, result):
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))
    section = result.section()
    for expected in (
        *(cell for row in section.table.rows for cell in row),
        *(claim for claim, _ in section.conclusions),
        *section.settings.values(),
        *report.environment().values(),
    ):
        assert expected in text
    assert page.count("<svg") == len(section.plots) == 3


def test_plots_show_what_they_are_named_for(result):
    losses, accuracy, speed = (plot.svg for plot in result.section().plots)
    assert result.best.name in losses and "loss (nats a sample)" in losses
    assert "accuracy (%)" in accuracy and "95 % interval" in accuracy
    assert "training step (ms)" in speed and f"{result.speed[1]}×" in speed


def test_text_from_outside_cannot_become_markup(tmp_path):
    section = report.Section(
        title="<script>alert(1)</script>",
        question="a < b & c",
        highlights=[],
        conclusions=[],
        table=report.Table(("<i>", "x"), [("<b>", "1")]),
        plots=[],
        settings={},
    )
    page = report.write(tmp_path, [section], seconds=0.0).read_text(encoding="utf-8")
    assert not {"script", "i", "b"} & set(Page(page).tags)
    assert "a &lt; b &amp; c" in page


def test_the_environment_names_instruction_set_and_libraries():
    environment = report.environment()
    assert environment["processor"]
    assert "available" in environment["instruction set"]
    assert environment["numpy"] == np.__version__
