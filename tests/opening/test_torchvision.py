import contextlib
import importlib
import os
import subprocess
import sys
import urllib.error

import numpy as np
import pytest
import torch
from PIL import Image

from tensorview.errors import MissingExtra, ModelNotFound, OpenError
from tensorview.opening import import_torchvision, open_model

try:
    torchvision = import_torchvision()
except MissingExtra as reason:
    pytest.skip(str(reason), allow_module_level=True)


@pytest.fixture
def photo():
    noise = np.random.default_rng(0).integers(0, 256, (6, 10, 3), np.uint8)
    return Image.fromarray(noise).resize((500, 300), Image.Resampling.BICUBIC)


def test_random_weights_need_no_network_and_repeat():
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    one = open_model("torchvision:resnet18", random_weights=True)
    assert torch.equal(torch.random.get_rng_state(), state)
    two = open_model("torchvision:resnet18", random_weights=True)
    assert torch.equal(one.module.fc.weight, two.module.fc.weight)
    assert not one.module.training
    assert one.input_spec.shape == (3, 224, 224)
    assert len(one.class_names) == 1000
    assert one.class_names[207] == "golden retriever"


def test_its_own_transforms_are_used(photo):
    subject = open_model("torchvision:resnet18", random_weights=True)
    expected = torchvision.models.ResNet18_Weights.DEFAULT.transforms()(photo)
    assert torch.equal(subject.preprocess(photo)[0], expected)
    assert torch.equal(subject.preprocess(np.asarray(photo))[0], expected)
    grey = subject.preprocess(photo.convert("L"))
    assert torch.allclose(grey[0, 0] * 0.229 + 0.485, grey[0, 2] * 0.225 + 0.406, atol=1e-5)
    crop = photo.resize((round(500 * 256 / 300), 256), Image.Resampling.BILINEAR)
    left, top = (crop.width - 224) // 2, (256 - 224) // 2
    crop = np.asarray(crop.crop((left, top, left + 224, top + 224)), int)
    assert np.abs(subject.preview(subject.preprocess(photo)) - crop).mean() < 6


def test_inception_takes_299_and_googlenet_opens_without_a_warning():
    assert open_model("torchvision:inception_v3", random_weights=True).input_spec.shape == (3, 299, 299)
    assert open_model("torchvision:googlenet", random_weights=True).input_spec.shape == (3, 224, 224)


def test_another_input_shape(photo):
    subject = open_model("torchvision:resnet18", random_weights=True, input_shape=(3, 64, 96))
    x = subject.preprocess(photo)
    assert x.shape == (1, 3, 64, 96)
    assert x.min() < -1
    assert x.max() > 1


def test_segmentation_takes_a_whole_photograph(photo):
    subject = open_model("torchvision:lraspp_mobilenet_v3_large", random_weights=True)
    assert subject.input_spec.shape == (3, 520, 520)
    assert subject.class_names[:2] == ("__background__", "aeroplane")
    subject = open_model("torchvision:lraspp_mobilenet_v3_large", random_weights=True, input_shape=(3, 300, 300))
    x = subject.preprocess(photo)
    centre = torch.from_numpy(np.array(photo.crop((100, 0, 400, 300)))).permute(2, 0, 1) / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    assert torch.allclose(x[0], (centre - mean[:, None, None]) / std[:, None, None], atol=1e-5)
    with torch.no_grad():
        assert subject.module(x)["out"].shape == (1, 21, 300, 300)


def test_video_takes_a_clip_and_makes_one_of_a_picture(photo):
    subject = open_model("torchvision:r3d_18", random_weights=True)
    assert subject.input_spec.shape == (3, 16, 112, 112)
    assert len(subject.class_names) == 400
    x = subject.preprocess(photo)
    frames = torch.from_numpy(np.array(photo)).permute(2, 0, 1).repeat(16, 1, 1, 1)
    assert torch.equal(x[0], torchvision.models.video.R3D_18_Weights.DEFAULT.transforms()(frames))
    clip = np.random.default_rng(0).random((3, 16, 112, 112), np.float32)
    assert np.array_equal(subject.preprocess(clip)[0].numpy(), clip)
    with torch.no_grad():
        assert subject.module(x).shape == (1, 400)


def test_optical_flow_takes_two_pictures(photo):
    subject = open_model("torchvision:raft_small", random_weights=True)
    first, second = subject.preprocess(photo), photo.rotate(5)
    inputs = subject.complete(first, {"image2": second})
    assert list(inputs) == ["image1", "image2"]
    assert [tuple(x.shape) for x in inputs.values()] == [(1, 3, 128, 128)] * 2
    assert inputs["image2"].min() >= -1
    assert inputs["image2"].min() < 0
    with torch.no_grad():
        assert subject.module(**inputs)[-1].shape == (1, 2, 128, 128)


