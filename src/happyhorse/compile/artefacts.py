"""Compiled packages on disk, so that a second start is as fast as an eager one.

A package is machine code for one graph (AOTInductor), without the model's weights: those are bound when it is loaded,
so it serves all weights of its geometry. It is kept under the hash of all that the code depends on (its ABI), and says
the same inside. One that says something else, or is damaged, is never run. Loading takes no compiler and none of
torch's own: a few milliseconds.

A package is a program: it lies in a folder that only its owner may write to, and none is ever fetched.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from happyhorse.compile.capture import Free, signature
from happyhorse.compile.machine import instructions, missing_tool, processor
from happyhorse.compile.spec import CompileSpec
from happyhorse.config import ModelConfig
from happyhorse.errors import CompileError, MissingToolError
from happyhorse.files import make_folder, whole_file

FORMAT = 1
"""Of what surrounds the code in a package."""
SUFFIX = ".pt2"
SHIPPED = Path(__file__).parent / "packages"
"""Packages that came with this one, if there are any for this platform."""
_ROOMS = ("model", "compile")
"""Rooms whose code shapes graphs."""
_NAME = "model"
_ABI = f"{_NAME}/extra/happyhorse.json"


def packages_folder() -> Path:
    """Where packages are kept: HAPPYHORSE_COMPILED, or happyhorse/compiled in the user's cache folder."""
    if asked := os.environ.get("HAPPYHORSE_COMPILED"):
        return Path(asked).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "happyhorse" / "compiled"


# --------------------------------------------------------------------------------------------- what code depends on
@dataclasses.dataclass(frozen=True)
class Abi:
    """All that a package's code depends on, as JSON values."""

    facts: Mapping[str, Any]

    @property
    def key(self) -> str:
        """The name that a package with this ABI is kept under."""
        return hashlib.sha256(json.dumps(self.facts, sort_keys=True).encode()).hexdigest()[:24]

    def differences(self, other: Mapping[str, Any]) -> list[str]:
        """Names of the facts in which another package differs."""
        names = {*self.facts, *other}
        return sorted(name for name in names if self.facts.get(name) != other.get(name))


def abi_of(module: nn.Module, config: ModelConfig, spec: CompileSpec, tensors: Sequence[Tensor], free: Free) -> Abi:
    """The ABI of a graph: ``module`` called with tensors such as these, the sizes ``free`` open."""
    facts = {
        "format": FORMAT,
        "torch": f"{torch.__version__} {torch.version.git_version}",
        "platform": f"{sys.platform} {platform.machine()}",
        "processor": processor(tensors[0].device),
        "sources": sources_hash(),
        "config": config.to_dict(),
        "spec": spec.to_dict(),
        "module": structure(module),
        "inputs": signature(tensors, free),
    }
    return Abi(json.loads(json.dumps(facts)))


