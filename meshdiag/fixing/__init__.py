"""Mending what a check found: plan, show, apply, verify, undo. Prints nothing and asks nothing: whoever calls does.

plan        an `Edit` and the object as it is -> what is sent             pure
refusals    what a server answers instead -> a sentence for the user      pure
journal     what was there before, on disk, before anything is changed
apply       read, dry run, and (when the user has said yes) the change
undo        an entry of the journal -> what takes it back
verify      did it help? two series of failures -> a verdict              pure, but for the reading of logs
loggers     log levels of proxies and istiod, raised for a while
"""

from meshdiag.fixing.applying import Planned, Prepared, apply, prepare, settle
from meshdiag.fixing.journal import Entry, Journal, Saved, State
from meshdiag.fixing.refusals import Refused
from meshdiag.fixing.undo import prepare_undo

__all__ = [
    "Entry", "Journal", "Planned", "Prepared", "Refused", "Saved", "State", "apply", "prepare", "prepare_undo", "settle",
]  # fmt: skip
