"""Trial: meanflow.py METHOD key=value ...   one line of JSON, appended to meanflow.jsonl."""
import copy, json, sys, time, math
import torch
from torch import nn
from torch.nn import functional as F
torch.set_num_threads(1)
from condgen.data.sets import load, parse_data
from condgen.data.labelled import to_uint8
from condgen.metrics.evaluate import Measures, evaluating
from condgen.metrics.extractors import open_extractor
from condgen.metrics.features import Store
from condgen.networks.mlp import MLPSettings, MLPGenerator, _Trunk
from condgen.networks.embedding import ClassEmbedding, NoiseEmbedding, initialise_
from condgen.training.settings import TrainingSettings, learning_rate_factor

train_set, test_set = (load(parse_data("digits"), s) for s in ("train", "test"))
X, Y = train_set.floats().flatten(1), train_set.y
STD = train_set.standard_deviation()

class TimeEmbedding(nn.Module):
    def __init__(self, width, top, n=16):
        super().__init__()
        self.register_buffer("w", torch.linspace(0, math.log(top), n).exp())
        self.layers = nn.Sequential(initialise_(nn.Linear(2 * n, width)), nn.SiLU(), initialise_(nn.Linear(width, width)))
    def forward(self, t):
        p = t[:, None] * self.w
        return self.layers(torch.cat((p.cos(), p.sin()), 1) * math.sqrt(2))

class TwoTimes(nn.Module):
    """F(x, t, h, y)"""
    def __init__(self, o):
        super().__init__()
        s = MLPSettings(width=int(o["width"]), depth=int(o["depth"]))
        self.t, self.h = TimeEmbedding(s.embedding, o["top"]), TimeEmbedding(s.embedding, o["top"])
        self.label = ClassEmbedding(11, s.embedding)
        self.trunk = _Trunk(s, 64, 64, gain=0.1)
    def forward(self, x, t, h, y):
        return self.trunk(x, F.silu(self.t(t) + self.h(h) + self.label(y)))

def evaluate(sampler, n=1440, seed=7):
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 10
    with torch.no_grad():
        x = sampler(torch.randn(n, 64, generator=g), y).reshape(n, 1, 8, 8).clamp(-1, 1)
    x = to_uint8(x).float() / 127.5 - 1 if hasattr(to_uint8, "__call__") else x
    work = evaluating({"m": (x, y)}, train_set, test_set, 0, Measures(cas="none"), Store(open_extractor("pixels", train_set.shape), None))
    try:
        while True: next(work)
    except StopIteration as e:
        rows = e.value.rows
    want = {"FD@1440": "fd", "held-out FD@1440": "hfd", "recall": "rec", "precision": "prec", "in-class std ratio": "std", "class accuracy": "acc", "coverage": "cov", "authenticity": "auth"}
    return {want[r.metric]: round(r.value, 4) for r in rows if r.method == "m" and r.metric in want}

def c_in(t):  # of x_t = (1-t) x + t e, both of unit deviation
    return ((1 - t) ** 2 + t ** 2).rsqrt()[:, None]

