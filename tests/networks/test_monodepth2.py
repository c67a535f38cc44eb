"""Monodepth2's networks: counts, parity with seeded weights through the import, and what every network must do."""

import json
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import egodepth
from egodepth.errors import UserError
from egodepth.models.importing import import_published
from egodepth.models.opening import load
from egodepth.models.released import ReleasedModel
from egodepth.networks.complexity import ShapesAlone, complexity
from egodepth.networks.configurations import Monodepth2Config, PoseConfig
from egodepth.networks.disparity import start_far
from tests.seeded_weights import seeded_tensor, write_seeded_checkpoints

FOLDER = Path(__file__).parents[1] / "reference"
REFERENCE = json.loads((FOLDER / "monodepth2.json").read_text())
KEYS = {name: json.loads((FOLDER / f"monodepth2-{name}-keys.json").read_text()) for name in ("r18", "r50")}


def count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """The authors' four files with seeded values, and the plain entries that they store beside."""
    folder = tmp_path_factory.mktemp("weights_19")
    write_seeded_checkpoints(folder, KEYS["r18"])
    encoder = torch.load(folder / "encoder.pth", weights_only=True)
    torch.save(encoder | {"height": 192, "width": 640, "use_stereo": True}, folder / "encoder.pth")
    return folder


@pytest.fixture(scope="module")
def model(published, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("imported") / "model"
    imported = import_published("monodepth2", published, out)
    assert imported.unused == ()
    return out


def test_the_parameter_counts_are_the_published_ones_without_the_unused_classifier():
    expected = REFERENCE["parameters"]
    for name, encoder in (("monodepth2", "resnet18"), ("monodepth2-r50", "resnet50")):
        with torch.device("meta"):
            network = egodepth.build(name)
        assert count(network.encoder) + expected[f"{encoder}_classifier"] == expected[f"{encoder}_encoder"]
        assert count(network.decoder) == expected[f"{encoder}_decoder"]
    for encoder, suffix in (("resnet18", ""), ("resnet50", "50")):
        with torch.device("meta"):
            pose = PoseConfig(encoder).build()
        assert count(pose.encoder) + expected[f"{encoder}_classifier"] == expected[f"pose{suffix}_encoder"]
        assert count(pose.decoder) == expected[f"pose{suffix}_decoder"]


@pytest.mark.parametrize("encoder", ["resnet18", "resnet50"])
def test_training_costs_the_published_multiply_accumulates(encoder):
    with torch.device("meta"):
        network = Monodepth2Config(encoder).build().eval()
    for size, expected in REFERENCE["macs"][encoder].items():
        height, width = map(int, size.split("x"))
        with ShapesAlone(), FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.zeros(1, 3, height, width, device="meta"))
        assert counter.get_total_flops() // 2 == expected


@pytest.mark.parametrize(("encoder", "name"), [("resnet18", "pose18"), ("resnet50", "pose50")])
def test_the_pose_network_costs_the_published_multiply_accumulates(encoder, name):
    with torch.device("meta"):
        network = PoseConfig(encoder).build().eval()
    for size, expected in REFERENCE["macs"][name].items():
        height, width = map(int, size.split("x"))
        image = torch.zeros(1, 3, height, width, device="meta")
        with ShapesAlone(), FlopCounterMode(display=False) as counter, torch.no_grad():
            network(image, image)
        assert counter.get_total_flops() // 2 == expected


def test_prediction_leaves_the_coarse_heads_out():
    whole = REFERENCE["macs"]["resnet18"]["192x640"]
    with torch.device("meta"):
        network = egodepth.build("monodepth2")
    heads = sum(9 * head.in_channels * (192 >> s) * (640 >> s) for s, head in enumerate(network.decoder.heads) if s)
    assert complexity(network, 192, 640).macs == whole - heads


def test_seeded_weights_follow_the_stated_rule():
    for key, (shape, first) in REFERENCE["seeded_weights"].items():
        assert seeded_tensor(key, shape).flatten()[:3].tolist() == pytest.approx(first, abs=1e-7)


def test_features_disparities_and_motion_with_seeded_weights_are_the_published_ones(model):
    generator = torch.Generator().manual_seed(1234)
    x, y = (torch.rand(2, 3, 64, 192, generator=generator) for _ in range(2))
    assert x.flatten()[:3].tolist() == pytest.approx(REFERENCE["seeded_input"], abs=1e-6)
    network, pose = load(model).network, ReleasedModel.open(model).pose_network()
    with torch.no_grad():
        outputs = [*network.encoder(x), *network(x)]
        axis_angle, translation = pose(x, y)
    expected = REFERENCE["seeded_features"] + REFERENCE["seeded_disparities"]
    for output, figures in zip(outputs, expected, strict=True):
        found = [output.mean(), output.std(correction=0), output.min(), output.max()]
        assert [float(value) for value in found] == pytest.approx(figures, abs=1e-5)
    for motion, name in ((axis_angle, "seeded_axis_angle"), (translation, "seeded_translation")):
        torch.testing.assert_close(motion[0], torch.tensor(REFERENCE[name]), rtol=0, atol=1e-8)


