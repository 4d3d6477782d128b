"""What is counted of sampled inputs, as any process can read it."""

from router.counters import Segment
from router.inputs import QUALITY, Feature, input_counts, input_series
from router.tally import by_epoch, read_all, total
from router.telemetry import Recorder, SeriesName

AGE = Feature("age", "number", edges=(30.0, 60.0), reference=(5, 6, 7, 1), critical=True)
SEX = Feature("sex", "category", labels=("1", "2"), reference=(8, 9, 3, 0))
NAME = SeriesName("diabetes", 1, "stable", epoch=4)
OUTPUTS = {"progression": (1, 2, 3)}


def series(folder, slot=0, epoch=4):
    name = SeriesName(NAME.model, NAME.version, NAME.variant, epoch)
    return input_series(Recorder(Segment.open(folder, slot)), name, (AGE, SEX), OUTPUTS, epoch)


def test_a_value_is_one_cell_of_each_family_and_the_reference_travels_with_the_counts(tmp_path):
    counting = series(tmp_path)
    counting.taken()
    counting.dropped("too_large")
    counting.count(0, [0, 2, 3], [0, 2, 1], [True, False, False])
    counting.count(1, [2], [3], [True])
    [found] = input_counts(total(read_all(tmp_path)))

    assert (found.model, found.version, found.variant) == ("diabetes", 1, "stable")
    assert (found.taken, found.dropped, found.references) == (1, {"too_large": 1}, OUTPUTS)
    age, sex = found.features
    assert (age.feature, age.bins, age.match) == (AGE, (1, 0, 1, 1), (1, 0, 0, 0))
    assert dict(zip(QUALITY, age.quality, strict=True))["out_of_range"] == 1
    assert (sex.feature, sex.bins) == (SEX, (0, 0, 1, 0))


def test_workers_add_up_and_epochs_do_not_mix(tmp_path):
    for slot in (0, 1):
        recorder = Recorder(Segment.open(tmp_path, slot))
        for epoch in (4, 5):
            name = SeriesName("diabetes", 1, "stable", epoch)
            counting = input_series(recorder, name, (AGE, SEX), OUTPUTS, epoch)
            counting.count(0, [1] * epoch, [0] * epoch, [True] * epoch)
    copies = read_all(tmp_path)
    in_epoch = {e: next(input_counts(blocks)).features[0].bins[1] for e, blocks in by_epoch(copies).items()}

    assert in_epoch == {4: 8, 5: 10}
    assert next(input_counts(total(copies))).features[0].bins[1] == 18


def test_the_baseline_of_bad_values_is_that_of_the_reference():
    assert AGE.baseline("missing") == (1, 19)
    assert AGE.baseline("unseen") == (0, 19)
    assert SEX.baseline("unseen") == (3, 20)
    assert SEX.baseline("out_of_range") == (0, 20)
    assert Feature("new", "number").baseline("missing") == (0, 0)