class MeanFlow:
    """unit-variance data x/STD, x_t=(1-t)x+t e, v=e-x."""
    def __init__(self, o):
        self.o, self.net = o, TwoTimes(o)
    def u(self, net, x, t, r, y):
        f = net(x * c_in(t), t, t - r, y)
        if self.o["pred"] == "v": return f
        # denoiser-like: u = (x_t - D)/t where D = skip x_t + out f (EDM's in flow form)
        a, s = (1 - t)[:, None], t[:, None]
        tot = (a * a + s * s)
        D = a / tot * x + s / tot.sqrt() * f      # E[x|x_t] preconditioned
        return (x - D) / s
    def times(self, n, g):
        o = self.o
        if o["density"] == "lognorm":
            a = torch.sigmoid(o["mean"] + o["std"] * torch.randn(n, 2, generator=g))
        else:
            a = torch.rand(n, 2, generator=g)
        t, r = a.max(1).values, a.min(1).values
        if o["ends"] > 0:  # a share at the interval which is used: r=0,t=1
            m = torch.rand(n, generator=g) < o["ends"]
            t, r = torch.where(m, torch.ones(()), t), torch.where(m, torch.zeros(()), r)
        same = torch.rand(n, generator=g) < o["same"]
        r = torch.where(same, t, r)
        return t.clamp_min(1e-3), r.minimum(t)
    def loss(self, x, y, g, step):
        o = self.o
        x = x / STD
        e = torch.randn(x.shape, generator=g)
        t, r = self.times(len(x), g)
        v = e - x
        x_t = (1 - t)[:, None] * x + t[:, None] * e
        net = self.net
        if o["jvp"]:
            w = v
            if o["vhat"]:  # the network's own velocity as tangent, averages out the noise of v
                with torch.no_grad(): w = self.u(net, x_t, t, t, y)
            u, du = torch.func.jvp(lambda a, b, c: self.u(net, a, b, c, y), (x_t, t, r), (w, torch.ones_like(t), torch.zeros_like(r)))
        else:
            u = self.u(net, x_t, t, r, y)
            d = o["fd"]
            with torch.no_grad():
                back = (t - r).clamp_max(d)
                before = self.u(net, x_t - back[:, None] * v, t - back, r, y)
                du = torch.where(back[:, None] > 1e-6, (u.detach() - before) / back.clamp_min(1e-6)[:, None], torch.zeros_like(u))
        k = min(1.0, (step + 1) / max(1, o["tangent_warm"]))
        target = (v - (t - r)[:, None] * k * du).detach()
        err = (u - target).square().mean(1)
        wgt = (err.detach() + o["c"]).pow(-o["p"])
        if o["wt"]: wgt = wgt * (t ** o["wt"])
        return (wgt * err).mean()
    def sampler(self, net):
        def s(z, y):
            one = torch.ones(len(z))
            return STD * (z - self.u(net, z, one, 0 * one, y))
        return s

def kernel_distance(o, a, b, scale):
    d = torch.cdist(a, b, compute_mode="use_mm_for_euclid_dist") if False else ((a[..., :, None, :] - b[..., None, :, :]).square().sum(-1) + 1e-8).sqrt()
    return d

class IMM:
    """x/STD; groups of M of one label and one (s, r, t)."""
    def __init__(self, o):
        self.o, self.net = o, TwoTimes(o)
    def D(self, net, x, t, s, y):
        f = net(x * c_in(t), t, t - s, y)
        a, b = (1 - t)[:, None], t[:, None]
        tot = a * a + b * b
        return a / tot * x + b / tot.sqrt() * f
    def f(self, net, x, t, s, y):  # DDIM from t to s
        D = self.D(net, x, t, s, y)
        e = (x - (1 - t)[:, None] * D) / t[:, None]
        return (1 - s)[:, None] * D + s[:, None] * e
    def loss(self, x, y, g, step):
        o, M = self.o, int(self.o["M"])
        x = x / STD
        n = len(x) // M
        t = torch.rand(n, generator=g) * (1 - 2e-3) + 2e-3 if o["density"] == "uniform" else torch.sigmoid(o["mean"] + o["std"] * torch.randn(n, generator=g)).clamp(2e-3, .994)
        one = torch.rand(n, generator=g) < o["ends"]
        t = torch.where(one, torch.full((), .994), t)
        s = torch.rand(n, generator=g) * t if o["s"] == "uniform" else torch.zeros(n)
        s = torch.where(torch.rand(n, generator=g) < o["s0"], torch.zeros(()), s)
        eta = t / (1 - t)
        eta_r = eta - o["gap"] * eta if o["gap_kind"] == "rel" else eta - o["gap"]
        r = torch.where(eta_r > 0, eta_r / (1 + eta_r.clamp_min(0)), torch.zeros(()))
        r = torch.maximum(r, s)
        t, s, r = (q.repeat_interleave(M) for q in (t, s, r))
        e = torch.randn(x.shape, generator=g)
        mix = lambda q: (1 - q)[:, None] * x + q[:, None] * e
        a = self.f(self.net, mix(t), t, s, y)
        with torch.no_grad():
            rr = r.clamp_min(1e-3)
            b = torch.where((r > s + 1e-6)[:, None], self.f(self.net, mix(rr), rr, s, y), mix(s))
        a, b = a.reshape(n, M, -1), b.reshape(n, M, -1)
        d_aa, d_ab = (((p[:, :, None] - q[:, None]).square().sum(-1) + 1e-8).sqrt() for p, q in ((a, a), (a, b)))
        if o["kernel"] == "energy":
            k = lambda d: -d / 8
        else:
            wk = (o["bw"] / ((t[::M] - s[::M]).clamp_min(.05) if o["bwt"] else torch.ones(n)))[:, None, None]
            k = lambda d: torch.exp(-wk * d / 8) / wk
        off = 1 - torch.eye(M)
        kab = k(d_ab)
        if o["diag"]:
            val = (k(d_aa) * off).sum((1, 2)) / (M * (M - 1)) - 2 * kab.mean((1, 2))
        else:
            val = (k(d_aa) * off).sum((1, 2)) / (M * (M - 1)) - 2 * (kab * off).sum((1, 2)) / (M * (M - 1))
        return val.mean()
    def sampler(self, net):
        def smp(z, y):
            one = torch.full((len(z),), .994)
            return STD * self.f(net, z, one, 0 * one, y)
        return smp

