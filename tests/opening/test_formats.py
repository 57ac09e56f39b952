"""The list of formats, and files that a stranger may hand over."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tensorview.cli import main
from tensorview.errors import MissingExtra, ModelNotFound, OpenError, TrustRequired
from tensorview.opening import formats, load_weights, open_model
from tensorview.opening.formats import FORMATS


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
def test_a_format_without_its_packages_says_what_to_install(format, tmp_path, monkeypatch):
    path = tmp_path / f"net{format.suffixes[0]}"
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None)
    assert format.is_installed is not bool(format.extra)
    if format.extra:
        with pytest.raises(MissingExtra, match=rf'net\..*pip install "tensorview\[{format.extra}\]"'):
            format.require(path, trust=True)
    else:
        format.require(path, trust=True)


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
def test_what_can_run_code_needs_trust(format, tmp_path):
    path = tmp_path / f"net{format.suffixes[0]}"
    if format.danger:
        with pytest.raises(TrustRequired, match=rf"net\..* is a {format.name} file, and .*--trust"):
            format.require(path, trust=False)
    assert bool(format.danger) == (format.name not in ("ONNX", "TensorFlow.js layers"))


def test_the_page_and_the_command_list_the_formats(capsys):
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text("utf-8")
    rows = [
        line.strip("| ").split("|") for line in page.partition("## Formats")[2].splitlines() if line.startswith("| ")
    ]
    cells = [[cell.strip() for cell in row] for row in rows[1 : len(FORMATS) + 1]]
    assert cells == [
        [
            format.name,
            ", ".join(f"`{suffix}`" for suffix in format.suffixes),
            f"`{format.extra}`" if format.extra else "",
            "`--trust`" if format.danger else "no",
        ]
        for format in FORMATS
    ]
    assert main(["formats"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["format", "ends", "in", "extra", "trust", "installed"]
    for format, line in zip(FORMATS, lines, strict=True):
        assert line.startswith(f"{format.name} ")
        assert line.endswith("yes" if format.is_installed else "no")
        assert all(suffix in line.split() for suffix in format.suffixes)


@pytest.mark.parametrize("suffix", [suffix for format in FORMATS for suffix in format.suffixes])
def test_a_missing_file_and_a_folder(suffix, tmp_path):
    with pytest.raises(OpenError, match=rf"There is no file .*gone\{suffix}"):
        open_model(tmp_path / f"gone{suffix}")
    (tmp_path / f"in{suffix}").mkdir()
    with pytest.raises(OpenError, match="is a folder"):
        open_model(tmp_path / f"in{suffix}")


def test_an_unknown_name_lists_the_suffixes():
    with pytest.raises(ModelNotFound, match=r"a file of \.onnx, \.keras, .*\.pt2, "):
        open_model("net.unheard")


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.pth"])
def test_weights_alone_are_no_model(name, tmp_path):
    path = tmp_path / name
    state = nn.Linear(2, 2).state_dict()
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    with pytest.raises(OpenError, match=rf"holds weights alone, not a model: .*--weights {name}"):
        open_model(path)


def bomb(path, member="config.json"):
    """A zip archive of some kilobytes whose directory says that it unpacks to 100 GB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, b"0" * 1000)
        archive.writestr("zeros", b"\0" * 100_000)
    data = bytearray(path.read_bytes())
    entry = data.rfind(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<I", 4_000_000_000)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("suffix", [".keras", ".pt", ".pt2", ".ts"])
@pytest.mark.parametrize("trust", [False, True])
def test_an_archive_that_would_unpack_to_gigabytes_is_not_opened(suffix, trust, tmp_path):
    path = bomb(tmp_path / f"bomb{suffix}")
    with pytest.raises(OpenError, match=r"would unpack to 3\.7 GiB in 2 files, which no model does"):
        open_model(path, trust=trust)


def test_a_bomb_of_weights(tmp_path):
    with pytest.raises(OpenError, match="would unpack to"):
        load_weights(nn.Linear(2, 2), bomb(tmp_path / "w.pt"), trust=True)


def test_a_safetensors_header_of_a_gigabyte(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", 2**30) + b"{}")
    with pytest.raises(OpenError, match="is not a whole safetensors file"):
        load_weights(nn.Linear(2, 2), path)
    header = json.dumps({"weight": {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 4 * 10**12]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 16)
    with pytest.raises(OpenError, match="is not a whole safetensors file"):
        load_weights(nn.Linear(2, 2), path)


@pytest.mark.parametrize("suffix", [suffix for format in FORMATS for suffix in format.suffixes])
@pytest.mark.parametrize(
    "data", [b"", b"\0" * 64, b"PK\x03\x04 no more", b"\x89HDF\r\n\x1a\n", b"{", b"\x80\x02}q\x00"]
)
def test_rubbish_is_refused_in_one_sentence(suffix, data, tmp_path):
    if not formats.format_of(suffix[1:] + suffix).is_installed:
        pytest.skip(f"what {suffix} needs is not installed")
    path = tmp_path / f"rubbish{suffix}"
    path.write_bytes(data)
    with pytest.raises(OpenError) as caught:
        open_model(path, trust=True)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")
