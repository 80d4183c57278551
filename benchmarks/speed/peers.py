"""The peers, in a process of PyTorch and scikit-learn: reads what to do from standard input, and answers by lines.

The first line, of JSON, describes the work. Each line after it is a round, and each line written its seconds; at the end of the
input stands the peak memory in MB. Networks are built as the first line describes them, with the very weights, so that both sides
compute the same.
"""

import json
import resource
import sys
import time

import numpy as np


def main():
    asked = json.loads(sys.stdin.readline())
    work = WORKS[asked["work"]](asked)
    work()  # allocates, compiles
    print("ready", flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        work()
        print(time.perf_counter() - started, flush=True)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def networks(asked):
    """The networks of a work by name, proven equal to those that they were described from, in training mode."""
    import torch
    from rebuilt import network  # beside this file

    torch.set_num_threads(asked["threads"])
    found = {}
    with np.load(asked["arrays"]) as stored:
        for name, description in asked["networks"].items():
            arrays = {}
            for key in (key for key in stored.files if key.startswith(f"{name}:weights:")):
                arrays.setdefault(key.split(":", 2)[2].rpartition("/")[0], []).append(stored[key])
            found[name] = network(description, arrays).eval()
            with torch.no_grad():
                outputs = found[name](torch.from_numpy(stored[f"{name}:input"]))
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            for index, output in enumerate(outputs):
                np.testing.assert_allclose(output.numpy(), stored[f"{name}:output:{index}"], rtol=1e-3, atol=1e-4)
    return {name: each.train() for name, each in found.items()}


def batches(asked):
    """Endless batches of shuffled images in [0, 1], from levels in memory."""
    import torch

    with np.load(asked["arrays"]) as stored:
        levels = torch.from_numpy(stored["images"]).permute(0, 3, 1, 2).contiguous()
    random = torch.Generator().manual_seed(0)
    while True:
        for rows in torch.randperm(len(levels), generator=random).split(asked["batch_size"]):
            if len(rows) == asked["batch_size"]:
                yield levels[rows].float() / 255


def trainer(asked, objectives):
    """So many steps as a function: each objective is its optimizer and a function of a batch to a loss."""
    import torch

    data = batches(asked)
    compiled = (lambda f: torch.compile(f)) if asked["compile"] else (lambda f: f)
    turns = [(optimizer, compiled(loss), times) for optimizer, loss, times in objectives]

    def work():
        for _ in range(asked["steps"]):
            for optimizer, loss, times in turns:
                for _ in range(times):
                    optimizer.zero_grad(set_to_none=True)
                    loss(next(data)).backward()
                    optimizer.step()

    return work


def adam(asked, *modules):
    import torch

    parameters = [p for module in modules for p in module.parameters()]
    return torch.optim.Adam(parameters, asked["learning_rate"], (asked["beta_1"], asked["beta_2"]), eps=1e-7)


def autoencoder(asked):
    parts = networks(asked)
    encoder, decoder = parts["encoder"], parts["decoder"]
    loss = lambda x: (decoder(encoder(x)) - x).square().sum((1, 2, 3)).mean()  # noqa: E731
    return trainer(asked, [(adam(asked, encoder, decoder), loss, 1)])


def vae(asked):
    """The sigma-VAE: the Gaussian likelihood whose variance is the batch's mean squared error."""
    import torch

    parts = networks(asked)
    encoder, decoder = parts["encoder"], parts["decoder"]

    def loss(x):
        mu, log_variance = encoder(x)
        mean = decoder(mu + (0.5 * log_variance).exp() * torch.randn_like(mu))
        log_scale = 0.5 * (mean - x).detach().square().mean().log()
        error = 0.5 * ((mean - x) * (-log_scale).exp()).square() + log_scale
        divergence = 0.5 * (mu.square() + log_variance.exp() - 1 - log_variance).sum(1)
        return (error.sum((1, 2, 3)) + divergence).mean()

    return trainer(asked, [(adam(asked, encoder, decoder), loss, 1)])


def wae_mmd(asked):
    """The kernels of Tolstikhin et al. 2018, section 4."""
    import torch

    parts = networks(asked)
    encoder, decoder = parts["encoder"], parts["decoder"]

    def kernel(x, y):
        squares = torch.cdist(x, y).square()
        return sum(c / (c + squares) for c in (2.0 * x.shape[1] * s for s in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)))

    def within(z):
        values = kernel(z, z)
        return (values.sum() - values.diagonal().sum()) / (len(z) * (len(z) - 1))

    def loss(x):
        z = encoder(x)
        draws = torch.randn_like(z)
        mmd = within(z) + within(draws) - 2 * kernel(z, draws).mean()
        return (decoder(z) - x).square().sum((1, 2, 3)).mean() + asked["weight"] * mmd

    return trainer(asked, [(adam(asked, encoder, decoder), loss, 1)])