def test_detectors_take_a_batch_in_place_of_a_list():
    subject = open_model("torchvision:ssdlite320_mobilenet_v3_large", random_weights=True)
    seen = []
    subject.module.transform.register_forward_pre_hook(lambda module, args: seen.extend(args[0]))
    with torch.no_grad(), contextlib.suppress(RuntimeError):  # where torchvision's compiled operators are missing
        subject.module(torch.rand(2, 3, 320, 320))
    assert [tuple(image.shape) for image in seen] == [(3, 320, 320)] * 2
    assert type(subject.module).__name__ == "SSD"
    assert subject.class_names[1] == "person"


def test_quantized_models_open_as_they_are_before_they_are_quantized():
    subject = open_model("torchvision:quantized_mobilenet_v2", random_weights=True)
    assert subject.input_spec.shape == (3, 224, 224)
    assert type(subject.module.features[0][0]) is torch.nn.Conv2d


def test_a_module_of_torchvision_is_for_large_images():
    assert open_model(torchvision.models.vgg11()).input_spec.shape == (3, 224, 224)


def test_near_names():
    with pytest.raises(ModelNotFound, match="'resnet81': did you mean torchvision:resnet18 or"):
        open_model("torchvision:resnet81", random_weights=True)
    with pytest.raises(ModelNotFound, match="did you mean torchvision:resnet18"):
        open_model("resnet18")
    with pytest.raises(ModelNotFound, match="torchvision:resnet18, for one"):
        open_model("torchvision:", random_weights=True)


def test_without_network_the_way_out_is_named(monkeypatch):
    def offline(*args, **kwargs):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    monkeypatch.setenv("TORCH_HOME", "/nonexistent")
    monkeypatch.setattr("os.makedirs", lambda *args, **kwargs: None)
    with pytest.raises(OpenError, match=r"resnet18 could not be downloaded \(Name or .*--random-weights"):
        open_model("torchvision:resnet18")


class Marked:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_weights_in_the_cache_are_used_but_never_run(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    weights = torchvision.models.SqueezeNet1_1_Weights.DEFAULT
    file = folder / weights.url.rsplit("/", 1)[1]
    source = torchvision.models.squeezenet1_1()
    torch.save(source.state_dict(), file)
    opened = open_model("torchvision:squeezenet1_1")
    assert torch.equal(opened.module.features[0].weight, source.features[0].weight)
    torch.save({"x": Marked(tmp_path / "made")}, file)
    with pytest.raises(OpenError, match="torch's cache is broken"):
        open_model("torchvision:squeezenet1_1")
    assert not (tmp_path / "made").exists()
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


def test_own_weights_for_a_torchvision_model(tmp_path):
    source = torchvision.models.squeezenet1_1()
    torch.save(source.state_dict(), tmp_path / "w.pt")
    opened = open_model("torchvision:squeezenet1_1", weights=tmp_path / "w.pt")
    assert torch.equal(opened.module.features[0].weight, source.features[0].weight)


def test_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(MissingExtra, match=r'pip install "tensorview\[torchvision\]"'):
        import_torchvision()
    with pytest.raises(ModelNotFound, match="no model 'resnet18': what opens"):
        open_model("resnet18")


def test_missing_operators_are_declared():
    """In a process of its own: the first import fails as that of a torchvision built for another torch does."""
    script = """
import importlib, sys
real = importlib.import_module
calls = []
def first_fails(name, *rest, **more):
    if name == "torchvision" and not calls:
        calls.append(name)
        sys.modules["torchvision"] = sys.modules["torchvision.half"] = object()
        raise RuntimeError("operator torchvision::nms does not exist")
    return real(name, *rest, **more)
importlib.import_module = first_fails
from tensorview.opening.torchvision_shim import import_torchvision
module = import_torchvision()
assert calls and "torchvision.half" not in sys.modules
assert module.models.resnet18 is not None
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    # Where the compiled operators do load, declaring them a second time is torch's error, not ours.
    if "Tried to register an operator" in done.stderr:
        pytest.skip("this torchvision has its compiled operators")
    assert done.returncode == 0, done.stderr


def test_other_faults_of_the_import_are_not_hidden(monkeypatch):
    def broken(name):
        raise RuntimeError("out of luck")

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(RuntimeError, match="out of luck"):
        import_torchvision()


def test_opening_does_not_import_torchvision():
    script = "import sys, tensorview.opening; sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
