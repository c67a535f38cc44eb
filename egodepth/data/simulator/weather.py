"""What the light of a day is like: sun, sky, fog and rain."""

from dataclasses import dataclass

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Weather:
    """The light of one drive. The defaults are a bright day with some clouds.

    Attributes:
        sunlight, skylight: what they add to a surface, as multiples of its colour.
        zenith, horizon, cloud: colours of the sky in [0, 255].
        clear: how much of the clouds' texture stays blue; 105 is a fair day, below 0 is overcast.
        fog_per_m: share of the light that is lost per metre.
        fog: its colour in [0, 255].
        wet: how far the road mirrors the sky, 0 to 1.
        hills: how high those on the horizon rise, as a multiple of up to six degrees; 0 is a plain.
    """

    sunlight: Colour = (0.82, 0.77, 0.67)
    skylight: Colour = (0.50, 0.53, 0.60)
    horizon: Colour = (196, 214, 232)
    zenith: Colour = (92, 142, 208)
    cloud: Colour = (240, 241, 243)
    clear: float = 105
    fog_per_m: float = 0.0
    fog: Colour = (205, 208, 212)
    wet: float = 0.0
    hills: float = 1.0
