"""The real GPUs: `Driver` on the unmodified nvidia-ml-py bindings. The only file that imports pynvml.

It translates: NVML's fields and functions into `Sample` and `Limits`, its return codes into `Kind`. It
decides nothing about limits, and writes only in `set_limit`. Which way a GPU answers is found out once, at
attach: each reading as a field, else by the older function, else it is never asked for again.

Units are NVML's own: milliwatts, millijoules, nanoseconds. A reading outside its plausible range is one of
NVML's sentinels or nonsense, and becomes None.
"""

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias, TypeVar

import pynvml

from powerd.guard.driver import (
    GPU_OUT_OF_REACH,
    DriverError,
    GpuInfo,
    Kind,
    Limits,
    Sample,
    refuse_if_writes_forbidden,
)

_Handle: TypeAlias = object  # the bindings' opaque pointer
_Argument = TypeVar("_Argument")
_Answer = TypeVar("_Answer")

# Ten kilowatts is far above any board; NVML's 32-bit blank (0x7ffffff0 and above) is far above that.
_MAX_PLAUSIBLE_MW: Final = 10_000_000
# 146 years in nanoseconds; NVML's 64-bit blanks (0x7ffffffffffffff0 and above) are larger.
_MAX_PLAUSIBLE_COUNT: Final = 2**62
_MAX_PLAUSIBLE_MHZ: Final = 100_000

_KIND_BY_CODE: Final = {
    pynvml.NVML_ERROR_UNINITIALIZED: Kind.DRIVER_GONE,
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: Kind.DRIVER_GONE,
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: Kind.DRIVER_GONE,
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: Kind.DRIVER_REPLACED,
    pynvml.NVML_ERROR_INVALID_ARGUMENT: Kind.INVALID,
    pynvml.NVML_ERROR_NO_PERMISSION: Kind.NO_PERMISSION,
    pynvml.NVML_ERROR_NOT_SUPPORTED: Kind.NOT_SUPPORTED,
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND: Kind.NOT_SUPPORTED,
    pynvml.NVML_ERROR_GPU_IS_LOST: Kind.LOST,
    pynvml.NVML_ERROR_RESET_REQUIRED: Kind.LOST,
    pynvml.NVML_ERROR_GPU_NOT_FOUND: Kind.LOST,
}
_ADVICE_BY_CODE: Final = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: (
        "libnvidia-ml.so.1 is not on the library path; "
        'install the NVIDIA driver, or set gpu.driver = "simulated"'
    ),
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "load the nvidia kernel module",
    # The library that this process has loaded cannot be exchanged for the new one.
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "the driver was upgraded; restart the guard",
    pynvml.NVML_ERROR_NO_PERMISSION: "the guard needs CAP_SYS_ADMIN",
    pynvml.NVML_ERROR_OPERATING_SYSTEM: "check the unit's DeviceAllow=, or the container's device rules",
    pynvml.NVML_ERROR_RESET_REQUIRED: "reset the GPU",
}


class _Quantity(NamedTuple):
    """One reading: its NVML field, the function that answers the same question, and what is plausible."""

    field: int
    function: str
    lowest: int
    highest: int


# Units and meaning as in nvml.h. Scope 0 of the power fields is the GPU itself, without its module.
_REQUESTED: Final = _Quantity(
    pynvml.NVML_FI_DEV_POWER_REQUESTED_LIMIT, "nvmlDeviceGetPowerManagementLimit", 1, _MAX_PLAUSIBLE_MW
)
_ENFORCED: Final = _Quantity(
    pynvml.NVML_FI_DEV_POWER_CURRENT_LIMIT, "nvmlDeviceGetEnforcedPowerLimit", 1, _MAX_PLAUSIBLE_MW
)
# The function returns a one-second average on most boards: the field is what control needs.
_DRAW: Final = _Quantity(pynvml.NVML_FI_DEV_POWER_INSTANT, "nvmlDeviceGetPowerUsage", 0, _MAX_PLAUSIBLE_MW)
_ENERGY: Final = _Quantity(
    pynvml.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION,
    "nvmlDeviceGetTotalEnergyConsumption",
    0,
    _MAX_PLAUSIBLE_COUNT,
)
_CAPPED: Final = _Quantity(pynvml.NVML_FI_DEV_PERF_POLICY_POWER, "", 0, _MAX_PLAUSIBLE_COUNT)
_REASONS: Final = _Quantity(0, "nvmlDeviceGetCurrentClocksEventReasons", 0, _MAX_PLAUSIBLE_COUNT)

_LIMITS: Final = (_REQUESTED, _ENFORCED)
_SAMPLE: Final = (_REQUESTED, _ENFORCED, _DRAW, _ENERGY, _CAPPED, _REASONS)

# NVML_VALUE_TYPE_*: which member of the union holds a field's value, by the type the driver says it has.
_UNION_MEMBER: Final = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")


class _Gpu(NamedTuple):
    """One GPU, and by which way it answers each question."""

    handle: _Handle
    by_field: frozenset[_Quantity]
    by_function: dict[_Quantity, Callable[[_Handle], int]]
    has_clock: bool


