"""Pure."""

import re

import pytest

from router.inputs import Feature
from service.features import Declared
from service.runtime.manifest import ManifestError, parse_manifest
from service.watch import OutputMeaning

DIGITS = b"""
description = "digits"
default_version = 1
versions = [1, 2]
labels = ["zero", "one"]
non_finite = "error"
[inputs.pixels]
units = "grey level"
range = [0, 16]
[outputs.label]
kind = "class"
[outputs.probabilities]
kind = "probabilities"
[outputs.size]
kind = "value"
[outputs.debug]
description = "not watched"
[reference.probabilities]
edges = [0.5, 0.9]
counts = [1, 2, 3]
[execution]
mode = "thread"
max_concurrency = 3
[golden]
"""


def test_no_file_says_nothing() -> None:
    manifest = parse_manifest(None)
    assert manifest.meanings() == ()
    assert manifest.loads(5)
    assert manifest.non_finite == "null"


def test_what_is_watched_comes_with_labels_and_the_edges_of_the_reference() -> None:
    assert parse_manifest(DIGITS).meanings() == (
        OutputMeaning("label", "class", ("zero", "one")),
        OutputMeaning("probabilities", "probabilities", ("zero", "one"), (0.5, 0.9)),
        OutputMeaning("size", "value"),
    )


def test_labels_of_an_output_go_before_those_of_the_model() -> None:
    text = b'labels = ["a"]\n[outputs.y]\nkind = "class"\nlabels = ["b"]'
    assert parse_manifest(text).meanings() == (OutputMeaning("y", "class", ("b",)),)


def test_only_the_listed_versions_are_loaded() -> None:
    manifest = parse_manifest(DIGITS)
    assert [version for version in range(5) if manifest.loads(version)] == [1, 2]


def test_keys_that_speak_of_nothing_are_told() -> None:
    strangers = parse_manifest(DIGITS).strangers({"pixels"}, {"label", "size"})
    assert strangers == ["outputs.probabilities", "outputs.debug", "reference.probabilities"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"=", "not valid TOML"),
        (b"\xff", "not UTF-8"),
        (b"a = " + b"[" * 5000, "nested too deeply"),
        (b"default_vesion = 1", "default_vesion: unknown key; did you mean 'default_version'?"),
        (b"[outputs.a]\nknd = 'class'", "outputs.a.knd: unknown key; did you mean 'kind'?"),
        (b"[outputs.a]\nkind = 'clas'", "outputs.a.kind: should be 'class', 'probabilities' or 'value'"),
        (b"default_version = '1'", "default_version: should be a valid integer"),
        (b"default_version = true", "default_version: should be a valid integer"),
        (b"default_version = 0", "default_version: should be greater than or equal to 1"),
        (b"versions = [1, 2.5]", "versions.1: should be a valid integer"),
        (b"versions = 3", "versions: should be a valid list"),
        (b"default_version = 3\nversions = [1]", "default_version 3 is not among versions"),
        (b"labels = [1]", "labels.0: should be a valid string"),
        (b"inputs = 3", "inputs: should be a valid table"),
        (b"[inputs.x]\nrange = [3, 1]", "inputs.x: range must be [lowest, highest]"),
        (b"[reference.y]\nedges = [1, 1]", "reference.y: edges must grow"),
        (b"[reference.y]\nedges = [nan]", "reference.y.edges.0: should be a finite number"),
        (b"[reference.y]\nedges = [1]\ncounts = [1]", "reference.y: 1 edges make 2 bins"),
        (b"[execution]\ntimeout_seconds = 0", "execution.timeout_seconds: should be greater than 0"),
        (b"non_finite = 'zero'", "non_finite: should be 'null', 'string', 'token' or 'error'"),
    ],
)
def test_a_mistake_is_named_with_its_key(text: bytes, complaint: str) -> None:
    with pytest.raises(ManifestError) as caught:
        parse_manifest(text)
    assert caught.value.message.startswith("model.toml")
    assert complaint in caught.value.message


FEATURES = b"""
[inputs.x]
range = [0, 100]
[features.age]
input = "x"
column = 3
edges = [30, 60]
counts = [1, 2, 3]
missing = 4
range = [20, 80]
[features.sex]
input = "x"
categories = ["1", "2"]
counts = [5, 6, 0]
[features.size]
input = "x"
[drift]
critical = ["age"]
"""


def test_features_are_declared_with_their_bins_and_reference() -> None:
    age, sex, size = parse_manifest(FEATURES).declared_features()
    assert age == Declared(Feature("age", "number", (30, 60), (), (1, 2, 3, 4), True), "x", 3, (20, 80))
    assert sex == Declared(Feature("sex", "category", (), ("1", "2"), (5, 6, 0, 0)), "x", 0, (0, 100))
    assert size.feature.edges == tuple(range(10, 100, 10))
    assert size.feature.reference == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"[features.a]\ninput='x'", "features.a needs categories, edges or a range"),
        (b"[features.a]\nedges=[1]", "features.a.input: Field required"),
        (b"[features.a]\ninput='x'\nedges=[1]\ncounts=[1]", "1 edges make 2 bins, not 1"),
        (b"[features.a]\ninput='x'\ncategories=['u']\ncounts=[1]", "counts must be 2: one each category"),
        (b"[features.a]\ninput='x'\ncategories=['u']\nedges=[1]", "categories have neither edges nor a range"),
        (b"[features.a]\ninput='x'\nedges=[2, 1]", "edges must grow"),
        (b"[features.a]\ninput='x'\nrange=[2, 1]", "range must be"),
        (b"[features.a]\ninput='x'\nedges=[1]\ncolum=1", "did you mean 'column'"),
        (b"[drift]\ncritical=['a']", "drift.critical names 'a', and there is no"),
    ],
)
def test_a_feature_that_cannot_be_watched_is_refused(text: bytes, words: str) -> None:
    with pytest.raises(ManifestError, match=re.escape(words)):
        parse_manifest(text)


def test_a_feature_of_an_input_that_is_not_there_is_told() -> None:
    assert "features.age" in parse_manifest(FEATURES).strangers({"y"}, set())
