"""A second small data set: ten letters drawn in the typefaces that ship with matplotlib."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from unlearning.calibration import Bench
from unlearning.data import TensorImages
from unlearning.recipe import Recipe

LETTERS = "AEFHKMNRXZ"
FONTS = (
    "DejaVuSans.ttf",
    "DejaVuSans-Bold.ttf",
    "DejaVuSans-Oblique.ttf",
    "DejaVuSansMono.ttf",
    "DejaVuSerif.ttf",
    "DejaVuSerif-Bold.ttf",
    "DejaVuSerif-Italic.ttf",
    "STIXGeneral.ttf",
    "STIXGeneralItalic.ttf",
    "cmr10.ttf",
)
SIDE = 10
NUM_IMAGES = 2000
NUM_TRAIN = 1400
_CANVAS = 40


def letters() -> Bench:
    """Return 2,000 grey images of 10x10 pixels, 1,400 to train; the same on every machine.

    Each is a letter in a random typeface, size, angle and place, blurred by shrinking, with noise.
    """
    rng = np.random.default_rng(20_261_125)
    labels = np.arange(NUM_IMAGES) % len(LETTERS)
    pixels = np.stack([_draw(LETTERS[label], rng) for label in labels])
    return Bench(
        name="letters",
        images=TensorImages(
            torch.from_numpy(pixels)[:, None],
            torch.from_numpy(labels),
            len(LETTERS),
            [0.25],
            [0.3],
        ),
        num_train=NUM_TRAIN,
        recipe=Recipe(epochs=16),
    )


def _draw(letter: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
    name = FONTS[rng.integers(len(FONTS))]
    font = ImageFont.truetype(str(folder / name), int(rng.integers(22, 33)))
    canvas = Image.new("L", (_CANVAS, _CANVAS))
    place = _CANVAS / 2 + rng.uniform(-4, 4, size=2)
    ImageDraw.Draw(canvas).text(tuple(place), letter, fill=255, font=font, anchor="mm")
    turned = canvas.rotate(float(rng.uniform(-25, 25)), Image.Resampling.BILINEAR)
    small = np.asarray(turned.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float64)
    return (small + rng.normal(0, 18, small.shape)).clip(0, 255).round().astype(np.uint8)
