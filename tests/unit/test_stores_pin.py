# SPDX-License-Identifier: MIT
from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from certwitness.errors import StoreError
from certwitness.stores.pin import Pin

SECRET = "s3cret of:the=database"


@pytest.mark.parametrize(
    "content",
    [
        SECRET,
        f"{SECRET}\n",
        f"{SECRET}\r\n",
        f"{SECRET}\nanother line\n",
        f"Internal (Software) Token:{SECRET}\n",
        f"NSS FIPS 140-2 Certificate DB:{SECRET}\n",
        f"internal:{SECRET}\n",
        f"internal={SECRET}\nreplicationdb=12\n",
        f"hardware-HSM=other\ninternal={SECRET}\n",
    ],
)
def test_a_pin_is_read_from_every_form_of_file(tmp_path: Path, content: str) -> None:
    """A bare PIN, 389-ds's pin.txt, mod_nss's file and Dogtag's password.conf all give the PIN."""
    file = tmp_path / "pin"
    file.write_bytes(content.encode())
    assert Pin.from_file(str(file)).reveal() == SECRET.encode()


def test_a_token_has_its_own_pin(tmp_path: Path) -> None:
    """password.conf's PIN of an HSM is given for that token alone."""
    file = tmp_path / "password.conf"
    file.write_text("internal=inside\nhardware-HSM one=outside\n")
    pin = Pin.from_file(str(file))
    assert (pin.reveal(), pin.reveal("HSM one"), pin.reveal("HSM two")) == (b"inside", b"outside", b"inside")


def test_a_pin_is_never_shown() -> None:
    """Neither repr, str, format nor pickle gives a PIN away."""
    pin = Pin.from_text(SECRET)
    assert SECRET not in f"{pin} {pin!r} {[pin]}"
    with pytest.raises(TypeError):
        pickle.dumps(pin)


def test_a_pin_reaches_a_child_through_memory() -> None:
    """The descriptor gives the PIN to whoever opens it by its number, and is closed in the end."""
    with Pin.from_text(SECRET).descriptor() as descriptor:
        assert os.readlink(f"/proc/self/fd/{descriptor}").startswith("/memfd:")
        assert Path(f"/proc/self/fd/{descriptor}").read_text() == SECRET
        assert not os.get_inheritable(descriptor)
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(descriptor)


def test_a_pin_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A missing PIN file is a StoreError with its path."""
    with pytest.raises(StoreError, match=r"/absent: there is no such PIN file"):
        Pin.from_file(str(tmp_path / "absent"))


def test_bytes_that_are_no_text_are_kept(tmp_path: Path) -> None:
    """A PIN in another encoding arrives byte by byte."""
    (tmp_path / "pin").write_bytes(b"caf\xe9\n")
    assert Pin.from_file(str(tmp_path / "pin")).reveal() == b"caf\xe9"
