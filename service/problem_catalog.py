"""Every stable code that a caller can meet, with what it means and what to do about it."""

from service.problem_access import ACCESS
from service.problem_contract import CONTRACT
from service.problem_purge import PURGE
from service.problem_words import REQUEST_AUDITS, WEBHOOKS, Problem

_SEE_POINTERS = "Correct the places that `errors` points at and send the request again."
_NEW_NAME = "Choose another name, or use the one that is registered."
_CHECK_WEIGHTS = "Register the model again with weights saved from this architecture."

CATALOG: dict[str, Problem] = {
    "no_answer": Problem(
        None, "A process ended without an answer", "It is tried again; see the worker's log."
    ),
    "no_child": Problem(
        None, "The worker could not start a process", "It is tried again; see the worker's log."
    ),
    "no_gpu": Problem(None, "The worker has no GPU", "Set EXPUNGE_DEVICE to `auto` or `cpu`."),
    "worker_lost": Problem(
        None, "Workers fell silent too often", "See the workers' logs, then request again."
    ),
    "architecture_not_built": Problem(
        None, "The architecture cannot be built", "Check `architecture` and its kwargs."
    ),
    "bad_hyperparameters": Problem(
        422, "A method does not take these hyper-parameters", "Correct what `errors` points at."
    ),
    "bad_ladder": Problem(
        422, "The ladder makes no sense", "Name each method once; `retrain` can only be the last."
    ),
    "cancelled_by_caller": Problem(
        None, "The caller withdrew it", "Open another request if the samples must still go."
    ),
    "image_missing": Problem(
        None, "An image is missing", "Restore the file, or register the data set anew."
    ),
    "image_outside_root": Problem(
        None, "An image lies outside its root", "Register the data set anew with a safe path."
    ),
    "invalid_problem": Problem(
        None, "The job makes no sense", "Read the reason; correct recipe, data or architecture."
    ),
    "method_not_usable": Problem(
        None, "A method cannot be used here", "Choose another ladder; read the reason."
    ),
    "model_rejected": Problem(
        409, "The model was refused", "Register it again; its reason says what was wrong."
    ),
    "no_rung_left": Problem(
        None, "No method passed", "Request again with `retrain` as the last rung of the ladder."
    ),
    "non_finite_loss": Problem(
        None, "The training diverged", "Register the model with a gentler recipe."
    ),
    "not_computable": Problem(
        None, "A measurement cannot be made", "Read the reason; more samples may help."
    ),
    "nothing_left": Problem(
        422, "No training sample would be left", "Delete the model instead of unlearning all of it."
    ),
    "out_of_memory": Problem(
        None, "The worker ran out of memory", "Use a larger worker or a smaller batch size."
    ),
    "retrain_required": Problem(
        422, "Only retrain closes a request without an audit", "Add `retrain` to the ladder."
    ),
    "pool_not_usable": Problem(
        422,
        "Nothing would use the pool",
        "Ask for the audit level `references` with `muda` in the ladder, or leave `pool` out.",
    ),
    "unknown_audit": Problem(
        422, "There is no such audit level", "Use `references`, `qualified` or `none`."
    ),
    "qualification_missing": Problem(
        409,
        "A method of the ladder has no live qualification",
        "Qualify the methods named in `methods` on this model first (POST "
        "/v1/models/{id}/qualifications), or ask for the audit level `references`.",
    ),
    "drifted": Problem(
        None, "Too many approximate runs since the trials", "Qualify the method again."
    ),
    "lineage_moved": Problem(
        None, "The model was retrained since the trials", "Qualify the method again."
    ),
    "method_changed": Problem(
        None, "The method is another one than in the trials", "Qualify the method again."
    ),
    "policy_changed": Problem(
        None, "The policy is another one than in the trials", "Qualify the method again."
    ),
    "trials_failed": Problem(
        None,
        "The method passed too few trials",
        "Use another method, or the audit level `references`.",
    ),
    "too_few_trials": Problem(422, "Too few trials", "Ask for one of each kind at least."),
    "too_many_trials": Problem(
        422, "Too many trials that leave a class out", "Each class is left out once at most."
    ),
    "unknown_trial_kind": Problem(
        422, "There is no such kind of trial", "Use `class`, `mislabelled` or both."
    ),
    "unknown_method": Problem(422, "There is no such method", "Use one that the detail names."),
    "unknown_regulation": Problem(
        422, "There is no such regulation", "Use `gdpr`, `uk_gdpr`, `ccpa` or `other`."
    ),
    "already_closed": Problem(
        409, "It is already closed", "Nothing is left to do; read its report or its reason."
    ),
    "already_erased": Problem(
        409,
        "Samples were already erased",
        "Leave out the samples that a completed request of this model erased.",
    ),
    "already_requested": Problem(
        409, "Samples are already requested", "Wait for the open request, or leave them out."
    ),
    "architecture_unknown": Problem(
        None, "Unknown architecture", "Use `expunge:small_cnn`, `expunge:mlp` or `torchvision:…`."
    ),
    "bad_cursor": Problem(
        422, "The cursor is not one of ours", "Use `next_cursor` of the page before, unchanged."
    ),
    "body_too_large": Problem(
        413,
        "The body is too large",
        "Name large files by URI under a data root, or ask the operator for a higher "
        "EXPUNGE_MAX_BODY_BYTES.",
    ),
    "figure_not_found": Problem(
        404, "No such figure", "Use a figure's name from the report's statement."
    ),
    "figure_digest_mismatch": Problem(
        500,
        "A figure is not the one that was measured",
        "Tell the operator: a stored figure does not have its recorded digest.",
    ),
    "illegal_move": Problem(
        409, "The state does not allow this", "Read the resource again and look at its status."
    ),
    "image_digest_mismatch": Problem(
        None,
        "An image is not the one that was registered",
        "Restore the image, or register the data set anew.",
    ),
    "image_undecodable": Problem(
        None, "An image cannot be decoded", "Replace the file and register the data set anew."
    ),
    "insufficient_scope": Problem(
        403, "The key lacks a scope", "Use a key that has the scope named in `scope`."
    ),
    "internal_error": Problem(
        500,
        "Something went wrong here",
        "Try again later; if it stays, give the operator the `request_id`.",
    ),
    "invalid_credentials": Problem(
        401,
        "No valid API key",
        "Send `Authorization: Bearer ex_live_…` with a key that is neither expired nor revoked.",
    ),
    "invalid_request": Problem(422, "The request does not fit its schema", _SEE_POINTERS),
    "manifest_columns_missing": Problem(
        422,
        "The manifest lacks columns",
        "Add `sample_id`, `label`, `split` and `uri` (or `file_name`).",
    ),
    "manifest_empty": Problem(422, "The manifest lists no sample", "Add rows to the manifest."),
    "manifest_not_found": Problem(
        422,
        "There is no such manifest",
        "Check the path, that it lies under a data root, and that the server may read it.",
    ),
    "manifest_rows_invalid": Problem(
        422, "Rows of the manifest are faulty", "`counts` says how many by kind. " + _SEE_POINTERS
    ),
    "manifest_too_large": Problem(
        422, "The manifest lists too many samples", "Split the data set at `limit` samples."
    ),
    "manifest_unreadable": Problem(
        422, "The manifest cannot be read", "Write it as Parquet or as CSV in UTF-8 with a header."
    ),
    "method_not_allowed": Problem(
        405, "The method is not allowed here", "Use one of the methods in the header `Allow`."
    ),
    "model_not_ready": Problem(
        409,
        "The model is not ready",
        "Wait until its status is `ready`; if it is `failed`, register it again.",
    ),
    "name_taken": Problem(409, "The name is taken", _NEW_NAME),
    "no_samples": Problem(
        422, "No sample was named", "Name ids, labels or subjects that still have samples."
    ),
    "no_training_samples": Problem(
        422, "No training sample", "Give at least some rows the split `train`."
    ),
    "not_acceptable": Problem(
        406, "No such representation", "Ask in `Accept` for one of the types in `available`."
    ),
    "not_found": Problem(
        404, "There is no such thing", "Check the id; ids of other tenants are not found either."
    ),
    "not_json": Problem(
        400,
        "The body is no JSON",
        "Send one JSON document in UTF-8: finite numbers of at most 64 bits, no name twice in an "
        "object, no NUL character.",
    ),
    "not_training_samples": Problem(
        422,
        "Samples were never trained on",
        "Leave out hold-out samples: the model has nothing of them to forget.",
    ),
    "path_outside_roots": Problem(
        422,
        "The path leaves the data roots",
        "Put the file under a folder of EXPUNGE_DATA_ROOTS and name it there.",
    ),
    "range_not_satisfiable": Problem(
        416, "The range lies outside the file", "Ask for a range within the size given."
    ),
    "recipe_required": Problem(
        422,
        "The model has no training recipe",
        "Register the model with its `recipe`; without one nothing can be retrained or audited.",
    ),
    "repeated_samples": Problem(422, "Samples are named twice", "Name each sample once."),
    "report_not_ready": Problem(
        404, "There is no report yet", "Wait until the status is `completed`; see `events`."
    ),
    "storage_damaged": Problem(
        500, "A stored file is missing or damaged", "Tell the operator; give the `request_id`."
    ),
    "too_many_samples": Problem(
        422, "Too many samples in one request", "Split the request at `limit` samples."
    ),
    "unknown_policy": Problem(
        422, "There is no such policy", "Use `standard` or another policy of this installation."
    ),
    "unknown_samples": Problem(
        422, "Samples are unknown", "Check the ids against GET /v1/datasets/{id}/samples."
    ),
    "unknown_scope": Problem(422, "There is no such scope", "Use one of the documented scopes."),
    "unreadable_form": Problem(
        400, "The form cannot be read", "Send multipart/form-data with the documented parts."
    ),
    "unsupported_media_type": Problem(
        415, "The body has a wrong type", "Send `Content-Type: application/json`."
    ),
    "weights_digest_mismatch": Problem(
        422, "The weights are other ones", "Check `weights_sha256`, or send the right file."
    ),
    "weights_mismatch": Problem(None, "The weights do not fit", _CHECK_WEIGHTS),
    "weights_not_finite": Problem(None, "The weights hold NaN or infinities", _CHECK_WEIGHTS),
    "weights_not_found": Problem(
        422,
        "There is no such weights file",
        "Check the path, that it lies under a data root, and that the server may read it.",
    ),
    "weights_not_safetensors": Problem(
        422,
        "The weights are not safetensors",
        "Save the state with `safetensors.torch.save_file`; pickles are never opened.",
    ),
    "weights_purged": Problem(
        410, "The weights were removed", "This version's weights are gone for good, by policy."
    ),
    "weights_truncated": Problem(422, "The weights are cut off", "Send the whole file again."),
    **ACCESS,
    **REQUEST_AUDITS,
    **CONTRACT,
    **PURGE,
    **WEBHOOKS,
}


def as_markdown() -> str:
    """Return docs/problems.md."""
    lines = [
        "# Problems",
        "",
        "Every error is an `application/problem+json` document (RFC 9457). `code` is stable: build",
        "on it, not on the words. `errors[].pointer` is a JSON pointer into what was sent, or",
        "`/rows/<row>/<column>` into a manifest. `request_id` is also in the header X-Request-Id.",
        "Codes without a status are met as the reason of a model, request or audit that failed.",
        "",
        "| code | status | means | what to do |",
        "|---|---|---|---|",
    ]
    for code, problem in sorted(CATALOG.items()):
        status = problem.status or "–"
        lines.append(f"| `{code}` | {status} | {problem.title} | {problem.advice} |")
    return "\n".join(lines) + "\n"
