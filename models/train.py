"""Trains the sample models and writes all that is made from data: ONNX files, held-out rows, golden cases, references.

`python models/train.py` makes everything again; `--report` measures the files that are there. Both need the `train`
extra of pyproject.toml. Every step is seeded and runs in one thread, so the same versions of the libraries on the same
kind of processor write the same bytes.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import skl2onnx
import sklearn
from recipes import SAMPLES, Array, Rows, Sample, split
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.model_selection import cross_val_predict
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

ROWS_IN_A_BIN = 80
OPSET = {"": 18, "ai.onnx.ml": 3}
TOML_MARK = "# --- written by models/train.py from here on ---\n"
TABLE_START, TABLE_END = "<!-- table: written by models/train.py -->\n", "<!-- end of table -->\n"

Outputs = dict[str, Array]
Case = dict[str, Any]


def export(sample: Sample, version: int, fitted: Any, columns: Sequence[str]) -> bytes:
    """The ONNX file of one version. Graph name and opset order are set, as skl2onnx would draw them anew each time."""
    width = len(columns)
    proto = skl2onnx.convert_sklearn(
        sample.recipes[version - 1].exported(fitted),
        name=f"{sample.name}-{version}",
        initial_types=[(sample.input_name, FloatTensorType([None, width]))],
        final_types=output_types(sample),
        options={"zipmap": False} if sample.labels else None,
        target_opset=OPSET,
        doc_string=f"{sample.name} {version}: {sample.recipes[version - 1].about}",
    )
    proto.domain, proto.model_version = "serin.samples", version
    proto.opset_import.sort(key=lambda opset: opset.domain)
    label_by_position(proto.graph)
    for key, text in sorted(properties(sample, columns).items()):
        proto.metadata_props.add(key=key, value=text)
    return bytes(proto.SerializeToString(deterministic=True))


def label_by_position(graph: Any) -> None:
    """Takes out the look-up behind an ArgMax: classes are 0 to n - 1 anyway, and onnxruntime refuses it zero rows."""
    best = next((node for node in graph.node if node.op_type == "ArgMax"), None)
    if best is None:
        return
    reached = {best.output[0]}
    for node in [node for node in graph.node if node is not best]:
        if reached & set(node.input):
            reached.update(node.output)
            graph.node.remove(node)
    best.output[0] = "label"
    best.attribute.append(onnx.helper.make_attribute("keepdims", 0))
    used = {name for node in graph.node for name in node.input}
    for unused in [constant for constant in graph.initializer if constant.name not in used]:
        graph.initializer.remove(unused)


def output_types(sample: Sample) -> list[tuple[str, Any]]:
    if sample.labels:
        shape = [None, len(sample.labels)]
        return [("label", Int64TensorType([None])), ("probabilities", FloatTensorType(shape))]
    return [(sample.value_name, FloatTensorType([None, 1]))]


def properties(sample: Sample, columns: Sequence[str]) -> dict[str, str]:
    """Metadata of the ONNX file; lists are JSON, as its values can only be strings."""
    found = {"columns": json.dumps(columns), "scikit_learn": sklearn.__version__, "source": "models/train.py"}
    return found | ({"labels": json.dumps(sample.labels)} if sample.labels else {})


def run(sample: Sample, model: bytes, x: Array) -> Outputs:
    """What plain onnxruntime answers, by output name."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {sample.input_name: x}), strict=True))


def decile_edges(values: Array, bins: int = 10) -> list[float]:
    """The inner quantiles of even bins, with six digits: short to read, and the counts are taken with exactly these."""
    return sorted({float(f"{edge:.6g}") for edge in np.quantile(values, np.arange(1, bins) / bins)})


def count_between(values: Array, edges: Sequence[float]) -> list[int]:
    """Counts of len(edges) + 1 bins; bin i holds edges[i-1] < value <= edges[i], as `le` of Prometheus does."""
    bins = np.searchsorted(np.asarray(edges), values, side="left")
    return [int(count) for count in np.bincount(bins, minlength=len(edges) + 1)]


