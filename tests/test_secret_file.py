"""Files that hold a secret, and what is said of them."""

from pathlib import Path

import pytest

from powerd.errors import ConfigError
from powerd.files.secret_file import secret


def test_a_secret_that_is_no_text_is_refused_and_not_a_byte_of_it_repeated(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_bytes(b"s3cret\xfe")
    with pytest.raises(ConfigError) as caught:
        secret(str(file))
    assert str(caught.value) == f"{file} cannot be read: it is not UTF-8 text"


def test_a_secret_is_what_stands_before_the_end_of_the_line(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("s3cret \n", encoding="utf-8")
    assert secret(str(file)) == "s3cret "
    assert secret("") is None
