"""All kinds of faults."""

from random import Random

from tests.chaos import gpu_faults, host_faults, network_faults, process_faults, signal_faults
from tests.chaos.faults import Fault

Kind = type[Fault]

KILLS: tuple[Kind, ...] = (
    process_faults.DaemonKilled,
    process_faults.DaemonKilledWithoutAction,
    process_faults.GuardKilled,
    process_faults.GuardKilledWithoutAction,
    process_faults.BothKilled,
    process_faults.BothKilledWithoutAction,
    process_faults.DaemonFrozen,
    process_faults.GuardFrozen,
    process_faults.GuardHung,
    process_faults.BrokerKilled,
)
BROKER: tuple[Kind, ...] = (
    process_faults.BrokerKilled,
    process_faults.BrokerStalled,
    process_faults.BrokerForgot,
    process_faults.BrokerStale,
)
NETWORK: tuple[Kind, ...] = (
    network_faults.Isolated,
    network_faults.BlackHole,
    network_faults.DeafAndDumb,
    network_faults.Delayed,
    network_faults.Reset,
    network_faults.Forgotten,
)
GPU: tuple[Kind, ...] = (
    gpu_faults.Lost,
    gpu_faults.ReadsHang,
    gpu_faults.WritesHang,
    gpu_faults.Refuses,
    gpu_faults.Ignores,
    gpu_faults.Slow,
    gpu_faults.Rival,
    gpu_faults.ResetToDefault,
    gpu_faults.BoardLimits,
    gpu_faults.PowerBrake,
    gpu_faults.DriverAway,
    gpu_faults.DriverReloaded,
)
SIGNALS: tuple[Kind, ...] = (
    signal_faults.Garbage,
    signal_faults.Flood,
    signal_faults.Replayed,
    signal_faults.OutOfOrder,
    signal_faults.Expired,
    signal_faults.Stranger,
    signal_faults.Failover,
    signal_faults.Silent,
    signal_faults.GridEvent,
    signal_faults.SquareWave,
)
HOST: tuple[Kind, ...] = (
    process_faults.Upgraded,
    process_faults.Reloaded,
    process_faults.ReloadedInvalid,
    host_faults.Override,
    host_faults.DryRun,
    host_faults.Drill,
    host_faults.StateGone,
    host_faults.WallClockJumps,
    host_faults.HttpCrowd,
)
ALL: tuple[Kind, ...] = tuple(dict.fromkeys((*KILLS, *BROKER, *NETWORK, *GPU, *SIGNALS, *HOST)))


def choose(kinds: tuple[Kind, ...], random: Random) -> Kind:
    """Choose one of several kinds, by their weights."""
    return random.choices(kinds, [kind.weight for kind in kinds])[0]
