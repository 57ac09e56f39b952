"""Keras's files and TensorFlow.js layers models, against Keras."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tensorview import capture
from tensorview.errors import OpenError, TrustRequired
from tensorview.opening import open_model

h5py = pytest.importorskip("h5py")
if importlib.util.find_spec("keras") is None:
    pytest.skip("keras is not installed", allow_module_level=True)
# Keras itself uses what numpy and torch have deprecated, and warns of its own older format.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*mask attached:UserWarning")


@pytest.fixture(scope="module")
def keras() -> Any:
    from tensorview.opening.keras_model import import_keras

    return import_keras()


def cnn(layers: Any) -> Any:
    """A skip, a concatenation and every kind of window, with odd sizes, so that "same" pads one side more."""
    x = image = layers.Input((13, 10, 3))
    x = layers.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="first")(x)
    y = layers.BatchNormalization(name="bn")(layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x))
    x = layers.Concatenate(name="cat")([layers.Add(name="add")([x, y]), y])
    x = layers.MaxPooling2D(2, padding="same", name="pool")(x)
    x = layers.Conv2DTranspose(4, 3, strides=2, padding="same", name="up")(x)
    x = layers.ZeroPadding2D(((1, 0), (0, 2)), name="pad")(layers.UpSampling2D(2, name="larger")(x))
    mean = layers.GlobalAveragePooling2D(name="mean")(x)
    x = layers.Concatenate(name="both")([layers.Flatten(name="flat")(x), mean])
    x = layers.Dense(5, name="logits")(layers.Dropout(0.3, name="drop")(x))
    return image, layers.Activation("softmax", name="classes")(x)


def text(layers: Any) -> Any:
    words = layers.Input((9,), dtype="int32")
    x = layers.Bidirectional(layers.LSTM(4, return_sequences=True), name="rnn")(
        layers.Embedding(20, 8, name="e")(words)
    )
    x = layers.GlobalMaxPooling1D(name="pool")(layers.Conv1D(5, 3, padding="causal", name="conv")(x))
    return words, layers.Dense(2, name="answer")(x)


def nested(layers: Any) -> Any:
    """A model in a model, used twice, and a dense layer that is used twice."""
    import keras  # on its torch backend by now

    encoder = keras.Sequential(
        [layers.Input((8, 8, 3)), layers.Conv2D(4, 3, name="conv"), layers.ReLU(name="relu")], name="enc"
    )
    image = layers.Input((8, 8, 3))
    x = layers.Multiply(name="mul")([encoder(image), encoder(layers.Rescaling(0.5, name="half")(image))])
    dense = layers.Dense(4, activation="tanh", name="dense")
    return image, dense(dense(layers.GlobalMaxPooling2D(name="max")(x)))


def signal(layers: Any) -> Any:
    """A one-dimensional network with two outputs."""
    x = wave = layers.Input((32, 2))
    x = layers.BatchNormalization(name="bn")(layers.MaxPooling1D(2, name="pool")(layers.Conv1D(4, 3, name="conv")(x)))
    return wave, [layers.Dense(3, name="three")(layers.Flatten(name="flat")(x)), x]


def attention(layers: Any) -> Any:
    tokens = layers.Input((6, 8))
    x = layers.Add(name="skip")([tokens, layers.MultiHeadAttention(2, 4, name="attend")(tokens, tokens)])
    return tokens, layers.Dense(8, name="mlp", activation="gelu")(layers.LayerNormalization(name="norm")(x))


def make(keras: Any, build: Any) -> Any:
    model = keras.Model(*build(keras.layers), name=build.__name__)
    generator = np.random.default_rng(0)
    for weight in model.weights:
        if "float" in weight.dtype:
            values = generator.normal(0, 0.3, weight.shape)
            weight.assign(np.abs(values) + 0.1 if "variance" in weight.name else values)
    return model


def given(subject: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """An input, as the subject and as Keras takes it."""
    shape = subject.input_spec.shape
    x = torch.rand(1, *shape, generator=torch.Generator().manual_seed(2))
    if "int" in subject.input_spec.dtype:
        x = (x * 20).to(getattr(torch, subject.input_spec.dtype))
    is_spatial = len(shape) == 3 or shape[0] < shape[-1]
    return x, x.movedim(1, -1) if len(shape) > 1 and is_spatial and shape != (6, 8) else x


def channels_first(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return values if values.shape == shape else np.moveaxis(values, -1, 0)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("build", [cnn, text, nested, signal, attention])
def test_predictions_are_keras_own(keras, build, suffix, tmp_path):
    model = make(keras, build)
    path = tmp_path / f"net{suffix}"
    model.save(path)
    with pytest.raises(TrustRequired, match=r"its layers can carry Python .*--trust"):
        open_model(path)
    subject = open_model(path, trust=True)
    x, own = given(subject)
    wanted = model(own)
    trace = capture(subject.module, x)
    for name, output in zip(trace.outputs, wanted if isinstance(wanted, list) else [wanted], strict=True):
        values = channels_first(output[0].detach().numpy(), trace[name].shape)
        assert np.abs(trace[name].values - values).max() < 1e-4


def test_feature_maps_are_channels_first_and_every_value_is_kerass(keras, tmp_path):
    model = make(keras, cnn)
    model.save(tmp_path / "net.keras")
    subject = open_model(tmp_path / "net.keras", trust=True)
    assert subject.input_spec.shape == (3, 13, 10)
    x, own = given(subject)
    trace = capture(subject.module, x)
    inner = keras.Model(model.inputs, [layer.output for layer in model.layers[1:]])
    for layer, output in zip(model.layers[1:], inner(own), strict=True):
        values = output[0].detach().numpy()
        values = np.moveaxis(values, -1, 0) if values.ndim == 3 else values
        np.testing.assert_allclose(trace[layer.name].values, values, atol=1e-5, err_msg=layer.name)
    assert [(layer.name, layer.kind, layer.parents) for layer in trace] == [
        ("first", "convolution", ("input",)),
        ("depthwise", "convolution", ("first",)),
        ("bn", "normalization", ("depthwise",)),
        ("add", "merge", ("first", "bn")),
        ("cat", "merge", ("add", "bn")),
        ("pool", "pooling", ("cat",)),
        ("up", "convolution", ("pool",)),
        ("larger", "upsampling", ("up",)),
        ("pad", "padding", ("larger",)),
        ("flat", "reshape", ("pad",)),
        ("mean", "pooling", ("pad",)),
        ("both", "merge", ("flat", "mean")),
        ("drop", "dropout", ("both",)),
        ("logits", "linear", ("drop",)),
        ("classes", "activation", ("logits",)),
    ]
    assert trace["first"].info.parameter_count == 6 * 3 * 9 + 6


def test_what_feeds_a_cell_is_what_changes_it(keras, tmp_path):
    """The lines of the scene against gradients."""
    from tensorview.scene.feeds import sources

    make(keras, cnn).save(tmp_path / "net.keras")
    subject = open_model(tmp_path / "net.keras", trust=True)
    trace = capture(subject.module, given(subject)[0])
    layers = {layer.name: layer for layer in (*trace.inputs, *trace)}
    for name, index in [
        ("first", (2, 6, 4)), ("first", (0, 0, 0)), ("depthwise", (4, 3, 3)), ("pool", (3, 3, 1)),
        ("larger", (1, 7, 3)), ("pad", (2, 5, 1)), ("flat", (37,)), ("mean", (2,)),
    ]:  # fmt: skip
        layer = layers[name]
        module = subject.module.get_submodule(name)
        x = torch.from_numpy(layers[layer.parents[0]].values.copy())[None].requires_grad_()
        module(x)[(0, *index)].backward()
        moved = np.argwhere(x.grad[0].numpy() != 0)
        (source,) = sources(layer, index, layers)
        spans = [(source.channels.start, source.channels.stop), *source.spans]
        low, high = np.array(spans).T
        assert ((moved >= low) & (moved < high)).all(), name
        if name not in ("pool", "first"):  # a maximum and a ReLU hand a gradient to some of what they read
            assert len(moved) == np.prod(high - low), name


def test_a_model_in_a_model_and_a_layer_that_is_called_twice(keras, tmp_path):
    make(keras, nested).save(tmp_path / "net.keras")
    subject = open_model(tmp_path / "net.keras", trust=True)
    trace = capture(subject.module, torch.rand(1, 3, 8, 8))
    parents = {layer.name: layer.parents for layer in trace}
    assert parents["mul"] == ("enc.relu", "enc.relu#2")
    assert {parents["enc.conv"], parents["enc.conv#2"]} == {("input",), ("half",)}
    assert parents["dense#2"] == ("dense",)


def test_an_open_size_is_asked_for(keras, tmp_path):
    layers = keras.layers
    keras.Sequential([layers.Input((None, None, 1)), layers.Conv2D(2, 3)]).save(tmp_path / "net.keras")
    with pytest.raises(OpenError, match=r"takes an input of \(1, \?, \?\).*input_shape"):
        open_model(tmp_path / "net.keras", trust=True)
    assert open_model(tmp_path / "net.keras", trust=True, input_shape=(1, 7, 6)).input_spec.shape == (1, 7, 6)
    with pytest.raises(OpenError, match=r"takes an input of \(1, \?, \?\), not \(7, 6, 1\)"):
        open_model(tmp_path / "net.keras", trust=True, input_shape=(7, 6, 1))


def test_broken_files(keras, tmp_path):
    model = make(keras, cnn)
    model.save(tmp_path / "net.keras")
    model.save(tmp_path / "net.h5")
    for name in ("net.keras", "net.h5"):
        data = (tmp_path / name).read_bytes()
        (tmp_path / f"cut-{name}").write_bytes(data[: len(data) * 2 // 3])
        with pytest.raises(OpenError, match=rf"cut-{name} (does not load|is not a whole|is a broken)"):
            open_model(tmp_path / f"cut-{name}", trust=True)
    for trust in (False, True):
        with pytest.raises(OpenError, match=r"cut-net\.keras is not a whole \.keras file.*cut short, or another file"):
            open_model(tmp_path / "cut-net.keras", trust=trust)
    model.save_weights(tmp_path / "net.weights.h5")
    with pytest.raises(OpenError, match="holds weights alone"):
        open_model(tmp_path / "net.weights.h5", trust=True)
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        file.attrs["model_config"] = "{}"
        file.create_dataset("w", (10**5, 10**6), "f4", chunks=(1000, 1000), compression="gzip")
    with pytest.raises(OpenError, match=r"claims 372\.5 GiB of weights"):
        open_model(tmp_path / "huge.h5", trust=True)


# TensorFlow.js -----------------------------------------------------------------------------------------------------


def old(name: str, **config: Any) -> dict[str, Any]:
    """A layer as Keras 2 wrote it."""
    return {"class_name": name, "config": {"name": name.lower(), "trainable": True, "dtype": "float32", **config}}


_VARIANCE = {"class_name": "VarianceScaling", "config": {"scale": 1.0, "mode": "fan_avg", "distribution": "uniform"}}
LENET = [
    old("Conv2D", batch_input_shape=[None, 12, 10, 1], filters=3, kernel_size=[3, 3], strides=[1, 1], padding="same",
        dilation_rate=[1, 1], activation="relu", kernel_initializer=_VARIANCE, use_bias=True,
        bias_initializer={"class_name": "Zeros", "config": {}}, kernel_regularizer=None, bias_constraint=None),
    old("DepthwiseConv2D", kernel_size=[3, 3], strides=[2, 2], padding="same", depth_multiplier=1, groups=1,
        data_format="channels_last", activation="linear", use_bias=False),
    old("BatchNormalization", axis=[3], momentum=0.9, epsilon=0.001, center=True, scale=True, fused=True),
    old("MaxPooling2D", pool_size=[2, 2], padding="valid", strides=[2, 2], data_format="channels_last"),
    old("Flatten", data_format="channels_last"),
    old("Dense", units=4, activation="softmax", use_bias=True, kernel_initializer=_VARIANCE),
]  # fmt: skip
SHAPES = {
    "conv2d/kernel": (3, 3, 1, 3),
    "conv2d/bias": (3,),
    "depthwiseconv2d/depthwise_kernel": (3, 3, 3, 1),
    "batchnormalization/gamma": (3,),
    "batchnormalization/beta": (3,),
    "batchnormalization/moving_mean": (3,),
    "batchnormalization/moving_variance": (3,),
    "dense/kernel": (18, 4),
    "dense/bias": (4,),
}


def write_js(folder: Path, layers: list[Any] | None = None, **changes: Any) -> Path:
    """A model.json and two files of weights beside it, laid out as the TensorFlow.js converter does."""
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(3)
    data = b"".join(generator.uniform(0.1, 0.5, shape).astype("<f4").tobytes() for shape in SHAPES.values())
    (folder / "group1-shard1of2.bin").write_bytes(data[:100])
    (folder / "group1-shard2of2.bin").write_bytes(data[100:])
    entries = [{"name": name, "shape": list(shape), "dtype": "float32"} for name, shape in SHAPES.items()]
    document = {
        "format": "layers-model",
        "modelTopology": {
            "keras_version": "2.1.6-tf",
            "backend": "tensorflow",
            "model_config": {"class_name": "Sequential", "config": LENET if layers is None else layers},
        },
        "weightsManifest": [{"paths": ["group1-shard1of2.bin", "group1-shard2of2.bin"], "weights": entries}],
        **changes,
    }
    path = folder / "model.json"
    path.write_text(json.dumps(document))
    return path


def by_hand(x: torch.Tensor) -> torch.Tensor:
    """What the network of `LENET` computes, in torch alone."""
    generator = np.random.default_rng(3)
    arrays = [torch.from_numpy(generator.uniform(0.1, 0.5, shape).astype(np.float32)) for shape in SHAPES.values()]
    kernel, bias, depthwise, gamma, beta, mean, variance, dense, offset = arrays
    functional = torch.nn.functional
    x = functional.conv2d(x, kernel.permute(3, 2, 0, 1), bias, padding=1).relu()
    x = functional.conv2d(functional.pad(x, (0, 1, 0, 1)), depthwise.permute(2, 3, 0, 1), stride=2, groups=3)
    x = functional.batch_norm(x, mean, variance, gamma, beta, eps=0.001)
    x = functional.max_pool2d(x, 2).permute(0, 2, 3, 1).flatten(1)
    return (x @ dense + offset).softmax(1)


def test_a_tensorflow_js_model_needs_no_trust(tmp_path):
    subject = open_model(write_js(tmp_path / "lenet"))
    assert subject.title == "lenet"
    assert subject.input_spec.shape == (1, 12, 10)
    x = torch.rand(1, 1, 12, 10)
    trace = capture(subject.module, x)
    assert [layer.shape for layer in trace] == [(3, 12, 10), (3, 6, 5), (3, 6, 5), (3, 3, 2), (18,), (4,)]
    np.testing.assert_allclose(trace["dense"].values, by_hand(x)[0], atol=1e-6)


def test_quantised_weights(tmp_path):
    shapes = {"dense/kernel": (6, 2), "dense/bias": (2,)}
    folder = tmp_path / "q"
    folder.mkdir()
    whole = np.arange(12, dtype=np.uint8).reshape(6, 2)
    (folder / "w.bin").write_bytes(whole.tobytes() + np.array([0.5, -0.5], "<f2").tobytes())
    quantizations: list[dict[str, Any]] = [{"dtype": "uint8", "scale": 0.1, "min": -0.5}, {"dtype": "float16"}]
    entries = [
        {"name": name, "shape": shape, "dtype": "float32", "quantization": quantization}
        for (name, shape), quantization in zip(shapes.items(), quantizations, strict=True)
    ]
    manifest = [{"paths": ["w.bin"], "weights": entries}]
    path = write_js(folder, [old("Dense", batch_input_shape=[None, 6], units=2)], weightsManifest=manifest)
    x = torch.rand(1, 6)
    wanted = x.numpy() @ (whole * 0.1 - 0.5) + [0.5, -0.5]
    np.testing.assert_allclose(open_model(path).module(x).detach(), wanted, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["../secret.bin", "/etc/passwd", "a/../../secret.bin", "..\\secret.bin", "http://a.b/c"]
)
def test_weights_outside_the_folder_are_not_read(name, tmp_path):
    (tmp_path / "secret.bin").write_bytes(b"\0" * 1000)
    manifest = [{"paths": [name], "weights": [{"name": "dense/kernel", "shape": [250], "dtype": "float32"}]}]
    path = write_js(tmp_path / "m", weightsManifest=manifest)
    with pytest.raises(OpenError, match="lie outside its folder; they are not read"):
        open_model(path)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    path = write_js(tmp_path / "m")
    (tmp_path / "secret").write_bytes(b"\0" * 100)
    (tmp_path / "m" / "group1-shard1of2.bin").unlink()
    (tmp_path / "m" / "group1-shard1of2.bin").symlink_to(tmp_path / "secret")
    with pytest.raises(OpenError, match="lie outside its folder"):
        open_model(path)


def test_missing_and_short_weights_and_other_json(tmp_path):
    path = write_js(tmp_path / "m")
    shard = path.parent / "group1-shard2of2.bin"
    shard.write_bytes(shard.read_bytes()[:-4])
    with pytest.raises(OpenError, match=r"tells of 580 bytes of weights, but .* have 576: the files are cut short"):
        open_model(path)
    shard.unlink()
    with pytest.raises(OpenError, match=r"needs the file of weights group1-shard2of2\.bin beside it"):
        open_model(path)
    with pytest.raises(OpenError, match=r"is a TensorFlow\.js graph model"):
        open_model(write_js(tmp_path / "m", format="graph-model"))
    with pytest.raises(OpenError, match="names no weights"):
        open_model(write_js(tmp_path / "m", weightsManifest=[]))
    path.write_text('{"a": 1}')
    with pytest.raises(OpenError, match="it has no modelTopology"):
        open_model(path)


def test_claimed_sizes_take_no_memory(tmp_path):
    huge = [{"name": "dense/kernel", "shape": [10**9, 10**9], "dtype": "float32"}]
    manifest = [{"paths": ["group1-shard1of2.bin"], "weights": huge}]
    with pytest.raises(OpenError, match=r"tells of 4,000,000,000,000,000,000 bytes"):
        open_model(write_js(tmp_path / "m", weightsManifest=manifest))
    layers = [*LENET[:-1], old("Dense", units=10**12)]
    with pytest.raises(OpenError, match="does not load in Keras"):
        open_model(write_js(tmp_path / "m", layers))


@pytest.mark.parametrize("layer", [old("Dense", units=10**6), old("Dense", units=3)])
def test_a_layer_that_claims_more_than_its_weights_is_not_built(layer, tmp_path, keras, monkeypatch):
    made = []
    layer["config"]["name"] = "dense"
    monkeypatch.setattr(
        torch, "zeros", lambda *args, zeros=torch.zeros, **kwargs: made.append(zeros(*args, **kwargs)) or made[-1]
    )
    with pytest.raises(OpenError, match=r"model\.json does not load in Keras .*mismatch"):
        open_model(write_js(tmp_path / "m", [*LENET[:-1], layer]))
    assert all(each.device.type == "meta" for each in made if each.numel() >= 10**6)


def test_a_topology_that_is_nested_too_deeply(tmp_path):
    document = json.loads(write_js(tmp_path / "m").read_text())
    for depth in (300, 900, 950, 980, 5000):
        document["modelTopology"]["model_config"]["config"] = "here"
        text = json.dumps(document).replace('"here"', '{"a":' * depth + "1" + "}" * depth)
        (tmp_path / "m" / "model.json").write_text(text)
        with pytest.raises(OpenError, match=r"model\.json (is|does not)"):
            open_model(tmp_path / "m" / "model.json")


@pytest.mark.parametrize(
    "change",
    [
        *({"name": name} for name in ("", "dense", "dense/", "/dense/k", "dense/../k", "dense/\0", "d/\ud800", 5)),
        *({"shape": shape} for shape in ([float("inf")], [float("nan")], [-1], [10**4000], None, "a", [1] * 99)),
        *({"dtype": dtype} for dtype in ("float99", 5, ["float32"], None)),
        *(
            {"quantization": {"dtype": "uint8", **quantization}}
            for quantization in ({"scale": None}, {"scale": "x"}, {"min": float("inf")}, {"original_dtype": "object"})
        ),
        {"quantization": [1]},
        {"quantization": {"scale": 1}},
    ],
)
def test_a_manifest_that_cannot_be_read(change, tmp_path):
    path = write_js(tmp_path / "m")
    document = json.loads(path.read_text())
    document["weightsManifest"][0]["weights"][0].update(change)
    path.write_text(json.dumps(document))
    with pytest.raises(OpenError, match=r"model\.json has a weightsManifest that cannot be read: \S+") as caught:
        open_model(path)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_weights_in_what_no_file_is_called(name, tmp_path):
    manifest = [{"paths": [name], "weights": [{"name": "dense/kernel", "shape": [250], "dtype": "float32"}]}]
    with pytest.raises(OpenError, match="which no file can be called"):
        open_model(write_js(tmp_path / "m", weightsManifest=manifest))


@pytest.mark.parametrize(
    "layer",
    [
        {"class_name": ["Dense"], "config": {"units": 2}},
        {"class_name": {"a": 1}, "config": {"units": 2}},
        old("Lambda", function=["4wEAAAAAAAAA", None, None], function_type="lambda"),
        old("TFSMLayer", filepath="x"),
        {"class_name": "system", "module": "os", "config": {"command": "true"}, "registered_name": None},
        {"class_name": "Dense", "module": "evil.layers", "config": {"units": 2}},
        old("Wrapper", layer=old("Lambda", function="x")),
        old("Custom"),
    ],
)
def test_a_layer_that_could_run_code_is_refused(layer, tmp_path):
    with pytest.raises(OpenError, match="none of Keras's own"):
        open_model(write_js(tmp_path / "m", [*LENET, layer]))
