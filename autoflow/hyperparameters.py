"""Every number that shapes a rendered scene, with its meaning, unit, range and default.

Lengths are in frame sides: 1 is the square root of the frame's area (508 px at 448x576), so that a
set describes the same scenes at every resolution. Frame steps are the time between two frames.
The augmentation's strengths are part of a set, as `selfflow.augment` declares them.
"""

from selfflow.augment import Augmentation
from selfflow.runs.config import Config
from selfflow.runs.parameter import parameter, parameter_range


class Layers(Config):
    """How many things are in a scene, how large, and where."""

    count: tuple[int, int] = parameter_range(
        (2, 5), 0, 12, unit="layers", meaning="number of foreground layers"
    )
    size: float = parameter(
        0.2, 0.03, 0.5, unit="frame sides", log=True, meaning="median radius of a layer"
    )
    size_spread: float = parameter(
        0.4, 0.0, 1.0, unit="log units", meaning="standard deviation of the logarithm of the radius"
    )
    elongation: float = parameter(
        0.25,
        0.0,
        1.0,
        unit="log units",
        meaning="standard deviation of the logarithm of the sides' ratio",
    )
    reach: float = parameter(
        1.0,
        0.2,
        1.5,
        unit="half frames",
        meaning="how far from the frame's centre layers are placed",
    )


class Shapes(Config):
    """What the outlines of layers look like."""

    ellipse: float = parameter(
        0.15, 0.0, 1.0, unit="probability", meaning="an outline is an ellipse, not a polygon"
    )
    corners: tuple[int, int] = parameter_range(
        (4, 11), 3, 20, unit="corners", meaning="number of a polygon's corners"
    )
    irregularity: float = parameter(
        0.7,
        0.0,
        1.0,
        unit="share",
        meaning="how unevenly a polygon's corners lie around its centre",
    )
    spikiness: float = parameter(
        0.55, 0.0, 0.9, unit="share", meaning="how far inwards a polygon's corners may move"
    )
    curved: float = parameter(
        0.35, 0.0, 1.0, unit="probability", meaning="a polygon's edges are curved, not straight"
    )
    composite: float = parameter(
        0.25, 0.0, 1.0, unit="probability", meaning="a layer is the union of several outlines"
    )
    hole: float = parameter(0.3, 0.0, 1.0, unit="probability", meaning="a layer has a hole")
    hole_size: float = parameter(0.35, 0.05, 0.8, unit="radii", meaning="largest radius of a hole")
    thin: float = parameter(
        0.15, 0.0, 1.0, unit="probability", meaning="a layer is thin: a needle or a bare outline"
    )
    thinness: float = parameter(
        0.012, 0.003, 0.05, unit="frame sides", log=True, meaning="half width of thin layers"
    )


class Textures(Config):
    """What surfaces look like; kinds are drawn by weight."""

    leaves: float = parameter(
        0.55, 0.0, 1.0, unit="weight", meaning="dead leaves: overlapping pieces of all sizes"
    )
    noise: float = parameter(
        0.25, 0.0, 1.0, unit="weight", meaning="noise of many octaves in a few colours"
    )
    stripes: float = parameter(0.12, 0.0, 1.0, unit="weight", meaning="bent stripes and checks")
    gradients: float = parameter(0.08, 0.0, 1.0, unit="weight", meaning="smooth gradients")
    photographs: float = parameter(
        0.7,
        0.0,
        1.0,
        unit="probability",
        meaning="a layer shows a photograph, where there are any",
    )
    finest: float = parameter(
        0.004, 0.002, 0.1, unit="tiles", log=True, meaning="smallest detail of procedural textures"
    )
    coarsest: float = parameter(
        0.35, 0.1, 1.0, unit="tiles", log=True, meaning="largest detail of procedural textures"
    )
    roughness: float = parameter(
        0.75,
        0.3,
        1.2,
        unit="ratio",
        meaning="amplitude of an octave of noise relative to the next coarser one",
    )
    grain: float = parameter(
        0.5, 0.0, 1.0, unit="share", meaning="strength of the noise inside of dead leaves"
    )
    contrast: float = parameter(
        1.0, 0.2, 2.0, unit="factor", meaning="spread of the brightness of a palette's colours"
    )
    saturation: float = parameter(
        1.0, 0.0, 2.0, unit="factor", meaning="spread of the hues of a palette's colours"
    )
    zoom: tuple[float, float] = parameter_range(
        (0.9, 1.8), 0.25, 8.0, unit="frame sides", log=True, meaning="width of one texture tile"
    )
    rotation: float = parameter(
        180.0, 0.0, 180.0, unit="degrees", meaning="largest rotation of a foreground texture"
    )
    background_rotation: float = parameter(
        30.0, 0.0, 180.0, unit="degrees", meaning="largest rotation of a background texture"
    )
    hue: float = parameter(
        0.12, 0.0, 0.5, unit="turns", meaning="a layer's hue is turned by up to this"
    )
    layer_saturation: float = parameter(
        0.3, 0.0, 0.8, unit="share", meaning="a layer's distance to grey is multiplied by 1 ± this"
    )
    layer_contrast: float = parameter(
        0.25, 0.0, 0.8, unit="share", meaning="a layer's contrast is multiplied by 1 ± this"
    )
    layer_brightness: float = parameter(
        0.12, 0.0, 0.5, unit="intensity", meaning="a layer's brightness is changed by up to this"
    )


