"""The sentences of a report about copies: what lives on under another id, and what follows."""

from collections.abc import Mapping


def copy_notices(found: Mapping[str, int | None] | None) -> list[str]:
    """Return what a reader must know of copies before anything else, in sentences.

    Args:
        found: `ReportContext.near_duplicates`.
    """
    if found is None:
        return ["Nobody looked for copies of the samples under other ids."]
    told, left = [], []
    if equal := found["byte_equal"]:
        left.append(f"{_samples(equal)} with the same picture as a forgotten one")
    if near := found["near"]:
        left.append(f"{_samples(near)} with nearly the same picture as a forgotten one")
    if left:
        told.append(
            f"{' and '.join(left)} remained in the training data under other ids. What they show "
            "is not forgotten: the new model was allowed to learn from them, and so were the "
            "models that it is compared with. They have to be requested too."
        )
    if near is None:
        told.append("Copies were looked for by equal files only; nobody compared pixels.")
    if count := found["in_holdout"]:
        told.append(
            f"{_samples(count)} of the hold-out {'is a copy' if count == 1 else 'are copies'} of "
            "forgotten ones. No model was trained on them, but the audit takes them for strangers: "
            "where it compares the forgotten samples with the hold-out, these look better "
            "forgotten than they are."
        )
    return told


def _samples(count: int) -> str:
    return "1 sample" if count == 1 else f"{count:,} samples"
