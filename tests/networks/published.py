"""The sizes of published U-Nets."""

from condgen.networks.unet import UNetSettings

# By family and origin: Karras et al. 2022, or Song et al. 2021 ("continuous", and "deep" with twice the blocks)
_DDPMPP = {
    "channels": 128,
    "attention": (16,),
    "heads": 1,
    "decoder_attention": "last",
    "modulation": "shift",
    "project": True,
}
_NCSNPP = _DDPMPP | {"resampling": "fir", "progressive_input": "residual"}
_KARRAS = {"multipliers": (2, 2, 2), "blocks": 4, "entry": 1, "dropout": 0.13}
_SONG = {"multipliers": (1, 2, 2, 2), "blocks": 4, "dropout": 0.1}
_DEEP = _SONG | {"blocks": 8}

UNETS = {
    "edm-ddpmpp": UNetSettings(**_DDPMPP, **_KARRAS),
    "edm-ncsnpp": UNetSettings(**_NCSNPP, **_KARRAS, fourier_scale=4.0),
    "score-sde-ddpmpp": UNetSettings(**_DDPMPP, **_SONG),
    "score-sde-ddpmpp-deep": UNetSettings(**_DDPMPP, **_DEEP),
    "score-sde-ncsnpp": UNetSettings(**_NCSNPP, **_SONG, fourier_scale=16.0),
    "score-sde-ncsnpp-deep": UNetSettings(**_NCSNPP, **_DEEP, fourier_scale=16.0),
}
