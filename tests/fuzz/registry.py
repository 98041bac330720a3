"""Which targets there are, and what each of them needs to be tried well."""

from collections.abc import Callable
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, cast

CORPUS = Path(__file__).parent / "corpus"

Run = Callable[[bytes], None]


class Form(Enum):
    """What inputs look like, so that mutations keep some of it."""

    BYTES = "bytes"
    JSON = "one JSON value"
    LINES = "lines, of which any may be JSON"


class Target(NamedTuple):
    """One parser under test.

    Attributes:
        name: of the function in `tests.fuzz.targets`, and of the directory of its corpus.
        module: the module that it is in.
        reads: what it reads, for people.
        weight: how many inputs it gets, in proportion to the others: less where one costs more.
    """

    name: str
    module: str
    reads: str
    form: Form = Form.JSON
    weight: int = 40
    max_bytes: int = 4096

    @property
    def brief_runs(self) -> int:
        """Return how many inputs it gets in `make test`: some seconds' worth."""
        return 200 + 60 * self.weight

    def load(self) -> Run:
        """Return the function, with everything that it imports."""
        return cast("Run", getattr(import_module(f"tests.fuzz.targets.{self.module}"), self.name))

    @property
    def corpus(self) -> Path:
        """Return where its seeds are."""
        return CORPUS / self.name

    def seeds(self) -> list[bytes]:
        """Return its seeds, in an order that is always the same."""
        return [path.read_bytes() for path in sorted(self.corpus.iterdir())]


TARGETS = {
    target.name: target
    for target in (
        Target("budget", "native", "a rack budget"),
        Target("host_state", "native", "what a peer says", weight=30),
        Target("grid_event", "native", "a grid event", weight=30),
        Target("advisory_signal", "native", "a price, or emissions"),
        Target("topic", "native", "a topic and a filter", Form.LINES),
        Target("json_object", "native", "JSON of any kind", Form.BYTES, max_bytes=70_000),
        Target("time_stamp", "native", "a time of RFC 3339", Form.BYTES, max_bytes=64),
        Target("native_meter", "meters", "a reading in powerd's own form"),
        Target("generic_meter", "meters", "a reading in any form", weight=12),
        Target("bms_points", "meters", "points of a DSX BMS, one after another", Form.LINES, weight=4),
        Target("json_pointer", "meters", "a JSON pointer and a document", Form.LINES),
        Target("signature", "signed", "a JWS", Form.BYTES),
        Target("signed_message", "signed", "a message that may be signed", Form.BYTES),
        Target("key_file", "signed", "a key, PEM or JWK", Form.BYTES, weight=10),
        Target("load_target", "signed", "load targets of DSX Flex", weight=8),
        Target("enforcement", "signed", "what DSX agents did"),
        Target("vtn_answer", "vtn", "an answer of a VTN", Form.BYTES, max_bytes=8192),
        Target("vtn_event", "vtn", "an event of a VTN", weight=12),
        Target("vtn_object", "vtn", "a program, or where the VTN's broker is"),
        Target("vtn_duration", "vtn", "a duration of ISO 8601", Form.BYTES, max_bytes=80),
        Target("settings", "configuration", "powerd.toml, by daemon and guard", Form.LINES, weight=1),
        Target("environment", "configuration", "variables", Form.LINES, weight=1),
        Target("bridge", "configuration", "openadr.toml", Form.LINES, weight=8),
        Target("study_data", "configuration", "curves and traces, as CSV", Form.LINES, weight=8),
        Target("simulated_faults", "configuration", "faults of simulated GPUs"),
        Target("runtime_file_content", "files", "what a daemon remembers", weight=8),
        Target("events_file_content", "files", "the grid events it holds", weight=6),
        Target("orders_file_content", "files", "the orders that hold"),
        Target("bridge_file", "files", "what a bridge remembers"),
        Target("ledger_entries", "files", "entries of the ledger", Form.LINES, weight=4, max_bytes=8192),
        Target(
            "message_sequence",
            "sequence",
            "messages into decisions, in virtual time",
            Form.LINES,
            weight=3,
            max_bytes=8192,
        ),
        Target("http_request", "door", "requests to the endpoint", Form.BYTES, weight=1),
        Target("host_header", "door", "the Host header", Form.BYTES, max_bytes=256),
        Target("order_body", "door", "orders"),
        Target("history_since", "door", "how far back to look", Form.BYTES, max_bytes=256),
        Target("http_answer", "hand", "answers to powerctl", Form.BYTES, weight=4),
        Target("status_screen", "hand", "a status that powerctl shows", weight=1),
        Target("guard_requests", "guard", "requests to the guard", Form.LINES, weight=2),
        Target("guard_answers", "guard", "answers of the guard", Form.LINES, weight=2),
        Target("guard_files", "guard", "the guard's own files", weight=2),
    )
}
