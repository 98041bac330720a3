"""What goes wrong between the bridge and the VTN."""

from powerd.errors import PowerdError


class VtnError(PowerdError):
    """The VTN cannot be reached, or did not do what it was asked for. The text names the request.

    Attributes:
        status: of its answer; None without one.
        retry_after_s: how long it wants to be left alone; 0 = it did not say.
    """

    def __init__(self, text: str, status: int | None = None, retry_after_s: float = 0.0) -> None:
        super().__init__(text)
        self.status = status
        self.retry_after_s = retry_after_s
