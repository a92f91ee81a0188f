"""The report of a run: JSON, Markdown and pictures."""

import json
import xml.etree.ElementTree as ET

import pytest
from canned import echo, report, switch, timers, waking

from benchmarks import draw, svg
from benchmarks.case import Metric
from benchmarks.report import Report, Table, amount, markdown, summary
from benchmarks.run import Result, Spread


def test_json_brings_back_all_that_was_found(tmp_path):
    written = report()
    written.save(tmp_path / "results.json")
    assert Report.load(tmp_path / "results.json") == written


def test_json_names_versions_python_kernel_and_cpu(tmp_path):
    Report("command", 1, []).save(tmp_path / "results.json")
    machine = json.loads((tmp_path / "results.json").read_text())["machine"]
    assert machine["packages"]["gevlite"]
    assert machine["python"].startswith("CPython 3.")
    assert machine["kernel"]
    assert machine["cpu"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1, "results": []}'])
def test_a_file_of_another_kind_is_refused(tmp_path, text):
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(ValueError, match=r"other\.json is not"):
        Report.load(tmp_path / "other.json")


def test_ratios_are_medians_of_pairs_of_the_same_turn():
    result = switch()
    ratio = result.ratio(result.metrics[0], "gevent")
    assert (ratio.low, ratio.median, ratio.high) == pytest.approx((4.0, 4.0, 5.0))


def test_of_a_throughput_more_is_better():
    result = echo()
    ratio = result.ratio(result.metrics[0], "gevent")
    assert ratio.median > 1


def test_targets_are_judged_by_the_median():
    within, faster = switch().targets(switch().metrics[0])
    assert within == ("≤ 1.5x greenlet", True)
    assert faster == ("≥ 3.5x faster than gevent", True)
    slow = switch(factor=2)
    assert [met for _, met in slow.targets(slow.metrics[0])] == [False, False]


def test_a_target_without_figures_is_unknown():
    result = switch()
    del result.turns["gevent"]
    assert [met for _, met in result.targets(result.metrics[0])] == [True, None]


def test_the_table_has_medians_ratios_and_floors():
    lines = Table([switch()]).markdown().splitlines()
    assert lines[0] == "| work | gevlite | gevent | uvloop | floor | must reach | met |"
    assert "| 1.1 µs | 4.8 µs · 4.00x (4.00-5.00) | 0.550 µs · 0.50x | 0.800 µs · " in lines[2]
    assert lines[2].endswith("| ≤ 1.5x greenlet; ≥ 3.5x faster than gevent | yes; yes |")


def test_a_library_that_failed_is_in_the_table_with_its_reason():
    text = Table([echo()]).markdown()
    assert "| failed [1] |" in text
    assert "- [1] eventlet, echo: OSError: no \\| way" in text


def test_a_library_that_failed_after_some_turns_keeps_its_figures_and_its_reason():
    result = switch()
    result.errors["gevent"] = "no result within 120 s"
    text = Table([result]).markdown()
    assert "4.00x (4.00-5.00) failed [1] |" in text


def test_the_text_tells_where_another_library_is_faster():
    text = markdown(report())
    listed = text[text.index("## Where gevlite is not the fastest") : text.index("## switch")]
    assert "sleep(0)" in listed
    assert "uvloop 0.50x" in listed
    assert "TCP echo" not in listed
    assert "greenlet" not in listed.replace("greenlets", "")  # a floor is not compared


def test_the_text_tells_how_it_was_made_and_what_disturbed_it():
    text = markdown(report())
    assert "`python -m benchmarks --quick`" in text
    assert "CPython 3.12.1; gevlite 0.1.0, gevent 26.9.0; Linux 6.1; a CPU, 2 cores" in text
    assert "- echo: gevent: server busy 40%" in text


def test_the_summary_has_only_what_must_reach_something():
    lines = summary(report()).splitlines()
    assert len(lines) == 3
    assert "sleep(0)" in lines[2]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (2.5, "s", "2.5 s"),
        (0.0031, "s", "3.1 ms"),
        (4.25e-6, "s", "4.25 µs"),
        (1.5e-7, "s", "0.150 µs"),
        (-4.97e-4, "s", "-497 µs"),
        (6800, "B", "6,800 B"),
        (23800, "/s", "23.8 k/s"),
    ],
)
def test_amounts_have_a_unit_that_suits_their_size(value, unit, text):
    assert amount(value, unit) == text


def test_writing_leaves_json_text_and_pictures_and_no_picture_of_before(tmp_path):
    (tmp_path / "bars-of-before.svg").write_text("old")
    written = draw.write(report(), tmp_path)
    assert sorted(path.name for path in written) == sorted(path.name for path in tmp_path.iterdir())
    assert {path.name for path in written} >= {"results.json", "results.md", "summary.md", "overview.svg"}
    text = (tmp_path / "results.md").read_text()
    pictures = [path.name for path in written if path.suffix == ".svg"]
    assert "bars-of-before.svg" not in pictures
    for name in pictures:
        assert f"({name})" in text


def test_pictures_are_well_formed_and_the_same_for_the_same_figures():
    first, second = draw.pictures(report()), draw.pictures(report())
    assert first == second
    for _, _, text in (picture for found in first.values() for picture in found):
        assert ET.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"


def test_cases_in_a_series_are_points_of_one_line():
    found = draw.curves([timers(1_000), timers(100_000)])
    assert list(found) == ["a timer among others: add", "a timer among others: fire"]
    _, sizes, lines = found["a timer among others: add"]
    assert sizes == "timers"
    assert [size for size, _ in lines["gevlite"]] == [1_000, 100_000]
    assert list(lines) == ["gevlite", "gevent"]


def test_metrics_with_a_size_are_points_of_one_line():
    (_, sizes, lines) = draw.curves([waking()])["`Event.set`, each of those who wait"]
    assert sizes == "waiting"
    assert [size for size, _ in lines["gevlite"]] == [1, 100]


def test_bars_begin_at_one_and_reach_to_the_ratio():
    axis = svg.LogAxis([1, 10], 0, 100)
    drawn = svg.bars("t", [svg.Group("g", [svg.Bar("gevent", Spread(10, 10, 10), "10x")])], "gevlite", "left", "right")
    bar = ET.fromstring(drawn).findall("{http://www.w3.org/2000/svg}rect")[-1]
    assert float(bar.get("width")) > 100
    assert axis(1) < axis(3) < axis(10)
    assert axis(3) - axis(1) == pytest.approx(axis(10) - axis(10 / 3), abs=0.2)


def test_names_and_texts_are_escaped():
    drawn = svg.bars("a < b", [svg.Group("<g>", [svg.Bar("x", Spread(2, 1, 3), "&")])], "gevlite", "left", "right")
    assert ET.fromstring(drawn)[0].text == "a < b"


def test_a_figure_that_is_not_positive_is_left_out_of_lines():
    early = Result(
        "a", "a", (Metric("x", size=1), Metric("y", size=10)), turns={"gevlite": {"x": [-1e-6], "y": [1e-6]}}
    )
    assert draw.curves([early])
    drawn = draw.pictures(report(early, switch()))
    assert all(ET.fromstring(text) is not None for found in drawn.values() for _, _, text in found)
