"""The parts of the DSX Flex agent, made of settings. Imported where it is enabled: cryptography is large."""

from powerd.clock import Clock
from powerd.core.dsx.breach import BreachRules
from powerd.core.events.grid_event import GridEvent
from powerd.core.state import Config
from powerd.dsx.agent import AgentOptions, DsxReporter, Publish
from powerd.dsx.listener import DsxListener, ListenOptions
from powerd.dsx.load_target import Feeds
from powerd.dsx.traces import Traces
from powerd.settings.model import Settings
from powerd.signals.listener import Hooks
from powerd.signatures.jws import Signer, TrustedKey


def dsx_listener(
    settings: Settings, config: Config, *, clock: Clock, traces: Traces, hooks: Hooks[GridEvent]
) -> DsxListener:
    """Return what listens to load targets.

    Raises:
        ConfigError: a key file cannot be used.
    """
    table = settings.signals.dsx
    keys = {kid: TrustedKey(entry.file, entry.source) for kid, entry in table.keys.items()}
    return DsxListener(
        ListenOptions(table.isvs, keys, table.allow_unsigned),
        Feeds.of(config.rack.hard_limit_mw, config.events.feeds, table.other_feeds),
        clock=clock,
        traces=traces,
        hooks=hooks,
    )


def dsx_reporter(settings: Settings, config: Config, publish: Publish, traces: Traces) -> DsxReporter:
    """Return what publishes power states and breaches.

    Raises:
        ConfigError: the key file cannot be used.
    """
    table = settings.signals.dsx
    signer = Signer(table.signing_kid, table.signing_key_file) if table.signing_kid else None
    options = AgentOptions(
        identifier=table.identifier or f"{settings.host.site}-{settings.host.rack}",
        role=table.role,
        status_every_s=table.status_every_s,
        status_qos=table.status_qos,
        breach_qos=table.breach_qos,
        breach=BreachRules(**table.breach.model_dump()),
        actions=table.infrastructure_actions,
    )
    return DsxReporter(options, config, publish, traces, signer)