def reference(sample: Sample, rows: Rows) -> dict[str, dict[str, list[Any]]]:
    """What each output looks like on the training rows.

    Scores are version 1's on folds that it was not trained on: its scores on rows it knows would be too sure.
    """
    method = "predict_proba" if sample.labels else "predict"
    folded = cross_val_predict(sample.recipes[0].build(), rows.train_x, rows.train_y, cv=5, method=method)
    if not sample.labels:
        return {sample.value_name: histogram(folded)}
    classes = np.bincount(rows.train_y, minlength=len(sample.labels))
    return {"label": {"counts": [int(count) for count in classes]}, "probabilities": histogram(folded.max(axis=1))}


def histogram(values: Array) -> dict[str, list[Any]]:
    edges = decile_edges(values)
    return {"edges": edges, "counts": count_between(values, edges)}


def features(sample: Sample, rows: Rows) -> dict[str, dict[str, Any]]:
    """What each watched column looks like on the training rows; a column that never changes says nothing."""
    found = {}
    for column in sample.watched:
        values, place = rows.train_x[:, column], {"input": sample.input_name, "column": column}
        if column in sample.categories:
            found[rows.columns[column]] = place | categories(values)
        elif values.min() < values.max():
            spread = {"range": [plain(values.min()), plain(values.max())]}
            # With few rows in a bin, chance looks like drift.
            even = decile_edges(values, min(10, len(values) // ROWS_IN_A_BIN))
            inner = [edge for edge in even if edge < values.max()]
            bins = {"edges": inner, "counts": count_between(values, inner)}
            found[rows.columns[column]] = place | bins | spread
    return found


def categories(values: Array) -> dict[str, list[Any]]:
    """Each value with its count, and none that is another."""
    names, counts = np.unique(values, return_counts=True)
    return {"categories": [str(plain(name)) for name in names], "counts": [*map(int, counts), 0]}


def features_toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    return "\n".join(
        f"[features.{json.dumps(name)}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
        for name, table in tables.items()
    )


def reference_toml(tables: Mapping[str, Mapping[str, Sequence[Any]]]) -> str:
    return "\n".join(
        f"[reference.{output}]\n" + "".join(f"{key} = {json.dumps(numbers)}\n" for key, numbers in table.items())
        for output, table in tables.items()
    )


def margins(outputs: Outputs) -> Array:
    """How far the best class is ahead of the second, by row; infinite where there are no classes."""
    if "probabilities" not in outputs:
        return np.full(len(next(iter(outputs.values()))), np.inf)
    ordered = np.sort(outputs["probabilities"], axis=1)
    return np.asarray(ordered[:, -1] - ordered[:, -2])


def golden_rows(sample: Sample, truth: Array, answers: Sequence[Outputs]) -> list[int]:
    """One held-out row of each class (or the first three): never one that another processor could decide otherwise."""
    clear = np.min([margins(answer) for answer in answers], axis=0) > 0.05
    if not sample.labels:
        return [0, 1, 2]
    return [int(np.flatnonzero(clear & (truth == label))[0]) for label in range(len(sample.labels))]


def golden_case(sample: Sample, x: Array, answers: Sequence[Outputs], picked: Sequence[int]) -> Case:
    chosen = list(picked)
    expected = {
        str(version): {name: tensor(values[chosen]) | tolerance(values) for name, values in answer.items()}
        for version, answer in enumerate(answers, start=1)
    }
    return {"inputs": {sample.input_name: tensor(x[chosen])}, "outputs": expected}


def tensor(values: Array) -> dict[str, Any]:
    datatype = "INT64" if values.dtype == np.int64 else "FP32"
    return {"datatype": datatype, "shape": list(values.shape), "data": [plain(value) for value in values.ravel()]}


def tolerance(values: Array) -> dict[str, float]:
    return {"atol": 0, "rtol": 0} if values.dtype == np.int64 else {"atol": 1e-4, "rtol": 1e-4}


def plain(value: Any) -> int | float:
    """The shortest number that reads back as the same float32; whole numbers without a fraction."""
    number = float(str(value))
    return int(number) if number.is_integer() else number


def held_out(sample: Sample, rows: Rows) -> str:
    """The held-out rows as JSON, one row a line."""
    lines = ",\n".join(json.dumps([plain(value) for value in row]) for row in rows.test_x)
    truth = {"label" if sample.labels else sample.value_name: [plain(value) for value in rows.test_y]}
    return f'{{"inputs": {{"{sample.input_name}": [\n{lines}\n]}},\n"truth": {json.dumps(truth)}}}\n'


def check_export(sample: Sample, fitted: Any, x: Array, answer: Outputs) -> None:
    """Raises AssertionError where the ONNX file does not say what the exported estimator says."""
    if sample.labels:
        np.testing.assert_array_equal(answer["label"], fitted.predict(x))
        np.testing.assert_allclose(answer["probabilities"], fitted.predict_proba(x), atol=1e-4)
    else:
        np.testing.assert_allclose(answer[sample.value_name].ravel(), fitted.predict(x), rtol=1e-4)


def make_version(sample: Sample, version: int, rows: Rows, home: Path) -> Outputs:
    """Trains, exports and writes one version; returns what the file answers for the held-out rows."""
    recipe = sample.recipes[version - 1]
    fitted = recipe.build().fit(rows.train_x, rows.train_y)
    model = export(sample, version, fitted, rows.columns)
    answer = run(sample, model, rows.test_x)
    check_export(sample, recipe.exported(fitted), rows.test_x, answer)
    folder = home / str(version)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model)
    return answer


def make_sample(sample: Sample, home: Path) -> None:
    rows = split(sample)
    answers = [make_version(sample, version, rows, home) for version in range(1, len(sample.recipes) + 1)]
    picked = golden_rows(sample, rows.test_y, answers)
    cases = [golden_case(sample, rows.test_x, answers, group) for group in (picked[:1], picked)]
    (home / "heldout.json").write_text(held_out(sample, rows))
    (home / "golden.json").write_text("".join(('{"cases": [\n', ",\n".join(map(json.dumps, cases)), "\n]}\n")))
    written = (reference_toml(reference(sample, rows)), features_toml(features(sample, rows)))
    replace_after(home / "model.toml", TOML_MARK, "\n".join(written))


def replace_after(path: Path, mark: str, text: str) -> None:
    """Keeps what people wrote above the mark. Raises ValueError when the mark is gone."""
    kept, found, _ = path.read_text().partition(mark)
    if not found:
        raise ValueError(f"{path} has lost the line {mark.strip()!r}: put it back above the reference tables")
    path.write_text(kept + mark + text)


def report_line(sample: Sample, version: int, home: Path) -> str:
    path, rows = home / str(version) / "model.onnx", json.loads((home / "heldout.json").read_text())
    answer = run(sample, path.read_bytes(), np.asarray(rows["inputs"][sample.input_name], np.float32))
    kilobytes = path.stat().st_size / 1000
    about = sample.recipes[version - 1].about
    return f"| {sample.name} | {version} | {about} | {score(sample, answer, rows['truth'])} | {kilobytes:.1f} kB |\n"


def score(sample: Sample, answer: Outputs, truth: Mapping[str, Sequence[float]]) -> str:
    if sample.labels:
        accuracy = float(np.mean(answer["label"] == np.asarray(truth["label"])))
        return f"accuracy {accuracy:.1%}, mean top probability {float(answer['probabilities'].max(axis=1).mean()):.2f}"
    seen, real = answer[sample.value_name].ravel(), truth[sample.value_name]
    return f"R² {r2_score(real, seen):.2f}, mean absolute error {mean_absolute_error(real, seen):.1f}"


def report(root: Path) -> str:
    """The table of models/README.md, measured with onnxruntime on the files under `root`."""
    head = "| Model | Version | What it is | On the held-out rows | File |\n|---|---|---|---|---|\n"
    lines = (report_line(s, v, root / s.name) for s in SAMPLES for v in range(1, len(s.recipes) + 1))
    return head + "".join(lines)


def write_report(path: Path, table: str) -> None:
    before, _, rest = path.read_text().partition(TABLE_START)
    _, found, after = rest.partition(TABLE_END)
    if not found:
        raise ValueError(f"{path} has lost one of the lines around its table: {TABLE_START!r}, {TABLE_END!r}")
    path.write_text(before + TABLE_START + table + TABLE_END + after)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description="Train and export the sample models.")
    parser.add_argument("--report", action="store_true", help="only measure the files that are there")
    root = Path(__file__).parent
    with threadpool_limits(1):
        if not parser.parse_args(arguments).report:
            for sample in SAMPLES:
                make_sample(sample, root / sample.name)
            write_report(root / "README.md", report(root))
        print(report(root), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
