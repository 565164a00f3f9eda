r"""U-Nets that papers trained on CIFAR-10 (3x32x32), as settings of ours.

Song et al. 2021 (appendix H, and the configurations that come with it) name the two families; their networks have four
levels of 1, 2, 2, 2 times 128 channels. Karras et al. 2022 (table 7) trained the same families with three levels of 2,
2, 2 times 128 behind a first convolution to 128. DDPM++ resamples by averages and repetition; NCSN++ adds the filter,
the pyramid of the image and random Fourier features.

What differs from the originals, in all less than two parameters in a thousand:

- no bias where another one follows or, in attention, the normalisation before can stand in for it;
- DDPM++ knows the noise level by sixteen fixed frequencies, not by the 128 sinusoids of a timestep;
- initial weights follow `condgen.networks.embedding.initialise_`: no last layer is (nearly) zero.

Song et al. drew the frequencies of NCSN++ with standard deviation 16 for the input :math:`\log\sigma`; Karras et al.
drew alike for the input :math:`\log(\sigma)/4`, which is 4 here, where the unit is that of :math:`\log\sigma`.
"""

from typing import Any

from condgen.networks.unet import UNetSettings

_DDPMPP: dict[str, Any] = {
    "channels": 128,
    "attention": (16,),
    "heads": 1,
    "decoder_attention": "last",
    "modulation": "shift",
    "project": True,
}
_NCSNPP: dict[str, Any] = _DDPMPP | {"resampling": "fir", "progressive_input": "residual"}
_KARRAS: dict[str, Any] = {"multipliers": (2, 2, 2), "blocks": 4, "entry": 1, "dropout": 0.13}
_SONG: dict[str, Any] = {"multipliers": (1, 2, 2, 2), "blocks": 4, "dropout": 0.1}
_DEEP = _SONG | {"blocks": 8}

PUBLISHED: dict[str, UNetSettings] = {
    "edm-ddpmpp": UNetSettings(**_DDPMPP, **_KARRAS),
    "edm-ncsnpp": UNetSettings(**_NCSNPP, **_KARRAS, fourier_scale=4.0),
    "score-sde-ddpmpp": UNetSettings(**_DDPMPP, **_SONG),
    "score-sde-ddpmpp-deep": UNetSettings(**_DDPMPP, **_DEEP),
    "score-sde-ncsnpp": UNetSettings(**_NCSNPP, **_SONG, fourier_scale=16.0),
    "score-sde-ncsnpp-deep": UNetSettings(**_NCSNPP, **_DEEP, fourier_scale=16.0),
}
"""By family and origin: Karras et al. 2022, or Song et al. 2021 ("continuous", and "deep" with twice the blocks)."""