class Motion(Config):
    """How layers of one kind move in one frame step. Directions and signs are drawn evenly."""

    translation: float = parameter(
        0.03, 0.0, 0.2, unit="frame sides", meaning="median length of the translation"
    )
    tail: float = parameter(
        0.8,
        0.0,
        1.5,
        unit="log units",
        meaning="standard deviation of the logarithm of the translation's length",
    )
    rotation: float = parameter(
        6.0, 0.0, 45.0, unit="degrees", meaning="standard deviation of the rotation"
    )
    scale: float = parameter(
        0.06, 0.0, 0.4, unit="log units", meaning="standard deviation of the logarithm of the scale"
    )
    shear: float = parameter(
        0.03, 0.0, 0.3, unit="ratio", meaning="standard deviation of the shear"
    )
    perspective: float = parameter(
        0.05,
        0.0,
        0.3,
        unit="per frame side",
        meaning="standard deviation of the change of the perspective",
    )
    deformation: float = parameter(
        0.008,
        0.0,
        0.05,
        unit="frame sides",
        meaning="standard deviation of the displacement of a deformation grid's nodes",
    )
    acceleration: float = parameter(
        0.1,
        0.0,
        0.5,
        unit="share",
        meaning="standard deviation of the change of the speed in a frame step",
    )


class BackgroundMotion(Motion):
    """The background's motion, in which all layers take part."""

    translation: float = parameter(
        0.012, 0.0, 0.2, unit="frame sides", meaning="median length of the translation"
    )
    rotation: float = parameter(
        1.5, 0.0, 45.0, unit="degrees", meaning="standard deviation of the rotation"
    )
    scale: float = parameter(
        0.02, 0.0, 0.4, unit="log units", meaning="standard deviation of the logarithm of the scale"
    )
    shear: float = parameter(
        0.008, 0.0, 0.3, unit="ratio", meaning="standard deviation of the shear"
    )
    perspective: float = parameter(
        0.015,
        0.0,
        0.3,
        unit="per frame side",
        meaning="standard deviation of the change of the perspective",
    )
    deformation: float = parameter(
        0.005,
        0.0,
        0.05,
        unit="frame sides",
        meaning="standard deviation of the displacement of a deformation grid's nodes",
    )


class Effects(Config):
    """What happens to pictures, not to flow. Each effect has a probability and a strength."""

    soft_edges: float = parameter(
        0.3, 0.0, 1.0, unit="probability", meaning="a layer's edge is soft"
    )
    softness: float = parameter(
        0.015, 0.0, 0.06, unit="frame sides", meaning="largest width of a soft edge"
    )
    defocus: float = parameter(
        0.15, 0.0, 1.0, unit="probability", meaning="a layer is out of focus"
    )
    defocus_radius: float = parameter(
        0.01, 0.0, 0.03, unit="frame sides", meaning="largest radius of the blur out of focus"
    )
    motion_blur: float = parameter(
        0.2, 0.0, 1.0, unit="probability", meaning="a clip shows motion blur"
    )
    shutter: float = parameter(0.6, 0.0, 1.0, unit="frame steps", meaning="longest exposure")
    fog: float = parameter(0.12, 0.0, 1.0, unit="probability", meaning="a clip shows fog")
    fog_density: float = parameter(
        0.7, 0.0, 1.0, unit="share", meaning="largest share of the light that fog replaces"
    )
    shadows: float = parameter(
        0.2, 0.0, 1.0, unit="probability", meaning="a layer casts a shadow on those below"
    )
    shadow_darkness: float = parameter(
        0.6, 0.0, 1.0, unit="share", meaning="largest share of the light that a shadow takes"
    )
    shadow_offset: float = parameter(
        0.05, 0.0, 0.2, unit="frame sides", meaning="largest distance of a shadow from its layer"
    )
    noise: float = parameter(0.3, 0.0, 1.0, unit="probability", meaning="a clip is noisy")
    noise_level: float = parameter(
        0.03, 0.0, 0.15, unit="intensity", meaning="largest standard deviation of the noise"
    )
    exposure: float = parameter(
        0.5, 0.0, 1.0, unit="probability", meaning="exposure and colours change between frames"
    )
    brightness: float = parameter(
        0.03, 0.0, 0.2, unit="intensity", meaning="standard deviation of the brightness's change"
    )
    contrast: float = parameter(
        0.05, 0.0, 0.4, unit="log units", meaning="standard deviation of the contrast's change"
    )
    gamma: float = parameter(
        0.05, 0.0, 0.4, unit="log units", meaning="standard deviation of the gamma's change"
    )
    color: float = parameter(
        0.03, 0.0, 0.2, unit="log units", meaning="standard deviation of a channel's gain's change"
    )
    jpeg: float = parameter(
        0.2, 0.0, 1.0, unit="probability", meaning="frames are compressed as JPEG"
    )
    jpeg_quality: tuple[float, float] = parameter_range(
        (35.0, 95.0), 5.0, 100.0, unit="quality", meaning="quality of the JPEG compression"
    )


class Hyperparameters(Config):
    """One set: the description of an endless stream of scenes."""

    layers: Layers = Layers()
    shapes: Shapes = Shapes()
    textures: Textures = Textures()
    background: BackgroundMotion = BackgroundMotion()
    foreground: Motion = Motion()
    effects: Effects = Effects()
    augmentation: Augmentation = Augmentation()
