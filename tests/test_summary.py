"""The table of layers: parameters as torch counts them, multiply-adds as torch's own counter has them."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tensorview.cli import main
from tensorview.errors import CaptureError
from tensorview.opening.torchvision_shim import import_torchvision
from tensorview.summary import Summary, summarize


def counted_by_torch(model: nn.Module, x: torch.Tensor) -> int:
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        # Of fused attention on the CPU it counts nothing.
        with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            model(x)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return counter.get_total_flops()


def assert_counts(model: nn.Module, x: torch.Tensor) -> Summary:
    table = summarize(model.eval(), x)
    assert table.parameters == sum(p.numel() for p in model.parameters())
    assert table.parameters == sum(row.parameters for row in table.rows)
    assert 2 * table.multiply_adds == counted_by_torch(model, x)
    return table


class Attending(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.attn = nn.MultiheadAttention(8, 2, batch_first=True, **options)
        self.key = nn.Parameter(torch.randn(1, 7, options.get("kdim", 8)))
        self.value = nn.Parameter(torch.randn(1, 7, options.get("vdim", 8)))

    def forward(self, x):
        return self.attn(x, self.key, self.value, need_weights=False)[0]


class Products(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 4))

    def forward(self, x):
        a = torch.einsum("nij,jk->nik", x, self.weight)
        b = a @ a.transpose(1, 2)
        c = torch.bmm(b, a)
        return F.scaled_dot_product_attention(c[:, None], a[:, None], a[:, None])


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.Sequential(nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2), nn.ReLU()), (4, 9, 7)),
        (nn.Conv1d(2, 6, 5, dilation=2), (2, 30)),
        (nn.Conv3d(1, 2, (1, 2, 3)), (1, 4, 5, 6)),
        (nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2, output_padding=1), (4, 5, 6)),
        (nn.Sequential(nn.Flatten(), nn.Linear(12, 5, bias=False)), (3, 4)),
        (nn.Linear(4, 3), (5, 4)),
        (Attending(), (5, 8)),
        (Attending(kdim=3, vdim=5), (5, 8)),
        (nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2), (5, 8)),
        (Products(), (5, 6)),
    ],
)
def test_multiply_adds_are_half_of_torchs_operations(model, shape):
    assert_counts(model, torch.rand(1, *shape))


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "densenet121", "swin_t", "vit_b_32", "maxvit_t"])
def test_of_torchvisions_models_too(name):
    with torch.device("meta"):
        model = import_torchvision().models.get_model(name, weights=None)
    if any(t.is_meta for t in model.buffers() if t.dtype == torch.int64 and t.ndim):  # indices must be real
        model = import_torchvision().models.get_model(name, weights=None)
    device = next(model.parameters()).device
    assert_counts(model, torch.zeros(1, 3, 224, 224, device=device))


@pytest.mark.parametrize(("cell", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_recurrent_work_is_that_of_its_weights_in_each_step(cell, gates, bidirectional):
    model = cell(3, 5, num_layers=2, bidirectional=bidirectional, batch_first=True)
    weights = sum(p.numel() for name, p in model.named_parameters() if "weight" in name)
    assert summarize(nn.Sequential(model), (7, 3)).multiply_adds == 7 * weights
    single = {nn.LSTM: nn.LSTMCell, nn.GRU: nn.GRUCell, nn.RNN: nn.RNNCell}[cell](3, 5)
    table = summarize(nn.Sequential(single), (3,))
    assert table.multiply_adds == gates * 5 * (3 + 5)


def test_the_work_of_an_lstm_with_projections():
    model = nn.LSTM(3, 5, proj_size=2, num_layers=2, batch_first=True)
    weights = sum(p.numel() for name, p in model.named_parameters() if "weight" in name)
    assert summarize(nn.Sequential(model), (7, 3)).multiply_adds == 7 * weights


class Windows(nn.Module):
    """A layer that is given each row of a sample as a sequence of its own."""

    def __init__(self, layer, batch_first=True):
        super().__init__()
        self.layer, self.batch_first = layer, batch_first

    def forward(self, x):
        x = x.flatten(0, 1)
        x = x if self.batch_first else x.transpose(0, 1)
        return self.layer(x, x, x)[0] if isinstance(self.layer, nn.MultiheadAttention) else self.layer(x)[0]


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_work_is_that_of_all_windows(cell, batch):
    model = Windows(cell(4, 8, bidirectional=True, batch_first=True))
    weights = sum(p.numel() for name, p in model.named_parameters() if "weight" in name)
    assert summarize(model, torch.rand(batch, 5, 7, 4)).multiply_adds == 5 * 7 * weights


@pytest.mark.parametrize(("cell", "gates"), [(nn.LSTMCell, 4), (nn.GRUCell, 3), (nn.RNNCell, 1)])
@pytest.mark.parametrize("batch", [1, 2])
def test_a_cells_work_is_that_of_all_rows(cell, gates, batch):
    rows = nn.Sequential(nn.Flatten(0, 1), cell(3, 5))
    assert summarize(rows, torch.rand(batch, 6, 3)).multiply_adds == 6 * gates * 5 * (3 + 5)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("batch_first", [True, False])
def test_the_work_of_attention_is_that_of_all_windows(batch, batch_first):
    model = Windows(nn.MultiheadAttention(8, 2, batch_first=batch_first), batch_first).eval()
    x = torch.rand(batch, 5, 7, 8)
    table = summarize(model, x)
    assert table.multiply_adds == 5 * (4 * 7 * 8 * 8 + 2 * 7 * 7 * 8)
    assert 2 * batch * table.multiply_adds == counted_by_torch(model, x)


class Own(nn.Module):
    """A layer that torch does not know."""

    def __init__(self, *shape):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(shape))


class Times(Own):
    def forward(self, x):
        return x @ self.weight.T


class Fused(Own):
    """As in GPT-2."""

    def forward(self, x):
        bias = self.weight[0]
        return torch.addmm(bias, x.flatten(0, -2), self.weight).view(*x.shape[:-1], len(bias))


class Attends(Own):
    def forward(self, x):
        q, k, v = (x[:, None] @ self.weight).chunk(3, -1)
        return F.scaled_dot_product_attention(q, k, v)[:, 0]


class Standardized(nn.Conv2d):
    def forward(self, x):
        return F.conv2d(x, self.weight - self.weight.mean(), self.bias, self.stride, self.padding, groups=self.groups)


class Narrow(nn.Linear):
    """It goes through two features only."""

    def forward(self, x):
        return x @ self.weight[:2].T @ self.weight[:2]


class Stretched(nn.ConvTranspose1d):
    def forward(self, x):
        return F.conv_transpose1d(x, self.weight, stride=2)


class Itself(nn.MultiheadAttention):
    def forward(self, x):
        return super().forward(x, x, x, need_weights=False)[0]


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (Times(6, 8), (5, 8)),
        (Fused(8, 6), (5, 8)),
        (Attends(8, 24), (5, 8)),
        (Standardized(4, 6, 3, groups=2, padding=1), (4, 7, 5)),
        (Narrow(8, 6), (5, 8)),
        (Stretched(4, 3, 5), (4, 7)),
        (Itself(8, 2, batch_first=True), (5, 8)),
        (nn.Linear(8, 6), (5, 8)),
    ],
)
def test_the_products_inside_a_layer_of_ones_own_are_counted(layer, shape, batch):
    model = nn.Sequential(layer, nn.ReLU())
    x = torch.rand(batch, *shape)
    assert 2 * batch * summarize(model.eval(), x).multiply_adds == counted_by_torch(model, x)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_the_products_inside_a_scripted_layer_are_counted():
    assert summarize(nn.Sequential(torch.jit.script(nn.Linear(8, 6)), nn.ReLU()), (5, 8)).multiply_adds == 5 * 8 * 6


class Scores(Own):
    """For each token one number, by a product of a matrix and a vector."""

    def forward(self, x):
        return torch.stack([sample @ self.weight for sample in x])


def test_products_with_vectors_are_counted_too():
    table = summarize(nn.Sequential(Scores(8), nn.Softmax(-1)), torch.rand(2, 5, 8))
    assert [row.multiply_adds for row in table.rows] == [5 * 8, 0]


def test_a_bilinear_form_inside_a_layer_is_counted():
    class Form(Own):
        def forward(self, x):
            return F.bilinear(x, x, self.weight)

    assert summarize(nn.Sequential(Form(5, 4, 4), nn.ReLU()), (3, 4)).multiply_adds == 3 * 5 * 4 * 4


@pytest.mark.skipif(not hasattr(torch, "_grouped_mm"), reason="torch is too old")
def test_products_of_groups_are_counted():
    class Experts(Own):
        def forward(self, x):
            ends = torch.tensor([3, 8], dtype=torch.int32)
            return torch._grouped_mm(x[0].bfloat16(), self.weight.bfloat16(), offs=ends)[None]

    assert summarize(nn.Sequential(Experts(2, 16, 24), nn.ReLU()), (8, 16)).multiply_adds == 8 * 16 * 24


def test_each_call_of_a_layer_of_ones_own_is_counted_by_itself():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.times = Times(8, 8)

        def forward(self, x):
            return self.times(self.times(x)[:, ::2])

    rows = {row.name: row.multiply_adds for row in summarize(Twice(), (6, 8)).rows}
    assert (rows["times"], rows["times#2"]) == (6 * 64, 3 * 64)


def test_products_of_what_a_mask_selects_are_counted():
    class Chosen(nn.Module):
        def __init__(self):
            super().__init__()
            self.times = Times(6, 8)

        def forward(self, x):
            return self.times(x[x[..., 0] > 0])

    x = torch.full((1, 5, 8), -1.0)
    x[0, :3] = 1
    assert summarize(Chosen(), x).multiply_adds == 3 * 8 * 6


def test_products_without_data_and_in_inference_mode_are_counted():
    model = nn.Sequential(Times(6, 8), nn.ReLU())
    with torch.inference_mode():
        assert summarize(model, (5, 8)).multiply_adds == 5 * 8 * 6
    assert summarize(model.to("meta"), (5, 8)).multiply_adds == 5 * 8 * 6


def test_work_that_is_not_known_is_said():
    @torch.library.custom_op("tensorview_test::product", mutates_args=())
    def product(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return x @ weight

    class Foreign(Own):
        def forward(self, x):
            return product(x, self.weight)

    class Scaled(nn.Linear):
        def forward(self, x):
            return x * self.weight.sum()

    table = summarize(nn.Sequential(Foreign(8, 6), Scaled(6, 6), nn.Linear(6, 3)), (8,))
    assert [row.multiply_adds for row in table.rows] == [None, None, 6 * 3]
    assert table.multiply_adds == 6 * 3
    assert "note: the multiply-adds of '0', '1' are not known, and not in the sum" in str(table)


def test_a_layer_that_does_not_run_while_it_is_counted_is_in_the_table():
    class Shy(Own):
        def forward(self, x):
            if torch._C._len_torch_dispatch_stack():
                raise RuntimeError("not under a mode")
            return x @ self.weight

    table = summarize(nn.Sequential(Shy(8, 6), nn.Linear(6, 3)), (8,))
    assert [(row.shape, row.multiply_adds) for row in table.rows] == [((6,), None), ((3,), 6 * 3)]


class Tied(nn.Module):
    """Weights shared by two modules, a module that is called twice, and a parameter of no layer."""

    def __init__(self):
        super().__init__()
        self.embed, self.mix, self.out = nn.Embedding(10, 4), nn.Linear(4, 4), nn.Linear(4, 10, bias=False)
        self.out.weight = self.embed.weight
        self.shift = nn.Parameter(torch.zeros(4), requires_grad=False)

    def forward(self, ids):
        return self.out(self.mix(self.mix(self.embed(ids)) + self.shift))


def test_shared_parameters_count_once():
    table = summarize(Tied(), (6,))
    rows = {row.name: row for row in table.rows}
    assert table.parameters == sum(p.numel() for p in Tied().parameters()) == 40 + 20 + 4
    assert (rows["embed"].parameters, rows["out"].parameters, rows["out"].shared) == (40, 0, 40)
    assert (rows["mix"].parameters, rows["mix#2"].parameters, rows["mix#2"].shared) == (20, 0, 20)
    assert rows["(of no layer)"].parameters == 4
    assert table.trainable == 60
    assert table.multiply_adds == 6 * (4 * 4 * 2 + 4 * 10)
    assert table.parameter_bytes == 64 * 4
    assert rows["out"].bytes == 6 * 10 * 4


def test_lazy_modules_are_counted_as_they_will_be():
    table = summarize(nn.Sequential(nn.LazyLinear(3), nn.LazyLinear(2)), (4,))
    assert [row.parameters for row in table.rows] == [15, 8]
    assert table.parameters == 23


def test_without_an_input_there_are_parameters():
    table = summarize(nn.Sequential(nn.Linear(4, 3), nn.ReLU()))
    assert table.parameters == 15
    assert table.warnings


class Packing(nn.Module):
    """It reads how long a sequence is, which must not be zero."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 5, batch_first=True)

    def forward(self, x, lengths):
        return self.lstm(nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True))[1][0]


