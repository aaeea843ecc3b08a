"""Secrets out of log text: the same value gets the same pseudonym, so that correlation survives.

What counts as a secret: JSON Web Tokens, Authorization and cookie values, private keys, passwords in URLs, and query
parameters and fields whose names say so. Names, addresses and request ids stay: a diagnosis is made of them.
"""

from __future__ import annotations

import hashlib
import re

from meshdiag.lazyre import lazy

_NAMES = (
    r"access[_-]?token|refresh[_-]?token|id[_-]?token|token|api[_-]?key|apikey|client[_-]?secret|secret[_-]?key|password"
    r"|passwd|pwd|private[_-]?key|session[_-]?id|sig|signature|x-amz-signature|x-amz-security-token"
)

_SECRET = lazy(
    r"(?P<key>-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[\s\S]{0,20000}?(?:-----END [A-Z ]{0,30}PRIVATE KEY-----|\Z))"
    r"|(?P<jwt>\beyJ[A-Za-z0-9_-]{5,8000}\.[A-Za-z0-9_-]{2,16000}(?:\.[A-Za-z0-9_-]{0,8000})?)"
    r"|(?i:\b(?P<auth>(?:proxy-)?authorization['\"]?\s{0,2}[:=]\s{0,2}['\"]?(?:(?:bearer|basic|digest|negotiate|token)\s{1,4})?))(?P<authvalue>[^\s'\",;}{]{3,8000})"
    r"|(?i:\b(?P<scheme>bearer\s{1,4}|basic\s{1,4}(?=[A-Za-z0-9+/]{8,}={0,2}(?:\W|$))))(?P<schemevalue>(?!realm=)[A-Za-z0-9._~+/=-]{8,8000})"
    r"|(?i:\b(?P<cookie>(?:set-)?cookie['\"]?\s{0,2}[:=]\s{0,2}['\"]?))(?P<cookievalue>[^'\"\n]{3,8000})"
    r"|(?P<url>://[^\s/:@'\"]{1,200}:)(?P<urlvalue>[^\s/@'\"]{1,200})(?=@)"
    rf"|(?i:(?P<param>(?<![\w-])(?:{_NAMES})(?:=|\\?['\"]\s{{0,2}}:\s{{0,2}}\\?['\"]))(?P<paramvalue>[^\s&'\",;\\}}]{{3,8000}}))"
    r"|(?P<aws>\b(?:AKIA|ASIA)[A-Z0-9]{16}\b)"
)


def pseudonym(kind: str, value: str) -> str:
    """`<kind:xxxxxx>`: 24 bits of a hash, enough to tell values apart, too few to find them again."""
    return f"<{kind}:{hashlib.blake2b(value.encode('utf-8', 'replace'), digest_size=3).hexdigest()}>"


def redact(text: str) -> str:
    """The text with every secret replaced by its pseudonym."""
    if not text:
        return text
    return _SECRET.sub(_replace, text)


def _replace(m: re.Match[str]) -> str:
    for whole in ("key", "jwt", "aws"):
        if m[whole]:
            return pseudonym({"key": "private-key", "aws": "access-key"}.get(whole, whole), m[whole])
    for head in ("auth", "scheme", "cookie", "url", "param"):
        if m[head] is not None:
            kind = {"auth": "credential", "scheme": "credential", "url": "password", "param": "secret"}.get(head, head)
            value = m[head + "value"]
            if value.startswith("eyJ"):
                kind = "jwt"
            return m[head] + pseudonym(kind, value)
    return m[0]
