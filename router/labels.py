"""From the counters of all workers to the labels that came back for both versions of a rollout."""

from collections.abc import Sequence

from router.cursor import Subject
from router.policy import Metric, Policy
from router.rewards import reward_counts
from router.shelves import Judged
from router.strata import RewardCounts
from router.tally import BlockCopy


def read_labels(copies: Sequence[BlockCopy], subject: Subject, policy: Policy) -> Judged:
    """By epoch; nothing where the rollout asks for no labels. By caller where it counts callers."""
    if all(rule.metric is not Metric.REWARD for rule in policy.rules):
        return {}
    found = {}
    for epoch, arms in reward_counts(copies, subject.model, "unit" if policy.by_key else "split").items():
        ours, theirs = arms.get(subject.candidate), arms.get(subject.stable)
        beside = None if subject.baseline is None else arms.get(subject.baseline)
        theirs = beside if theirs is None else theirs if beside is None else theirs + beside
        known = ours or theirs
        if known is not None:
            found[epoch] = (ours or RewardCounts(known.minutes), theirs or RewardCounts(known.minutes))
    return found
