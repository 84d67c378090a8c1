"""Where a remote engine is and which key opens it, checked before anything is sent.

Knows nothing of HTTP clients and answers.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from llmos.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Address:
    """A checked address.

    Attributes:
        base: What paths such as `/chat/completions` are added to; mostly ends in `/v1`.
        root: The same without `/v1`: where llama-server, vLLM and Ollama have paths of their own.
        host: The host's name or number.
        local: Whether the host is this machine.
        key: The API key, empty without one. Never shown.
    """

    base: str
    root: str
    host: str
    local: bool
    key: str = field(default="", repr=False)

    @classmethod
    def of(cls, base_url: str, *, api_key: str | None = None, allow_plain_http: bool = False) -> Address:
        """Check an address and a key.

        Args:
            base_url: `http://` or `https://`, host, port and path; an empty path becomes `/v1`.
            api_key: Sent as a bearer token; spaces and line ends around it are taken off.
            allow_plain_http: Let the key travel unencrypted to another machine.

        Raises:
            ConfigError: One of them can't be used, or the key would cross the network in clear.
        """
        parts = _split(base_url)
        host = parts.hostname or ""
        netloc = f"[{host}]" if ":" in host else host
        netloc += f":{parts.port}" if parts.port is not None else ""
        base = f"{parts.scheme}://{netloc}{parts.path.rstrip('/') or '/v1'}"
        key, local = _checked_key(api_key), _is_local(host)
        if key and parts.scheme == "http" and not local and not allow_plain_http:
            raise ConfigError(
                f"Refused to send an API key to {base!r}: the connection is not encrypted.",
                hint="Use an https:// address, or allow_plain_http=True if you trust every machine on the way.",
            )
        return cls(base, base.removesuffix("/v1"), host, local, key)

    def hide(self, text: str) -> str:
        """A text with the key, should it be in there, taken out."""
        return text.replace(self.key, "[api key]") if self.key else text


def _split(base_url: str) -> SplitResult:
    hint = "It looks like http://127.0.0.1:8080/v1 or https://api.example.com/v1."
    try:
        parts = urlsplit(base_url.strip())
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise ConfigError("The address of the remote engine can't be read.", hint=hint) from error
    # The address may hold a password, so it is not shown until it is known to hold none.
    if parts.username is not None or parts.password is not None:
        raise ConfigError("The address of the remote engine has a user name in it.", hint="Give the key as api_key.")
    if (
        not usable
        or parts.query
        or parts.fragment
        or any(ord(char) <= 32 or char == "\x7f" for char in base_url.strip())
    ):
        raise ConfigError(f"{base_url!r} is not the address of a remote engine.", hint=hint)
    return parts


def _checked_key(api_key: str | None) -> str:
    key = (api_key or "").strip()
    if not all(32 < ord(char) < 127 for char in key):
        raise ConfigError(
            "The API key has characters in it that no key has (spaces, line ends or letters beyond ASCII).",
            hint="Copy it again, without quotes.",
        )
    return key


def _is_local(host: str) -> bool:
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        number = ipaddress.ip_address(name)
    except ValueError:
        return False
    return number.is_loopback or number.is_unspecified
