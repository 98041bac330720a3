"""What an infrastructure agent did about a breach: from its message to a notice for people."""

from collections import Counter
from enum import StrEnum

from powerd.core.model import Notice, Severity
from powerd.dsx.cloud_event import identifier
from powerd.dsx.load_target import MAX_TAG_CHARACTERS
from powerd.signals.fields import Fields
from powerd.signals.reasons import Reason
from powerd.signals.strict_json import JsonObject

KIND = "grid.powerbreach.enforcement.v1"
MAX_RESULTS = 1024
MAX_NAME_CHARACTERS = 128
# Resources that failed, named in one notice.
_SHOWN = 5


class Outcome(StrEnum):
    """How an enforcement ended as a whole."""

    SUCCESS = "success"
    PARTIAL = "partial"
    ERROR = "error"


class Phase(StrEnum):
    """What was done."""

    APPLIED = "applied"
    REVERTED = "reverted"


class Code(StrEnum):
    """How it ended for one resource."""

    APPLIED = "applied"
    FAILED = "failed"
    SKIPPED = "skipped"


def enforcement(data: JsonObject, label: str) -> Notice:
    """Return what people should hear of one outcome.

    Args:
        data: what was in the message, verified.
        label: who sent it; refusals are counted under it.

    Raises:
        SignalRejectedError: the form is wrong.
    """
    fields = Fields(data, label)
    breach_id = identifier(fields, "breach_id")
    feed = fields.text("feed_tag", MAX_TAG_CHARACTERS)
    phase = fields.choice("action", Phase, Reason.ACTION)
    outcome = fields.choice("code", Outcome, Reason.STATUS)
    fields.unix_s("timestamp")
    results = [_result(each) for each in fields.each("results", MAX_RESULTS)]
    counts = Counter(code for _, code in results)
    told = ", ".join(f"{counts[code]} {code}" for code in Code if counts[code])
    failed = [name for name, code in results if code is Code.FAILED]
    parts = [
        f"{label} {phase} enforcement on {feed}: {outcome}",
        told,
        f"failed: {', '.join(failed[:_SHOWN])}" if failed else "",
        fields.text("diag_msg", MAX_NAME_CHARACTERS) if fields.has("diag_msg") else "",
    ]
    severity = Severity.INFO if outcome is Outcome.SUCCESS else Severity.WARNING
    return Notice("dsx_enforcement", severity, "; ".join(filter(None, parts)), f"{feed}:{breach_id}")


def _result(result: Fields) -> tuple[str, Code]:
    return (
        result.text("resource_id", MAX_NAME_CHARACTERS),
        result.choice("code", Code, Reason.STATUS),
    )
