r"""Layers whose second derivatives are about as fast as their first.

Training on an input gradient differentiates every layer twice. The framework's double backward is correct and slow: the
weight gradient of a convolution's backward pass becomes a convolution with batch and channels exchanged, which no fast
kernel was made for, and normalisation and activation fall apart into dozens of pointwise operations. Here every
derivative is written out in operations that have a fast kernel, so that a step that differentiates twice costs little
more than the six passes that counting gives, twice the three of a step that differentiates once.

- *Convolution* is the trilinear form :math:`T(x, w, g) = \langle w * x, g\rangle`. Its partial derivatives
  (convolution, input gradient, weight gradient) are linear in what is left: their derivatives are the same three.
- *Normalise, scale, shift, activate*: with group mean m, standard deviation 1/r and :math:`n = r (x - m(x))`, this is
  :math:`f(a n + b)`. :math:`P g = g - m(g) - n\, m(g n)` gives the input gradient :math:`r P(a\, g f')`; P is
  symmetric, and the derivative of :math:`r P q` in x along v is
  :math:`-r^2 \{ n [m(vq) - m(v) m(q) - 3 m(vn) m(qn)] + m(qn) (v - m(v)) + m(vn) (q - m(q)) \}`.

Each layer is exact to rounding. It uses the framework's operations on request (`use_plain_operations`), and when it is
compiled, where fusing is the compiler's work. The memory format of its input, contiguous or channels last, is that of
its output and gradients. Under autocast, convolutions run in the lighter type; normalisation stays in float32.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F

__all__ = ["Activate", "Conv2d", "input_gradient_only", "memory_format_of", "use_plain_operations"]

_INPUTS_ONLY: ContextVar[bool] = ContextVar("inputs_only", default=False)


@contextmanager
def input_gradient_only() -> Iterator[None]:
    """Inside, a backward pass leaves out weight gradients, which the caller is not going to ask for.

    It only saves work: on a device whose backward pass has a thread of its own it has no effect.
    """
    token = _INPUTS_ONLY.set(True)
    try:
        yield
    finally:
        _INPUTS_ONLY.reset(token)


def use_plain_operations(network: nn.Module) -> nn.Module:
    """Switches the layers of this module, in place, to the framework's operations; returns the network."""
    for module in network.modules():
        if isinstance(module, Conv2d | Activate):
            module.plain = True
    return network


def _autocasts(x: Tensor) -> bool:
    return not x.is_meta and torch.is_autocast_enabled(x.device.type)


def _lighter(*tensors: Tensor | None) -> list[Tensor | None]:
    """The same tensors, or what autocast makes of them inside a function, whose backward pass would meet two types."""
    x = next(t for t in tensors if t is not None)
    if not _autocasts(x):
        return list(tensors)
    dtype = torch.get_autocast_dtype(x.device.type)
    return [t if t is None or t.dtype == torch.float64 else t.to(dtype) for t in tensors]


def memory_format_of(x: Tensor) -> torch.memory_format:
    """Channels last where (B, C, H, W) lies so and only so, else contiguous."""
    last = x.ndim == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


# ----------------------------------------------------------------------------------------------------
# Convolution

_Pair: TypeAlias = tuple[int, int]
_Geometry: TypeAlias = tuple[_Pair, _Pair, _Pair, int]  # stride, padding, dilation, groups


class _Convolve(Function):
    """x (B, C, H, W), w (O, C / groups, h, w), bias (O,) or None -> (B, O, H', W')."""

    @staticmethod
    def forward(x: Tensor, w: Tensor, bias: Tensor | None, geometry: _Geometry) -> Tensor:
        return F.conv2d(x, w, bias, *geometry)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, w, _, ctx.geometry = inputs
        ctx.save_for_backward(x, w)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, w = ctx.saved_tensors
        wants_x, wants_w, wants_bias, _ = ctx.needs_input_grad
        weights = not _INPUTS_ONLY.get()
        gx, gw = _ConvolveGradients.apply(g, x, w, ctx.geometry, wants_x, wants_w and weights)
        return gx, gw, g.sum((0, 2, 3)) if wants_bias and weights else None, None


