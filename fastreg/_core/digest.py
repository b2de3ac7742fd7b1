"""The checksum of files, and what names what another run left behind."""

from __future__ import annotations

import hashlib
from typing import Any

__all__ = ["sha256"]


def sha256(*parts: Any) -> str:
    """Return the SHA-256 of bytes, one part after the other, in hexadecimal."""
    try:
        found = hashlib.sha256()
        for part in parts:
            found.update(part)
        return found.hexdigest()
    except ValueError as error:  # in which OpenSSL says that it had no memory
        raise MemoryError(f"SHA-256: {error}") from None
