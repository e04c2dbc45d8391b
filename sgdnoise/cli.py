"""The command line: ``sgdnoise reproduce``, ``check``, ``convert`` and ``schedule``."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import __version__
from ._signals import INTERRUPTED

if TYPE_CHECKING:
    from .scaling import Conversion

Command = Callable[[argparse.Namespace], int]

_INTERRUPTED = 130  # what a shell reports after Ctrl-C
_CUT_SHORT = 141  # and of a program whose reader has gone, as `head` does


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; default: those of the process.

    Raises
    ------
    SystemExit
        With status 0 if all went well, 1 if a file cannot be written or a run failed, 2 for bad arguments, 130 after Ctrl-C. It
        is 141 if standard output was closed before all was said; `reproduce` then goes on without a word.
    """
    try:
        sys.exit(_run(_parser().parse_args(argv)))
    finally:
        _forget_unsaid()


def _run(args: argparse.Namespace) -> int:
    """Run a command, say what went wrong, and return its status."""
    command: Command = args.command
    parser: argparse.ArgumentParser = args.parser
    try:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # what cannot be printed is no reason to stop
        status = command(args)
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except BrokenPipeError:
        return _CUT_SHORT
    except (OSError, ArithmeticError) as error:
        parser.exit(1, f"{parser.prog}: error: {error}\n")
    except KeyboardInterrupt:
        parser.exit(_INTERRUPTED, f"\n{parser.prog}: {INTERRUPTED}\n")


def _forget_unsaid() -> None:
    """Let go what cannot be printed any more, or Python would complain when it flushes at exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:  # as it is where it was closed from the start
                stream.flush()
        except OSError:
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def _bad_arguments(parser: argparse.ArgumentParser) -> Iterator[None]:
    """Report what the library says of an argument as argparse reports its own errors."""
    try:
        yield
    except (TypeError, ValueError, OverflowError) as error:
        parser.error(str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sgdnoise",
        description="Minibatch noise in SGD: convert settings, build schedules, reproduce the papers' figures.",
        epilog="""examples:
  sgdnoise reproduce                     reproduce figures 1 and 2 of 'Don't Decay the Learning Rate, Increase the Batch Size'
  sgdnoise check                         compare the laws of minibatch noise with measurements
  sgdnoise convert --learning-rate 0.1 --batch-size 128 --n-train 50000 --to-batch-size 1024
  sgdnoise schedule --learning-rate 0.1 --batch-size 128 --n-train 50000 --milestones 60 120 160 --n-epochs 200""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"sgdnoise {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_reproduce(commands)
    _add_check(commands)
    _add_convert(commands)
    _add_schedule(commands)
    return parser


def _add_command(commands: Any, command: Command, name: str, summary: str, examples: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog="examples:\n" + examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=command, parser=parser)
    return parser


def _add_setting(parser: argparse.ArgumentParser) -> None:
    """Add what `convert` and `schedule` both start from."""
    parser.add_argument("--learning-rate", type=float, required=True, metavar="EPS", help="learning rate per mean gradient")
    parser.add_argument("--batch-size", type=int, required=True, metavar="B", help="examples per batch")
    parser.add_argument("--n-train", type=int, required=True, metavar="N", help="number of training examples")
    parser.add_argument("--momentum", type=float, default=0.0, metavar="M", help="default: 0. Not for Adam: it has no g")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_reproduce(commands: Any) -> None:
    parser = _add_command(
        commands,
        _reproduce,
        "reproduce",
        "reproduce the papers' figures on bundled data, with a verdict on each claim",
        """  sgdnoise reproduce                 figures 1 and 2: 40 epochs, 4 seeds, less than a minute on two cores
  sgdnoise reproduce all             every figure, and a report on all claims
  sgdnoise reproduce fig2 --quick    a smoke test that takes seconds
  sgdnoise reproduce fig2 --full     the paper's 200 epochs, 5 seeds; takes a few minutes
  sgdnoise reproduce --list          list the available figures

Writes FIGURE.png, FIGURE.json and FIGURE.csv, and a report.md on all figures in the folder at this scale. If a run is
interrupted, the same command resumes it. The exit status is 0 if all figures were made, whatever their verdicts: a claim that
FAILS is a result. It is 1 if a task failed or a file cannot be written.""",
    )
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help="names from --list, or all; default: fig1 fig2")
    parser.add_argument("--list", action="store_true", help="list the figures and exit")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--quick", dest="scale", action="store_const", const="quick", help="5 epochs, 1 seed")
    length.add_argument("--full", dest="scale", action="store_const", const="full", help="200 epochs, as in the paper; 5 seeds")
    parser.set_defaults(scale="default")
    parser.add_argument("--engine", choices=("fast", "reference"), default="fast", help="training loop to use; default: fast")
    parser.add_argument("--out", default="results", metavar="DIR", help="output folder; default: results")
    parser.add_argument("--report", metavar="FILE", help="where to write the report; default: report.md in DIR")
    parser.add_argument("--fresh", action="store_true", help="recompute runs that are already finished")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--jobs", type=int, metavar="J", help="number of processes; default: number of CPUs")
    where.add_argument("--dask", metavar="ADDRESS", help="run on a dask cluster, such as tcp://127.0.0.1:8786")


