"""The `stream-detector` command.

One module for each command, named as the command is. It has the command's options, a function
`register` that adds the command to the program, and what only this command shows. What several
commands share is in `options`, `terminal`, `sources` and `images`. To add a command, write its
module and add the module's name to `_COMMANDS`.

A command loads what it needs when it runs, so `--help` is fast and `detect` never loads TensorFlow.
"""

import sys
from importlib import import_module
from typing import Annotated, Any

import typer

import stream_detector
from stream_detector.cli.options import examples
from stream_detector.cli.terminal import (
    describe_error,
    flush_output,
    is_output_read,
    say_error,
    set_up_streams,
    write_line,
)

_COMMANDS = (
    "demo",
    "init",
    "train",
    "evaluate",
    "score",
    "latent",
    "generate_data",
    "doctor",
    "capture",
    "detect",
    "alerts",
    "scores",
    "route",
    "silence",
    "console",
    "dead_letters",
    "replay",
    "broker",
)
"""Modules of this package that have commands, in the order of `--help`."""

app = typer.Typer(
    name="stream-detector",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="markdown",
    epilog=examples(
        "stream-detector train models/ecg5000-dense.toml",
        "stream-detector evaluate bundles/ecg5000-dense --report report.html",
        "stream-detector detect bundles/ecg5000-dense --input-topic telemetry",
    ),
)


def _print_version(is_asked: bool) -> None:
    """Print the version and leave."""
    if is_asked:
        write_line(stream_detector.__version__)
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Detect anomalies in time-series telemetry, offline from files and online from Kafka.

    Start with `stream-detector demo`, which needs no Kafka. Step by step: `train` makes a bundle
    from a recipe, `detect` serves it on a topic, `replay` fills the topic with test data, `alerts`
    prints what was found, and `dead-letters` shows the records that could not be used.

    Exit codes: 0 done, 1 unexpected, 2 wrong setting or recipe, 3 bundle, 4 broker, 5 state,
    6 data set, 7 all records rejected.
    """
    del debug, version


for _name in _COMMANDS:
    import_module(f"stream_detector.cli.{_name}").register(app)


def _help_of(error: Any) -> str:
    """Return the command line that shows the help of the command that refused its arguments."""
    context = getattr(error, "ctx", None)
    return f"{context.command_path if context is not None else 'stream-detector'} --help"


def main() -> None:
    """Run the command line; an error is one line on standard error and an exit code."""
    set_up_streams()
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    sys.exit(flush_output(_run(is_debug="--debug" in sys.argv)))


def _run(*, is_debug: bool) -> int:
    """Run the command that the arguments name, and return the exit code."""
    try:
        return int(app(standalone_mode=False) or 0)
    except KeyboardInterrupt:
        return 130
    except SystemExit as end:  # Rich ends the program where its output is not read
        if isinstance(end.__context__, BrokenPipeError):
            return 0
        raise
    except Exception as error:  # a traceback helps only those who asked for it
        if isinstance(error, BrokenPipeError) and not is_output_read():
            return 0
        if hasattr(error, "format_message"):  # typer's own: an unknown option, a missing argument
            say_error(f"{error.format_message().rstrip('.')}. See {_help_of(error)}.")
            return 2
        if is_debug:
            raise
        code, message = describe_error(error)
        say_error(message)
        return code
