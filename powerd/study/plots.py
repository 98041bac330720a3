"""One run of every policy as a picture: budget, draw, sum of limits, and what is stranded."""

from collections.abc import Sequence
from pathlib import Path

from powerd.errors import ConfigError
from powerd.study.runner import Case, Recording, Result, run

SIZE_IN = (11.0, 2.2)
POINTS = 1200


def draw(case: Case, policies: Sequence[str], file: Path, seed: int = 0) -> tuple[Result, ...]:
    """Simulate one seed once more, write a PNG file, and return what came of the runs.

    Raises:
        ConfigError: matplotlib is missing, or the file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - only when asked for
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigError(f"--plot needs {error.name}: pip install 'powerd[simulate]'") from None
    rack = case.build(seed)
    figure = Figure(figsize=(SIZE_IN[0], SIZE_IN[1] * len(policies)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(policies), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    results = []
    for ax, policy in zip(axes, policies, strict=True):
        recording = Recording(every_s=max(rack.step_s, case.hours * 3600 / POINTS))
        result = run(case, policy, seed, rack, recording)
        results.append(result)
        hours = [time_s / 3600 for time_s in recording.time_s]
        ax.fill_between(hours, _kw(recording.stranded_w), color="tab:orange", alpha=0.4, label="stranded")
        ax.plot(hours, _kw(recording.limits_w), color="tab:blue", lw=1.0, label="sum of limits")
        ax.plot(hours, _kw(recording.draw_w), color="tab:green", lw=1.0, label="draw")
        ax.plot(hours, _kw(recording.budget_w), color="black", lw=1.2, ls="--", label="budget")
        ax.set_title(f"{policy}: {result.throughput:.1%} of the work asked for", loc="left", fontsize=9)
        ax.set_ylabel("kW")
        ax.grid(alpha=0.3)
    axes[0].set_ylim(0, 1.15 * rack.gpus * rack.board.max_w / 1000)
    axes[0].legend(loc="upper right", fontsize=8, ncols=4)
    axes[-1].set_xlabel("hours")
    figure.suptitle(f"{case.rack}, {case.gpus} x {rack.board.model}", fontsize=10)
    try:
        figure.savefig(file, dpi=120, format="png")
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    return tuple(results)


def _kw(watts: Sequence[float]) -> list[float]:
    return [each / 1000 for each in watts]
