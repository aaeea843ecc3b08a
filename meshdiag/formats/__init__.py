"""Text to Records: one module a format, `wrappers` for what stands around a line.

`records(lines)` does it all; `detect(text)` reads one record that is already unwrapped and put together. A format is
added by adding a module with `FORMAT: Format`.
"""

from meshdiag.formats._assembly import Assembler, begins_record, continues, records
from meshdiag.formats._registry import BY_NAME, FORMATS, MULTILINE, detect, is_head
from meshdiag.formats.base import UNPARSED, Format
from meshdiag.formats.wrappers import Unwrapped, strip

__all__ = [
    "BY_NAME",
    "FORMATS",
    "MULTILINE",
    "UNPARSED",
    "Assembler",
    "Format",
    "Unwrapped",
    "begins_record",
    "continues",
    "detect",
    "is_head",
    "records",
    "strip",
]