class _ConvolveGradients(Function):
    """The gradients in x and in w, for g (B, O, H', W'); either may be left out. Each is linear in g and the other."""

    @staticmethod
    def forward(
        g: Tensor, x: Tensor, w: Tensor, geometry: _Geometry, of_x: bool, of_w: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        stride, padding, dilation, groups = geometry
        gx, gw, _ = torch.ops.aten.convolution_backward(
            g, x, w, None, stride, padding, dilation, False, (0, 0), groups, (of_x, of_w, False)
        )
        return gx if of_x else None, gw if of_w else None

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor | None, Tensor | None]) -> None:
        g, x, w, ctx.geometry, _, _ = inputs
        ctx.save_for_backward(g, x, w)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, vx: Tensor | None, vw: Tensor | None) -> tuple[Tensor | None, ...]:
        g, x, w = ctx.saved_tensors
        wants_g, wants_x, wants_w, *_ = ctx.needs_input_grad
        gg = gx = gw = None
        if vx is not None:
            gg = _Convolve.apply(vx, w, None, ctx.geometry) if wants_g else None
            gw = _ConvolveGradients.apply(g, vx, w, ctx.geometry, False, True)[1] if wants_w else None
        if vw is not None:
            along_w = _Convolve.apply(x, vw, None, ctx.geometry) if wants_g else None
            gg = along_w if gg is None or along_w is None else gg + along_w
            gx = _ConvolveGradients.apply(g, x, vw, ctx.geometry, True, False)[0] if wants_x else None
        return gg, gx, gw, None, None, None


class Conv2d(nn.Conv2d):
    """`torch.nn.Conv2d` with zero padding: (B, C, H, W) -> (B, O, H', W')."""

    plain = False

    def forward(self, x: Tensor) -> Tensor:
        if self.plain or torch.compiler.is_compiling():
            return super().forward(x)
        geometry = (self.stride, self.padding, self.dilation, self.groups)
        out: Tensor = _Convolve.apply(*_lighter(x, self.weight, self.bias), geometry)
        return out


# ----------------------------------------------------------------------------------------------------
# Normalise, scale, shift, activate


