"""The `stream-detector` command: the only place that builds clients and engines and wires them.

`offline` has the commands that train and judge, `codes` those that ask a network for more than its
errors; `online` has those that read from Kafka, `sending` the one
that feeds it, `dead_letters` those on records that were put aside, `demo` the whole thing at once.
Each loads what it needs when it runs, so that `detect` never meets TensorFlow.
"""

import os
import sys
from typing import Annotated, Any

import typer

import stream_detector
from stream_detector.cli import dead_letters, demo, latent, offline, online, sending
from stream_detector.cli.output import say_error
from stream_detector.errors import StreamDetectorError

app = typer.Typer(
    name="stream-detector",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="markdown",
)
offline.register(app)
latent.register(app)
online.register(app)
sending.register(app)
dead_letters.register(app)
demo.register(app)


def _print_version(is_asked: bool) -> None:
    """Print the version and leave."""
    if is_asked:
        typer.echo(stream_detector.__version__)
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Say the version."),
    ] = False,
) -> None:
    """Detect anomalies in time-series telemetry, offline from files and online from Kafka.

    Begin with `stream-detector demo`, which needs no Kafka. By hand: `train` makes a bundle
    from a recipe, `detect` serves it on a topic, `replay` feeds the topic, `alerts` reads what
    was found, `dead-letters` what could not be used.

    Exit codes: 0 done, 1 unexpected, 2 wrong setting or recipe, 3 bundle, 4 broker, 5 state,
    6 data set.
    """
    del debug, version


def _help_of(error: Any) -> str:
    """Return the command line that shows the help of the command that refused its arguments."""
    context = getattr(error, "ctx", None)
    return f"{context.command_path if context is not None else 'stream-detector'} --help"


def main() -> None:
    """Run the command line; an error is one line on standard error and an exit code."""
    is_debug = "--debug" in sys.argv
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    try:
        sys.exit(app(standalone_mode=False))
    except StreamDetectorError as error:
        if is_debug:
            raise
        say_error(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output has gone, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:  # a traceback helps nobody who did not ask for it
        if hasattr(error, "format_message"):  # typer's own: an unknown option, a missing argument
            say_error(f"{error.format_message().rstrip('.')}. See {_help_of(error)}.")
            sys.exit(2)
        if is_debug:
            raise
        say_error(
            f"unexpected {type(error).__name__}: {error}; run it again as "
            "`stream-detector --debug ...` for the traceback"
        )
        sys.exit(1)
