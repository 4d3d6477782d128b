"""/metrics, summed."""

from loadtests.tour.scrape import Scrape

PAGE = """# TYPE serin_predictions_total counter
serin_predictions_total{model="digits",version="1",variant="1",output="label",class="0"} 30
serin_predictions_total{model="digits",version="1",variant="a",output="label",class="0"} 20
serin_predictions_total{model="digits",version="1",variant="1",output="label",class="1"} 50
serin_predictions_total{model="digits",version="2",variant="2",output="label",class="0"} 7
"""


def test_sums_are_over_all_labels_that_are_not_named() -> None:
    page = Scrape.parse(PAGE)
    assert page.total("serin_predictions_total") == 107
    assert page.total("serin_predictions_total", version="1") == 100
    assert page.by("class", "serin_predictions_total", version="1") == {"0": 50, "1": 50}
    assert page.total("serin_no_such_total") == 0


def test_growth_counts_series_that_are_new_from_zero() -> None:
    old = Scrape.parse("\n".join(PAGE.splitlines()[:2]) + "\n")
    grown = Scrape.parse(PAGE).since(old)
    assert grown.by("version", "serin_predictions_total") == {"1": 70, "2": 7}
