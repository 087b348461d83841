"""Pixels of a crop → pixels of an input, by the processor's vector instructions.

The arithmetic is Pillow's: the same bicubic (a = -1/2) and bilinear kernels, widened by the scale against aliasing, and
two passes with 8 bits in between. Columns are resized first, as Pillow does for a whole image unless that is tall:
bicubic overshoot is clipped in between, so the order shows at sharp edges. So the two passes are asked for one by one;
left to itself, the library would begin with the rows. What is left is rounding: a level or two in one sample of a
hundred.

Where the library has no build (it has them for x86-64), `AVAILABLE` is false.
"""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from model_store.manifest import Preprocessing
from service.pipeline.cropping import Crop

if TYPE_CHECKING:
    from cykooz_resizer import ResizeOptions

try:
    import cykooz_resizer
except ImportError:
    AVAILABLE = False
else:
    AVAILABLE = True


def resize(
    samples: bytes, width_px: int, height_px: int, box: Crop, preprocessing: Preprocessing
) -> npt.NDArray[np.uint8]:
    """Pixels [size, size, 3] of the box in an image whose `samples` are [height, width, 3]. Releases the GIL.

    `box` lies within the image.
    """
    size, resizer = preprocessing.input_size_px, cykooz_resizer.Resizer()
    kind, image = cykooz_resizer.PixelType.U8x3, cykooz_resizer.ImageData
    source, columns, result = (
        image(width_px, height_px, kind, samples),
        image(size, height_px, kind),
        image(size, size, kind),
    )
    resizer.resize(source, columns, _options(Crop(box.left, 0, box.right, height_px), preprocessing))
    resizer.resize(columns, result, _options(Crop(0, box.top, size, box.bottom), preprocessing))
    return np.frombuffer(result.get_buffer(), np.uint8).reshape(size, size, 3)


def _options(box: Crop, preprocessing: Preprocessing) -> "ResizeOptions":
    kernels = cykooz_resizer.FilterType
    kernel = kernels.catmull_rom if preprocessing.interpolation == "bicubic" else kernels.bilinear
    cut = cykooz_resizer.CropBox(box.left, box.top, box.right - box.left, box.bottom - box.top)
    return cykooz_resizer.ResizeOptions(cykooz_resizer.ResizeAlg.convolution(kernel), use_alpha=False, crop_box=cut)
