"""The commands and their options. Try ``happyhorse generate "a red ball bounces on wood"``."""

from __future__ import annotations

import functools
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn, ParamSpec, TypeVar

import typer

from happyhorse import __version__
from happyhorse.errors import HappyhorseError

P = ParamSpec("P")
R = TypeVar("R")

RENDER_SIZE = re.compile(r"\d+p|\d+x\d+", re.IGNORECASE)
EXIT_MEND = 2
EXIT_STOPPED = 130

app = typer.Typer(
    name="happyhorse",
    help="A prompt becomes a video with its sound.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Debug = Annotated[bool, typer.Option("--debug", help="Show the full traceback of an error.")]
SuiteName = Annotated[str, typer.Option(help="foal-quick, foal-wide, foal-tall (40 prompts) or foal-full (320).")]
CompileWay = Annotated[
    str | None, typer.Option(help="auto, off, or max: compiled first, and of the fastest kind  [default: auto]")
]
LibraryFolder = Annotated[
    Path | None, typer.Option("--library", help="Where clips are kept  [default: ~/.local/share/happyhorse]")
]
_USAGE_ERROR = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


def main() -> NoReturn:
    """Runs the command line; the exit code is 0, 2 (the user can mend it), 130 (stopped) or 1 (our mistake)."""
    # Before torch loads: with active waiting, one busy neighbour makes a forward pass on two cores ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Runs one command and returns its exit code; errors go to stderr in one or two lines."""
    debug = "--debug" in arguments
    try:
        return app(with_render_value(arguments), prog_name="happyhorse", standalone_mode=False) or 0
    except (KeyboardInterrupt, Stopped):
        say("stopped; nothing was written")
        return EXIT_STOPPED
    except BrokenPipeError:  # the reader of our output went away
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        return 0
    except Exception as error:
        if debug:
            traceback.print_exc()
        if isinstance(error, _USAGE_ERROR):
            say(f"error: {error.format_message()}")  # type: ignore[attr-defined]
            return EXIT_MEND
        if isinstance(error, HappyhorseError):
            say(f"error: {error}")
            return EXIT_MEND
        if isinstance(error, MemoryError):
            say("error: this machine has too little memory free for that; ask for a shorter or smaller clip")
            return EXIT_MEND
        say(f"unexpected error: {type(error).__name__}: {error}\nrun it again with --debug to see where")
        return 1


def with_render_value(arguments: list[str]) -> list[str]:
    """``--render`` may stand alone or before a size; the option parser wants one or the other, and no prompt there."""
    found: list[str] = []
    for argument in arguments:
        if found and found[-1] == "--render=" and RENDER_SIZE.fullmatch(argument):
            found[-1] = f"--render={argument}"
        else:
            found.append("--render=" if argument == "--render" else argument)
    return found


class Stopped(Exception):
    """Ctrl-C, on its way through the option parser (which would end the program without a word)."""


def stoppable(command: Callable[P, R]) -> Callable[P, R]:
    """``command`` with Ctrl-C turned into Stopped."""

    @functools.wraps(command)
    def run_command(*arguments: P.args, **options: P.kwargs) -> R:
        try:
            return command(*arguments, **options)
        except KeyboardInterrupt as error:
            raise Stopped from error

    return run_command


def say(line: str) -> None:
    """One line for the person, on stderr, so that stdout holds results only."""
    print(line, file=sys.stderr)


def _version(asked: bool) -> None:
    if asked:
        print(f"happyhorse {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """A prompt becomes a video with its sound."""


@app.command()
@stoppable
def generate(
    prompt: Annotated[str | None, typer.Argument(help="What to see and hear.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The mp4, or a folder for it.")] = None,
    model: Annotated[str | None, typer.Option(help="A model's name or folder  [default: foal]")] = None,
    image: Annotated[Path | None, typer.Option(help="An image that becomes the first frame.")] = None,
    last_image: Annotated[Path | None, typer.Option(help="An image that becomes the last frame.")] = None,
    audio: Annotated[Path | None, typer.Option(help="A sound, to make the picture for.")] = None,
    video: Annotated[Path | None, typer.Option(help="A film, to make the sound for.")] = None,
    extend: Annotated[Path | None, typer.Option(help="A clip to go on from, up to --seconds in all.")] = None,
    loop: Annotated[bool, typer.Option("--loop", help="A clip whose end leads into its beginning.")] = False,
    seconds: Annotated[
        float | None, typer.Option(help="Length of the clip  [default: 5, or that of the film or sound]")
    ] = None,
    aspect: Annotated[str | None, typer.Option(help="1:1, 16:9 or 9:16  [default: 1:1, or the image's]")] = None,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT, instead of --aspect.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same clip  [default: random]")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps  [default: the model's]")] = None,
    guidance: Annotated[str | None, typer.Option(help="How closely to follow the prompt: W, or PICTURE,SOUND")] = None,
    negative: Annotated[str | None, typer.Option(help="What to keep away from.")] = None,
    count: Annotated[int, typer.Option(help="Clips per prompt, with seeds SEED, SEED+1, ...")] = 1,
    prompts: Annotated[Path | None, typer.Option(help="A text file with one prompt per line.")] = None,
    like: Annotated[Path | None, typer.Option(help="Repeat this clip; other options given change it.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...  [default: cpu]")] = None,
    compile: CompileWay = None,
    render: Annotated[
        str | None,
        typer.Option("--render", metavar="[SIZE]", help="Render each clip too; magihuman: 540p, 720p, 1080p or WxH."),
    ] = None,
    format: Annotated[str | None, typer.Option(help="magihuman: weights as bf16, fp8 or int8  [default: bf16]")] = None,
    library: LibraryFolder = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON line per clip.")] = False,
    debug: Debug = False,
) -> int:
    """Make clips from prompts."""
    from happyhorse.cli.generate import Options, generate_clips

    options = Options(
        prompt=prompt,
        output=output,
        model=model,
        image=image,
        last_image=last_image,
        audio=audio,
        video=video,
        extend=extend,
        loop=loop,
        seconds=seconds,
        aspect=aspect,
        size=size,
        seed=seed,
        steps=steps,
        guidance=guidance,
        negative=negative,
        count=count,
        prompts=prompts,
        like=like,
        device=device,
        compile=compile,
        render=render,
        format=format,
        library=library,
        overwrite=overwrite,
        json=json,
    )
    return generate_clips(options)


@app.command()
@stoppable
def render(
    clip: Annotated[Path, typer.Argument(help="A preview made by happyhorse.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The mp4  [default: CLIP-render.mp4]")] = None,
    model: Annotated[str | None, typer.Option(help="A model's name or folder  [default: what made the clip]")] = None,
    seed: Annotated[int | None, typer.Option(help="Of what the preview leaves open  [default: the clip's]")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps  [default: the model's]")] = None,
    size: Annotated[str | None, typer.Option(help="magihuman: 540p, 720p, 1080p or WxH  [default: 540p]")] = None,
    format: Annotated[str | None, typer.Option(help="magihuman: weights as bf16, fp8 or int8  [default: bf16]")] = None,
    library: LibraryFolder = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...  [default: cpu]")] = None,
    compile: CompileWay = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON line.")] = False,
    debug: Debug = False,
) -> int:
    """Render a preview at four times its size, with its sound."""
    from happyhorse.cli.render import RenderOptions, render_clip

    asked = RenderOptions(clip, output, model, seed, steps, size, format, library, device, compile, overwrite, json)
    return render_clip(asked)


@app.command()
@stoppable
def library(
    folder: LibraryFolder = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON line per clip.")] = False,
    debug: Debug = False,
) -> None:
    """List the clips that were made, the newest first."""
    from happyhorse.cli.library import list_library

    list_library(folder, json)


@app.command()
@stoppable
def caption(
    clips: Annotated[list[Path], typer.Argument(help="Clips, made by happyhorse or not.")],
    model: Annotated[str | None, typer.Option(help="A model with a language head  [default: foal-base]")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...  [default: cpu]")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON line per clip.")] = False,
    debug: Debug = False,
) -> None:
    """Write what clips show and sound like, as a prompt."""
    from happyhorse.cli.caption import caption_clips

    caption_clips(clips, model, device, json)


@app.command()
@stoppable
def info(
    clip: Annotated[Path, typer.Argument(help="A clip made by happyhorse.")],
    json: Annotated[bool, typer.Option("--json", help="Print the recipe as one JSON line.")] = False,
    debug: Debug = False,
) -> None:
    """Print the recipe that is stored in a clip."""
    from happyhorse.cli.info import print_recipe

    print_recipe(clip, json)


@app.command()
@stoppable
def scenes(
    preview: Annotated[Path | None, typer.Option(help="Write a contact sheet and clips into this folder.")] = None,
    listing: Annotated[bool, typer.Option("--list", help="Print what the foal knows.")] = False,
    per_family: Annotated[int, typer.Option(min=1, max=64, help="Previewed scenes of each family.")] = 2,
    seed: Annotated[int, typer.Option(help="Which scenes.")] = 0,
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT of the preview.")] = "128x128",
    seconds: Annotated[float, typer.Option(min=0.5, max=10, help="Length of the previewed scenes.")] = 5.0,
    debug: Debug = False,
) -> None:
    """Show the procedural scenes that the foal is trained on."""
    from happyhorse.cli.scenes import list_scenes, preview_scenes

    if preview is None or listing:
        list_scenes()
    if preview is not None:
        preview_scenes(preview, per_family, seed, size, seconds)


@app.command()
@stoppable
def train(
    recipe: Annotated[
        str,
        typer.Argument(
            help="foal, foal-caption, foal-settle, foal-reading, foal-codec, foal-picture, foal-superres or foal-asr."
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Folder of the run  [default: runs/RECIPE]")] = None,
    resume: Annotated[bool, typer.Option("--resume/--fresh", help="Go on from the folder's last checkpoint.")] = True,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...  [default: a GPU if there is one]")] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop, resumable, after this long.")] = None,
    init: Annotated[Path | None, typer.Option(help="Weights to start from, instead of nothing.")] = None,
    debug: Debug = False,
) -> int:
    """Train a model from nothing, or go on from weights."""
    from happyhorse.cli.train import train_recipe

    return train_recipe(recipe, out, resume, device, minutes, init)


@app.command()
@stoppable
def distill(
    recipe: Annotated[str, typer.Argument(help="foal.")] = "foal",
    out: Annotated[Path | None, typer.Option(help="Folder of the run  [default: runs/RECIPE-distilled]")] = None,
    resume: Annotated[bool, typer.Option("--resume/--fresh", help="Go on from the folder's last checkpoint.")] = True,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...  [default: a GPU if there is one]")] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop, resumable, after this long.")] = None,
    debug: Debug = False,
) -> int:
    """Teach a model to need few steps and no guidance."""
    from happyhorse.cli.train import distill_recipe

    return distill_recipe(recipe, out, resume, device, minutes)


@app.command()
@stoppable
def evaluate(
    model: Annotated[str | None, typer.Argument(help="A model's name or folder  [default: foal]")] = None,
    suite: SuiteName = "foal-quick",
    clips: Annotated[Path | None, typer.Option(help="Measure the clips in this folder instead of a model.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run  [default: evaluations/MODEL-SUITE]")] = None,
    listing: Annotated[bool, typer.Option("--list", help="Print what the suite asks for, and nothing else.")] = False,
    steps: Annotated[int | None, typer.Option(help="Denoising steps  [default: the model's]")] = None,
    guidance: Annotated[str | None, typer.Option(help="How closely to follow the prompt: W, or PICTURE,SOUND")] = None,
    recogniser: Annotated[
        list[str] | None, typer.Option(help="foal-asr, pocketsphinx, whisper or whisper:MODEL")
    ] = None,
    syncnet: Annotated[Path | None, typer.Option(help="SyncNet's weights, to judge talkers by LSE-C and -D.")] = None,
    synchformer: Annotated[Path | None, typer.Option(help="A checkout of Synchformer with weights: DeSync.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...  [default: cpu]")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another evaluation in the folder.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the numbers as one JSON line.")] = False,
    debug: Debug = False,
) -> int:
    """Make a suite of clips, or take those of a folder, and measure them."""
    from happyhorse.cli.evaluate import Asked, list_suite
    from happyhorse.cli.evaluate import evaluate as run_evaluation

    if listing:
        list_suite(suite, json)
        return 0
    asked = Asked(
        model=model,
        suite=suite,
        clips=clips,
        out=out,
        steps=steps,
        guidance=guidance,
        recognisers=tuple(recogniser or ()),
        syncnet=syncnet,
        synchformer=synchformer,
        device=device,
        overwrite=overwrite,
        json=json,
    )
    return run_evaluation(asked)


@app.command()
@stoppable
def sweep(
    model: Annotated[str, typer.Argument(help="A model's name or folder.")] = "foal",
    steps: Annotated[str, typer.Option(help="Numbers of denoising steps, with commas.")] = "5,10,20",
    guidance: Annotated[list[str] | None, typer.Option(help="W, or PICTURE,SOUND; may be given several times")] = None,
    suite: SuiteName = "foal-quick",
    out: Annotated[Path | None, typer.Option(help="Folder  [default: evaluations/MODEL-SUITE-sweep]")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...  [default: cpu]")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace other evaluations in the folder.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the numbers as one JSON line.")] = False,
    debug: Debug = False,
) -> int:
    """Evaluate a model at several numbers of steps: what quality costs."""
    from happyhorse.cli.evaluate import Asked, numbers
    from happyhorse.cli.evaluate import sweep as run_sweep

    asked = Asked(model=model, suite=suite, out=out, device=device, overwrite=overwrite, json=json)
    return run_sweep(asked, numbers(steps), guidance or [])


@app.command()
@stoppable
def compare(
    first: Annotated[Path, typer.Argument(help="A report.json of evaluate.")],
    second: Annotated[Path, typer.Argument(help="Another, of the same suite.")],
    json: Annotated[bool, typer.Option("--json", help="Print the differences as one JSON line.")] = False,
    debug: Debug = False,
) -> None:
    """Print what two evaluations differ in, and which differences are more than chance."""
    from happyhorse.cli.evaluate import compare_reports

    compare_reports(first, second, json)


@app.command()
@stoppable
def models(json: Annotated[bool, typer.Option("--json", help="Print one JSON line per model.")] = False) -> None:
    """List the models: what they make, what of them is here, and what fits this machine."""
    from happyhorse.cli.models import list_models

    list_models(json)


@app.command()
@stoppable
def pull(
    name: Annotated[str, typer.Argument(help="A public model, or a part that several share.")], debug: Debug = False
) -> int:
    """Fetch public weights; what was begun goes on."""
    from happyhorse.cli.models import pull_model

    return pull_model(name)


@app.command()
@stoppable
def verify(
    name: Annotated[str, typer.Argument(help="A public model, or a part that several share.")],
    quick: Annotated[bool, typer.Option("--quick", help="Compare sizes only.")] = False,
    debug: Debug = False,
) -> int:
    """Compare public weights with what was fetched."""
    from happyhorse.cli.models import verify_model

    return verify_model(name, quick)


@app.command()
@stoppable
def rm(
    name: Annotated[str, typer.Argument(help="A public model, or a part that several share.")],
    force: Annotated[bool, typer.Option("--force", help="Even what other models use.")] = False,
    debug: Debug = False,
) -> None:
    """Delete public weights."""
    from happyhorse.cli.models import remove_model

    remove_model(name, force)


@app.command()
@stoppable
def convert(
    source: Annotated[str, typer.Argument(help="A public model that is here, or a folder or file of weights.")],
    out: Annotated[Path | None, typer.Argument(help="A new folder  [default: beside the public models]")] = None,
    format: Annotated[str, typer.Option(help="bf16, fp8 or int8.")] = "fp8",
    kind: Annotated[str | None, typer.Option(help="base, distill, 540p or 1080p  [default: by its name]")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...  [default: cpu]")] = None,
    debug: Debug = False,
) -> None:
    """Keep a Transformer's weights in a smaller format."""
    from happyhorse.cli.convert import convert_model

    convert_model(source, out, format, kind, device)


@app.command()
@stoppable
def prompt(
    short: Annotated[str, typer.Argument(help="What to see and hear, in a few words.")],
    rewrite: Annotated[bool, typer.Option("--rewrite", help="Ask a language model (HAPPYHORSE_LLM_URL).")] = False,
    url: Annotated[
        str | None, typer.Option(help="An OpenAI-compatible endpoint  [default: HAPPYHORSE_LLM_URL]")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Its model  [default: HAPPYHORSE_LLM_MODEL]")] = None,
    image: Annotated[Path | None, typer.Option(help="The first frame, shown to the language model.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON line with the parts.")] = False,
    debug: Debug = False,
) -> None:
    """Write a prompt in the form that the large model was trained on."""
    from happyhorse.cli.prompt import write_prompt

    write_prompt(short, rewrite, url, model, image, json)


@app.command()
@stoppable
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on  [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="0 for any that is free  [default: 8000]")] = None,
    folder: Annotated[Path | None, typer.Option(help="Database, clips and keys  [default: in ~/.local/share]")] = None,
    database: Annotated[str | None, typer.Option(help="postgresql://...  [default: SQLite in the folder]")] = None,
    store: Annotated[str | None, typer.Option(help="A folder or s3://...  [default: in the folder]")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Models to offer; may be repeated  [default: foal]")] = None,
    worker: Annotated[
        list[str] | None, typer.Option(help="A device for each worker, or none; may be repeated  [default: all GPUs]")
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Previews made at once  [default: 4 on a GPU, 1 on a CPU]")] = None,
    engine: Annotated[
        str | None, typer.Option(help="processes, or ray: workers on all nodes of a Ray cluster  [default: processes]")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Ray's HOST:PORT, or auto  [default: a Ray on this machine alone]")
    ] = None,
    slots: Annotated[
        int | None, typer.Option(help="Workers on a node of Ray at most  [default: one for each GPU, or one]")
    ] = None,
    keys: Annotated[bool | None, typer.Option("--keys/--no-keys", help="Ask for API keys.")] = None,
    fetch_host: Annotated[
        list[str] | None, typer.Option(help="A host that media may be fetched from; may be repeated  [default: none]")
    ] = None,
    webhook_host: Annotated[
        list[str] | None, typer.Option(help="A host that may be told of jobs; may be repeated  [default: none]")
    ] = None,
    keep_days: Annotated[
        float | None, typer.Option(help="Delete finished jobs and clips after that long  [default: never]")
    ] = None,
    stub: Annotated[
        bool | None, typer.Option("--stub/--no-stub", help="Make tiny clips without a model, for load tests.")
    ] = None,
    debug: Debug = False,
) -> int:
    """Serve clips over HTTP, with the studio and the arena."""
    from happyhorse.cli.serve import serve as run_service

    asked = {"host": host, "port": port, "folder": folder, "database": database, "store": store, "keys": keys}
    asked |= {"batch": batch, "engine": engine, "address": address, "slots": slots}
    asked |= {"keep_days": keep_days, "stub": stub}
    lists = {"models": model, "workers": worker, "fetch_hosts": fetch_host, "webhook_hosts": webhook_host}
    asked |= {name: tuple(values) if values else None for name, values in lists.items()}
    return run_service({name: value for name, value in asked.items() if value is not None})


@app.command("compile")
@stoppable
def compile_(
    model: Annotated[str, typer.Argument(help="A model's name or folder.")] = "foal",
    sizes: Annotated[
        list[str] | None, typer.Option("--sizes", help="To compare with the plain model, such as 5s@128x128.")
    ] = None,
    fastest: Annotated[bool, typer.Option("--max", help="What generate --compile max uses.")] = False,
    guided: Annotated[bool, typer.Option("--guided", help="For clips with guidance too.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...  [default: cpu]")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Compile again what is there.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON line per package.")] = False,
    debug: Debug = False,
) -> None:
    """Compile a model ahead of time, so that its clips are made faster."""
    from happyhorse.cli.compile import Asked, compile_model

    compile_model(Asked(model, tuple(sizes or ()), fastest, guided, device, overwrite, json))


@app.command()
@stoppable
def bench(
    model: Annotated[str, typer.Argument(help="A model's name or folder.")] = "foal",
    seconds: Annotated[float, typer.Option(help="Length of the clip that a step is of.")] = 5.0,
    size: Annotated[str, typer.Option(help="Its WIDTHxHEIGHT.")] = "128x128",
    repeats: Annotated[int, typer.Option(help="Rounds in which every way takes its turn.")] = 10,
    ways: Annotated[str, typer.Option(help="Only these, with commas, such as block,bf16  [default: all]")] = "",
    explain: Annotated[bool, typer.Option("--explain", help="Say where the time goes, beside the ceilings.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for bench.json and, explained, roofline.png.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...  [default: cpu]")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files in the folder.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the numbers as one JSON line.")] = False,
    debug: Debug = False,
) -> int:
    """Time a denoising step in all the ways there are to run it."""
    from happyhorse.cli.bench import Asked
    from happyhorse.cli.bench import bench as run_bench

    return run_bench(Asked(model, seconds, size, repeats, ways, explain, out, device, overwrite, json))


@app.command()
@stoppable
def doctor(
    model: Annotated[str | None, typer.Option(help="Plan where this public model would go.")] = None,
    render: Annotated[str | None, typer.Option(help="With a render to 540p, 720p, 1080p or WxH.")] = None,
    format: Annotated[str, typer.Option(help="With its weights as bf16, fp8 or int8.")] = "bf16",
    memory: Annotated[float | None, typer.Option(help="On a GPU with so many GiB free  [default: this one]")] = None,
    debug: Debug = False,
) -> int:
    """Say what this machine has, what will work, and how to mend what is missing."""
    from happyhorse.cli.doctor import examine, print_plan, report

    return print_plan(model, render, format, memory) if model else report(examine())


from happyhorse.cli import groups  # noqa: E402  # they need what is above

app.add_typer(groups.arena, name="arena")
app.add_typer(groups.keys, name="keys")
