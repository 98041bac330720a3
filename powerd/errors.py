"""Every error that a user can meet. One line each: what happened, where, what to do."""


class PowerdError(Exception):
    """Base of all errors that powerd explains to its user instead of showing a traceback."""


class ConfigError(PowerdError):
    """The configuration cannot be used. The text names the file and the key, line by line.

    Keys and values are repeated in it, also of a file that somebody else wrote: none acts on a terminal.
    """

    def __init__(self, text: str) -> None:
        super().__init__(printable_lines(text))


class GuardError(PowerdError):
    """The guard cannot be reached, or refused a request."""


class GuardUnreachableError(GuardError):
    """Nothing answers on the guard's socket, or the connection broke."""


class GuardRefusedError(GuardError):
    """The guard answered, and said no. The text is its reason."""


class BusError(PowerdError):
    """The broker cannot be reached, refused the connection, or it broke. The text begins with the URL."""


class BrokerSilentError(BusError):
    """The connection stands, and the broker does not acknowledge what is published on it."""


class PublishRefusedError(BusError):
    """The broker is there, and does not let this client publish on a topic."""


class SignalRejectedError(PowerdError):
    """A message from the bus cannot be used.

    Attributes:
        reason: a stable slug, the `reason` label of `powerd_signal_rejected_total`.
        source: who sent it, as far as the payload told; "unknown" otherwise.
    """

    def __init__(self, reason: str, text: str, source: str = "unknown") -> None:
        super().__init__(text)
        self.reason = reason
        self.source = source


class DaemonUnreachableError(PowerdError):
    """No daemon answers on the given URL or socket."""


class UnknownGpuError(PowerdError):
    """No GPU, or more than one, goes by that name. The text lists the known ones."""


def printable(text: str) -> str:
    """Replace what a terminal or a log would act on instead of showing it."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def printable_lines(text: str) -> str:
    """Return a text of several lines, each of them `printable`."""
    return "\n".join(map(printable, text.split("\n")))


def innermost(group: BaseExceptionGroup[BaseException]) -> str:
    """Return what the first error of a group of tasks says, without the wrapping of the groups."""
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return str(found)


def shown(value: object) -> str:
    """Return what was found in the place of something else, as an error tells it: in ASCII, and not long."""
    try:
        text = ascii(value)
    except RecursionError:  # it was read nearer to the top of the stack than here
        return "nested too deeply"
    return text if len(text) <= 40 else f"{text[:36]}..."  # noqa: PLR2004 - for people
