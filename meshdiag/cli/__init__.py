"""The command line: reads arguments, calls the library, prints. Imports what a command needs when it runs."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence

from meshdiag.cli import (
    check,
    diagnose,
    diff,
    explain,
    fix,
    graph,
    learn,
    loglevel,
    patterns,
    remedy,
    report,
    rollback,
    shell,
    tail,
    timeline,
    undo,
)
from meshdiag.cli.common import EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, Formatter, Version
from meshdiag.model import MeshdiagError


def main(argv: Sequence[str] | None = None, prog: str = "meshdiag") -> int:
    """Run the command line; returns the exit code."""
    try:
        code = _run(sys.argv[1:] if argv is None else list(argv), prog)
        sys.stdout.flush()
        return code
    except MeshdiagError as e:
        print(f"meshdiag: {e}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # the reader has gone: nothing more to say, and nothing for the interpreter to flush at exit
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK


def kubectl(argv: Sequence[str] | None = None) -> int:
    """`kubectl meshdiag …`: the same command line; with kubectl's flags alone it is `tail`."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments and arguments[0].startswith("-") and arguments[0] not in ("-h", "--help", "--version"):
        arguments = ["tail", *arguments]
    return main(arguments, "kubectl meshdiag")


def _run(arguments: Sequence[str], prog: str) -> int:
    options = parser(prog).parse_args(arguments)
    if options.run is None:
        parser(prog).print_help()
        return EXIT_USAGE if arguments else EXIT_OK
    result: int = options.run(options)
    return result


def parser(prog: str = "meshdiag") -> argparse.ArgumentParser:
    """The argument parser (shell completion is made from it)."""
    top = argparse.ArgumentParser(
        prog=prog,
        description="Diagnose an Istio service mesh from its logs.",
        epilog="Try it: meshdiag diagnose sample_logs/   ·   meshdiag explain UF",
        formatter_class=Formatter,
    )
    top.add_argument("--version", action=Version, nargs=0, help="print the version and leave")
    top.set_defaults(run=None)
    commands = top.add_subparsers(title="commands", metavar="COMMAND")

    for command in (
        diagnose,
        report,
        check,
        tail,
        shell,
        timeline,
        diff,
        graph,
        explain,
        remedy,
        rollback,
        fix,
        undo,
        loglevel,
        patterns,
        learn,
    ):
        command.add(commands)

    c = commands.add_parser("completion", help="print a shell completion script", formatter_class=Formatter)
    c.add_argument("shell", choices=("bash", "zsh", "tcsh"))
    c.set_defaults(run=_completion)
    return top


def _completion(options: argparse.Namespace) -> int:
    import shtab

    print(shtab.complete(parser(), shell=options.shell))
    return EXIT_OK
