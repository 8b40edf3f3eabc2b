"""A verb of the command line as a frozen record: its fields are its options, its docstring is its help.

    @verb
    class Call(Verb):
        \"\"\"Send one request through the gateway.

        Example: micro call GET /tasks
        \"\"\"

        method: str = argument("METHOD", help="GET, POST, …")
        body: bool = flag("--head", help="Print the response head too.")

        def run(self, console: Console) -> int | None: ...

Typer parses, prints help and completes. Values are turned into types here, by `parse`, because what Typer does that with
(pydantic, since 0.29) takes longer to import than a verb takes to run.
"""

from __future__ import annotations

import inspect
import os
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, dataclass_transform

import typer
from typer.core import TyperCommand, TyperGroup

from micro.errors import UsageError
from micro.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from micro.console import Console
    from micro.runtime.session import Session

REQUIRED: Any = MISSING
"""The default of an option that has to be given."""
ROOT_OPTIONS = ("directory", "profile", "dev", "prod")
"""The options that may stand before the verb as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """How one field is written on the command line. No flags: it is an argument."""

    flags: tuple[str, ...] = ()
    help: str = ""
    metavar: str | None = None
    kind: type = str
    """`str`, `bool` for a flag, `list` for many."""
    parse: Callable[[str], Any] | None = None
    """Raises `ValueError` with what is wrong, as the end of a sentence."""


def option(
    *flags: str, help: str, metavar: str, default: Any = None, parse: Callable[[str], Any] | None = None
) -> Any:
    """A field given as `--flag VALUE`. `default` is text, as if it had been typed; `REQUIRED` means there is none."""
    spec = Spec(flags=flags, help=help, metavar=metavar, parse=parse)
    return field(default=default, metadata={"spec": spec})


def flag(*flags: str, help: str, default: bool | None = False) -> Any:
    """A field that is on when the flag is there; `--x/--no-x` names both ways."""
    return field(default=default, metadata={"spec": Spec(flags=flags, help=help, kind=bool)})


def options(*flags: str, help: str, metavar: str) -> Any:
    """A field given as `--flag VALUE` any number of times."""
    return field(default=(), metadata={"spec": Spec(flags=flags, help=help, metavar=metavar, kind=list)})


def argument(
    metavar: str, *, help: str, optional: bool = False, parse: Callable[[str], Any] | None = None
) -> Any:
    """A field given by its place."""
    spec = Spec(help=help, metavar=metavar, parse=parse)
    return field(default=None if optional else MISSING, metadata={"spec": spec})


def arguments(metavar: str, *, help: str) -> Any:
    """A field that takes all the places that are left, perhaps none."""
    return field(default=(), metadata={"spec": Spec(help=help, metavar=metavar, kind=list)})


@dataclass(frozen=True, kw_only=True)
class Verb:
    """What every verb takes. `run` does it and returns the exit code; nothing is 0."""

    directory: str = option("-C", metavar="DIR", help="Work as if started in DIR.", default=".")
    profile: str | None = option("--profile", metavar="NAME", help="The profile; dev unless said.")
    dev: bool = flag("--dev", help="Short for --profile dev.")
    prod: bool = flag("--prod", help="Short for --profile prod.")

    def run(self, console: Console) -> int | None:
        raise NotImplementedError

    def session(self, flags: Mapping[str, Any] | None = None) -> Session:
        """The stack of the folder that was named. Raises `UsageError` for two profiles, or no such folder."""
        from micro.runtime.session import Session  # noqa: PLC0415 - loaded when first used: --help does without

        named = [name for name in (self.profile, self.dev and "dev", self.prod and "prod") if name]
        if len(named) > 1:
            raise UsageError("one profile at a time: give --dev, --prod or --profile NAME")
        try:
            directory = Path(self.directory).resolve()
        except FileNotFoundError as error:
            raise UsageError("the current folder was removed; go to another one, or say -C DIR") from error
        if not directory.is_dir():
            raise UsageError(f"there is no folder {self.directory}")
        return Session(directory, profile=named[0] if named else None, environ=os.environ, flags=flags)


@dataclass(frozen=True, kw_only=True)
class DataVerb(Verb):
    """A verb that prints data: for people, or as JSON."""

    json: bool = flag("--json", help="Print JSON.")


@dataclass_transform(
    kw_only_default=True, frozen_default=True, field_specifiers=(option, options, flag, argument, arguments)
)
def verb(cls: type[Any]) -> type[Any]:
    """Make a subclass of `Verb` the frozen record that it describes."""
    return dataclass(frozen=True, kw_only=True)(cls)


def add(app: typer.Typer, name: str, cls: type[Verb]) -> None:
    """Register `cls` in `app` as the verb `name`."""
    app.command(name, cls=VerbCommand, help=help_of(cls))(_callback(cls))


def help_of(cls: type[Verb]) -> str:
    """The docstring, with its example kept on its own line."""
    return (inspect.getdoc(cls) or "").replace("\nExample:", "\n\b\nExample:")


class _ValuesAsTyped:
    """Mixed into Typer's classes, it keeps pydantic out (70 ms, 7 MB): values stay the text that was typed.

    The one seam that Typer has for it; where a version lacks it, pydantic is loaded and nothing else changes.
    """

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, `--help` included, that take a value as it is."""
        parameters: list[Any] = super().get_params(ctx)  # type: ignore[misc] # Typer's, by the order of bases
        for parameter in parameters:
            parameter.get_runtime_param = _AsTyped
        return parameters


