"""The pure parts of the script that makes the sample models."""

import tomllib
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest


def test_a_value_on_an_edge_counts_below_it_as_le_does(train: ModuleType) -> None:
    assert train.count_between(np.array([0.0, 1.0, 1.5, 2.0, 9.0]), [1.0, 2.0]) == [2, 2, 1]


def test_the_deciles_split_the_values_into_ten_equal_bins(train: ModuleType) -> None:
    values = np.arange(100) + 0.5
    edges = train.decile_edges(values)
    assert len(edges) == 9
    assert train.count_between(values, edges) == [10] * 10


def test_equal_deciles_become_one_edge(train: ModuleType) -> None:
    assert train.decile_edges(np.ones(50)) == [1.0]


def test_watched_columns_are_described_and_constant_ones_left_out(train: ModuleType) -> None:
    sample = train.Sample("coin", load=None, input_name="x", recipes=(), watched=(0, 1, 2), categories=(1,))
    x = np.array([[step, step % 2, 7.0] for step in range(200)], np.float32)
    rows = train.Rows(x, None, x, None, ("a b", "side", "constant"))
    found = train.features(sample, rows)
    assert list(found) == ["a b", "side"]
    assert (found["a b"]["range"], sum(found["a b"]["counts"])) == ([0, 199], 200)
    assert len(found["a b"]["edges"]) == 1  # 80 rows in a bin
    assert found["side"] == {"input": "x", "column": 1, "categories": ["0", "1"], "counts": [100, 100, 0]}
    assert tomllib.loads(train.features_toml(found))["features"] == found


@pytest.mark.parametrize("value", [0.1, 1 / 3, 16.0, 4254.0, 1e-9, -2.5])
def test_a_number_reads_back_as_the_same_float32(train: ModuleType, value: float) -> None:
    assert np.float32(train.plain(np.float32(value))) == np.float32(value)


def test_whole_numbers_are_written_without_a_fraction(train: ModuleType) -> None:
    assert repr(train.plain(np.float32(16))) == "16"


def test_no_golden_row_is_one_that_any_version_finds_hard(train: ModuleType) -> None:
    sample = train.Sample("coin", load=None, input_name="x", recipes=(), labels=("head", "tail"))
    sure, unsure = [0.9, 0.1], [0.51, 0.49]
    one, other = np.array([sure, unsure, sure, sure]), np.array([unsure, sure, sure, sure])
    answers = [{"probabilities": one}, {"probabilities": other}]
    assert train.golden_rows(sample, np.array([0, 1, 0, 1]), answers) == [2, 3]


def test_what_people_wrote_above_the_mark_is_kept(train: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "model.toml"
    path.write_text(f'description = "mine"\n{train.TOML_MARK}old = 1\n')
    train.replace_after(path, train.TOML_MARK, "new = 2\n")
    assert path.read_text() == f'description = "mine"\n{train.TOML_MARK}new = 2\n'


def test_a_lost_mark_is_an_error_and_changes_nothing(train: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "model.toml"
    path.write_text("mine = 1\n")
    with pytest.raises(ValueError, match="has lost the line"):
        train.replace_after(path, train.TOML_MARK, "new = 2\n")
    assert path.read_text() == "mine = 1\n"


def test_the_label_is_taken_from_the_best_column_without_a_look_up(train: ModuleType) -> None:
    node = onnx.helper.make_node
    look_up = [
        node("ArgMax", ["scores"], ["best"], axis=1),
        node("ArrayFeatureExtractor", ["classes", "best"], ["found"], domain="ai.onnx.ml"),
        node("Cast", ["found"], ["label"], to=onnx.TensorProto.INT64),
    ]
    classes = onnx.numpy_helper.from_array(np.arange(2), "classes")
    graph = onnx.helper.make_graph(look_up, "g", [], [], [classes])
    train.label_by_position(graph)
    assert [(node.op_type, list(node.output)) for node in graph.node] == [("ArgMax", ["label"])]
    assert not graph.initializer