class Activate(nn.Module):
    """silu(a n(x) + b) for group-normalised n(x), (B, C, ...) to the same shape.

    Args:
        groups: of channels.
        activation: SiLU, or without it the identity.
        eps: beside the variance.
    """

    plain = False

    def __init__(self, groups: int, *, activation: bool = True, eps: float = 1e-6) -> None:
        super().__init__()
        self.groups, self.activation, self.eps = groups, activation, eps

    def forward(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """Features (B, C, ...), scale a and shift b of shape (B, C) or (C,)."""
        if self.plain or torch.compiler.is_compiling():
            return self._plainly(x, scale, shift)
        if _autocasts(x) and x.dtype != torch.float64:
            x, scale, shift = x.float(), scale.float(), shift.float()
        scale, shift = scale.expand(x.shape[:2]), shift.expand(x.shape[:2])
        x = x.contiguous(memory_format=memory_format_of(x))
        out: Tensor = _Activate.apply(x, scale, shift, self.groups, self.eps, self.activation)[0]
        return out

    def _plainly(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        if x.dtype == torch.bfloat16 and x.device.type == "cpu" and memory_format_of(x) == torch.channels_last:
            x, scale, shift = x.float(), scale.float(), shift.float()  # of which normalisation is four times as fast
        if scale.ndim == 1:
            u = F.group_norm(x, self.groups, scale, shift, self.eps)
        else:
            wide = (*x.shape[:2], *(1,) * (x.ndim - 2))
            u = F.group_norm(x, self.groups, eps=self.eps)
            u = torch.addcmul(shift.reshape(wide), u, scale.reshape(wide))
        return F.silu(u) if self.activation else u

    def extra_repr(self) -> str:
        return f"groups={self.groups}, activation={self.activation}, eps={self.eps:g}"


class _Layer:
    """What the derivatives of one call share. Fields are (B, C, N); statistics (B, C, 1)."""

    def __init__(self, x: Tensor, a: Tensor, b: Tensor, mean: Tensor, r: Tensor, silu: bool) -> None:
        self.n_groups, self.silu = mean.shape[1], silu
        self.size = x[0].numel() // self.n_groups
        self.x, self.a = x.flatten(2), a[..., None]
        each = x.shape[1] // self.n_groups
        self.mean, self.r = (s.repeat_interleave(each, 1)[..., None] for s in (mean, r))
        if silu:
            self.u = self.mix(b[..., None] - self.mean * self.r * self.a, self.r * self.a)

    def mix(self, constant: Tensor, on_x: Tensor) -> Tensor:
        """constant + on_x x, a new field."""
        return (self.x * on_x).add_(constant)  # much faster than addcmul, whose first argument would be broadcast

    def over_group(self, sums: Tensor) -> Tensor:
        """Sums over a channel, (B, C, 1), to means over its group."""
        groups = sums.reshape(len(sums), self.n_groups, -1)
        return (groups.sum(2, keepdim=True) / self.size).expand_as(groups).reshape(sums.shape)

    def times_slope(self, g: Tensor) -> Tensor:
        """g f'(u)."""
        if not self.silu:
            return g
        out: Tensor = torch.ops.aten.silu_backward(g, self.u)
        return out

    def with_n(self, g: Tensor, total: Tensor) -> Tensor:
        """The sums over a channel of g n, given those of g."""
        out: Tensor = self.r * (_dot(g, self.x) - self.mean * total)
        return out


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Sums of products over the last axis, kept: (B, C, 1)."""
    if a.stride(-1) != 1:  # channels last: the product of matrices behind the other way would copy both
        return (a * b).sum(2, keepdim=True)
    with torch.autocast("cpu" if a.is_meta else a.device.type, enabled=False):  # which would make it a matrix product
        out: Tensor = torch.linalg.vecdot(a, b)[..., None]
    return out


def _normalised(x: Tensor, groups: int, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """n(x), a new field, the means (B, G), and one over the standard deviations."""
    if x.device.type != "cpu" and not x.is_contiguous():
        return _normalised_anywhere(x, groups, eps)
    u, mean, r = torch.native_group_norm(x, None, None, len(x), x.shape[1], x[0, 0].numel(), groups, eps)
    return u, mean, r


def _normalised_anywhere(x: Tensor, groups: int, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """The same for any layout: kernels of accelerators take contiguous images only."""
    wide = x.flatten(2).unflatten(1, (groups, -1))
    variance, mean = torch.var_mean(wide, (2, 3), correction=0, keepdim=True)
    r = (variance + eps).rsqrt()
    return (wide * r).sub_(mean * r).reshape(x.shape), mean.flatten(1), r.flatten(1)


class _Activate(Function):
    """x (B, C, ...), a and b (B, C) to the output and the statistics, each (B, G)."""

    @staticmethod
    def forward(x: Tensor, a: Tensor, b: Tensor, groups: int, eps: float, silu: bool) -> tuple[Tensor, Tensor, Tensor]:
        wide = (*a.shape, *(1,) * (x.ndim - 2))
        u, mean, r = _normalised(x, groups, eps)
        u = u.mul_(a.reshape(wide)).add_(b.reshape(wide))
        return F.silu(u, inplace=True) if silu else u, mean, r

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        x, a, b, _, _, ctx.silu = inputs
        _, mean, r = output
        ctx.mark_non_differentiable(mean, r)
        ctx.save_for_backward(x, a, b, mean, r)

    @staticmethod
    def backward(ctx: Any, g: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, *others = ctx.saved_tensors
        g = g.contiguous(memory_format=memory_format_of(x))
        gx, ga, gb = _ActivateGradient.apply(g, x, *others, ctx.silu)
        return gx, ga, gb, None, None, None


class _ActivateGradient(Function):
    """The three gradients for g (B, C, ...). That in x may be differentiated again."""

    @staticmethod
    def forward(
        g: Tensor, x: Tensor, a: Tensor, b: Tensor, mean: Tensor, r: Tensor, silu: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        layer = _Layer(x, a, b, mean, r, silu)
        p = layer.times_slope(g.flatten(2))
        gb = p.sum(2, keepdim=True)
        ga = layer.with_n(p, gb)
        m_q, m_qn = layer.over_group(layer.a * gb), layer.over_group(layer.a * ga)
        gx = layer.mix(layer.r * (layer.mean * layer.r * m_qn - m_q), -layer.r.square() * m_qn)
        gx.addcmul_(p, layer.r * layer.a)
        return gx.reshape(x.shape), ga[..., 0], gb[..., 0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        *tensors, ctx.silu = inputs
        _, ga, gb = output
        ctx.save_for_backward(*tensors, ga, gb)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, v: Tensor | None, va: Tensor | None, vb: Tensor | None) -> tuple[Tensor | None, ...]:
        if va is not None or vb is not None:
            raise RuntimeError("only the input gradient is differentiated twice: use_plain_operations(network)")
        if v is None:
            return (None,) * 7
        g, x, a, b, mean, r, pn_total, p_total = ctx.saved_tensors
        layer = _Layer(x, a, b, mean, r, ctx.silu)
        v = v.contiguous(memory_format=memory_format_of(x))
        return *_second(layer, g, v, p_total, pn_total), None, None, None


def _second(
    layer: _Layer, g: Tensor, v: Tensor, p_total: Tensor, pn_total: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Derivatives of <v, input gradient> in g, x, a and b; the sums of p n and of p = g f' are known."""
    shape, g, v, r = g.shape, g.flatten(2), v.flatten(2), layer.r
    p = layer.times_slope(g)
    v_total, p_total, pn_total = v.sum(2, keepdim=True), p_total[..., None], pn_total[..., None]
    vn_total, vp_total = layer.with_n(v, v_total), _dot(v, p)
    m_v, m_vn, m_vq = layer.over_group(v_total), layer.over_group(vn_total), layer.over_group(layer.a * vp_total)
    m_q, m_qn = layer.over_group(layer.a * p_total), layer.over_group(layer.a * pn_total)

    # h = a r P v, the change of u along v
    h = layer.mix(layer.a * r * (layer.mean * r * m_vn - m_v), -layer.a * r.square() * m_vn)
    h.addcmul_(v, layer.a * r)
    gg = layer.times_slope(h)
    ga = r * (vp_total - m_v * p_total - m_vn * pn_total)

    # along x: the curvature of the normalisation ...
    k = m_vq - m_v * m_q - 3 * m_vn * m_qn
    on_x = -(r**3) * k
    constant = r.square() * (r * k * layer.mean + m_qn * m_v + m_vn * m_q)
    gb = torch.zeros_like(ga)
    if layer.silu:  # ... and that of the activation, psi = h g f''(u)
        s = layer.u.sigmoid()
        bend = (-2 * s).add_(1).mul_(layer.u).add_(2)  # f'' = s (1 - s) (2 + u (1 - 2 s))
        psi = torch.ops.aten.sigmoid_backward(h.mul_(g), s).mul_(bend)
        gb = psi.sum(2, keepdim=True)
        psin_total = layer.with_n(psi, gb)
        ga = ga + psin_total
        m_apsi, m_apsin = layer.over_group(layer.a * gb), layer.over_group(layer.a * psin_total)
        on_x = on_x - r.square() * m_apsin
        constant = constant + r * (layer.mean * r * m_apsin - m_apsi)
    gx = layer.mix(constant, on_x).addcmul_(v, -r.square() * m_qn).addcmul_(p, -r.square() * m_vn * layer.a)
    if layer.silu:
        gx.addcmul_(psi, r * layer.a)
    return gg.reshape(shape), gx.reshape(shape), ga[..., 0], gb[..., 0]