def test_an_import_keeps_the_size_and_the_scale_that_the_authors_stored(model):
    predictor = egodepth.load(model)
    assert (predictor.height, predictor.width) == (192, 640)
    assert predictor.metres_per_unit == 5.4
    depth = predictor.predict_depth(torch.rand(1, 3, 75, 121))
    assert depth.shape == (1, 1, 75, 121)


def test_a_stereo_checkpoint_without_pose_network_is_imported(published, tmp_path):
    folder = tmp_path / "stereo"
    folder.mkdir()
    for name in ("encoder.pth", "depth.pth"):
        (folder / name).write_bytes((published / name).read_bytes())
    import_published("monodepth2", folder, tmp_path / "model")
    egodepth.load(tmp_path / "model")
    with pytest.raises(UserError, match="no pose network"):
        ReleasedModel.open(tmp_path / "model").pose_network()


def test_an_odd_key_is_reported_and_not_loaded(published, tmp_path):
    folder = tmp_path / "odd"
    folder.mkdir()
    for file in published.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    depth = torch.load(folder / "depth.pth", weights_only=True)
    torch.save(depth | {"decoder.99.extra": torch.zeros(3)}, folder / "depth.pth")
    imported = import_published("monodepth2", folder, tmp_path / "model")
    assert imported.unused == ("depth.pth: decoder.99.extra",)


def test_weights_of_another_architecture_are_refused_by_the_first_tensor_at_fault(published, tmp_path):
    with pytest.raises(UserError, match=r"encoder\.body\.layer1\.0\.conv1\.weight.*is \(64, 64, 3, 3\)"):
        import_published("monodepth2-r50", published, tmp_path / "model")
    assert not (tmp_path / "model").exists()


class Payload:
    """What a hostile pickle looks like: unpickling calls a function."""

    def __reduce__(self):
        return (Path.touch, (Path("pickle_ran"),))


def test_a_foreign_pickle_is_refused_and_never_run(published, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "hostile"
    folder.mkdir()
    for file in published.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    torch.save({"decoder.0.conv.conv.weight": Payload()}, folder / "depth.pth")
    with pytest.raises(UserError, match=r"depth\.pth.*not opened"):
        import_published("monodepth2", folder, tmp_path / "model")
    assert not (tmp_path / "pickle_ran").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint at all", b"PK\x03\x04 cut off"])
def test_a_broken_checkpoint_file_is_refused_by_name(published, tmp_path, content):
    for name in ("encoder.pth", "depth.pth"):
        (tmp_path / name).write_bytes((published / name).read_bytes())
    (tmp_path / "depth.pth").write_bytes(content)
    with pytest.raises(UserError, match=r"depth\.pth"):
        import_published("monodepth2", tmp_path, tmp_path / "model")


@pytest.mark.parametrize("name", ["monodepth2", "dna-depth-b0", "diffnet"])
def test_an_untrained_network_that_starts_far_is_near_two_units_of_depth(name):
    torch.manual_seed(0)
    network = egodepth.build(name).train()
    start_far(network)
    with torch.no_grad():
        depth = network.predict_depth(torch.rand(4, 3, 64, 96))
    assert 1.5 < float(depth.median()) < 2.7


def test_gradients_reach_every_parameter():
    network = egodepth.build("monodepth2").train()
    sum(disparity.mean() for disparity in network(torch.rand(2, 3, 64, 96))).backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("size", [(96, 160), (128, 416), (192, 640)])
def test_disparities_have_their_sizes_and_lie_between_zero_and_one(size):
    height, width = size
    with torch.no_grad():
        disparities = egodepth.build("monodepth2").eval()(torch.rand(1, 3, height, width))
    assert [tuple(d.shape[2:]) for d in disparities] == [(height >> s, width >> s) for s in range(4)]
    assert all(float(d.min()) > 0 and float(d.max()) < 1 for d in disparities)


def test_local_pretrained_weights_start_the_encoder_and_are_halved_for_a_pair(tmp_path):
    import timm

    torch.manual_seed(1)
    classifier = timm.create_model("resnet18", pretrained=False)
    torch.save(classifier.state_dict(), tmp_path / "resnet18.pth")
    network, pose = egodepth.build("monodepth2"), PoseConfig().build()
    for each in (network, pose):
        each.encoder.load_pretrained(str(tmp_path / "resnet18.pth"))
    assert network.encoder.body.conv1.weight.equal(classifier.conv1.weight)
    torch.testing.assert_close(pose.encoder.body.conv1.weight[:, :3], classifier.conv1.weight / 2)
    torch.testing.assert_close(pose.encoder.body.conv1.weight[:, 3:], classifier.conv1.weight / 2)


def test_pretrained_weights_of_another_encoder_are_refused(tmp_path):
    import timm

    torch.save(timm.create_model("resnet34", pretrained=False).state_dict(), tmp_path / "resnet50.pth")
    with pytest.raises(UserError, match="--pretrained"):
        egodepth.build("monodepth2-r50").encoder.load_pretrained(str(tmp_path / "resnet50.pth"))


def test_weights_out_of_reach_are_answered_with_the_three_ways(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=r"--pretrained imagenet.*--pretrained PATH.*--pretrained none"):
        egodepth.build("monodepth2").encoder.load_pretrained("imagenet")
