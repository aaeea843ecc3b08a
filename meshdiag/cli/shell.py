"""`meshdiag shell`: what an on-call engineer keeps open."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshdiag.cli.common import Formatter, add_colour, add_patterns, complete_file
from meshdiag.model import MeshdiagError

if TYPE_CHECKING:
    from meshdiag.shell.starting import Beginning

KINDS = (
    "deploy",
    "deployment",
    "sts",
    "statefulset",
    "ds",
    "daemonset",
    "job",
    "cronjob",
    "pod",
    "po",
    "rs",
    "replicaset",
)


def add(commands: Any) -> None:
    """Add the command to the parser."""
    c = commands.add_parser(
        "shell",
        help="an interactive shell on captured logs, on a live mesh, or empty",
        description="An interactive shell: open captures or follow a mesh behind the prompt, see what is wrong and why, the lines that "
        "prove it and what to do; paste a log line to have it explained. With -c, -f or piped input it runs commands as a script.",
        epilog="Exit code: 0; as a script 2 when a command did not work, 130 after Ctrl-C. In the shell, help lists the commands.",
        formatter_class=Formatter,
    )
    complete_file(
        c.add_argument(
            "inputs",
            nargs="*",
            metavar="INPUT",
            help="files, folders, archives to open; with -n or -A names of pods and workloads to follow",
        )
    )
    g = c.add_argument_group("a live mesh")
    g.add_argument(
        "-n",
        "--namespace",
        action="append",
        default=[],
        metavar="NAME",
        help="follow this namespace (or a,b; repeatable)",
    )
    g.add_argument("-A", "--all-namespaces", action="store_true", help="follow all namespaces")
    g.add_argument("-l", "--selector", default="", metavar="LABELS", help="only pods with these labels")
    g.add_argument(
        "--context", action="append", default=[], metavar="NAME", help="context of the kubeconfig (repeatable)"
    )
    complete_file(g.add_argument("--kubeconfig", metavar="FILE", help="in place of $KUBECONFIG and ~/.kube/config"))
    g = c.add_argument_group("scripts")
    g.add_argument("-c", dest="text", metavar="COMMANDS", help="run these, as in -c 'open x; causes'")
    complete_file(g.add_argument("-f", "--script", metavar="FILE", help="run the commands of a file, one a line"))
    add_patterns(c)
    c.add_argument("--no-redact", action="store_true", help="show tokens, cookies and keys")
    add_colour(c)
    c.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from meshdiag.shell.starting import background

    if options.text is not None and options.script is not None:
        raise MeshdiagError("-c and -f both say what to run: give one of them")
    beginning = _beginning(options, background(os.environ))
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if options.text is not None or options.script is not None or not terminal:
        from meshdiag.shell import plain

        lines = (
            (("", line) for line in options.text.split("\n"))
            if options.text is not None
            else plain.file_lines(options.script)
            if options.script is not None
            else plain.piped_lines(sys.stdin.buffer)
        )
        return plain.script(beginning, lines, options.color)
    if os.environ.get("TERM", "dumb").lower() in ("dumb", "unknown", "") and sys.platform != "win32":
        from meshdiag.shell import plain

        return plain.dumb(beginning, options.color)
    from meshdiag.shell.app import App

    return App(beginning, options.color).run()


def _beginning(options: argparse.Namespace, theme: str) -> Beginning:
    """What is opened and followed at once."""
    from meshdiag.shell.starting import Beginning

    inputs, follow = _sorted(options)
    return Beginning(inputs, follow, tuple(options.patterns), not options.no_redact, theme)


def _sorted(options: argparse.Namespace) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """Captures to open, and the words of `tail` for what is to be followed (None: nothing)."""
    if "-" in options.inputs:
        raise MeshdiagError(
            "the shell reads commands from standard input: write the logs to a file, or give them to meshdiag diagnose -"
        )
    live = options.namespace or options.all_namespaces or options.selector or options.context or options.kubeconfig
    names = tuple(i for i in options.inputs if not _is_local(i) and (live or _is_name(i)))
    captures = tuple(i for i in options.inputs if i not in names)
    for one in captures:
        if not Path(one).expanduser().exists() and not re.search(r"[*?\[]|://", one):
            hint = "check the path" if "/" in one else f"to follow it in a cluster: meshdiag shell -n NAMESPACE {one}"
            raise MeshdiagError(f"{one}: no such file or folder: {hint}")
    if not live and not names:
        return captures, None
    words = [*names]
    for value in options.namespace:
        words += ["-n", value]
    words += ["-A"] if options.all_namespaces else []
    words += ["-l", options.selector] if options.selector else []
    for value in options.context:
        words += ["--context", value]
    words += ["--kubeconfig", options.kubeconfig] if options.kubeconfig else []
    return captures, tuple(words)


def _is_local(text: str) -> bool:
    if Path(text).exists():
        return True
    from meshdiag.tailing import is_local  # takes long to import, and what is there need not wait for it

    return is_local(text)


def _is_name(text: str) -> bool:
    """Whether a text that is no path names something in a cluster, without an option that says so: `deploy/reviews`."""
    kind, slash, _ = text.partition("/")
    return bool(slash) and kind in KINDS
