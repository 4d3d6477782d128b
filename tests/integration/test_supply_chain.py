"""Only listed content is loaded, whatever is exchanged meanwhile; operators come from libraries of the server alone."""

import itertools
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from router.errors import FailedPrecondition
from router.reports import VersionState
from router.routes import Wanted
from service.runtime import loading, repository
from service.runtime.engine import Engine
from service.runtime.loading import Loader
from service.runtime.pool import NoMarks, Pool
from service.runtime.session import Session, SessionOptions
from service.runtime.verdict import examine, read_rules
from tests.integration.custom_operators import library_path
from tests.unit.service.runtime.tiny import place, times

X = {"x": np.array([[1, 2]], dtype=np.float32)}
LIBRARY = str(library_path())


def wanted(models: Path, version: int = 1) -> Wanted:
    files = repository.look(models, "m", version)
    assert files is not None
    return Wanted(repository.digest(files.path, str(models)), files.stamp)


def refuse(digest: str) -> str | None:
    return "not listed"


def test_a_worker_loads_nothing_that_is_not_listed_whoever_wants_it(tmp_path: Path) -> None:
    place(tmp_path, "m", 1, times(2))
    for goal in (wanted(tmp_path), Wanted("", "")):
        with pytest.raises(FailedPrecondition, match="not listed"):
            Loader(tmp_path, refusal=refuse).load("m", 1, goal)


async def test_what_is_taken_off_the_list_is_out_of_service_and_comes_back(tmp_path: Path) -> None:
    place(tmp_path, "m", 1, times(2))
    pool = Pool(2, NoMarks())
    engine = Engine(Loader(tmp_path), pool, lambda: None)
    engine.follow({"m": {1: wanted(tmp_path)}})
    await engine.settled()
    held = engine.acquire("m", 1)

    engine.permit(refuse)
    engine.release(held)
    await engine.settled()
    state = engine.states()["m"][1]
    assert (state.state, state.reason) == (VersionState.UNAVAILABLE, "not listed")
    assert "not listed" in str(engine.not_ready_reason("m", 1))

    engine.permit(lambda digest: None)
    await engine.settled()
    assert engine.not_ready_reason("m", 1) is None
    await engine.close()
    pool.close()


def test_content_that_is_exchanged_while_it_is_loaded_and_put_back_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, evil = place(tmp_path, "store", "good", times(2)), place(tmp_path, "store", "evil", times(666))
    link = tmp_path / "m/1/model.onnx"
    link.parent.mkdir(parents=True)
    link.symlink_to(os.path.relpath(good, link.parent))
    goal, loaded = wanted(tmp_path), []

    def point(target: Path) -> None:
        new = tmp_path / "new"
        new.symlink_to(os.path.relpath(target, link.parent))
        new.rename(link)

    def swapping(path: str, options: SessionOptions) -> Session:
        point(evil)
        try:
            loaded.append(Session(path, options).run(X)[0].item(0))
            return Session(path, options)
        finally:
            point(good)

    monkeypatch.setattr(loading, "Session", swapping)
    with pytest.raises(FailedPrecondition, match="changed while they were read"):
        Loader(tmp_path).load("m", 1, goal)
    assert set(loaded) == {666.0}


def test_no_race_of_links_ever_gets_other_content_loaded(tmp_path: Path) -> None:
    good, evil = place(tmp_path, "store", "good", times(2)), place(tmp_path, "store", "evil", times(666))
    link, ended = tmp_path / "m/1/model.onnx", threading.Event()
    link.parent.mkdir(parents=True)
    link.symlink_to(os.path.relpath(good, link.parent))
    goal = wanted(tmp_path)

    def flip() -> None:
        targets = itertools.cycle((evil, good))
        while not ended.wait(0.0003):
            new = tmp_path / "new"
            new.symlink_to(os.path.relpath(next(targets), link.parent))
            new.rename(link)
        if os.path.samefile(link, evil):
            link.unlink()
            link.symlink_to(os.path.relpath(good, link.parent))

    flipping = threading.Thread(target=flip)
    flipping.start()
    answers: list[float] = []
    try:
        for _ in range(100):
            try:
                answers.append(Loader(tmp_path).load("m", 1, goal).session.run(X)[0].item(0))  # type: ignore[attr-defined]
            except FailedPrecondition:
                answers.append(0.0)
    finally:
        ended.set()
        flipping.join()
    assert 666.0 not in answers
    assert Loader(tmp_path).load("m", 1, wanted(tmp_path)).session.run(X)[0].item(0) == 2.0  # type: ignore[attr-defined]


def neg_pos(**metadata: str) -> bytes:
    """A model with an operator that only the library has."""
    names = ("neg", "pos")
    tensors = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 2]) for name in ("x", *names)}
    node = helper.make_node("NegPos", ["x"], list(names), domain="ai.onnx.contrib")
    graph = helper.make_graph([node], "custom", [tensors["x"]], [tensors[name] for name in names])
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.contrib", 1)]
    made = helper.make_model(graph, opset_imports=imports, ir_version=8)
    helper.set_model_props(made, metadata)
    content: bytes = made.SerializeToString()
    return content


def test_a_library_of_the_settings_gives_its_operators_to_models(tmp_path: Path) -> None:
    place(tmp_path, "m", 1, neg_pos())
    options = SessionOptions(libraries=(LIBRARY,))
    assert examine(str(tmp_path / "m/1"), 1, read_rules(tmp_path, "m"), options).passed
    session: Any = Loader(tmp_path, options).load("m", 1, wanted(tmp_path)).session
    assert session.run({"x": np.array([[1, -2]], np.float32)})[0].tolist() == [[0, -2]]


def test_a_library_in_a_model_folder_is_not_loaded_whatever_the_model_says(tmp_path: Path) -> None:
    content = neg_pos(custom_op_library="ops.so", ort_config='{"session_options": {"custom_ops_library": "ops.so"}}')
    place(tmp_path, "m", 1, content)
    (tmp_path / "m/1/ops.so").write_bytes(Path(LIBRARY).read_bytes())
    verdict = examine(str(tmp_path / "m/1"), 1, read_rules(tmp_path, "m"), SessionOptions())
    assert (verdict.passed, "not a registered function/op" in verdict.reason) == (False, True)
    (tmp_path / "m/model.toml").write_text('[runtime]\ncustom_op_libraries = ["1/ops.so"]\n')
    assert "custom_op_libraries" in str(read_rules(tmp_path, "m").error)


def test_a_library_that_is_none_is_the_reason_that_models_give(tmp_path: Path) -> None:
    place(tmp_path, "m", 1, times(2))
    library = tmp_path / "none.so"
    library.write_text("not a library")
    options = SessionOptions(libraries=(str(library),))
    with pytest.raises(FailedPrecondition, match="ONNX Runtime cannot load it"):
        Loader(tmp_path, options).load("m", 1, wanted(tmp_path))