def test_a_model_that_needs_the_values_of_its_input_is_given_them():
    model = Packing().eval()
    x = torch.rand(1, 7, 3), torch.tensor([4])
    table = summarize(model, x)
    assert table.parameters == 4 * 5 * (3 + 5 + 2)
    assert [row.parameters for row in table.rows if row.parameters] == [200]
    with pytest.raises(CaptureError):
        summarize(model, (torch.rand(1, 7, 3), torch.tensor([0])))


class Graph(nn.Module):
    """Each edge but those from a node to itself brings a message."""

    def __init__(self):
        super().__init__()
        self.message = nn.Linear(8, 6)

    def forward(self, x, edges):
        edges = edges[0][:, edges[0][0] != edges[0][1]]
        return self.message(x[:, edges[0]])


def test_what_a_mask_selects_is_counted():
    x = torch.rand(1, 4, 8), torch.tensor([[[0, 1, 2, 3], [1, 2, 2, 0]]])
    table = summarize(Graph(), x)
    assert [(row.shape, row.multiply_adds) for row in table.rows if row.name == "message"] == [((3, 6), 3 * 8 * 6)]


class Trying(nn.Module):
    """It goes on after an error."""

    def __init__(self):
        super().__init__()
        self.wide, self.narrow = nn.Linear(9, 2), nn.Linear(4, 2)

    def forward(self, x):
        try:
            return self.wide(x)
        except RuntimeError:
            return self.narrow(x)


