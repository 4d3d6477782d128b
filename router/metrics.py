"""The one list of metrics: the exposition is built from it, the docs and the tests compare themselves with it."""

from dataclasses import dataclass
from typing import Final, Literal

Labels = tuple[str, ...]
VARIANT_LABELS = ("model", "version", "variant")
_VARIANT = VARIANT_LABELS


@dataclass(frozen=True, slots=True)
class MetricName:
    """One row of the table of metrics. `kind` is counter, gauge or histogram. `admin_only`: the controller alone knows
    it, so that only the admin port shows it."""

    name: str
    kind: str
    help: str
    labels: Labels = ()
    admin_only: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a metric, where no counter says it. `labels`: values in the order of the metric's."""

    name: str
    labels: Labels
    value: float


def label_text(text: str) -> str:
    """A label value that stays short and on its line, whatever a manifest says."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)[:64]


METRICS = (
    MetricName(
        "serin_requests_total", "counter", "Requests that a variant was given, by how they ended. Assignment is split,"
        " or direct (a named version or a rule).", (*_VARIANT, "assignment", "outcome"),
    ),
    MetricName(
        "serin_shed_requests_total", "counter", "Requests that a variant was given and that were not run, by why.",
        (*_VARIANT, "reason"),
    ),
    MetricName("serin_assigned_total", "counter", "Requests given to a variant, by what decided.", (*_VARIANT, "how")),
    MetricName(
        "serin_request_duration_seconds", "histogram", "Time from the assignment to the result, of requests that ran.",
        _VARIANT,
    ),
    MetricName(
        "serin_request_phase_duration_seconds", "histogram", "Time in decode, queue, compute and encode, of requests"
        " that ran.", (*_VARIANT, "phase"),
    ),
    MetricName(
        "serin_runs_total", "counter", "Runs of a version for requests; a batch is one.", ("model", "version"),
    ),
    MetricName(
        "serin_run_rows_total", "counter", "Rows in those runs; a request of a model without a batch dimension is one.",
        ("model", "version"),
    ),
    MetricName("serin_requests_in_flight", "gauge", "Requests assigned and not yet done.", ("model", "version")),
    MetricName("serin_queued_requests", "gauge", "Requests waiting for a place to run.", ("model", "version")),
    MetricName("serin_predictions_total", "counter", "Rows by predicted class.", (*_VARIANT, "output", "class")),
    MetricName("serin_prediction_value", "histogram", "Predicted numbers, one a row.", (*_VARIANT, "output")),
    MetricName("serin_prediction_confidence", "histogram", "Top probability, one a row.", (*_VARIANT, "output")),
    MetricName(
        "serin_predictions_nonfinite_total", "counter", "Rows whose prediction was NaN or infinite.",
        (*_VARIANT, "output"),
    ),
    MetricName("serin_inputs_sampled_total", "counter", "Requests of which inputs were looked at.", _VARIANT),
    MetricName(
        "serin_inputs_dropped_total", "counter", "Requests that were sampled and left out, by reason.",
        (*_VARIANT, "reason"),
    ),
    MetricName(
        "serin_input_values_total", "counter", "Sampled values of declared features, by what is wrong with them (ok:"
        " nothing).", (*_VARIANT, "feature", "quality"),
    ),
    MetricName(
        "serin_drift_distance", "gauge", "Distance of an input or output from its reference in the last full window,"
        " by measure: psi, js, wasserstein (in sd).", ("model", "side", "feature", "measure"), admin_only=True,
    ),
    MetricName("serin_drift_alarm", "gauge", "1 while it drifts.", ("model", "side", "feature"), admin_only=True),
    MetricName(
        "serin_drift_inputs_alarm", "gauge", "1 while a model's inputs as a whole drift.", ("model",),
        admin_only=True,
    ),
    MetricName(
        "serin_data_quality_alarm", "gauge", "1 while more values are bad in this way than is tolerated.",
        ("model", "side", "feature", "quality"), admin_only=True,
    ),
    MetricName(
        "serin_inputs_differ", "gauge", "1 when a variant does not get the same inputs as the one with most weight.",
        ("model", "variant"), admin_only=True,
    ),
    MetricName(
        "serin_selfcheck_rounds_total", "counter", "Rounds in which a version was compared with itself, by how they"
        " ended (quiet, idle: too few requests; abort, hold, assignment: a false alarm), since the controller started.",
        ("model", "outcome"), admin_only=True,
    ),
    MetricName(
        "serin_selfcheck_false_alarm_ratio", "gauge", "Of those rounds that could show something, the share with an"
        " alarm.", ("model",), admin_only=True,
    ),
    MetricName(
        "serin_selfcheck_requests", "gauge", "Requests that were compared in the present round.", ("model",),
        admin_only=True,
    ),
    MetricName(
        "serin_served_instead_total", "counter", "Requests that a variant was given in the place of another, by why and"
        " by how they ended there. Reason is budget or exposure where the other was not tried; otherwise the other has"
        " failed and is counted with its failure.", (*_VARIANT, "instead_of", "reason", "outcome"),
    ),
    MetricName(
        "serin_golden_runs_total", "counter", "Golden rows that a variant ran to fill the sample of a quiet rollout, by"
        " how they ended (error: also another answer than the row expects).", (*_VARIANT, "outcome"),
    ),
    MetricName(
        "serin_mirror_requests_total", "counter", "Copies of requests that a mirrored version ran, by how they ended.",
        (*_VARIANT, "outcome"),
    ),
    MetricName(
        "serin_mirror_dropped_total", "counter", "Requests that were sampled for a mirror and left out, by reason.",
        (*_VARIANT, "reason"),
    ),
    MetricName("serin_mirror_duration_seconds", "histogram", "Time that copies of requests ran.", _VARIANT),
    MetricName(
        "serin_mirror_pairs_total", "counter", "Requests that both versions answered, by whether some output differs.",
        (*_VARIANT, "result"),
    ),
    MetricName(
        "serin_mirror_outputs_total", "counter", "The same by output.", (*_VARIANT, "output", "result"),
    ),
    MetricName("serin_mirror_rows_total", "counter", "The same by row of an output.", (*_VARIANT, "output", "result")),
    MetricName(
        "serin_mirror_difference", "histogram", "Largest distance of a row of an output from the stable answer; its"
        " unit is that of the comparison.", (*_VARIANT, "output"),
    ),
    MetricName(
        "serin_feedback_total", "counter", "Labels and rewards that came back for answers of a variant, each once.",
        (*_VARIANT, "assignment", "result"),
    ),
    MetricName(
        "serin_feedback_possible_total", "counter", "Answers of a variant that feedback can come back for.",
        (*_VARIANT, "assignment"),
    ),
    MetricName("serin_feedback_refused_total", "counter", "Feedback that was not counted, by reason.", ("reason",)),
    MetricName("serin_api_keys", "gauge", "API keys in force, where keys are asked for.", admin_only=True),
    MetricName(
        "serin_api_keys_file_unusable", "gauge", "1 while the file of API keys cannot be read; the old keys stay.",
        admin_only=True,
    ),
    MetricName("serin_exposure_used", "gauge", "What a rollout's exposure budget has used up.", ("model", "limit")),
    MetricName("serin_exposure_limit", "gauge", "What a rollout's exposure budget allows.", ("model", "limit")),
    MetricName(
        "serin_rollout_phase", "gauge", "1 for the phase of a model's last rollout.", ("model", "phase"),
        admin_only=True,
    ),
    MetricName(
        "serin_rollout_step", "gauge", "The rollout's step, from 1; 0 before the first.", ("model",),
        admin_only=True,
    ),
    MetricName("serin_rollout_steps", "gauge", "How many steps the rollout has.", ("model",), admin_only=True),
    MetricName(
        "serin_rollout_check", "gauge", "1 for the verdict of each check of the present step.",
        ("model", "check", "verdict"), admin_only=True,
    ),
    MetricName(
        "serin_rollout_assignment_broken", "gauge", "1 when the evidence of a rollout says that its split does not"
        " follow the weights.", ("model",), admin_only=True,
    ),
    MetricName(
        "serin_rollout_decisions_total", "counter", "What rollouts decided, since the controller started. Reason is"
        " person, check, contract, or what moved it.", ("model", "decision", "reason"), admin_only=True,
    ),
    MetricName(
        "serin_hook_deliveries_total", "counter", "Events that a hook took (delivered), attempts that failed, and"
        " events that were given up (dropped), since the controller started.", ("hook", "result"), admin_only=True,
    ),
    MetricName(
        "serin_hook_backlog", "gauge", "Events behind the last one that is settled for a hook.", ("hook",),
        admin_only=True,
    ),
    MetricName(
        "serin_admin_refused_requests_total", "counter", "Requests that the admin port refused for who asked, from"
        " where or how much, since the controller started.", ("reason",), admin_only=True,
    ),
    MetricName("serin_audit_events", "gauge", "Events of the history.", admin_only=True),
    MetricName(
        "serin_audit_head", "gauge", "The first 12 hexadecimal digits of the hash of the newest event, as a number: who"
        " scrapes it keeps it outside.", admin_only=True,
    ),
    MetricName("serin_route_weight_ratio", "gauge", "Share of a route's traffic that a variant should get.", _VARIANT),
    MetricName(
        "serin_route_share_ratio", "gauge", "Share of a route's split that a variant got since the weights last"
        " changed.", _VARIANT,
    ),
    MetricName("serin_route_epoch", "gauge", "Number of the route's present weights.", ("model",)),
    MetricName("serin_table_revision", "gauge", "Revision of the route table in the process that answers."),
    MetricName("serin_model_workers", "gauge", "Live workers, by state of a version.", ("model", "version", "state")),
    MetricName("serin_worker_restarts_total", "counter", "Workers that were replaced."),
    MetricName("serin_rejected_requests_total", "counter", "Requests that reached no variant, by reason.", ("reason",)),
    MetricName(
        "serin_tls_certificate_expiry_timestamp_seconds", "gauge", "Until when the certificate that this process shows"
        " holds, in seconds since 1970, by port (clients, admin).", ("port",),
    ),
    MetricName(
        "serin_tls_reload_failed", "gauge", "1 while its files on disk are others that cannot be used.", ("port",),
    ),
    MetricName("serin_build_info", "gauge", "What is running; always 1.", ("name", "version", "onnxruntime")),
)  # fmt: skip

Familiarity = Literal["none", "triton", "kserve", "all"]
"""Whose names are shown beside these."""

_VERSION: Final = ("model", "version")
TRITON: Final = (
    MetricName("nv_inference_request_success", "counter", "Requests that were answered.", _VERSION),
    MetricName(
        "nv_inference_request_failure", "counter", "Requests that failed: REJECTED (queue full, out of time), CANCELED,"
        " BACKEND (the model), OTHER (the request).", (*_VERSION, "reason"),
    ),
    MetricName("nv_inference_count", "counter", "Rows that were run.", _VERSION),
    MetricName("nv_inference_exec_count", "counter", "Runs; a batch is one.", _VERSION),
    MetricName("nv_inference_request_duration_us", "counter", "Time of answered requests in the server.", _VERSION),
    MetricName("nv_inference_queue_duration_us", "counter", "Part of it: waiting for a turn.", _VERSION),
    MetricName("nv_inference_compute_input_duration_us", "counter", "Part of it: decoding.", _VERSION),
    MetricName("nv_inference_compute_infer_duration_us", "counter", "Part of it: running the model.", _VERSION),
    MetricName("nv_inference_compute_output_duration_us", "counter", "Part of it: encoding.", _VERSION),
    MetricName("nv_inference_pending_request_count", "gauge", "Requests waiting for a turn now.", _VERSION),
)  # fmt: skip

_MODEL: Final = ("model_name",)
KSERVE: Final = (
    MetricName("request_preprocess_seconds", "histogram", "Time to decode a request.", _MODEL),
    MetricName("request_predict_seconds", "histogram", "Time from there to the result, its wait included.", _MODEL),
    MetricName("request_postprocess_seconds", "histogram", "Time to encode an answer.", _MODEL),
)