class Energy:
    """the one step at once: MMD of generated and real data within a class (IMM with t = 1, r = s = 0)"""
    def __init__(self, o):
        self.o = o
        self.net = MLPGenerator(MLPSettings(width=int(o["width"]), depth=int(o["depth"])), (1, 8, 8) if o["bound"] else (64,), 10, 64)
    def loss(self, x, y, g, step):
        o = self.o
        n = len(x)
        k = int(o["fakes"])
        yy = y.repeat(k)
        f = self.net(torch.randn(k * n, 64, generator=g), yy).flatten(1)
        m_ab = (yy[:, None] == y[None]).float(); m_ab = m_ab / m_ab.sum(1, keepdim=True).clamp_min(1)
        m_aa = (yy[:, None] == yy[None]).float(); m_aa.fill_diagonal_(0); m_aa = m_aa / m_aa.sum(1, keepdim=True).clamp_min(1)
        total = 0
        levels = [0.0] if o["noise"] == 0 else [0.0, o["noise"]]
        for level in levels:
            a, b = f, x
            if level:
                a, b = a + level * torch.randn(a.shape, generator=g), b + level * torch.randn(b.shape, generator=g)
            d_ab, d_aa = dist(a, b), dist(a, a)
            beta = o["beta"]
            if o["kernel"] == "laplace":
                ks = [1 / h for h in (o["bw"],)]
                phi = lambda d: sum((1 - torch.exp(-q * d)) / q for q in ks)
            elif o["kernel"] == "log":
                phi = lambda d: o["bw"] * torch.log1p(d / o["bw"])
            else:
                phi = lambda d: d.pow(beta)
            total = total + ((m_ab * phi(d_ab)).sum(1) - 0.5 * (m_aa * phi(d_aa)).sum(1)).mean()
        return total
    def sampler(self, net):
        return lambda z, y: net(z, y).flatten(1)

def dist(a, b):
    sq = (a * a).sum(1)[:, None] + (b * b).sum(1)[None] - 2 * a @ b.T
    return (sq.clamp_min(0) + 1e-6).sqrt()

DEFAULTS = dict(steps=4000, batch=256, lr=1e-3, b1=.9, b2=.99, ema=.999, decay="tail", clip=1.0, seed=0, width=192, depth=2, top=8.0,
    # meanflow
    pred="v", density="lognorm", mean=-.4, std=1.0, ends=0.0, same=.75, jvp=1, vhat=0, fd=.01, p=1.0, c=1e-3, wt=0, tangent_warm=0,
    # imm
    M=8, s="uniform", s0=0.0, gap=.1, gap_kind="rel", kernel="laplace", bw=1.0, bwt=0, diag=1,
    # energy
    bound=1, beta=1.0, noise=0.0, fakes=1, group=0, tag="")

