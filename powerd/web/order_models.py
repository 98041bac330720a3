"""The documents by which an operator changes something: what is sent, and what comes back.

Nothing is guessed: every key is known, every number in its range, and what a wrong one would do is not tried.
"""

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from powerd.desk.desk import MAX_DRILL_S, MAX_REASON_CHARS, MAX_TTL_S, MIN_DRILL_S, MIN_TTL_S
from powerd.mode import Mode
from powerd.web.models import Document

# More than any GPU draws; the GPU's own range is the desk's to look after.
_MAX_WATTS = 100_000
# One line that does not begin with a space: it is shown to people and written into logs.
_LINE = r"^[^\x00-\x20\x7f-\xa0\u2028\u2029][^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"

Reason: TypeAlias = Annotated[
    str,
    Field(min_length=1, max_length=MAX_REASON_CHARS, pattern=_LINE, description="Why, in one line; logged"),
]
GpuName: TypeAlias = Annotated[
    str,
    Field(
        max_length=128,
        pattern=r"^[0-9A-Za-z.:_-]+$",
        description="Index or UUID of the GPU, or the beginning of its UUID where only one GPU has it",
    ),
]


Duration: TypeAlias = (
    Annotated[float, Field(ge=MIN_DRILL_S, le=MAX_DRILL_S)] | Annotated[float, Field(ge=0, le=0)]
)


class Order(BaseModel):
    """Base of every order."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    reason: Reason


class OverrideOrder(Order):
    """Give one GPU exactly these watts for a while, before all others, as far as the budget reaches."""

    gpu: GpuName
    watts: float = Field(gt=0, le=_MAX_WATTS, description="Within the range of the GPU")
    ttl_s: float = Field(ge=MIN_TTL_S, le=MAX_TTL_S, description="Seconds until it ends by itself")


class OverrideEndOrder(Order):
    """End the override of one GPU."""

    gpu: GpuName
    watts: None = Field(description="Null: none any more")
    ttl_s: float | None = Field(default=None, ge=0, le=MAX_TTL_S, description="Of no meaning here")


class ReleaseOrder(Order):
    """Put back the limits that were found, and write nothing any more."""


class AttachOrder(Order):
    """Have the guard attach the driver again."""


class DetachOrder(Order):
    """Have the guard give up the driver until it shall attach it again."""

    force: bool = Field(
        default=False, description="Also where this host's watts do not cover what its GPUs may draw then"
    )


class ModeOrder(Order):
    """Change the mode until the next start."""

    mode: Mode = Field(description="What to do with decisions")


class DrillOrder(Order):
    """Hear no budgets for a while, as if the controller were lost."""

    drill: Literal["lost-controller"] = Field(description="What is tried")
    duration_s: Duration = Field(description="Seconds until it ends by itself; 0 ends it now")


class OrderDone(Document):
    """An order that was carried out."""

    done: str = Field(description="What was done and what follows, in one line")
    until: str | None = Field(description="RFC 3339 time at which it ends by itself; null if it does not")