def gan(asked):
    """The non-saturating game, a step of the critic and one of the generator (Goodfellow et al. 2014, algorithm 1)."""
    import torch
    from torch.nn.functional import softplus

    parts = networks(asked)
    generator, critic = parts["generator"], parts["critic"]
    noise = lambda x: torch.randn(len(x), asked["latent_dim"])  # noqa: E731

    def critic_loss(x):
        return softplus(-critic(2 * x - 1)).mean() + softplus(critic(generator(noise(x)).detach())).mean()

    return trainer(
        asked,
        [
            (adam(asked, critic), critic_loss, 1),
            (adam(asked, generator), lambda x: softplus(-critic(generator(noise(x)))).mean(), 1),
        ],
    )


def wgan_gp(asked):
    """Gulrajani et al. 2017, algorithm 1. PyTorch does not compile second derivatives, so the critic's loss stays eager."""
    import torch

    parts = networks(asked)
    generator, critic = parts["generator"], parts["critic"]
    noise = lambda x: torch.randn(len(x), asked["latent_dim"])  # noqa: E731

    def critic_loss(x):
        real, fake = 2 * x - 1, generator(noise(x)).detach()
        between = fake + torch.rand(len(x), 1, 1, 1) * (real - fake)
        between.requires_grad_(True)
        (slopes,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
        penalty = (slopes.flatten(1).norm(dim=1) - 1).square().mean()
        return critic(fake).mean() - critic(real).mean() + asked["penalty_weight"] * penalty

    if asked["compile"]:
        critic_loss = torch.compiler.disable(critic_loss)
    return trainer(
        asked,
        [(adam(asked, critic), critic_loss, 5), (adam(asked, generator), lambda x: -critic(generator(noise(x))).mean(), 1)],
    )


def ebm(asked):
    """Short runs of Langevin dynamics from a replay buffer (Du and Mordatch 2019, algorithm 1)."""
    import torch

    energy = networks(asked)["energy"]
    optimizer, data = adam(asked, energy), batches(asked)
    buffer = torch.rand(asked["buffer_size"], 1, 28, 28) * 2 - 1
    slope_of = lambda x: torch.autograd.grad(energy(x).sum(), x)[0]  # noqa: E731
    loss_of = lambda real, fake: (  # noqa: E731
        (e := energy(real)).mean() - (f := energy(fake)).mean() + asked["energy_weight"] * (e.square() + f.square()).mean()
    )
    if asked["compile"]:
        energy.compile()

    def work():
        for _ in range(asked["steps"]):
            real = 2 * next(data) - 1
            real = real + asked["data_noise"] * torch.randn_like(real)
            rows = torch.randint(len(buffer), (len(real),))
            x = buffer[rows]
            fresh = torch.rand(len(x)) < asked["restart"]
            x[fresh] = torch.rand_like(x[fresh]) * 2 - 1
            for _ in range(asked["chain_steps"]):
                x.requires_grad_(True)
                move = (asked["step_size"] * slope_of(x)).clamp(-asked["clip"], asked["clip"])
                x = (x.detach() - move + asked["noise"] * torch.randn_like(x)).clamp(-1, 1)
            buffer[rows] = x.detach()
            optimizer.zero_grad(set_to_none=True)
            loss_of(real, x.detach()).backward()
            torch.nn.utils.clip_grad_norm_(energy.parameters(), asked["gradient_norm"])
            optimizer.step()

    return work


def diffusers_training(asked):
    """The simple loss of Ho et al. 2020, algorithm 1, with the U-Net of diffusers."""
    import torch

    torch.set_num_threads(asked["threads"])
    unet, data = diffusers_unet(asked), batches(asked)
    network_of = torch.compile(unet) if asked["compile"] else unet
    optimizer = adam(asked, unet)
    bars = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)

    def work():
        for _ in range(asked["steps"]):
            x = 2 * next(data) - 1
            noise, times = torch.randn_like(x), torch.randint(1000, (len(x),))
            bar = bars[times][:, None, None, None]
            optimizer.zero_grad(set_to_none=True)
            (network_of(bar.sqrt() * x + (1 - bar).sqrt() * noise, times).sample - noise).square().mean().backward()
            optimizer.step()

    return work


