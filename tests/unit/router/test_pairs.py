"""The worst pairs of all workers, out of their files."""

from router.pairs import KeptPairs, encode_pairs, pairs_path, read_pairs, worst_pairs


def leave(state, slot, *distances, model="digits", salt="r1", most=2):
    path = pairs_path(state, slot)
    path.parent.mkdir(exist_ok=True)
    pairs = [{"differs": True, "distance": distance} for distance in distances]
    path.write_bytes(encode_pairs([KeptPairs(model, 2, "canary", salt, most, pairs)]))


def test_the_worst_of_all_workers_come_first(tmp_path):
    leave(tmp_path, 0, 0.5, 0.1)
    leave(tmp_path, 1, "inf", 0.3)
    [kept] = worst_pairs(tmp_path, "digits")

    assert [pair["distance"] for pair in kept.pairs] == ["inf", 0.5]


def test_other_models_and_other_rollouts_are_left_out(tmp_path):
    leave(tmp_path, 0, 0.5, model="wine")
    leave(tmp_path, 1, 0.5, salt="r0")

    assert worst_pairs(tmp_path, "digits", "r1") == []
    assert len(worst_pairs(tmp_path, "digits")) == 1


def test_a_damaged_file_is_no_pairs(tmp_path):
    path = pairs_path(tmp_path, 0)
    path.parent.mkdir()
    path.write_bytes(b"{")

    assert read_pairs(path) == []
    assert worst_pairs(tmp_path, "digits") == []
