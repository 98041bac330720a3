"""The document about the last day: columns, so that an hour of it is small."""

from pydantic import Field

from powerd.web.models import Document

Column = list[float | None]


class GpuHistoryView(Document):
    """One GPU, point by point."""

    uuid: str = Field(description="Identity of the GPU")
    index: int = Field(description="The driver's index; for people, it may change between boots")
    draw_watts: Column = Field(description="What it drew")
    limit_watts: Column = Field(description="The limit it was to have; null if it could not be limited")
    draw_max_watts: Column | None = Field(description="The most it drew in the step; null with samples")
    limit_min_watts: Column | None = Field(description="Its lowest limit in the step; null with samples")


class HappeningView(Document):
    """Something that happened once."""

    time: str = Field(description="RFC 3339 time")
    event: str = Field(description="Stable slug, the same as in the log")
    severity: str = Field(description="info, warning or critical")
    subject: str = Field(description="GPU UUID, source or rule it is about; may be empty")
    text: str = Field(description="One line for people")
    by: str = Field(description="Who brought it about: a sender, or a person; may be empty")


class HistoryView(Document):
    """What was given, drawn and asked for, the oldest first; columns of one length, null where unknown.

    Points are samples, taken once a second at the most, or means of longer steps; a mean comes with the
    extremes that it hides. All is in memory, and begins with the daemon.
    """

    from_: str = Field(alias="from", description="RFC 3339 time at which it begins, if powerd ran by then")
    to: str = Field(description="RFC 3339 time of the answer")
    step_s: float = Field(description="Seconds from one point to the next, where none is missing")
    time: list[float] = Field(description="Unix seconds at which the point was taken, or its step began")
    phase: list[str] = Field(
        description="init, limited, unlimited or failsafe: the one furthest from the ordinary since the "
        "point before"
    )
    rack_watts: Column = Field(description="What the rack may draw at its meter")
    host_watts: Column = Field(description="What this host may draw")
    gpus_watts: Column = Field(description="What its GPUs may draw together")
    draw_watts: Column = Field(description="What they draw; null unless every one had a reading")
    rack_draw_watts: Column = Field(description="What the rack draws, by its meter or its hosts")
    lent_watts: Column = Field(description="Lent to other hosts")
    borrowed_watts: Column = Field(description="Borrowed from other hosts")
    infeasible_watts: Column = Field(description="How far the budget lay below what limiting can reach")
    rack_min_watts: Column | None = Field(description="Lowest rack_watts in the step; null with samples")
    draw_max_watts: Column | None = Field(description="Highest draw_watts in the step; null with samples")
    rack_draw_max_watts: Column | None = Field(
        description="Highest rack_draw_watts in the step; null with samples"
    )
    gpus: list[GpuHistoryView] = Field(description="Every GPU that was seen, by index")
    happenings: list[HappeningView] = Field(description="What happened meanwhile, the oldest first")