def diffusers_unet(asked):
    from diffusers import UNet2DModel

    channels = asked["channels"]
    unet = UNet2DModel(
        sample_size=28,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=channels,
        down_block_types=("DownBlock2D",) * len(channels),
        up_block_types=("UpBlock2D",) * len(channels),
        add_attention=False,
        norm_num_groups=4,
    )
    count = sum(p.numel() for p in unet.parameters())
    if abs(count / asked["parameters"] - 1) > 0.01:
        raise ValueError(f"the U-Net of diffusers has {count} parameters, expected about {asked['parameters']}")
    return unet


def diffusers_sampling(asked):
    import torch
    from diffusers import DDIMPipeline, DDIMScheduler

    torch.set_num_threads(asked["threads"])
    pipeline = DDIMPipeline(diffusers_unet(asked), DDIMScheduler(1000))
    pipeline.set_progress_bar_config(disable=True)
    return lambda: pipeline(batch_size=asked["images"], num_inference_steps=asked["evaluations"], output_type="np")


def normflows_glow(asked):
    """Glow of as many levels, steps and channels, on logits of the pixels."""
    import normflows

    steps = []
    for channels in (8, 4):  # the last level first
        blocks = [
            normflows.flows.GlowBlock(channels, asked["width"], split_mode="channel", scale=True)
            for _ in range(asked["steps_of_level"])
        ]
        steps.append([*blocks, normflows.flows.Squeeze()])
    priors = [normflows.distributions.DiagGaussian(shape, trainable=False) for shape in ((8, 7, 7), (2, 14, 14))]
    return normflows.MultiscaleFlow(priors, steps, [normflows.flows.Merge()], normflows.transforms.Logit(0.05))


def normflows_training(asked):
    import torch

    torch.set_num_threads(asked["threads"])
    model = normflows_glow(asked)

    def loss(x):
        return model.forward_kld((255 * x + torch.rand_like(x)) / 256)

    return trainer(asked, [(adam(asked, model), loss, 1)])


def normflows_sampling(asked):
    import torch

    torch.set_num_threads(asked["threads"])
    model = normflows_glow(asked)
    with torch.no_grad():
        model.log_prob(torch.rand(64, 1, 28, 28), None)  # sets the activation normalisation

    def work():
        with torch.no_grad():
            model.sample(asked["images"])

    return work


def bernoulli_rbm(asked):
    """scikit-learn's persistent contrastive divergence, on the same binary images."""
    from sklearn.neural_network import BernoulliRBM
    from threadpoolctl import threadpool_limits

    threadpool_limits(asked["threads"])
    with np.load(asked["arrays"]) as stored:
        images = (stored["images"].reshape(len(stored["images"]), -1) / 255).astype(np.float32)
    random = np.random.default_rng(0)
    rbm = BernoulliRBM(asked["hidden"], learning_rate=0.01, batch_size=asked["batch_size"], random_state=0)

    def work():
        for _ in range(asked["steps"]):
            x = images[random.integers(0, len(images), asked["batch_size"])]
            rbm.partial_fit((random.random(x.shape, np.float32) < x).astype(np.float32))

    return work