def _failure(error: pynvml.NVMLError, where: str) -> DriverError:
    # Only `.value` is safe to compare: the bindings' errors cannot be hashed, nor compared with other types.
    kind = _KIND_BY_CODE.get(error.value, Kind.UNKNOWN)
    advice = _ADVICE_BY_CODE.get(error.value)
    return DriverError(kind, f"{where}: {error}" + (f"; {advice}" if advice else ""))


def _plausible(quantity: _Quantity, value: float) -> int | None:
    # A NaN fails the comparison too.
    return int(value) if quantity.lowest <= value <= quantity.highest else None


def _read_fields(handle: _Handle, quantities: list[_Quantity]) -> dict[_Quantity, int | None]:
    """Read fields in one call.

    Raises:
        pynvml.NVMLError: of the call, or of a field when it says that the GPU or the driver is gone.
    """
    values: dict[_Quantity, int | None] = {}
    if not quantities:
        return values
    answers = pynvml.nvmlDeviceGetFieldValues(handle, [quantity.field for quantity in quantities])
    for quantity, answer in zip(quantities, answers, strict=True):
        values[quantity] = None
        # The bindings do not raise for a field: each carries its own return code.
        if answer.nvmlReturn != pynvml.NVML_SUCCESS:
            if _KIND_BY_CODE.get(answer.nvmlReturn) in GPU_OUT_OF_REACH:
                raise pynvml.NVMLError(answer.nvmlReturn)
        elif answer.valueType < len(_UNION_MEMBER):
            values[quantity] = _plausible(quantity, getattr(answer.value, _UNION_MEMBER[answer.valueType]))
    return values


def _ask(function: Callable[[_Argument], _Answer], argument: _Argument) -> _Answer | None:
    """Return a probe's answer, or None where this GPU has none. Only a lost driver is an error here."""
    try:
        return function(argument)
    except pynvml.NVMLError as error:
        if _KIND_BY_CODE.get(error.value) == Kind.DRIVER_GONE:
            raise
        return None


def _find_ways(handle: _Handle) -> _Gpu:
    wanted = [quantity for quantity in _SAMPLE if quantity.field]
    answers = _ask(lambda handle: _read_fields(handle, wanted), handle) or {}
    by_field = frozenset(quantity for quantity, value in answers.items() if value is not None)
    by_function = {}
    for quantity in _SAMPLE:
        if quantity not in by_field and quantity.function:
            function = getattr(pynvml, quantity.function)
            value = _ask(function, handle)
            if value is not None and _plausible(quantity, value) is not None:
                by_function[quantity] = function
    return _Gpu(handle, by_field, by_function, _clock_mhz(pynvml.nvmlDeviceGetClockInfo, handle) is not None)


def _clock_mhz(function: Callable[[_Handle, int], int], handle: _Handle) -> int | None:
    """Return a clock of the multiprocessors; NVML has no field for it, and powerd can do without."""
    mhz = _ask(lambda handle: function(handle, pynvml.NVML_CLOCK_SM), handle)
    return mhz if mhz is not None and 0 < mhz <= _MAX_PLAUSIBLE_MHZ else None


def _constraints(handle: _Handle) -> tuple[int, int] | None:
    min_mw, max_mw = _ask(pynvml.nvmlDeviceGetPowerManagementLimitConstraints, handle) or (0, 0)
    return (min_mw, max_mw) if 0 < min_mw <= max_mw <= _MAX_PLAUSIBLE_MW else None


def _probe(index: int, handle: _Handle, uuid: str) -> tuple[GpuInfo, _Gpu]:
    """Find out what a GPU answers, without writing: whether it takes limits shows only at the first write."""
    gpu = _find_ways(handle)
    answered = gpu.by_field | gpu.by_function.keys()
    constraints = _constraints(handle)
    if _ENFORCED not in answered:
        capability = "opaque"
    elif constraints is None or _REQUESTED not in answered:
        # Laptops tell constraints but not the limit asked for, and refuse to set one.
        capability = "readable"
    else:
        capability = "settable"
    persistence = _ask(pynvml.nvmlDeviceGetPersistenceMode, handle)
    default_mw = _ask(pynvml.nvmlDeviceGetPowerManagementDefaultLimit, handle)
    info = GpuInfo(
        uuid=uuid,
        index=index,
        name=_ask(pynvml.nvmlDeviceGetName, handle) or "unknown",
        capability=capability,
        min_mw=constraints[0] if constraints else None,
        max_mw=constraints[1] if constraints else None,
        default_mw=_plausible(_ENFORCED, default_mw) if default_mw is not None else None,
        persistence_mode=bool(persistence) if persistence is not None else None,
        max_sm_clock_mhz=_clock_mhz(pynvml.nvmlDeviceGetMaxClockInfo, handle),
    )
    return info, gpu