def run_own(kind, o):
    torch.manual_seed(o["seed"])
    method = {"meanflow": MeanFlow, "imm": IMM, "energy": Energy}[kind](o)
    net = method.net
    ema = copy.deepcopy(net).requires_grad_(False)
    muon = None
    ps, eps_ = list(net.parameters()), list(ema.parameters())
    opt = torch.optim.Adam(ps, lr=o["lr"], betas=(o["b1"], o["b2"]))
    ts = TrainingSettings(steps=int(o["steps"]), batch=int(o["batch"]), lr=o["lr"], decay=o["decay"])
    g = torch.Generator().manual_seed(1000 + o["seed"])
    by = [torch.nonzero(Y == c)[:, 0] for c in range(10)]
    B, M = int(o["batch"]), int(o["M"])
    order, at = torch.randperm(len(X), generator=g), 0
    started = time.process_time()
    for step in range(int(o["steps"])):
        if kind == "imm":
            cls = torch.randint(10, (B // M,), generator=g)
            idx = torch.cat([by[c][torch.randperm(len(by[c]), generator=g)[:M]] for c in cls.tolist()])
        else:
            if at + B > len(order): order, at = torch.randperm(len(X), generator=g), 0
            idx = order[at:at + B]; at += B
        loss = method.loss(X[idx], Y[idx], g, step)
        opt.zero_grad(); loss.backward()
        nn.utils.clip_grad_norm_(ps, o["clip"])
        opt.param_groups[0]["lr"] = o["lr"] * learning_rate_factor(ts, step)
        opt.step()
        d = min(o["ema"], (2 + step) / (11 + step))
        with torch.no_grad(): torch._foreach_lerp_(eps_, ps, 1 - d)
    seconds = time.process_time() - started
    return seconds, method.sampler(ema.eval()), sum(p.numel() for p in ps)

def run_condgen(o):
    """sid (or dmd) by condgen's own loop"""
    from condgen.recipes.defaults import _default_generators
    from condgen.training.loop import train
    from condgen.training.state import State
    from condgen.training.distributed import Processes
    from condgen.runs.prepare import generator_task
    from types import SimpleNamespace
    from condgen.schedules import EDM
    recipe = _default_generators(train_set)[o.get("loss", "sid")]
    st = recipe.training.model_copy(update={"steps": int(o["steps"])})
    torch.manual_seed(o["seed"])
    task = generator_task(SimpleNamespace(generator=recipe, schedule=EDM(sigma_min=.005, sigma_max=40)), train_set, None, torch.device("cpu"))
    state = State.fresh(task.models, st.betas)
    started = time.process_time()
    for _ in train(task, state, train_set, st, o["seed"], Processes()): pass
    return time.process_time() - started, (lambda z, y: state.ema(z, y).flatten(1)), sum(p.numel() for p in task.model.parameters())

if __name__ == "__main__":
    kind, given = sys.argv[1], dict(a.split("=", 1) for a in sys.argv[2:])
    o = dict(DEFAULTS)
    for k, v in given.items():
        try: o[k] = int(v)
        except ValueError:
            try: o[k] = float(v)
            except ValueError: o[k] = v
    if kind == "floor":
        g = torch.Generator().manual_seed(o["seed"])
        y = torch.arange(1440) % 10
        by = [torch.nonzero(Y == c)[:, 0] for c in range(10)]
        idx = torch.stack([by[c][torch.randint(len(by[c]), (), generator=g)] for c in y.tolist()])
        print(evaluate(lambda z, yy: X[idx])); sys.exit()
    seconds, sampler, size = (run_condgen(o) if kind == "sid" else run_own(kind, o))
    out = dict(kind=kind, given=given, s=round(seconds, 1), ms=round(1e3 * seconds / o["steps"], 2), params=size) | evaluate(sampler)
    print(json.dumps(out), flush=True)
    open("meanflow.jsonl", "a").write(json.dumps(out) + "\n")