def _reproduce(args: argparse.Namespace) -> int:
    from . import _checks as check
    from .reproduce import FIGURES, MAIN_RESULT, TaskError, run_figures
    from .reproduce.runner import check_figures, titles

    if args.list:
        for name, title in titles().items():
            print(f"{name:12}{title}")
        return 0
    figures = FIGURES if args.figures == ["all"] else args.figures or MAIN_RESULT
    with _bad_arguments(args.parser):
        check_figures(figures)
        if args.jobs is not None:
            check.integer("jobs", args.jobs)
    with _dask(args) if args.dask else nullcontext() as executor:
        try:
            run_figures(
                figures,
                scale=args.scale,
                engine=args.engine,
                out=args.out,
                page=args.report,
                jobs=args.jobs,
                executor=executor,
                fresh=args.fresh,
            )
        except TaskError as failure:
            print(f"{args.parser.prog}: error: {failure}", file=sys.stderr)
            return 1
        finally:
            _forget_unsaid()  # of files that are written, no word is worth a failure
    return 0


@contextmanager
def _dask(args: argparse.Namespace) -> Iterator[Any]:
    """Connect to a dask cluster as an executor."""
    try:
        distributed = import_module("distributed")
    except ImportError:
        args.parser.error('--dask needs the package distributed: pip install "sgdnoise[cluster]"')
    with _bad_arguments(args.parser):  # an address without a port, or of a scheme that dask does not know
        client = distributed.Client(args.dask)
    with client:
        yield client.get_executor(pure=False)


def _add_check(commands: Any) -> None:
    _add_command(
        commands,
        _check,
        "check",
        "measure whether the laws of minibatch noise hold",
        """  sgdnoise check    print predictions, measurements and standard errors; takes less than 30 s

Measures three things: the covariance of a network's minibatch gradients on the bundled data, the variance of SGD at rest on a
quadratic, and the temperature. The exit status is 1 if a law fails by more than 5 standard errors. To check your own
implementation, see sgdnoise.testing.""",
    )


def _check(args: argparse.Namespace) -> int:
    from .reproduce.check import HEADER, measure

    print(HEADER)
    n_laws, n_failed = 0, 0
    for measurement in measure():
        print(measurement, flush=True)
        n_laws += 1
        n_failed += not measurement.holds
    print(f"{n_laws - n_failed} of {n_laws} laws hold")
    return int(n_failed > 0)


def _add_convert(commands: Any) -> None:
    parser = _add_command(
        commands,
        _convert,
        "convert",
        "change the batch size, learning rate or momentum at equal noise scale",
        """  sgdnoise convert --learning-rate 0.1 --batch-size 128 --n-train 50000 --momentum 0.9 --to-batch-size 1024
  sgdnoise convert --learning-rate 0.1 --batch-size 128 --n-train 50000 --to-learning-rate 0.5
  sgdnoise convert --learning-rate 0.5 --batch-size 640 --n-train 50000 --momentum 0.9 --to-momentum 0.98""",
    )
    _add_setting(parser)
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--to-batch-size", type=int, metavar="B", help="new batch size; sets the learning rate")
    target.add_argument("--to-learning-rate", type=float, metavar="EPS", help="new learning rate; sets the batch size")
    target.add_argument("--to-momentum", type=float, metavar="M", help="new momentum; sets the batch size")


