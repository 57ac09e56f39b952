import os
import random
import struct

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tensorview.errors import OpenError, TrustRequired
from tensorview.opening import load_weights


def net(width=4):
    return nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Linear(width, 2))


def same(a, b):
    return all(torch.equal(a.state_dict()[key], value) for key, value in b.state_dict().items())


class Marked:
    """A pickle of it makes a folder when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_safetensors(tmp_path):
    source, target = net(), net()
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    load_weights(target, tmp_path / "w.safetensors")
    assert same(target, source)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"epoch": 3, "state_dict": state},
        lambda state: {"model": state, "loss": 0.5},
        lambda state: {f"module.{key}": value for key, value in state.items()},
        lambda state: {"model": {f"module._orig_mod.{key}": value for key, value in state.items()}},
    ],
    ids=["plain", "state_dict", "model", "DataParallel", "compiled and parallel"],
)
def test_what_training_scripts_save(tmp_path, wrap):
    source, target = net(), net()
    torch.save(wrap(source.state_dict()), tmp_path / "w.pt")
    load_weights(target, tmp_path / "w.pt")
    assert same(target, source)


def test_a_pickle_with_code_needs_trust_and_is_not_run(tmp_path):
    made = tmp_path / "made"
    torch.save({"state_dict": net().state_dict(), "extra": Marked(made)}, tmp_path / "w.pt")
    with pytest.raises(TrustRequired, match="--trust"):
        load_weights(net(), tmp_path / "w.pt")
    assert not made.exists()
    load_weights(net(), tmp_path / "w.pt", trust=True)
    assert made.exists()


def test_a_whole_model_needs_trust(tmp_path):
    source, target = net(), net()
    torch.save(source, tmp_path / "w.pth")
    with pytest.raises(TrustRequired):
        load_weights(target, tmp_path / "w.pth")
    load_weights(target, tmp_path / "w.pth", trust=True)
    assert same(target, source)


def test_keys_that_do_not_fit_are_named(tmp_path):
    state = net().state_dict()
    wrong = {f"other.{key}": value for key, value in state.items() if key != "0.bias"}
    wrong["0.bias"] = state["0.bias"]
    save_file(wrong, tmp_path / "w.safetensors")
    with pytest.raises(OpenError) as caught:
        load_weights(net(), tmp_path / "w.safetensors")
    message = str(caught.value)
    assert "does not fit Sequential" in message
    assert "missing: 0.weight, 1.weight, 1.bias and 4 more" in message
    assert message.count("other.") == 3
    assert "and 5 more" in message


def test_shapes_stand_side_by_side(tmp_path):
    save_file(net(5).state_dict(), tmp_path / "w.safetensors")
    target = net(4)
    before = {key: value.clone() for key, value in target.state_dict().items()}
    with pytest.raises(OpenError, match=r"0\.weight is 5 x 3 in the file, 4 x 3 in the model"):
        load_weights(target, tmp_path / "w.safetensors")
    assert all(torch.equal(before[key], value) for key, value in target.state_dict().items())


def test_tied_weights_may_be_stored_once(tmp_path):
    def tied():
        model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        model[1].weight = model[0].weight
        return model

    source, target = tied(), tied()
    state = {key: value for key, value in source.state_dict().items() if key != "1.weight"}
    save_file(state, tmp_path / "w.safetensors")
    load_weights(target, tmp_path / "w.safetensors")
    assert same(target, source)


def test_half_precision_weights_load(tmp_path):
    source, target = net(), net()
    save_file({key: value.half() for key, value in source.state_dict().items()}, tmp_path / "w.safetensors")
    load_weights(target, tmp_path / "w.safetensors")
    assert target[0].weight.dtype == torch.float32
    assert torch.allclose(target[0].weight, source[0].weight, atol=1e-3)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.99])
@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
def test_files_cut_short(tmp_path, name, share):
    path = tmp_path / name
    if name.endswith("pt"):
        torch.save(net().state_dict(), path)
    else:
        save_file(net().state_dict(), path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(OpenError, match=r"not a whole|neither"):
        load_weights(net(), path)


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        b'\x3c\0\0\0\0\0\0\0{"0.weight":{"dtype":"F32","shape":[9],"data_offsets":[0,9]}}',
    ],
    ids=["a header of 8 exabytes", "a list", "offsets beyond the end"],
)
def test_hostile_safetensors(tmp_path, data):
    path = tmp_path / "w.safetensors"
    path.write_bytes(data)
    with pytest.raises(OpenError, match="not a whole safetensors file"):
        load_weights(net(), path)


def test_a_file_without_weights(tmp_path):
    save_file({}, tmp_path / "w.safetensors")
    save_file({"optimizer/step": torch.zeros(1)}, tmp_path / "o.safetensors")
    for name in ("w.safetensors", "o.safetensors"):
        with pytest.raises(OpenError, match=f"{name} holds no weights"):
            load_weights(net(), tmp_path / name)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "before zip"])
@pytest.mark.parametrize("content", ["state dict", "code"])
def test_damaged_files_are_no_question_of_trust(tmp_path, legacy, content):
    path = tmp_path / "w.pt"
    code = {"a": Marked(tmp_path / "made")} if content == "code" else {}
    torch.save(code | net().state_dict(), path, _use_new_zipfile_serialization=not legacy)
    whole, generator = path.read_bytes(), random.Random(0)
    start = whole.index(b"\x80\x02", 0 if not legacy else 100)
    for _ in range(150):
        data = bytearray(whole)
        for place in generator.sample(range(start, start + 300), 3):
            data[place] ^= generator.randrange(1, 256)
        path.write_bytes(data)
        try:
            load_weights(net(), path)
        except OpenError as error:
            said = str(error)
            assert said.startswith(str(path))
            assert "trust" not in said
            assert said.count("\n") == 0
        except TrustRequired:
            assert legacy  # it has no checksum, so that another name may be what was meant
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "data", [b"PK\x05\x06" + bytes(18), b"hello\n" * 9, b"\x80\x02K\x05", b"\x80", b"PK\x03\x04", b""]
)
def test_other_files_are_no_question_of_trust(tmp_path, data):
    path = tmp_path / "w.pt"
    path.write_bytes(data)
    with pytest.raises(OpenError, match=r"not a whole file of PyTorch weights: (it is|Pyt)|neither") as caught:
        load_weights(net(), path)
    assert "trust" not in str(caught.value)


def test_an_archive_that_claims_to_be_one_of_several_is_broken(tmp_path):
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 1, 0, 2)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0, 0, 0, 0, 0)
    (tmp_path / "w.pt").write_bytes(b"PK\x03\x04" + bytes(60) + locator + end)
    with pytest.raises(OpenError, match=r"w\.pt is a broken zip archive|not a whole file"):
        load_weights(net(), tmp_path / "w.pt")


def test_a_dict_in_itself_is_no_state_dict(tmp_path):
    found = {}
    found["model"] = found
    torch.save(found, tmp_path / "w.pt")
    with pytest.raises(OpenError, match="holds no state dict: model is no tensor"):
        load_weights(net(), tmp_path / "w.pt")


def test_what_is_no_state_dict(tmp_path):
    path = tmp_path / "w.pt"
    for content, words in (([1, 2], "holds a list"), ({"a": 1}, "a is no tensor"), ({}, "holds a dict")):
        torch.save(content, path)
        with pytest.raises(OpenError, match=words):
            load_weights(net(), path)
    path.write_text("not a pickle at all")
    with pytest.raises(OpenError, match="neither a safetensors file nor"):
        load_weights(net(), path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(OpenError, match=r"There is no file .*gone\.pt"):
        load_weights(net(), tmp_path / "gone.pt")
    with pytest.raises(OpenError, match="is a folder"):
        load_weights(net(), tmp_path)
