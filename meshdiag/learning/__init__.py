"""Unrecognised lines -> a draft pattern file that loads and passes its own tests.

    draft = meshdiag.learn("logs/")
    Path("team/draft.yaml").write_text(draft.text)

`mining.py` finds what stays the same in texts, `conditions.py` writes it as conditions, `draft.py` proves each pattern
and writes the file.
"""

from meshdiag.learning.draft import Draft, Skipped, draft_of, learn

__all__ = ["Draft", "Skipped", "draft_of", "learn"]
