"""The contract gate on real files: what the inventory finds in them, compared."""

import shutil
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from router.assessor import Contract, ContractKind
from router.contract import compare_versions
from router.reports import InventoryVersion
from service.runtime.ledger import Ledger
from service.runtime.session import SessionOptions
from service.runtime.stock import Stock
from service.runtime.verdict import examine

MODELS = Path(__file__).resolve().parents[2] / "models"


def found(models: Path, state: Path) -> dict[tuple[str, int], InventoryVersion]:
    """What the inventory would report."""
    options = SessionOptions()
    stock = Stock(models, Ledger(state), lambda path, n, rules: examine(path, n, rules, options), lambda: None)
    stock.look()
    stock.look()
    stock.take()
    return {(name, n): version for name, model in stock.report.models.items() for n, version in model.versions.items()}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    shutil.copytree(MODELS / "breast-cancer", tmp_path / "models" / "breast-cancer")
    return tmp_path / "models"


def add(models: Path, version: int, change: object) -> None:
    """Version 2 of the sample, changed."""
    model = onnx.load(models / "breast-cancer/2/model.onnx")
    change(model)  # type: ignore[operator]
    folder = models / "breast-cancer" / str(version)
    folder.mkdir()
    onnx.save(model, folder / "model.onnx")


def swap_classes(model: onnx.ModelProto) -> None:
    """What a trainer that sorts its labels the other way round would export: nothing else differs."""
    graph = model.graph
    for node in graph.node:
        for names in (node.input, node.output):
            for at, name in enumerate(names):
                if name in ("label", "probabilities"):
                    names[at] = f"{name}_before"
    graph.initializer.append(helper.make_tensor("one", TensorProto.INT64, [1], [1]))
    graph.initializer.append(helper.make_tensor("backwards", TensorProto.INT64, [2], [1, 0]))
    graph.node.append(helper.make_node("Sub", ["one", "label_before"], ["label"]))
    graph.node.append(helper.make_node("Gather", ["probabilities_before", "backwards"], ["probabilities"], axis=1))


def label_otherwise(model: onnx.ModelProto) -> None:
    for entry in model.metadata_props:
        if entry.key == "labels":
            entry.value = '["benign", "malignant"]'


def test_versions_of_the_samples_keep_the_contract_of_the_first(tmp_path: Path) -> None:
    seen = found(MODELS, tmp_path)
    assert len(seen) == 7
    for (name, number), version in seen.items():
        assert compare_versions(seen[name, 1], version) == Contract(ContractKind.IDENTICAL), (name, number)


def test_a_copy_under_another_number_is_held_to_the_answers_of_that_number(tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(MODELS / "digits", models / "digits", ignore=shutil.ignore_patterns("2", "3"))
    for number in (3, 4):  # golden.json names answers of 3, and none of 4
        shutil.copytree(models / "digits/1", models / "digits" / str(number))
    seen = found(models, tmp_path / "state")
    assert {number: version.state for (_, number), version in seen.items()} == {
        1: "READY",
        3: "UNAVAILABLE",
        4: "READY",
    }
    assert seen["digits", 3].reason.startswith("golden rows of version 3: case 0: output ")
    golden = seen["digits", 4].golden
    assert golden is not None
    assert golden["compared"] == 0


def test_a_swapped_class_order_is_found_by_the_golden_rows(models: Path, tmp_path: Path) -> None:
    add(models, 3, swap_classes)
    seen = found(models, tmp_path / "state")
    contract = compare_versions(seen["breast-cancer", 2], seen["breast-cancer", 3])
    assert seen["breast-cancer", 3].state == "READY"
    assert contract.kind is ContractKind.BREAKING
    assert contract.differences == tuple(
        f"golden rows: the classes of output {output!r} seem to have changed places: 0 became 1, 1 became 0"
        for output in ("label", "probabilities")
    )


def test_labels_that_the_file_itself_orders_otherwise_are_found(models: Path, tmp_path: Path) -> None:
    add(models, 3, label_otherwise)
    seen = found(models, tmp_path / "state")
    contract = compare_versions(seen["breast-cancer", 2], seen["breast-cancer", 3])
    assert contract.kind is ContractKind.BREAKING
    assert (
        "the classes of output 'label' are in another order: number 0 is 'benign', was 'malignant'"
        in contract.differences
    )
