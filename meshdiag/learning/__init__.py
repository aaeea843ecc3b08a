"""Unrecognised lines -> a draft pattern file that loads and passes its own tests.

    draft = meshdiag.learn("logs/")
    Path("team/draft.yaml").write_text(draft.text)

`unknown.py` reads what nobody knows, `mining.py` finds what stays the same in it, `conditions.py` and `forms.py` write that as
patterns, `draft.py` proves each one, `patternfile.py` writes the file.
"""

from meshdiag.learning.draft import Draft, draft_of, learn
from meshdiag.learning.unknown import Skipped

__all__ = ["Draft", "Skipped", "draft_of", "learn"]
