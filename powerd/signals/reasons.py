"""Why a payload is refused: the `reason` label of `powerd_signal_rejected_total`."""

from enum import StrEnum


class Reason(StrEnum):
    """Stable slugs. One table, so that dashboards and tests have one place to look."""

    EMPTY = "empty"  # no payload: no statement, which is neither 0 W nor "no limit"
    TOO_LARGE = "too_large"
    ENCODING = "encoding"  # not strict UTF-8, or a byte order mark
    TOO_DEEP = "too_deep"
    JSON = "json"  # not JSON at all
    NOT_OBJECT = "not_object"
    DUPLICATE_KEY = "duplicate_key"
    NOT_FINITE = "not_finite"  # NaN, Infinity, or a number beyond what a double holds
    SURROGATE = "surrogate"  # half of a surrogate pair: cannot be written to a log
    VERSION = "version"
    MISSING = "missing"
    TYPE = "type"
    RANGE = "range"
    LENGTH = "length"
    NEGATIVE = "negative"
    UNIT_ERROR = "unit_error"  # so far above the hard limit that the unit must be wrong
    RACK = "rack"
    HOST = "host"  # not the one whose topic it came on
    ROSTER = "roster"  # of a host that is not in rack.hosts
    TIME = "time"  # not RFC 3339 with an offset
    ORDER = "order"  # ends before it begins
    SOURCE = "source"  # not one of the senders that the configuration listens to
    EVENT = "event"  # not the one whose topic it came on
    CLASS = "class"  # of an event: unknown
    STATUS = "status"  # of an event: unknown
    LEVEL = "level"  # of an event's scope: unknown
    ACTION = "action"  # none that is known, or more than one
    BASELINE = "baseline"  # unknown
    ZONE = "zone"  # not the one whose topic it came on
    KIND = "kind"  # of an advisory signal: unknown
    UNIT = "unit"  # not one that belongs there
    UNSIGNED = "unsigned"  # a signature is required
    UNKNOWN_KID = "unknown_kid"  # signed with a key that is not configured, or does not say with which
    BAD_SIGNATURE = "bad_signature"
    ALGORITHM = "algorithm"  # not the one that fits the key
    EXPIRED = "expired"  # its signer said that it should not count any more
    ID = "id"  # not a UUID, where one is required