class NvmlDriver:
    """A host's NVIDIA GPUs, by UUID. Implements `Driver`.

    Calls for different GPUs may run in different threads. `attach` and `detach` exchange the table of handles
    as a whole, so a call that hangs meanwhile keeps the handle it started with.
    """

    def __init__(self) -> None:
        self._gpus: dict[str, _Gpu] = {}
        self._is_open = False

    def attach(self) -> tuple[GpuInfo, ...]:
        """Open NVML, or open it again, and list the GPUs by index.

        A GPU that does not even tell its UUID is listed under the name `unidentified-<index>` as opaque and
        cannot be read: it draws power, so it must not vanish from the account. It stays so until the next
        attach: to try sooner would take the other GPUs out of control for as long as the driver takes.

        Raises:
            DriverError: NVML cannot be opened, the text says why and what to do; or it tells the UUID of none
                of the GPUs, so there is nothing to lose by trying again.
        """
        self.detach()
        try:
            pynvml.nvmlInit()
            self._is_open = True
            found = [self._open_gpu(index) for index in range(pynvml.nvmlDeviceGetCount())]
        except pynvml.NVMLError as error:
            raise _failure(error, "NVML") from error
        if found and not any(gpu for _, gpu in found):
            raise DriverError(Kind.LOST, f"NVML: none of {len(found)} GPUs tells its UUID")
        self._gpus = {info.uuid: gpu for info, gpu in found if gpu is not None}
        return tuple(info for info, _ in found)

    def _open_gpu(self, index: int) -> tuple[GpuInfo, _Gpu | None]:
        handle = _ask(pynvml.nvmlDeviceGetHandleByIndex, index)
        uuid = _ask(pynvml.nvmlDeviceGetUUID, handle) if handle is not None else None
        if uuid is None:
            return GpuInfo(f"unidentified-{index}", index, "unknown", "opaque"), None
        return _probe(index, handle, uuid)

    def detach(self) -> None:
        """Let go of NVML so that the driver can be unloaded or the GPUs be reset."""
        self._gpus = {}
        if self._is_open:
            self._is_open = False
            try:
                pynvml.nvmlShutdown()
            except pynvml.NVMLError:
                # The driver is gone already, and with it what there was to let go of.
                return

    def read(self, uuid: str) -> Sample:
        """Read one GPU: one batch of fields, and a call for each reading that is not a field here."""
        values = self._read(uuid, _SAMPLE)
        clock_mhz = self._read_clock(uuid)
        return Sample(
            limits=Limits(values.get(_REQUESTED), values.get(_ENFORCED)),
            draw_mw=values.get(_DRAW),
            energy_mj=values.get(_ENERGY),
            capped_ns=values.get(_CAPPED),
            event_reasons=values.get(_REASONS) or 0,
            sm_clock_mhz=clock_mhz,
        )

    def read_limits(self, uuid: str) -> Limits:
        """Read requested and enforced limit in one call where the driver has the fields."""
        values = self._read(uuid, _LIMITS)
        return Limits(values.get(_REQUESTED), values.get(_ENFORCED))

    def set_limit(self, uuid: str, limit_mw: int) -> None:
        """Ask for a limit. Needs CAP_SYS_ADMIN.

        Raises:
            DriverError: writes are forbidden, or the driver refused.
        """
        refuse_if_writes_forbidden()
        if not 0 < limit_mw <= _MAX_PLAUSIBLE_MW:
            # NVML takes an unsigned 32-bit number: anything else would arrive as a different limit.
            raise DriverError(Kind.INVALID, f"{uuid}: {limit_mw} mW is not a power limit")
        gpu = self._gpu(uuid)
        try:
            # Not the _v2 call: its wrapper in the bindings does not check the return code.
            pynvml.nvmlDeviceSetPowerManagementLimit(gpu.handle, limit_mw)
        except pynvml.NVMLError as error:
            raise _failure(error, f"{uuid}: setting {limit_mw} mW") from error

    def _gpu(self, uuid: str) -> _Gpu:
        gpu = self._gpus.get(uuid)
        if gpu is None:
            if not self._is_open:
                raise DriverError(Kind.DRIVER_GONE, f"{uuid}: NVML is not attached")
            raise DriverError(Kind.LOST, f"{uuid}: the driver does not list this GPU")
        return gpu

    def _read(self, uuid: str, quantities: tuple[_Quantity, ...]) -> dict[_Quantity, int | None]:
        gpu = self._gpu(uuid)
        try:
            values = _read_fields(gpu.handle, [q for q in quantities if q in gpu.by_field])
            for quantity in quantities:
                function = gpu.by_function.get(quantity)
                if function is not None:
                    values[quantity] = _plausible(quantity, function(gpu.handle))
        except pynvml.NVMLError as error:
            raise _failure(error, f"{uuid}: reading") from error
        return values

    def _read_clock(self, uuid: str) -> int | None:
        gpu = self._gpu(uuid)
        if not gpu.has_clock:
            return None
        try:
            return _clock_mhz(pynvml.nvmlDeviceGetClockInfo, gpu.handle)
        except pynvml.NVMLError as error:
            raise _failure(error, f"{uuid}: reading") from error
