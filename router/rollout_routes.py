"""The route that a rollout wants at each point of its way: an ordinary route, made from the one that was stable."""

from collections.abc import Container, Mapping
from dataclasses import replace

from router.assessor import NOISE_FLOOR
from router.demands import BASELINE, has_baseline, is_randomised
from router.phases import AT_A_STEP, Phase
from router.plan import ExposureLimit
from router.rollout import Rollout, weights_of
from router.routes import PPM, Route, Rule, Variant
from router.safeguards import Exposure, Fallback, Golden, Mirror, Units
from router.strategies import StepKind, rules_at

_PROMOTED = (Phase.PROMOTING, Phase.WINDOW, Phase.PROMOTED)


def route_of(rollout: Rollout) -> Route:
    """The route for the rollout's phase and step; before the first step and after an abort it is the stable one."""
    if rollout.phase in AT_A_STEP and rollout.step >= 0:
        return _walking(rollout)
    return _promoted(rollout) if rollout.phase in _PROMOTED else rollout.stable


def _walking(rollout: Rollout) -> Route:
    stable, spec = rollout.stable, rollout.spec
    weights = weights_of(rollout, rollout.step)
    known = {variant.name for variant in stable.variants}
    kept = tuple(replace(v, weight_ppm=weights.get(v.name, v.weight_ppm)) for v in stable.variants)
    added = tuple(replace(c, weight_ppm=weights[c.name]) for c in rollout.candidates if c.name not in known)
    beside = _baseline(rollout, weights, known)
    if beside is not None:
        name, share = rollout.source.name, beside.weight_ppm
        kept = tuple(replace(v, weight_ppm=v.weight_ppm - share) if v.name == name else v for v in kept)
        added = (*added, beside)
    testers = tuple(
        Rule(header, rollout.candidates[0].name, value) for header, value in rules_at(spec.steps, rollout.step)
    )
    return replace(
        stable,
        variants=(*kept, *added),
        salt=spec.salt or rollout.id,
        key=spec.key or stable.key,
        rules=(*testers, *stable.rules),
        fallback=_fallback(rollout),
        mirrors=_mirrors(rollout),
        exposure=_exposure(rollout),
        units=_units(rollout),
        golden=_golden(rollout),
    )


def _baseline(rollout: Rollout, weights: Mapping[str, int], known: Container[str]) -> Variant | None:
    """Stable once more, in a queue of its own at the candidate's weight: what its latency is compared with."""
    policy, steps = rollout.spec.analysis, rollout.spec.steps
    if policy is None or not policy.baseline or not has_baseline(steps, rollout.step):
        return None
    source = rollout.source
    name = f"{BASELINE}-{source.version}" if BASELINE in known else BASELINE
    return Variant(name, source.version, weights[rollout.candidates[0].name], apart=True)


def _promoted(rollout: Rollout) -> Route:
    """All traffic on the winner. Names move with it: an alias of the old stable version, and rules to its variant."""
    stable = rollout.stable
    winner = next(candidate for candidate in rollout.candidates if candidate.name == rollout.winner)
    ruled = {rule.variant for rule in stable.rules} - {winner.name}
    others = tuple(replace(v, weight_ppm=0) for v in stable.variants if v.name in ruled)
    moved = {
        name: winner.version if version == rollout.source.version and name == "stable" else version
        for name, version in stable.aliases.items()
    }
    return replace(
        stable,
        variants=(Variant(winner.name, winner.version, PPM), *others),
        aliases=moved,
        fallback=None,
        mirrors=(),
        exposure=None,
        units=None,
        golden=None,
    )


def _fallback(rollout: Rollout) -> Fallback | None:
    safety = rollout.spec.fallback
    reached = any(weight > 0 for name, weight in weights_of(rollout, rollout.step).items() if name != _stable(rollout))
    if safety is None or not (reached or rules_at(rollout.spec.steps, rollout.step)):
        return rollout.stable.fallback
    return Fallback(_stable(rollout), safety.reasons, safety.budget_ppm)


def _mirrors(rollout: Rollout) -> tuple[Mirror, ...]:
    step, spec, share = rollout.current, rollout.spec, _mirrored_share(rollout)
    if step is None or share == 0:
        return rollout.stable.mirrors
    to = [(candidate.version, candidate.name) for candidate in rollout.candidates]
    if step.kind is StepKind.NOISE:
        to = [(rollout.source.version, NOISE_FLOOR)]
    pairs, against = spec.pairs, _stable(rollout)
    mirrors = (
        Mirror(version, share, name, against, spec.compare, pairs.most, pairs.inputs, pairs.values)
        for version, name in to
    )
    return (*rollout.stable.mirrors, *mirrors)


def _mirrored_share(rollout: Rollout) -> int:
    """Of the step, or of the policy where mirrored requests fill the sample of a step with weight."""
    step, policy = rollout.current, rollout.spec.analysis
    if step is not None and step.share_ppm > 0 and step.kind in (StepKind.NOISE, StepKind.SHADOW, StepKind.PREVIEW):
        return step.share_ppm
    fills = policy is not None and policy.mirror_ppm > 0 and is_randomised(rollout.spec.steps, rollout.step)
    return policy.mirror_ppm if policy is not None and fills else 0


def _exposure(rollout: Rollout) -> Exposure | None:
    limit: ExposureLimit | None = rollout.spec.exposure
    if limit is None or rollout.proven:
        return None
    candidate = rollout.candidates[0].name
    return Exposure(rollout.id, candidate, _stable(rollout), limit.requests, limit.keys, limit.failures)


def _units(rollout: Rollout) -> Units | None:
    """Callers are counted where they are compared; those of a step are nobody else's, so that later ones find some."""
    steps, policy = rollout.spec.steps, rollout.spec.analysis
    if policy is None or not policy.by_key or not is_randomised(steps, rollout.step):
        return rollout.stable.units
    compared = [index for index in range(len(steps)) if is_randomised(steps, index)]
    return Units(rollout.id, compared.index(rollout.step), len(compared))


def _golden(rollout: Rollout) -> Golden | None:
    """Golden rows fill the sample where requests are compared too."""
    policy = rollout.spec.analysis
    if policy is None or not policy.golden_per_second or not is_randomised(rollout.spec.steps, rollout.step):
        return rollout.stable.golden
    return Golden(rollout.candidates[0].name, _stable(rollout), policy.golden_per_second)


def _stable(rollout: Rollout) -> str:
    return rollout.source.name
