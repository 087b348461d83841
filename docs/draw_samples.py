"""Draws the samples of the page at `/`, so that whoever has no photo at hand can try the service with our own pictures.

`python docs/draw_samples.py` writes `service/page/samples/*.jpg`. Everything is computed: surfaces lit by one lamp,
textures made of noise from a seed. The networks were trained on photographs, and drawings are not: the page says so.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

FOLDER = Path(__file__).resolve().parents[1] / "service" / "page" / "samples"
SIZE_PX = 480
SMOOTHING = 2
"""Drawn so many times larger, and scaled down."""
QUALITY = 84
Plane = npt.NDArray[np.float64]
Colour = tuple[float, float, float]


def grid() -> tuple[Plane, Plane]:
    """x to the right and y upwards, both from −1 to 1."""
    axis = np.linspace(-1, 1, SIZE_PX * SMOOTHING)
    x, y = np.meshgrid(axis, -axis)
    return x, y


def noise(seed: int, cells: int, octaves: int = 4) -> Plane:
    """Smooth noise between 0 and 1, with ever finer and fainter detail."""
    random, total = np.random.default_rng(seed), np.zeros((SIZE_PX * SMOOTHING,) * 2)
    for octave in range(octaves):
        coarse = Image.fromarray(random.random((cells * 2**octave,) * 2).astype(np.float32))
        total += np.asarray(coarse.resize(total.shape, Image.Resampling.BICUBIC)) / 2**octave
    return np.clip((total - total.min()) / (total.max() - total.min()), 0, 1)


def ramp(values: Plane, *colours: Colour) -> Plane:
    """0 to 1 → colours in even steps."""
    stops = np.linspace(0, 1, len(colours))
    return np.stack([np.interp(values, stops, channel) for channel in zip(*colours, strict=True)], axis=-1)


def over(below: Plane, colour: Plane | Colour, cover: Plane) -> Plane:
    """`colour` laid over `below` where `cover` is 1."""
    share = np.clip(cover, 0, 1)[..., None]
    return below * (1 - share) + np.asarray(colour) * share


def soft(distance: Plane, width: float = 0.006) -> Plane:
    """1 inside, where the distance is negative, with an edge that is not jagged."""
    return np.clip(0.5 - distance / width, 0, 1)


def lit(normal: tuple[Plane, Plane, Plane], colour: Plane, shine: float, gloss: int) -> Plane:
    """A surface under a lamp on the upper left."""
    lamp, viewer = np.array((-0.5, 0.65, 0.58)), np.array((0, 0, 1))
    diffuse = np.clip(sum(n * part for n, part in zip(normal, lamp, strict=True)), 0, 1)
    half = (lamp + viewer) / np.linalg.norm(lamp + viewer)
    glint = np.clip(sum(n * part for n, part in zip(normal, half, strict=True)), 0, 1) ** gloss
    return colour * (0.22 + 0.85 * diffuse)[..., None] + shine * glint[..., None]


def sphere(x: Plane, y: Plane, bumps: Plane | float = 0.0) -> tuple[Plane, Plane, Plane]:
    """Normals of a ball of radius 1; `bumps` are heights on it."""
    z = np.sqrt(np.clip(1 - x * x - y * y, 0, 1))
    if isinstance(bumps, float):
        return x, y, z
    down, right = np.gradient(bumps)
    nx, ny = x - right, y + down
    length = np.sqrt(nx * nx + ny * ny + z * z) + 1e-9
    return nx / length, ny / length, z / length


def table(x: Plane, y: Plane, seed: int, light: Colour, dark: Colour, wall: Colour) -> Plane:
    """A wooden board before a wall."""
    grain = noise(seed, 3, 5) * 0.35 + 0.65 * (0.5 + 0.5 * np.sin(60 * y / (1.9 + y) + 9 * noise(seed + 1, 3)))
    board = ramp(grain, dark, light) * (0.75 - 0.35 * y)[..., None]
    back = np.asarray(wall) * (0.8 + 0.25 * noise(seed + 2, 2, 2) - 0.12 * x)[..., None]
    return np.where((y > 0.05)[..., None], back, board)


def shadow(scene: Plane, x: Plane, y: Plane, at: tuple[float, float], size: tuple[float, float]) -> Plane:
    """A soft ellipse that darkens."""
    reach = np.sqrt(((x - at[0]) / size[0]) ** 2 + ((y - at[1]) / size[1]) ** 2)
    return scene * (1 - 0.72 * np.clip(1.25 - reach, 0, 1) ** 1.4)[..., None]


def orange() -> Plane:
    """An orange on a board."""
    x, y = grid()
    scene = table(x, y, 11, (0.80, 0.60, 0.40), (0.55, 0.36, 0.21), (0.86, 0.85, 0.80))
    scene = shadow(scene, x, y, (0.22, -0.62), (0.85, 0.22))
    u, v = x / 0.66, (y + 0.03) / 0.64
    pores = noise(3, 90, 2)
    skin = ramp(0.6 * noise(5, 4, 3) + 0.4 * pores, (0.93, 0.42, 0.02), (1.0, 0.62, 0.08))
    fruit = lit(sphere(u, v, pores * 1.1), skin, 0.32, 26)
    scene = over(scene, fruit, soft(np.hypot(u, v) - 1))
    angle, reach = np.arctan2(v - 0.72, (u + 0.12) * 0.8), np.hypot((u + 0.12) * 0.8, (v - 0.72) * 1.6)
    return over(scene, (0.30, 0.36, 0.10), soft(reach - 0.085 * (1 + 0.35 * np.cos(5 * angle)), 0.02))


def basketball() -> Plane:
    """A basketball on a floor."""
    x, y = grid()
    planks = 0.5 + 0.5 * np.sign(np.sin(14 * x / (1.25 - 0.6 * (y + 1)) + 0.4))
    scene = table(x, y, 21, (0.87, 0.68, 0.44), (0.66, 0.45, 0.25), (0.40, 0.45, 0.52))
    scene = np.where((y > 0.05)[..., None], scene, scene * (0.93 + 0.07 * planks)[..., None])
    scene = shadow(scene, x, y, (0.24, -0.70), (0.85, 0.20))
    u, v = x / 0.7, (y + 0.02) / 0.7
    pebbles = noise(8, 150, 1)
    leather = ramp(0.5 * noise(7, 5, 3) + 0.5 * pebbles, (0.66, 0.25, 0.07), (0.84, 0.38, 0.13))
    w = np.sqrt(np.clip(1 - u * u - v * v, 0, 1))
    turned_u, turned_v = 0.87 * u + 0.5 * v, -0.46 * u + 0.8 * v - 0.38 * w
    seams = np.minimum.reduce(
        [np.abs(turned_u), np.abs(turned_v), np.abs(turned_u**2 - 0.32 - 0.55 * turned_v**2) / 1.4]
    )
    leather = over(leather, (0.07, 0.05, 0.05), soft(seams - 0.022, 0.012))
    ball = lit(sphere(u, v, pebbles * 0.8), leather, 0.22, 18)
    return over(scene, ball, soft(np.hypot(u, v) - 1))


def ladybird() -> Plane:
    """A ladybird on a leaf."""
    x, y = grid()
    blurred = ramp(noise(31, 3, 2), (0.20, 0.42, 0.12), (0.52, 0.70, 0.28))
    veins = np.abs(np.sin(9 * (x + 0.9 * np.abs(y)) + 0.6 * noise(32, 4)))
    leaf = ramp(0.65 * noise(33, 6, 4) + 0.35 * np.clip(veins * 2, 0, 1), (0.24, 0.50, 0.12), (0.45, 0.72, 0.24))
    leaf = over(leaf, (0.62, 0.80, 0.42), soft(np.abs(y + 0.05) - 0.014, 0.02))
    scene = over(blurred, leaf, soft(np.abs(y + 0.05) - 0.86 * np.sqrt(np.clip(1 - (x / 1.2) ** 2, 0, 1)), 0.03))
    scene = shadow(scene, x, y, (0.12, -0.14), (0.66, 0.46))
    for along in (-0.28, 0.02, 0.32):
        bend = along + 0.5 * (along - 0.02) * np.abs(y) + 0.25 * np.clip(np.abs(y) - 0.46, 0, 1)
        leg = np.abs(x - bend) + 10 * np.clip(np.abs(y) - 0.6, 0, 1)
        scene = over(scene, (0.05, 0.04, 0.04), soft(leg - 0.018, 0.012))
    head_u, head_v = (x + 0.47) / 0.23, y / 0.25
    face = over(
        np.full((*x.shape, 3), 0.065), (0.95, 0.93, 0.88), soft(np.hypot(x + 0.46, np.abs(y) - 0.13) - 0.055, 0.015)
    )
    scene = over(scene, lit(sphere(head_u, head_v), face, 0.5, 30), soft(np.hypot(head_u, head_v) - 1, 0.02))
    u, v = (x - 0.04) / 0.52, y / 0.44
    shell = ramp(noise(35, 4, 3), (0.74, 0.05, 0.03), (0.88, 0.12, 0.05))
    spots = (-0.45, 0.5, 0.15), (0.02, 0.62, 0.16), (0.45, 0.42, 0.15), (-0.05, 0.22, 0.13), (-0.72, 0, 0.17)
    for a, b, size in spots:
        shell = over(shell, (0.05, 0.03, 0.03), soft(np.hypot(u - a, np.abs(v) - b) - size, 0.03))
    shell = over(shell, (0.10, 0.02, 0.02), soft(np.abs(v) - 0.014, 0.012))
    return over(scene, lit(sphere(u, v), shell, 0.75, 40), soft(np.hypot(u, v) - 1, 0.015))


def mountain() -> Plane:
    """Snow on mountains, and a wood before them."""
    x, y = grid()
    scene = ramp((y + 1) / 2, (0.80, 0.87, 0.93), (0.62, 0.78, 0.92), (0.16, 0.40, 0.74))
    scene = over(scene, (0.97, 0.98, 1.0), np.clip(noise(41, 3, 5) * 2 - 1.15, 0, 1) * 0.8)
    peaks = np.interp(x[0], (-1, -0.72, -0.4, -0.05, 0.22, 0.5, 0.78, 1), (0.1, 0.34, 0.12, 0.72, 0.2, 0.44, 0.2, 0.3))
    height = peaks + 0.10 * (noise(42, 8, 5)[200] - 0.5)
    relief = noise(43, 7, 6)
    _, slope = np.gradient(relief)
    ridge = np.gradient(np.convolve(peaks, np.ones(25) / 25, "same"), x[0])[None, :]
    bright = np.clip(0.55 + 0.30 * ridge + 34 * slope, 0, 1)
    rock = ramp(bright, (0.17, 0.18, 0.23), (0.52, 0.49, 0.48))
    snow = ramp(bright, (0.47, 0.56, 0.74), (0.98, 0.98, 0.99))
    snowy = np.clip((y - 0.02 + 0.55 * (relief - 0.5) - 0.06 * np.abs(ridge)) * 9, 0, 1)
    scene = over(scene, over(rock, snow, snowy), soft(y - height[None, :], 0.008))
    hills = -0.30 + 0.10 * np.sin(3 * x[0] + 1) + 0.05 * (noise(45, 40, 3)[100] - 0.5)
    scene = over(scene, ramp(noise(46, 60, 3), (0.05, 0.13, 0.08), (0.15, 0.27, 0.15)), soft(y - hills[None, :]))
    meadow = -0.62 + 0.05 * np.sin(2.2 * x[0] + 2.4)
    grass = ramp(noise(47, 40, 4), (0.30, 0.44, 0.14), (0.53, 0.64, 0.25))
    return over(scene, grass, soft(y - meadow[None, :]))


SAMPLES: dict[str, Callable[[], Plane]] = {
    "orange": orange, "basketball": basketball, "ladybird": ladybird, "mountain": mountain,
}  # fmt: skip


def main() -> None:
    """Draw them all."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, draw in SAMPLES.items():
        film = np.clip(draw() + np.random.default_rng(1).normal(0, 0.012, (SIZE_PX * SMOOTHING,) * 2)[..., None], 0, 1)
        picture = Image.fromarray((film * 255).astype(np.uint8)).resize((SIZE_PX,) * 2, Image.Resampling.LANCZOS)
        picture.save(FOLDER / f"{name}.jpg", quality=QUALITY, optimize=True)


if __name__ == "__main__":
    main()