def pythae_wae(asked):
    """pythae's own WAE-MMD with the same networks."""
    import torch
    from pythae.models import WAE_MMD, WAE_MMD_Config
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    parts = networks(asked)

    class Encoder(BaseEncoder):
        def __init__(self):
            super().__init__()
            self.inner, self.latent_dim = parts["encoder"], asked["latent_dim"]

        def forward(self, x):
            return ModelOutput(embedding=self.inner(x))

    class Decoder(BaseDecoder):
        def __init__(self):
            super().__init__()
            self.inner = parts["decoder"]

        def forward(self, z):
            return ModelOutput(reconstruction=self.inner(z))

    config = WAE_MMD_Config(
        input_dim=(1, 28, 28), latent_dim=asked["latent_dim"], kernel_choice="imq", reg_weight=asked["weight"]
    )
    model = WAE_MMD(config, Encoder(), Decoder())
    if asked["compile"]:
        model = torch.compile(model)
    return trainer(asked | {"compile": False}, [(adam(asked, model), lambda x: model({"data": x}).loss, 1)])


def torch_fidelity_features(asked):
    """Features of Inception with the same random weights."""
    import runpy

    import torch

    torch.set_num_threads(asked["threads"])
    script = runpy.run_path(asked["script"])
    network = script["torch_fidelity"](script["constants"](script["SEED"]), ["2048"], "float32")
    with np.load(asked["arrays"]) as stored:
        pieces = torch.from_numpy(stored["images"]).permute(0, 3, 1, 2).split(asked["batch_size"])

    def work():
        with torch.no_grad():
            torch.cat([network(each)[0] for each in pieces])

    return work


def features(asked):
    """Two sets of features, the same on both sides."""
    random = np.random.default_rng(0)
    shape = asked["n"], asked["dim"]
    return random.random(shape, np.float32), random.random(shape, np.float32) ** 1.1


def usual_distance(asked):
    """The Frechet distance as pytorch-fid and clean-fid compute it."""
    import scipy.linalg

    real, generated = features(asked)

    def work():
        mu1, mu2 = real.mean(axis=0), generated.mean(axis=0)
        sigma1, sigma2 = np.cov(real, rowvar=False), np.cov(generated, rowvar=False)
        root = scipy.linalg.sqrtm(sigma1 @ sigma2).real
        return np.sum((mu1 - mu2) ** 2) + np.trace(sigma1 + sigma2 - 2 * root)

    return work


def torch_fidelity_kid(asked):
    import torch
    from torch_fidelity.metric_kid import kid_features_to_metric

    torch.set_num_threads(asked["threads"])
    pair = [torch.from_numpy(each) for each in features(asked)]
    return lambda: kid_features_to_metric(*pair, kid_subsets=100, kid_subset_size=1000, verbose=False)


def prdc_scores(asked):
    from prdc import compute_prdc

    pair = features(asked)
    return lambda: compute_prdc(*pair, nearest_k=5)


WORKS = {
    "torch_fidelity_features": torch_fidelity_features,
    "usual_distance": usual_distance,
    "torch_fidelity_kid": torch_fidelity_kid,
    "prdc_scores": prdc_scores,
    "autoencoder": autoencoder,
    "vae": vae,
    "wae_mmd": wae_mmd,
    "pythae_wae": pythae_wae,
    "gan": gan,
    "wgan_gp": wgan_gp,
    "ebm": ebm,
    "diffusers_training": diffusers_training,
    "diffusers_sampling": diffusers_sampling,
    "normflows_training": normflows_training,
    "normflows_sampling": normflows_sampling,
    "bernoulli_rbm": bernoulli_rbm,
}

if __name__ == "__main__":
    main()