class VerbCommand(_ValuesAsTyped, TyperCommand):
    """One verb."""


class VerbGroup(_ValuesAsTyped, TyperGroup):
    """A verb with verbs below it."""

    def find(self, name: str) -> Any:
        """The verb of that name, or nothing."""
        return self.commands.get(name)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The verb of that name. Raises `UsageError` with the nearest name, except while the shell completes a word."""
        found = self.find(cmd_name)
        if found is None and not ctx.resilient_parsing:
            names = self.list_commands(ctx)
            raise UsageError(f"there is no verb '{cmd_name}'{did_you_mean(cmd_name, names)}")
        return found


def group(help: str) -> typer.Typer:
    """An app to `add` verbs to; asked for none of them, it prints its help."""
    return typer.Typer(
        cls=VerbGroup,
        help=help,
        callback=_help,
        invoke_without_command=True,
        rich_markup_mode=None,
        add_completion=False,
    )


def flat() -> typer.Typer:
    """An app to `add` verbs to that stand by themselves."""
    return typer.Typer(rich_markup_mode=None, add_completion=False)


def _help(ctx: typer.Context) -> None:
    if ctx.invoked_subcommand is None:
        for line in ctx.get_help().splitlines():
            ctx.obj.line(line)


class _AsTyped:
    """Stands in for Typer's coercion of one parameter."""

    def coerce(self, value: Any, *, param: Any, ctx: Any) -> Any:
        """`value`, with nothing made an empty list where many are taken."""
        return () if value is None and (param.nargs == -1 or getattr(param, "multiple", False)) else value


def _callback(cls: type[Verb]) -> Callable[..., int | None]:
    """A function with the signature that Typer reads: it makes the record and runs it."""

    def run(ctx: typer.Context, **values: Any) -> int | None:
        values = {**values, **_from_root(ctx, values)}
        return cls(**_parsed(cls, values)).run(ctx.obj)

    run.__signature__ = signature(cls)  # type: ignore[attr-defined] # what Typer reads
    return run


def signature(cls: type[Verb]) -> inspect.Signature:
    """The parameters of `cls` in the form that Typer reads, after the context."""
    return inspect.Signature(
        [_parameter("ctx", typer.Context), *(_typer_parameter(each) for each in _own_first(cls))]
    )


def _from_root(ctx: typer.Context, values: dict[str, Any]) -> dict[str, Any]:
    """What was said before the verb, where the verb itself does not say it again."""
    root = ctx.find_root().params
    if values.get("profile") or values.get("dev") or values.get("prod"):
        root = {"directory": root.get("directory")}
    unsaid = (None, False, ".")
    return {name: root[name] for name in ROOT_OPTIONS if root.get(name) and values.get(name) in unsaid}


def _parsed(cls: type[Verb], values: dict[str, Any]) -> dict[str, Any]:
    specs: dict[str, Spec] = {each.name: each.metadata["spec"] for each in fields(cls)}
    return {name: _value(specs[name], given) for name, given in values.items()}


def _value(spec: Spec, given: Any) -> Any:
    if spec.kind is list:
        return tuple(given or ())
    if spec.parse is None or given is None:
        return given
    try:
        return spec.parse(given)
    except ValueError as error:
        label = spec.flags[0] if spec.flags else spec.metavar
        raise UsageError(f"{label} {given!r:.60}: {error}") from error


def _own_first(cls: type[Verb]) -> Iterable[Field[Any]]:
    common = {each.name for each in fields(DataVerb)}
    return sorted(fields(cls), key=lambda each: each.name in common)


def _typer_parameter(each: Field[Any]) -> inspect.Parameter:
    spec: Spec = each.metadata["spec"]
    required = each.default is MISSING
    kind: Any = {bool: bool | None if each.default is None else bool, list: list[str]}.get(spec.kind)
    annotation = kind or (str if required else str | None)
    if spec.flags:
        info = typer.Option(
            *spec.flags,
            help=spec.help,
            metavar=spec.metavar,
            show_default=bool(each.default) and each.default not in {".", REQUIRED},
        )
    else:
        info = typer.Argument(help=spec.help, metavar=spec.metavar, show_default=False)
    default = inspect.Parameter.empty if required else (None if spec.kind is list else each.default)
    return _parameter(each.name, Annotated[annotation, info], default=default)


def _parameter(name: str, annotation: Any, *, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
