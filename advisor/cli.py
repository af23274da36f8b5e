"""The command line: finds the commands, and turns a user's mistake into one line and exit status 2."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import entry_points

import click

from advisor.errors import AdvisorError, unknown

# Loaded when called, so that `advisor --help` does not wait for torch.
COMMANDS = {
    "analyze": ("advisor.commands.analyze", "Count parameters, MACs and activations, layer by layer."),
    "profile": ("advisor.commands.profile", "Measure a network's layers under every candidate pattern on this device."),
    "calibrate": ("advisor.commands.calibrate", "Make a GPU's profile from a table of measurements or its datasheet."),
    "devices": ("advisor.commands.devices", "List the profiles at hand: name, origin, error."),
    "convert": ("advisor.commands.convert", "Turn a table of times into a profile, or a profile into a table."),
    "transfer": ("advisor.commands.transfer", "Carry a profile over to another machine by a handful of times."),
    "latency": ("advisor.commands.latency", "Predict a network's latency; --verify times the real one beside it."),
    "plan": ("advisor.commands.plan", "Choose a density per layer under one or several budgets."),
    "frontier": ("advisor.commands.frontier", "Trade one cost against the loss: the Pareto front."),
    "reconstruct": (
        "advisor.commands.reconstruct",
        "Fit a trained network's kept weights under a plan to what the dense one gave.",
    ),
    "export": ("advisor.commands.export", "Write a plan for another training library."),
}
# Commands of the floors above (validation, the page), which this package never imports by name.
PLUGINS = {
    "validate": "Train the plan shortly beside its alternatives and write a report.",
    "methods": "List the training methods that validate can use.",
    "app": "Open the Streamlit page.",
}


class Commands(click.Group):
    """A group whose commands are imported only when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *PLUGINS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            module, _ = COMMANDS[cmd_name]
            command: click.Command = getattr(import_module(module), cmd_name)
            return command
        if cmd_name in PLUGINS:
            for entry in entry_points(group="advisor.commands"):
                if entry.name == cmd_name:
                    plugin: click.Command = entry.load()
                    return plugin
            raise AdvisorError(f"command {cmd_name!r} is not installed here; reinstall the package sparsity-advisor")
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in (*COMMANDS, *PLUGINS):
            raise click.UsageError(unknown("command", args[0], [*COMMANDS, *PLUGINS]), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, text) for name, (_, text) in COMMANDS.items()] + list(PLUGINS.items())
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="sparsity-advisor", prog_name="advisor")
def cli() -> None:
    """Fit a network into a budget: a plan with a proof and a receipt.

    \b
    A MODEL is one of
      torchvision:resnet50          a network of torchvision
      timm:efficientnet_b0          a network of timm, where it is installed
      zoo:digits_cnn                a network of the source papers, or of the demo
      path/to/file.py:FACTORY       a function of yours that returns the module, or (module, example inputs)
      package.module:FACTORY        the same in an installed package

    \b
    Examples
      advisor analyze torchvision:resnet50
      advisor profile torchvision:resnet50 --device cpu --budget-seconds 300 --out r50.json
      advisor plan torchvision:resnet50 --profile r50.json --budget latency=60% --budget params=50% --out plan.json
      advisor latency torchvision:resnet50 --profile r50.json --plan plan.json --verify
      advisor validate zoo:digits_cnn --plan plan.json --epochs 4 --seeds 2 --out report/
    """


def run(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit status: 0 done, 2 a user's mistake, 130 interrupted."""
    try:
        status = cli.main(args=arguments, prog_name="advisor", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 0
    except click.ClickException as error:
        where = f"{error.ctx.command_path}: " if isinstance(error, click.UsageError) and error.ctx else ""
        return _complain(f"{where}{error.format_message()}")
    except AdvisorError as error:
        return _complain(str(error))
    except BrokenPipeError:
        sys.stderr.close()  # the reader has gone; Python would complain once more at exit
        return 0
    except OSError as error:
        place = f" {error.filename}" if error.filename else ""
        return _complain(f"{error.strerror or error}{place}; free space or choose another place, then run it again")
    except (KeyboardInterrupt, click.Abort):
        click.echo("advisor: interrupted", err=True)
        return 130


def _complain(text: str) -> int:
    click.echo(f"advisor: error: {' '.join(text.split())}", err=True)
    return 2


def main() -> None:
    """The console script."""
    sys.exit(run())


if __name__ == "__main__":
    main()
