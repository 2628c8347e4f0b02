"""The copy of a clip that voters are given: its picture and sound as they are, without what the file says of itself.

Files of ours carry their recipe, which names the model; others name the program that wrote them.
"""

from __future__ import annotations

from pathlib import Path

import av
from av.error import FFmpegError

from happyhorse.errors import MediaError
from happyhorse.files import whole_file

_OPTIONS = {"mp4": {"movflags": "+faststart", "fflags": "+bitexact"}, "webm": {"fflags": "+bitexact"}}
"""Bit exact: without the muxer's own name and the time."""


def write_shown(source: Path, target: Path) -> None:
    """Copies the packets of a clip into a new file of the same format.

    Raises MediaError if its picture or sound does not go into such a file, OutputError if it cannot be written.
    """
    form = source.suffix.lower().removeprefix(".")
    with whole_file(target) as temporary:
        try:
            _copy_packets(source, temporary, form)
        except (FFmpegError, ValueError) as error:
            raise MediaError(f"{source} cannot be written again as {form}; give an mp4 of H.264 and AAC") from error


def _copy_packets(source: Path, target: Path, form: str) -> None:
    with av.open(str(source)) as read, av.open(str(target), "w", format=form, options=_OPTIONS[form]) as written:
        wanted = (read.streams.video[0], read.streams.audio[0])
        copies = {stream.index: written.add_stream_from_template(stream) for stream in wanted}
        for packet in read.demux(wanted):
            if packet.dts is not None:  # the last one of each stream is empty
                packet.stream = copies[packet.stream.index]
                written.mux(packet)