@functools.cache
def sources_hash() -> str:
    """Hash of the code that shapes graphs."""
    room = Path(__file__).parents[1]
    paths = sorted(path for name in _ROOMS for path in (room / name).glob("*.py"))
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def structure(module: nn.Module) -> str:
    """Hash of a module's parts: what they are, and the dtypes and shapes of its tensors."""
    parts = [f"{name}: {type(part).__qualname__} {part.extra_repr()}" for name, part in module.named_modules()]
    parts += [f"{name}: {tensor.dtype} {list(tensor.shape)}" for name, tensor in module.state_dict().items()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


# ------------------------------------------------------------------------------------------------------- a package
class Package:
    """A loaded package, bound to the weights of a module: called with a list of tensors, it returns one."""

    def __init__(self, path: Path, module: nn.Module, device: torch.device) -> None:
        """Raises CompileError if the code cannot be loaded, or wants weights that the module does not have."""
        index = -1 if device.index is None else device.index
        try:
            from torch._C._aoti import AOTIModelPackageLoader  # torch's Python around it takes a second to import

            self._loader = AOTIModelPackageLoader(str(path), _NAME, False, 1, index)
            weights, wanted = module.state_dict(), self._loader.get_constant_fqns()
            # The code reads the weights where they lie, so they are kept alive here.
            self._weights = {name: weights[name].contiguous() for name in wanted}
            self._loader.load_constants(self._weights, False, True, True, False)
        except (RuntimeError, KeyError, TypeError, ImportError) as error:  # the last two: an older torch
            raise CompileError(f"the package {path} cannot be loaded ({str(error).splitlines()[0]})") from error

    def __call__(self, tensors: list[Tensor]) -> list[Tensor]:
        return self._loader.boxed_run(list(tensors))


def find(abi: Abi, folder: Path | None = None) -> Path | None:
    """The package with this ABI, from the cache or shipped; None if there is none."""
    places = (folder or packages_folder(), SHIPPED)
    return next((path for place in places if (path := place / f"{abi.key}{SUFFIX}").is_file()), None)


def any_at_hand() -> bool:
    """Whether there are packages at all: quicker to say than which."""
    return any(True for place in (packages_folder(), SHIPPED) for _ in place.glob(f"*{SUFFIX}"))


def check(path: Path, abi: Abi) -> None:
    """Raises CompileError, saying why, if a file is not a whole package with this ABI."""
    try:
        with zipfile.ZipFile(path) as archive:
            facts = json.loads(archive.read(_ABI))
            damaged = archive.testzip()
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise CompileError(f"{path} is no compiled package, or a damaged one ({error})") from error
    if damaged:
        raise CompileError(f"{path} is damaged: {damaged} does not have its checksum")
    if differences := abi.differences(facts):
        raise CompileError(f"{path} was made for something else: {', '.join(differences)} differ")


# ------------------------------------------------------------------------------------------------------- building one
def build(module: nn.Module, tensors: list[Tensor], free: Free, abi: Abi, folder: Path | None = None) -> Path:
    """Compiles a module for inputs such as these into the folder, whole or not at all. Takes about a minute.

    Raises MissingToolError without a compiler, CompileError for what cannot be captured as one graph, OutputError if
    the package cannot be written.
    """
    if missing := missing_tool(tensors[0].device):
        raise MissingToolError(f"compiling needs {missing}, which is not installed; without it models run as they are")
    folder = folder or packages_folder()
    make_folder(folder)
    path = folder / f"{abi.key}{SUFFIX}"
    with tempfile.TemporaryDirectory(prefix="compile-") as scratch, torch.inference_mode(False), torch.no_grad():
        made = _compile(module, tensors, free, Path(scratch) / f"{_NAME}{SUFFIX}")
        with whole_file(path) as temporary:
            _repack(made, temporary, abi)
    return path


def _compile(module: nn.Module, tensors: list[Tensor], free: Free, path: Path) -> Path:
    from torch._inductor import aoti_compile_and_package
    from torch.export import Dim, export

    assert len({id(tensor) for tensor in tensors}) == len(tensors), "of one tensor given twice, export makes one input"
    open_sizes = [dict.fromkeys(dims, Dim.AUTO) for dims in free]
    options: dict[str, Any] = {"aot_inductor.package_constants_in_so": False, "cpp.dynamic_threads": True}
    if march := instructions():
        options["cpp.march"] = march
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch's words to itself
            program = export(module, (tensors,), dynamic_shapes=(open_sizes,), strict=False)
            _check_open(program, free)
            return Path(aoti_compile_and_package(program, package_path=str(path), inductor_configs=options))
    except (RuntimeError, ValueError, AttributeError, TypeError, KeyError, AssertionError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise CompileError(f"the model cannot be compiled as one graph ({reason[:200]})") from error


def _check_open(program: Any, free: Free) -> None:
    """A size that tracing has fixed or bounded would be served wrongly, so it must not stay unnoticed."""
    names = program.graph_signature.user_inputs
    shapes = {node.name: node.meta["val"].shape for node in program.graph.nodes if node.op == "placeholder"}
    for name, dims in zip(names, free, strict=True):
        for dim in dims:
            size = shapes[name][dim]
            limits = None if isinstance(size, int) else program.range_constraints.get(size.node.expr)
            if limits is None or limits.upper < 2**31:
                raise CompileError(f"dimension {dim} of {name} came out as {size} within {limits}, but must be open")


def _repack(made: Path, path: Path, abi: Abi) -> None:
    """The package without its sources and symbols, compressed, and with its ABI: a tenth of the size."""
    with zipfile.ZipFile(made) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as new:
        for name in old.namelist():
            if not name.endswith(".cpp") and name != _ABI:
                data = old.read(name)
                new.writestr(name, _stripped(data, made.parent) if name.endswith(".so") else data)
        new.writestr(_ABI, json.dumps(abi.facts, indent=1))


def _stripped(code: bytes, folder: Path) -> bytes:
    if not (strip := shutil.which("strip")):
        return code
    path = folder / "code.so"
    path.write_bytes(code)
    done = subprocess.run([strip, str(path)], capture_output=True, check=False)
    return path.read_bytes() if done.returncode == 0 else code
