"""torchvision's models as a source of person boxes; random weights, nothing is fetched."""

import urllib.error

import numpy as np
import pytest
import torch

from tubedet.errors import UserError
from tubedet.inference.person_boxes import TorchvisionPersons
from tubedet.inference.person_boxes import torchvision_detector as module

IMAGE = np.full((40, 60, 3), 255, np.uint8)
SMALL = "ssdlite320_mobilenet_v3_large"


class Found(torch.nn.Module):
    """Answers with two persons and a car, and keeps what it saw."""

    def forward(self, images):
        self.images = images
        return [
            {
                "boxes": torch.tensor([[1.0, 2, 30, 40], [5, 5, 9, 9], [0, 0, 60, 40]]),
                "labels": torch.tensor([1, 3, 1]),
                "scores": torch.tensor([0.75, 0.5, 0.25]),
            }
        ]


def test_persons_are_those_of_the_category_person():
    persons = TorchvisionPersons(SMALL)
    persons.model = Found()
    assert persons(IMAGE).tolist() == [[1, 2, 30, 40, 0.75], [0, 0, 60, 40, 0.25]]
    (image,) = persons.model.images
    assert image.shape == (3, 40, 60) and image.min() == image.max() == 1.0


def test_a_model_runs_with_random_weights_and_with_those_of_a_file(tmp_path):
    torch.manual_seed(1)
    first = TorchvisionPersons(SMALL)
    torch.save(first.model.state_dict(), tmp_path / "weights.pth")
    second = TorchvisionPersons(SMALL, weights=tmp_path / "weights.pth")
    rows = first(IMAGE)
    assert rows.shape[1] == 5 and (second(IMAGE) == rows).all()
    for key, value in first.model.state_dict().items():
        torch.testing.assert_close(second.model.state_dict()[key], value)


def test_the_licence_is_printed_before_torchvision_downloads(monkeypatch, caplog):
    asked = []
    real = module.torchvision.models.get_model

    def get_model(name, **options):
        asked.append(options)
        return real(name, weights=None, weights_backbone=None)

    monkeypatch.setattr(module.torchvision.models, "get_model", get_model)
    with caplog.at_level("INFO", logger="tubedet"):
        TorchvisionPersons(SMALL, weights="DEFAULT")
    assert asked == [{"weights": module.torchvision.models.get_model_weights(SMALL).DEFAULT}]
    assert "https://download.pytorch.org/" in caplog.text and "BSD-3-Clause" in caplog.text


def test_fault_an_unknown_model_or_a_wrong_file_is_named(tmp_path):
    with pytest.raises(UserError, match="no detection model 'yolo'; it has fasterrcnn_mobilenet"):
        TorchvisionPersons("yolo")
    torch.save({"head.weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(
        UserError, match="other.pth: no weights of torchvision's ssdlite320"
    ) as caught:
        TorchvisionPersons(SMALL, weights=tmp_path / "other.pth")
    assert "\n" not in str(caught.value)
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(UserError, match="text.pth cannot be read as a checkpoint"):
        TorchvisionPersons(SMALL, weights=tmp_path / "text.pth")


def test_weights_that_cannot_be_fetched_are_one_line(monkeypatch):
    def get_model(name, **options):
        raise urllib.error.URLError(OSError(-2, "Name or service not known"))

    monkeypatch.setattr(module.torchvision.models, "get_model", get_model)
    with pytest.raises(UserError) as caught:
        TorchvisionPersons(SMALL, weights="DEFAULT")
    message = str(caught.value)
    assert message.startswith(
        f"the weights of torchvision's {SMALL} cannot be fetched: [Errno -2] Name or service not "
        "known; download https://download.pytorch.org/models/"
    )
    assert message.endswith(" by hand and give --person-weights FILE")
