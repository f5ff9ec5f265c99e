"""The demo's page, and what a browser may do with it. Knows nothing of connections."""

import base64
import hashlib
import importlib.resources
import re

import attrs

_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
_STYLE = re.compile(rb"<style>(.*?)</style>", re.DOTALL)


@attrs.frozen
class Page:
    """An HTML document that needs nothing else: its script and style stand in it."""

    html: bytes

    @property
    def policy(self) -> bytes:
        """The Content-Security-Policy for it: its own script and style, WebSockets, and nothing else."""
        # 'self' does not cover ws: and wss: in every browser, hence the two schemes.
        return (
            b"default-src 'none'; script-src %s; style-src %s; img-src data:; connect-src 'self' ws: wss:; "
            b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
            % (self._hashes(_SCRIPT), self._hashes(_STYLE))
        )

    def _hashes(self, element: re.Pattern[bytes]) -> bytes:
        digests = (hashlib.sha256(content).digest() for content in element.findall(self.html))
        return b" ".join(b"'sha256-%s'" % base64.b64encode(digest) for digest in digests)


def load() -> Page:
    """The page that comes with the package."""
    return Page(importlib.resources.files("wsrelay").joinpath("data", "demo.html").read_bytes())
