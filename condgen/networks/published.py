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

from condgen.networks.unet import UNetSettings

__all__ = ["PUBLISHED"]

_SONG_SCALE, _KARRAS_SCALE = 16.0, 4.0


def _ddpmpp(multipliers: tuple[int, ...], blocks: int, dropout: float) -> UNetSettings:
    return UNetSettings(
        channels=128,
        multipliers=multipliers,
        blocks=blocks,
        attention=(16,),
        dropout=dropout,
        entry=None if multipliers[0] == 1 else 1,
        heads=1,
        decoder_attention="last",
        modulation="shift",
        project=True,
    )


def _ncsnpp(multipliers: tuple[int, ...], blocks: int, dropout: float, scale: float) -> UNetSettings:
    changes = {"resampling": "fir", "progressive_input": "residual", "fourier_scale": scale}
    return _ddpmpp(multipliers, blocks, dropout).model_copy(update=changes)


PUBLISHED: dict[str, UNetSettings] = {
    "edm-ddpmpp": _ddpmpp((2, 2, 2), 4, 0.13),
    "edm-ncsnpp": _ncsnpp((2, 2, 2), 4, 0.13, _KARRAS_SCALE),
    "score-sde-ddpmpp": _ddpmpp((1, 2, 2, 2), 4, 0.1),
    "score-sde-ddpmpp-deep": _ddpmpp((1, 2, 2, 2), 8, 0.1),
    "score-sde-ncsnpp": _ncsnpp((1, 2, 2, 2), 4, 0.1, _SONG_SCALE),
    "score-sde-ncsnpp-deep": _ncsnpp((1, 2, 2, 2), 8, 0.1, _SONG_SCALE),
}
"""By family and origin: Karras et al. 2022, or Song et al. 2021 ("continuous", and "deep" with twice the blocks)."""