def _convert(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from .scaling import convert

    target = {name: getattr(args, name) for name in ("to_batch_size", "to_learning_rate", "to_momentum")}
    with _bad_arguments(args.parser):
        answer = convert(args.learning_rate, args.batch_size, args.n_train, momentum=args.momentum, **target)
    print(json.dumps(asdict(answer), indent=2) if args.json else _convert_text(answer))
    return 0


_ROWS = {
    "learning_rate": ("learning rate", ".5g"),
    "batch_size": ("batch size", "d"),
    "momentum": ("momentum", ".5g"),
    "noise_scale": ("noise scale g", ".5g"),
    "noise_scale_change": ("change of g", "+.2%"),
    "updates_per_epoch": ("updates per epoch", "d"),
    "lost_epochs": ("epochs lost to the accumulator", ".5g"),
}


def _convert_text(answer: Conversion) -> str:
    from ._plan import warning

    columns = [answer.before, answer.linear_rule, answer.exact_rule]
    lines = [f"{f'N = {answer.n_train}':32}{'before':>12}{'linear rule':>14}{'exact rule':>14}"]
    for key, (label, form) in _ROWS.items():
        cells = ["none" if column is None else format(getattr(column, key), form) for column in columns]
        if key == "noise_scale_change":
            cells[0] = ""
        lines.append(f"{label:32}{cells[0]:>12}{cells[1]:>14}{cells[2]:>14}")
    return "\n".join(lines + [warning(text) for text in answer.warnings])


_SHAPES = ("step", "cosine", "linear", "exponential", "wsd")


def _add_schedule(commands: Any) -> None:
    parser = _add_command(
        commands,
        _schedule,
        "schedule",
        "turn a learning rate that falls into a batch that grows",
        """  sgdnoise schedule --learning-rate 0.1 --batch-size 128 --n-train 50000 --momentum 0.9 \\
      --milestones 60 120 160 --n-epochs 200 --factor 5 --max-batch-size 5120
  sgdnoise schedule --learning-rate 3 --batch-size 8192 --n-train 1281167 --momentum 0.9 \\
      --milestones 30 60 80 --n-epochs 90 --factor 10 --max-batch-size 81920 --json
  sgdnoise schedule --learning-rate 0.4 --batch-size 512 --n-train 50000 --shape cosine --warm-up 5 --n-epochs 90 \\
      --max-batch-size 4096 --multiple-of 64 --plot schedule.png
  sgdnoise schedule --learning-rate 0.001 --batch-size 64 --n-train 50000 --shape wsd --warm-up 2 --decay-epochs 4 \\
      --n-epochs 20 --rule sqrt --by examples""",
    )
    _add_setting(parser)
    parser.add_argument("--n-epochs", type=int, required=True, metavar="E", help="total number of epochs")
    parser.add_argument("--shape", choices=_SHAPES, default="step", help="how the learning rate falls; default: step")
    parser.add_argument("--milestones", type=int, nargs="+", metavar="EPOCH", help="step: drop after these epochs")
    parser.add_argument("--factor", type=float, metavar="F", help="step: divisor of the learning rate; default: 5")
    parser.add_argument("--final", type=float, metavar="EPS", help="other shapes: rate at the end; default: 0")
    parser.add_argument("--decay-epochs", type=int, metavar="E", help="wsd: epochs of the fall; default: a tenth of all")
    parser.add_argument("--warm-up", type=int, default=0, metavar="E", help="epochs in which the rate rises from 0; default: 0")
    parser.add_argument("--max-batch-size", type=int, metavar="B", help="largest batch size; then the learning rate drops")
    parser.add_argument("--n-drops", type=int, metavar="D", help="convert only the first D drops; the paper's hybrid has D = 1")
    rule = parser.add_mutually_exclusive_group()
    kept = "what is kept: eps/B (linear, the default), eps (N/B - 1) (exact), or eps/sqrt(B) (sqrt, for Adam)"
    rule.add_argument("--rule", choices=("linear", "exact", "sqrt"), default="linear", help=kept)
    rule.add_argument("--exact", action="store_const", dest="rule", const="exact", help="the same as --rule exact")
    parser.add_argument("--multiple-of", type=int, default=1, metavar="K", help="batch sizes are multiples of K, for K workers")
    parser.add_argument("--by", choices=("epochs", "examples"), default="epochs", help="what the table counts; default: epochs")
    parser.add_argument("--plot", metavar="FILE", help="draw both schedules, to a PNG, PDF or SVG file")


def _schedule(args: argparse.Namespace) -> int:
    from . import _plan

    with _bad_arguments(args.parser):
        plan = _plan.make(args)
        picture = None if args.plot is None else _plan.draw(plan, args.plot)
    if picture is not None:
        from ._files import atomic_write

        with atomic_write(args.plot) as file:
            file.write(picture)
    print(json.dumps(_plan.as_json(plan), indent=2) if args.json else _plan.as_text(plan, args.by))
    return 0