def test_an_error_that_the_model_catches_is_not_logged(caplog):
    table = summarize(Trying(), (4,))
    assert [row.name for row in table.rows] == ["narrow", "(of no layer)"]
    assert not caplog.records


def test_half_precision_takes_half_the_memory():
    table = summarize(nn.Sequential(nn.Linear(4, 3)).half(), (4,))
    assert (table.bytes, table.parameter_bytes) == (6, 30)


def test_the_table_is_aligned(capsys):
    model = nn.Sequential(nn.Conv2d(1, 64, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64 * 26 * 26, 1000))
    lines = str(summarize(model, (1, 28, 28))).splitlines()
    rows = [line for line in lines if line[:2] in ("0 ", "1 ", "2 ", "3 ")]
    assert len(rows) == 4
    for head in ("parameters", "multiply-adds", "memory"):
        end = lines[0].index(head) + len(head)
        assert all(line[end - 1] != " " and line[end : end + 2] in ("", "  ") for line in rows), head
    assert "64 x 26 x 26" in rows[0]
    assert "43,265,000" in rows[3]
    assert any(line.startswith("parameters     43,265,640 (173.1 MB)") for line in lines)
    assert f"multiply-adds  {64 * 26 * 26 * (9 + 1000):,}" in lines


def test_the_command_prints_the_table(capsys):
    assert main(["summary", "lenet5"]) == 0
    text = capsys.readouterr().out
    assert "conv1" in text
    assert "61,706" in text  # LeCun et al. (1998) with full connections, no trained subsampling
    assert main(["summary", "lenet5", "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert table["parameters"] == 61_706
    assert sum(row["multiply_adds"] for row in table["rows"]) == table["multiply_adds"] == 416_520


def test_the_command_takes_an_input_shape(capsys, tmp_path):
    file = tmp_path / "net.py"
    file.write_text("from torch import nn\ndef net():\n    return nn.Sequential(nn.Conv2d(3, 2, 3))\n")
    assert main(["summary", f"{file}:net", "--input-shape", "3,5,6", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["shape"] == [2, 3, 4]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the compiler's own modules, when it imports them
def test_parts_that_are_compiled_count_once():
    model = nn.Sequential(nn.Linear(3, 4), torch.compile(nn.Linear(4, 2)))
    for each in (model, torch.compile(model)):
        summary = summarize(each, (3,))
        assert summary.parameters == 3 * 4 + 4 + 4 * 2 + 2
        assert [row.name for row in summary.rows] == ["0", "1"]


def test_the_work_of_a_recurrent_layer_of_another_kind_is_not_known():
    class Own(nn.Module):
        layer_kind = "recurrent"

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))

        def forward(self, x):
            return x.cumsum(1) * self.weight

    summary = summarize(nn.Sequential(Own(), nn.Linear(3, 2)), (5, 3))
    assert [row.multiply_adds for row in summary.rows] == [None, 5 * 3 * 2]
